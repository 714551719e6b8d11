/**
 * What happened in a simulation, as one number: the same seed must give the same one. Where lines
 * are wanted, also as text: the time, who, what.
 *
 * @module
 */

/** Takes a line of the log. */
export type LineSink = (line: string) => void;

/** The events of one run. */
export class Trace {
  readonly #now: () => number;
  readonly #sink: LineSink | null;
  readonly #startMs: number;
  #hash = 0x811c_9dc5 | 0;
  /** Events so far. */
  events = 0;

  constructor(now: () => number, sink: LineSink | null) {
    this.#now = now;
    this.#sink = sink;
    this.#startMs = now();
  }

  /** The events so far, as eight hexadecimal digits. */
  get digest(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, "0");
  }

  /** Whether anybody reads lines: making them is not cheap. */
  get isVerbose(): boolean {
    return this.#sink !== null;
  }

  /** Takes a number in. */
  number(value: number): void {
    this.#hash = Math.imul(this.#hash ^ (value | 0), 0x0100_0193);
    this.#hash ^= this.#hash >>> 15;
  }

  /** Takes octets in. */
  bytes(bytes: Uint8Array): void {
    let hash = this.#hash;
    for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x0100_0193);
    this.#hash = hash ^ (hash >>> 15);
    this.number(bytes.length);
  }

  /** An event: its text is part of the trace, and a line of the log. */
  event(who: string, what: string): void {
    this.events++;
    this.number(this.#now() * 1_000);
    for (let i = 0; i < what.length; i++) this.number(what.charCodeAt(i));
    this.line(who, what);
  }

  /** A line of the log only. */
  line(who: string, what: string): void {
    if (this.#sink === null) return;
    const ms = (this.#now() - this.#startMs).toFixed(3).padStart(12);
    this.#sink(`${ms} ms  ${who.padEnd(14)}  ${what}`);
  }

  /** A frame on a link, and what became of it. */
  frame(direction: number, frame: Uint8Array): void {
    this.events++;
    this.number(this.#now() * 1_000);
    this.number(direction);
    this.bytes(frame);
  }
}
