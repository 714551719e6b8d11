/**
 * Whether this machine can make a kernel guest, and the one way to register a test that needs it.
 *
 * A guest is a network namespace with a tap device, so it takes Linux, root and `/dev/net/tun`,
 * a C compiler for the bridge, and the programs that the tests run inside. Where something is
 * missing the tests are ignored and `prerequisites_test.ts` says why, once; in CI it fails.
 *
 * @module
 */
import { runProgram } from "./program.ts";

const PROGRAMS = ["ip", "cc", "busybox", "curl", "dig", "openssl", "ping"];

async function findMissing(): Promise<string | null> {
  const { state } = await Deno.permissions.query({ name: "run" });
  if (state !== "granted") return "Deno may not run programs (--allow-run)";
  if (Deno.build.os !== "linux") return `${Deno.build.os} has no network namespaces`;
  const find = `for p in ${PROGRAMS.join(" ")}; do command -v $p >/dev/null || echo $p; done`;
  const { stdout } = await runProgram(["sh", "-c", find]);
  const absent = stdout.trim().split("\n").join(", ");
  if (absent !== "") return `not installed: ${absent}`;
  const ipv6 = await runProgram(["grep", "-q", "^0*1 .* lo$", "/proc/net/if_inet6"]);
  if (ipv6.code !== 0) return "the loopback has no IPv6";
  const name = `vgtry-${crypto.randomUUID().slice(0, 8)}`;
  const attempt = await runProgram([
    "sh",
    "-c",
    `ip netns add ${name} && ip -n ${name} tuntap add tap0 mode tap; r=$?; ip netns del ${name}; exit $r`,
  ]);
  if (attempt.code !== 0) {
    return `cannot make a tap device in a network namespace (root?): ${
      attempt.stderr.trim().split("\n")[0]
    }`;
  }
  return null;
}

/** What is missing here, in one line; `null` where kernel guests can be made. */
export const missing: string | null = await findMissing();

/**
 * Registers a test that needs a kernel guest.
 *
 * @param name What it shows.
 * @param fn The test.
 */
export function guestTest(name: string, fn: (t: Deno.TestContext) => Promise<void>): void {
  Deno.test({ name: `guest: ${name}`, ignore: missing !== null, fn });
}
