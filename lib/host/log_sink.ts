/**
 * Where log lines are written, so that no fault of the place reaches the gateway: a disk that is
 * full, a pipe whose reader has gone, or one that is not read.
 *
 * Lines wait in a bounded queue and are written one after another beside everything else. What
 * finds no room, or can't be written, is counted; the next line that can be written comes after
 * one that says how many were lost and why. A reader that has gone does not come back, so nothing
 * is written for it any more.
 *
 * Limits: `QUEUE_MAX` characters wait; at the end `FLUSH_MS` for what still waits.
 *
 * @module
 */

/** What takes bytes. */
export interface ByteSink {
  /** Writes some of the bytes, at least one. */
  write(bytes: Uint8Array): Promise<number>;
}

const QUEUE_MAX = 256 * 1024;
const FLUSH_MS = 500;
const encoder = new TextEncoder();

/** Takes log lines. */
export class LogSink {
  readonly #sink: ByteSink;
  /** Says that lines were lost, in the log's own format. */
  readonly #sayLost: (lines: number, why: string) => string;
  readonly #lines: string[] = [];
  #queued = 0;
  #lost = 0;
  #why = "";
  /** Whether the last line was cut off. */
  #isCut = false;
  #isGone = false;
  #writing: Promise<void> | null = null;

  constructor(sink: ByteSink, sayLost: (lines: number, why: string) => string) {
    this.#sink = sink;
    this.#sayLost = sayLost;
  }

  /** Takes a line without its end. */
  line(line: string): void {
    if (this.#isGone) return;
    if (this.#queued + line.length > QUEUE_MAX) {
      this.#lost++;
      this.#why = "they are not taken fast enough";
      return;
    }
    this.#queued += line.length;
    this.#lines.push(line);
    this.#writing ??= this.#write();
  }

  /** Waits for what was taken, but not for a place that takes nothing. */
  async flush(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, FLUSH_MS));
    await Promise.race([this.#writing, late]);
    clearTimeout(timer);
  }

  async #write(): Promise<void> {
    while (this.#lines.length > 0 && !this.#isGone) {
      if (this.#lost > 0) await this.#writeLost();
      const line = this.#lines.shift()!;
      this.#queued -= line.length;
      if (!await this.#writeLine(line)) this.#lost++;
    }
    this.#writing = null;
  }

  async #writeLost(): Promise<void> {
    const lost = this.#lost;
    if (await this.#writeLine(this.#sayLost(lost, this.#why))) this.#lost -= lost;
  }

  async #writeLine(line: string): Promise<boolean> {
    const bytes = encoder.encode(`${this.#isCut ? "\n" : ""}${line}\n`);
    let at = 0;
    try {
      while (at < bytes.length) at += await this.#sink.write(bytes.subarray(at));
      this.#isCut = false;
      return true;
    } catch (error) {
      if (at > 0) this.#isCut = true;
      this.#isGone = error instanceof Deno.errors.BrokenPipe;
      this.#why = (error as Error).message;
      return false;
    }
  }
}
