/**
 * tshark as a reader of captures, and the one way to register a test that needs it. Where it is not
 * installed such tests are ignored, `tshark_test.ts` says so, once, and in CI it fails.
 *
 * @module
 */
import { runProgram } from "../guest/program.ts";

async function findMissing(): Promise<string | null> {
  const { state } = await Deno.permissions.query({ name: "run" });
  if (state !== "granted") return "Deno may not run programs (--allow-run)";
  const { code } = await runProgram(["sh", "-c", "command -v tshark && command -v capinfos"]);
  return code === 0 ? null : "not installed: tshark";
}

/** What is missing here, in one line; `null` where captures can be read. */
export const missing: string | null = await findMissing();

/** Registers a test that needs tshark. */
export function tsharkTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `tshark: ${name}`, ignore: missing !== null, fn });
}

/** What tshark prints of a file; it throws where it has anything to complain about. */
export async function tshark(path: string, ...words: string[]): Promise<string[]> {
  const all = ["tshark", "-r", path, ...words];
  const { code, stdout, stderr } = await runProgram(all, 60_000);
  // As root it says that this is no good idea, and no more than that.
  const complaints = stderr.split("\n").filter((line) =>
    line !== "" && !/superuser|root/.test(line)
  );
  if (code !== 0 || complaints.length > 0) throw new Error(`${all.join(" ")}: ${code}\n${stderr}`);
  return stdout.split("\n").filter((line) => line !== "");
}
