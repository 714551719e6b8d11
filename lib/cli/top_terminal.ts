/**
 * The terminal while `top` has it: the alternate screen, no cursor, keys as they are pressed. All
 * of that is undone at the end, whatever ends it; only SIGKILL leaves no time.
 *
 * Lines that have not changed are not written again, so that little goes over a slow link.
 *
 * @module
 */
import type { LineStyle, TopLine } from "./top_view.ts";

/** How the terminal is used. */
export interface TerminalOptions {
  /** Whether lines are told apart by colours. */
  readonly color: boolean;
  /** Another size. */
  readonly onResize: () => void;
  /** A signal that ends the program, or nobody is there any more. */
  readonly onStop: () => void;
}

/** A terminal's size. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** Alternate screen, no cursor, no line goes on in the next one. */
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
const CLEAR = "\x1b[2J";
const CLEAR_REST = "\x1b[K";
const PLAIN = "\x1b[0m";

const COLORS: Readonly<Record<LineStyle, string>> = {
  title: "\x1b[1m",
  warning: "\x1b[1;31m",
  text: "",
  up: "\x1b[32m",
  down: "\x1b[36m",
  heading: "\x1b[1;4m",
  marked: "\x1b[7m",
  footer: "\x1b[2m",
};

/** A terminal that does not say how large it is. */
const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 };
const READ_BYTES = 1_024;
const STOPS: readonly Deno.Signal[] = ["SIGINT", "SIGTERM", "SIGHUP"];
/** What comes when the program ends past its own end, by a bug. */
const LAST_EVENTS = ["unload", "error", "unhandledrejection"];

const encoder = new TextEncoder();

/** The terminal of the process, taken. */
export class TopTerminal implements Disposable {
  readonly #options: TerminalOptions;
  readonly #buffer = new Uint8Array(READ_BYTES);
  readonly #restore = () => this[Symbol.dispose]();
  #shown: string[] = [];
  #size: TerminalSize = { columns: 0, rows: 0 };
  #isOver = false;

  /** Takes it. */
  constructor(options: TerminalOptions) {
    this.#options = options;
    for (const name of LAST_EVENTS) globalThis.addEventListener(name, this.#restore);
    for (const name of STOPS) Deno.addSignalListener(name, options.onStop);
    Deno.addSignalListener("SIGWINCH", options.onResize);
    Deno.stdin.setRaw(true);
    this.#write(ENTER);
  }

  /** How large it is at this moment. */
  size(): TerminalSize {
    try {
      const { columns, rows } = Deno.consoleSize();
      return columns > 0 && rows > 0 ? { columns, rows } : DEFAULT_SIZE;
    } catch {
      return DEFAULT_SIZE;
    }
  }

  /** Shows lines on a screen of a size; nothing once it was given back. */
  draw(lines: readonly TopLine[], size: TerminalSize): void {
    if (this.#isOver) return;
    const isOther = size.columns !== this.#size.columns || size.rows !== this.#size.rows;
    let out = isOther ? CLEAR : "";
    if (isOther) this.#shown = [];
    for (let at = 0; at < Math.max(lines.length, this.#shown.length); at++) {
      const painted = this.#painted(lines[at], size);
      if (this.#shown[at] !== painted) out += `\x1b[${at + 1};1H${painted}`;
      this.#shown[at] = painted;
    }
    this.#shown.length = lines.length;
    this.#size = size;
    if (out !== "") this.#write(out);
  }

  #painted(line: TopLine | undefined, { columns }: TerminalSize): string {
    const { text, style } = line ?? { text: "", style: "text" };
    const start = this.#options.color ? COLORS[style] : "";
    const painted = start === "" ? text : start + text + PLAIN;
    // Behind a full line the cursor is still on its last column, which this would clear.
    return text.length < columns ? painted + CLEAR_REST : painted;
  }

  /** The next bytes of the keyboard, good until the next call; `null` where nobody is there. */
  async read(): Promise<Uint8Array | null> {
    // A terminal that was closed ends the reading in one way or the other.
    const count = await Deno.stdin.read(this.#buffer).catch(() => null);
    return count === null ? null : this.#buffer.subarray(0, count);
  }

  /** Gives it back as it was; can be called again. */
  [Symbol.dispose](): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const name of LAST_EVENTS) globalThis.removeEventListener(name, this.#restore);
    for (const name of STOPS) Deno.removeSignalListener(name, this.#options.onStop);
    Deno.removeSignalListener("SIGWINCH", this.#options.onResize);
    this.#write(LEAVE);
    try {
      Deno.stdin.setRaw(false);
    } catch {
      // It is gone.
    }
  }

  #write(text: string): void {
    const bytes = encoder.encode(text);
    try {
      for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
    } catch {
      this.#options.onStop();
    }
  }
}
