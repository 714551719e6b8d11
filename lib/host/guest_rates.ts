/**
 * How much of the host's network one guest gets: octets a second each way, and flows a second.
 *
 * TCP waits for its turn, on the host's side: no frame is ever dropped for a rate. Datagrams that
 * come too fast are, and so are flows that begin too fast; a guest tries those again. One timer for
 * both directions. Where no rate is set nothing here is asked.
 *
 * @module
 */
import type { RateConfig } from "../config/options.ts";
import { RateLimiter, type RateShare } from "../stack/rate_limiter.ts";
import { TokenBucket } from "../stack/token_bucket.ts";
import type { HostClock, Timer } from "./host_clock.ts";

/** The rates of one guest. */
export class GuestRates implements Disposable {
  readonly #clock: HostClock;
  readonly #up: RateLimiter | null;
  readonly #down: RateLimiter | null;
  readonly #flows: TokenBucket | null;
  #timer: Timer | undefined;
  /** When the timer is due; `Infinity` where there is none. */
  #timerMs = Infinity;
  #closed = false;

  constructor(rate: RateConfig, clock: HostClock) {
    this.#clock = clock;
    const { flowsPerSecond, flowsBurst } = rate;
    this.#up = this.#limiter(rate.up, rate.upBurst);
    this.#down = this.#limiter(rate.down, rate.downBurst);
    this.#flows = flowsPerSecond === undefined
      ? null
      : new TokenBucket(flowsPerSecond, flowsBurst ?? Math.max(1, Math.ceil(flowsPerSecond / 10)));
  }

  /** Whether there is a rate of what the guest sends. */
  get limitsUp(): boolean {
    return this.#up !== null;
  }

  /** Whether there is a rate of what the guest is sent. */
  get limitsDown(): boolean {
    return this.#down !== null;
  }

  /** A flow's part of what the guest sends; `null` where that has no limit. */
  up(resume?: () => void): RateShare | null {
    return this.#up?.share(resume) ?? null;
  }

  /** A flow's part of what the guest is sent; `null` where that has no limit. */
  down(resume?: () => void): RateShare | null {
    return this.#down?.share(resume) ?? null;
  }

  /** Whether another flow of the guest may begin. */
  admitsFlow(nowMs: number): boolean {
    return this.#flows === null || this.#flows.take(nowMs);
  }

  /** Serves nobody any more. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#clock.clearTimer(this.#timer);
  }

  #limiter(bytesPerSecond?: number, burstBytes?: number): RateLimiter | null {
    if (bytesPerSecond === undefined) return null;
    return new RateLimiter({ bytesPerSecond, burstBytes, onWaiting: () => this.#arm() });
  }

  #arm(): void {
    if (this.#closed) return;
    const atMs = Math.min(this.#up?.pollAt() ?? Infinity, this.#down?.pollAt() ?? Infinity);
    if (atMs >= this.#timerMs) return; // one direction may wait far longer than the other
    this.#clock.clearTimer(this.#timer);
    this.#timerMs = atMs;
    this.#timer = this.#clock.setTimer(() => {
      this.#timer = undefined;
      this.#timerMs = Infinity;
      const nowMs = this.#clock.now();
      this.#up?.poll(nowMs);
      this.#down?.poll(nowMs);
      this.#arm();
    }, Math.max(1, atMs - this.#clock.now()));
  }
}
