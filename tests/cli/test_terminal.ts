/**
 * A program on a terminal of its own (`script` makes it), and what a person would see there: the
 * few sequences that `top` writes, put on a screen.
 *
 * @module
 */
import { shellQuote } from "../../lib/config/permission_line.ts";
import { mustRun, until } from "../guest/program.ts";

const PATIENCE_MS = 60_000;

/** Whether the terminal is as a shell wants it, as `stty` says it after the program's end. */
export interface AfterEnd {
  readonly code: number;
  /** Whether keys are echoed, lines edited and Ctrl-C is a signal again. */
  readonly isCooked: boolean;
}

/** A terminal with a program. */
export class TestTerminal implements AsyncDisposable {
  /** All that came, as it came. */
  raw = "";
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reading: Promise<void>;
  #ended = false;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#writer = child.stdin.getWriter();
    this.#reading = this.#read();
  }

  /** Starts a program on a terminal of a size. */
  static start(
    words: readonly string[],
    { columns, rows, color = false }: { columns: number; rows: number; color?: boolean },
  ): TestTerminal {
    const environment = color ? "env -u NO_COLOR" : "env NO_COLOR=1";
    const command = [
      `stty sane rows ${rows} columns ${columns}`,
      'echo "tty=#$(tty)#"',
      // The shell's number becomes the program's.
      `sh -c 'echo "pid=#$$#"; exec "$@"' sh ${environment} ${words.map(shellQuote).join(" ")}`,
      'echo "code=#$?#"',
      'echo "modes=#$(stty -a | tr "\\n" " ")#"',
    ].join("; ");
    const child = new Deno.Command("script", {
      args: ["-qec", command, "/dev/null"],
      env: { SHELL: "/bin/sh" },
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    return new TestTerminal(child);
  }

  async #read(): Promise<void> {
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      this.raw += text;
    }
    this.#ended = true;
  }

  /** What was said under a name by what runs around the program. */
  async #said(name: string): Promise<string> {
    const pattern = new RegExp(`${name}=#([^#]*)#`);
    await this.#until(`${name} is said`, () => pattern.test(this.raw));
    return pattern.exec(this.raw)![1]!;
  }

  async #until(what: string, holds: () => boolean): Promise<void> {
    try {
      await until(what, () => holds() || this.#ended, PATIENCE_MS);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.screen().join("\n")}\n${this.tail()}`);
    }
    if (!holds()) throw new Error(`It ended before: ${what}\n${this.tail()}`);
  }

  /** The last of what came, readable. */
  tail(): string {
    return JSON.stringify(this.raw.slice(-2_000));
  }

  /** Waits until the screen is so. */
  async shows(what: string | RegExp | ((lines: string[]) => boolean)): Promise<string[]> {
    const holds = typeof what === "function"
      ? what
      : (lines: string[]) => lines.some((line) => line.match(what) !== null);
    await this.#until(String(what), () => holds(this.screen()));
    return this.screen();
  }

  /** Presses keys. */
  async press(keys: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(keys));
  }

  /** Makes the terminal another size; its program hears of it. */
  async resize(columns: number, rows: number): Promise<void> {
    const tty = (await this.#said("tty")).trim();
    await mustRun(["stty", "-F", tty, "rows", String(rows), "columns", String(columns)]);
  }

  /** Sends the program a signal. */
  async signal(name: Deno.Signal): Promise<void> {
    Deno.kill(Number(await this.#said("pid")), name);
  }

  /** Waits for the program's end. */
  async end(): Promise<AfterEnd> {
    const code = Number(await this.#said("code"));
    const modes = (await this.#said("modes")).split(/[\s;]+/);
    await this.#close();
    return { code, isCooked: ["icanon", "echo", "isig"].every((mode) => modes.includes(mode)) };
  }

  /** Whether the alternate screen is shown. */
  get isAlternate(): boolean {
    return this.raw.lastIndexOf("\x1b[?1049h") > this.raw.lastIndexOf("\x1b[?1049l");
  }

  /** Whether the cursor is shown. */
  get hasCursor(): boolean {
    return this.raw.lastIndexOf("\x1b[?25l") <= this.raw.lastIndexOf("\x1b[?25h");
  }

  /** What stands on the alternate screen, without the space behind it. */
  screen(): string[] {
    return screenOf(this.raw);
  }

  async #close(): Promise<void> {
    await this.#writer.close().catch(() => {});
    await this.#reading;
    await this.#child.status;
  }

  /** Ends it where it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#child.kill("SIGKILL");
    await this.#close();
  }
}

/** A sequence, or one character. */
// deno-lint-ignore no-control-regex
const PART = /\x1b\[([?0-9;]*)([A-Za-z])|[^]/gu;

/** The lines of a screen that was written. */
export function screenOf(raw: string): string[] {
  const rows: string[][] = [];
  let row = 0;
  let column = 0;
  for (const [part, words = "", letter = ""] of raw.matchAll(PART)) {
    const numbers = words.split(";").map((word) => Number(word) || 1);
    if (letter === "H") [row = 0, column = 0] = numbers.map((number) => number - 1);
    else if (letter === "J") rows.length = 0;
    else if (letter === "K") rows[row]?.splice(column);
    else if (letter === "h" && words === "?1049") rows.length = row = column = 0;
    else if (letter === "" && part >= " ") {
      const line = rows[row] ??= [];
      while (line.length < column) line.push(" ");
      line[column++] = part;
    }
  }
  return Array.from(rows, (line) => (line ?? []).join("").trimEnd());
}
