import { missing } from "./prerequisites.ts";

const name = missing === null
  ? "vm: VMs can be started here"
  // A quiet run shows names only: here is where the suite says why the others are ignored.
  : `vm tests skipped: ${missing}`;

Deno.test(name, async () => {
  if (missing === null) return;
  const { state } = await Deno.permissions.query({ name: "env", variable: "CI" });
  if (state === "granted" && Deno.env.get("CI")) throw new Error(name);
});
