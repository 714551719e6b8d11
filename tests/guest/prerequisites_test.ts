import { missing } from "./prerequisites.ts";

Deno.test("kernel guests can be made here; outside CI it is enough to say why not", async () => {
  if (missing === null) return;
  const line = `guest tests skipped: ${missing}`;
  const { state } = await Deno.permissions.query({ name: "env", variable: "CI" });
  if (state === "granted" && Deno.env.get("CI")) throw new Error(line);
  console.log(line);
});
