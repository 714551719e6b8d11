/**
 * Whether this machine can start a VM, and the one way to register a test that does.
 *
 * It takes QEMU, and a kernel with its initrd, which `deno task guest` makes in `guest/` or another
 * folder that TINY_GUEST names. Where something is missing the tests are ignored and
 * `prerequisites_test.ts` says why, once; in CI it fails.
 *
 * @module
 */
import { QEMU } from "../../examples/qemu.ts";
import { runProgram } from "../guest/program.ts";
import { hasProgram } from "../support/programs.ts";

async function guestFolder(): Promise<string> {
  const { state } = await Deno.permissions.query({ name: "env", variable: "TINY_GUEST" });
  const named = state === "granted" ? Deno.env.get("TINY_GUEST") : undefined;
  return named ?? new URL("../../guest", import.meta.url).pathname;
}

/** Where the guest's kernel and initrd are. */
export const guest: string = await guestFolder();

async function findMissing(): Promise<string | null> {
  const { state } = await Deno.permissions.query({ name: "run" });
  if (state !== "granted") return "Deno may not run programs (--allow-run)";
  if (!await hasProgram(QEMU)) return `not installed: ${QEMU}`;
  const { code } = await runProgram([
    "test",
    "-f",
    `${guest}/kernel`,
    "-a",
    "-f",
    `${guest}/initrd`,
  ]);
  return code === 0 ? null : `no kernel and initrd in ${guest}: deno task guest makes them`;
}

/** What is missing here, in one line; `null` where VMs can be started. */
export const missing: string | null = await findMissing();

/**
 * Registers a test that starts a VM.
 *
 * @param name What it shows.
 * @param fn The test.
 */
export function vmTest(name: string, fn: (t: Deno.TestContext) => Promise<void>): void {
  Deno.test({ name: `vm: ${name}`, ignore: missing !== null, fn });
}
