/**
 * The time of day of moments on a clock that only counts: the same one whenever a moment is asked
 * for, so that a flow is known again by its beginning.
 *
 * The time of day has whole milliseconds, the other clock has fractions: their distance, measured
 * for each answer, would be another one now and then. It is measured once, and again where the time
 * of day was set or the machine slept.
 *
 * @module
 */

/** So far the clocks may part before they are compared again. */
const APART_MS = 1_000;

/** Makes moments since 1970 of moments of a clock that only counts. */
export class DayTime {
  #offsetMs: number;

  /** Both clocks at one moment. */
  constructor(nowMs: number, epochMs: number) {
    this.#offsetMs = epochMs - nowMs;
  }

  /** Looks at both clocks again. */
  check(nowMs: number, epochMs: number): void {
    const offsetMs = epochMs - nowMs;
    if (Math.abs(offsetMs - this.#offsetMs) > APART_MS) this.#offsetMs = offsetMs;
  }

  /** The time of day of a moment, in whole milliseconds since 1970. */
  of(momentMs: number): number {
    return Math.round(this.#offsetMs + momentMs);
  }
}
