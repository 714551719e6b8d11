/**
 * Programs of the machine that a test asks: whether they are there, and what they say to some text.
 *
 * @module
 */
import { runProgram } from "../guest/program.ts";

/** Whether a program is on the PATH. */
export async function hasProgram(name: string): Promise<boolean> {
  const { state } = await Deno.permissions.query({ name: "run" });
  if (state !== "granted") return false;
  return (await runProgram(["sh", "-c", `command -v ${name}`])).code === 0;
}

/** Runs a program with text on its standard input. */
export async function runWithInput(
  words: readonly string[],
  input: string,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = new Deno.Command(words[0]!, {
    args: words.slice(1),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  const [output] = await Promise.all([
    child.output(),
    writer.write(new TextEncoder().encode(input)).then(() => writer.close()),
  ]);
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: decode(output.stdout), stderr: decode(output.stderr) };
}
