/**
 * The time of day in nanoseconds, made of two clocks: one of milliseconds since 1970, which may be
 * set, and one with fractions, which only counts.
 *
 * A moment since 1970 in nanoseconds is more than a number holds exactly, so it is two words.
 *
 * @module
 */

/** So far the two clocks may part before the first one is believed again. */
const APART_MS = 10;
const WORD = 2 ** 32;
const NANOSECONDS = 1e6;

/** Makes moments since 1970 of moments of a clock that only counts. */
export class CaptureTime {
  /** The words of the moment that `set` was called with. */
  high = 0;
  low = 0;
  #anchorMs = 0;
  #anchorEpochMs = 0;
  #anchorHigh = 0;
  #anchorLow = 0;

  /** Both clocks at one moment. */
  constructor(nowMs: number, epochMs: number) {
    this.#anchor(nowMs, epochMs);
    this.set(nowMs);
  }

  /** Looks at both clocks again: after a sleep, or where the time of day was set, it has moved. */
  check(nowMs: number, epochMs: number): void {
    const expectedMs = this.#anchorEpochMs + (nowMs - this.#anchorMs);
    if (Math.abs(epochMs - expectedMs) > APART_MS) this.#anchor(nowMs, epochMs);
  }

  /** Sets `high` and `low` to a moment of the clock that only counts. */
  set(nowMs: number): void {
    const passed = Math.max(0, Math.round((nowMs - this.#anchorMs) * NANOSECONDS));
    const passedHigh = Math.floor(passed / WORD);
    const low = this.#anchorLow + (passed - passedHigh * WORD);
    const carry = low >= WORD ? 1 : 0;
    this.low = low - carry * WORD;
    this.high = this.#anchorHigh + passedHigh + carry;
  }

  #anchor(nowMs: number, epochMs: number): void {
    const wholeMs = Math.floor(epochMs);
    const epoch = BigInt(wholeMs) * BigInt(NANOSECONDS) +
      BigInt(Math.round((epochMs - wholeMs) * NANOSECONDS));
    this.#anchorMs = nowMs;
    this.#anchorEpochMs = epochMs;
    this.#anchorHigh = Number(epoch / BigInt(WORD));
    this.#anchorLow = Number(epoch % BigInt(WORD));
  }
}
