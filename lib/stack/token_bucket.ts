/**
 * A token bucket: so many a second on average, so many at once.
 *
 * Time is an argument. A clock that goes backwards adds nothing.
 *
 * @module
 */

const BURST_PARTS = 10;

/** A rate limit; full at first. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #filledMs = -Infinity;

  /** Allows `perSecond` in the long run and `burst` at once: a tenth of that where nothing is said. */
  constructor(perSecond: number, burst: number = Math.ceil(perSecond / BURST_PARTS)) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /** Takes `n` tokens, all or none: whether they were there. */
  take(nowMs: number, n: number = 1): boolean {
    if (nowMs > this.#filledMs) {
      const sinceMs = this.#filledMs === -Infinity ? 0 : nowMs - this.#filledMs;
      this.#tokens = Math.min(this.#burst, this.#tokens + sinceMs * this.#perMs);
      this.#filledMs = nowMs;
    }
    if (this.#tokens < n) return false;
    this.#tokens -= n;
    return true;
  }

  /** Takes `n` tokens that may not have come yet, but none beyond a whole bucket of debt. */
  charge(n: number): void {
    this.#tokens = Math.max(-this.#burst, this.#tokens - n);
  }
}
