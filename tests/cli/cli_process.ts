/**
 * The command line as a subprocess with the permissions that a test chooses, in a folder of its
 * own, to its end; what stays running is `BackgroundProgram`'s.
 *
 * @module
 */
import { type Outcome, runProgram } from "../guest/program.ts";

/** The entry point. */
export const CLI: string = new URL("../../cli.ts", import.meta.url).pathname;

/** A folder that is removed with the test. */
export class Folder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async make(): Promise<Folder> {
    return new Folder(await Deno.makeTempDir({ prefix: "vgcli-" }));
  }

  /** Path of a file in it. */
  file(name: string): string {
    return `${this.path}/${name}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** The words that start the command line. */
export function cliWords(permissions: readonly string[], args: readonly string[]): string[] {
  return [Deno.execPath(), "run", "--no-prompt", ...permissions, CLI, ...args];
}

/** Runs the command line to its end. */
export function runCli(permissions: readonly string[], ...args: string[]): Promise<Outcome> {
  return runProgram(cliWords(permissions, args));
}

/** Runs the command line with text on its standard input and variables in its environment. */
export async function runCliWith(
  input: { readonly stdin?: string; readonly env?: Record<string, string>; readonly cwd?: string },
  permissions: readonly string[],
  ...args: string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const [program = "", ...words] = cliWords(permissions, args);
  const child = new Deno.Command(program, {
    args: words,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    ...(input.env ? { env: input.env } : {}),
    ...(input.cwd ? { cwd: input.cwd } : {}),
  }).spawn();
  const writer = child.stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(input.stdin ?? ""));
    await writer.close();
  } catch (error) {
    // It may have ended without reading any of it.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
  const output = await child.output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code: output.code, stdout: decode(output.stdout), stderr: decode(output.stderr) };
}

/** Waits until the same signal is a second one, and not the first as a task runner passes it on. */
export function afterEcho(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 300));
}
