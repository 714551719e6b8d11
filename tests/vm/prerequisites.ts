/**
 * Whether this machine can start a VM, and the one way to register a test that does.
 *
 * It takes QEMU, and a kernel with its initrd, which `deno task guest` makes in `guest/` or another
 * folder that TINY_GUEST names. Tests of a link that comes back take QEMU 8.0, or NEWER_QEMU names
 * one, as `newer_qemu.sh` makes it. Where something is missing the tests are ignored and
 * `prerequisites_test.ts` says why, once; in CI it fails.
 *
 * @module
 */
import { QEMU } from "../../examples/qemu.ts";
import { mustRun, runProgram } from "../guest/program.ts";
import { hasProgram } from "../support/programs.ts";

async function named(variable: string): Promise<string | undefined> {
  const { state } = await Deno.permissions.query({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) : undefined;
}

/** Where the guest's kernel and initrd are. */
export const guest: string = await named("TINY_GUEST") ??
  new URL("../../guest", import.meta.url).pathname;

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

/** A QEMU that connects again after its peer has gone, and the option that has it do so. */
export interface ReconnectingQemu {
  readonly program: string;
  readonly option: string;
}

async function findReconnecting(): Promise<ReconnectingQemu | null> {
  if (missing !== null) return null;
  for (const program of [QEMU, await named("NEWER_QEMU") ?? ""]) {
    if (program === "") continue;
    const version = await mustRun([program, "--version"]);
    const [, major, minor] = /version (\d+)\.(\d+)/.exec(version) ?? [];
    const number = Number(major) * 100 + Number(minor);
    if (number >= 800) {
      return { program, option: number < 902 ? "reconnect=1" : "reconnect-ms=500" };
    }
  }
  return null;
}

/** That of this machine; `null` where there is none. */
export const reconnecting: ReconnectingQemu | null = await findReconnecting();

/**
 * Registers a test that starts a VM.
 *
 * @param name What it shows.
 * @param fn The test.
 */
export function vmTest(name: string, fn: (t: Deno.TestContext) => Promise<void>): void {
  Deno.test({ name: `vm: ${name}`, ignore: missing !== null, fn });
}

/** As `vmTest`, of a VM whose QEMU connects again. */
export function reconnectTest(name: string, fn: (qemu: ReconnectingQemu) => Promise<void>): void {
  const test = (): Promise<void> => fn(reconnecting!);
  Deno.test({ name: `vm: ${name}`, ignore: reconnecting === null, fn: test });
}
