/**
 * A rate of octets that many flows share, each in its turn.
 *
 *     flow ─▶ allow ─▶ operation ─▶ spend: the flow owes
 *       ▲                             │
 *       └── resume ◀── poll ◀── line ◀┘ allow while it owes, or while others wait
 *
 * How much an operation moves is not known before it is done: a read brings what there is. So a flow
 * pays afterwards. As long as it owes nothing it may begin one operation of at most `quantumBytes`;
 * what that has moved must be paid before the next one. Where the bucket can't pay at once, or where
 * others wait, the flow stands in line, and the line is served round robin, a quantum at a time. So
 * flows that always want more get equal parts, whoever was first, and a flow that rests with a read
 * pending holds nothing that others could use.
 *
 * Datagrams can't wait. A share that is asked with `offer` takes them as long as it owes little, and
 * its debt stands in the line with the others; what is more is the caller's to drop.
 *
 * In any time no more passes than burst, rate times time and a quantum for each flow (twice that,
 * or one datagram, where it offers). In the long run, while somebody wants more, it is exactly the
 * rate: no debt is forgiven, what a flow owes when it leaves is paid before anybody goes on, and a
 * late poll loses nothing unless it is over `LATE_MS` late: so much of the rate, and a quantum, may
 * come at once however small the burst is.
 *
 * Time is an argument. A clock that goes backwards adds nothing.
 *
 * @module
 */
import { assert } from "@std/assert";

/** An operation takes about as long as this at the full rate, within the bounds below. */
const QUANTUM_MS = 5;
const QUANTUM_MIN_BYTES = 1_500;
const QUANTUM_MAX_BYTES = 256 * 1024;
/** Where nothing is said the burst is what comes in so long. */
const BURST_MS = 100;
/** A poll may be so late before those that wait lose by it. */
const LATE_MS = 100;
/** A share that offers owes at most so many quanta, or one datagram. */
const OFFER_QUANTA = 2;

/** What a limiter limits. */
export interface RateLimiterOptions {
  /** Octets a second in the long run, above 0. */
  readonly bytesPerSecond: number;
  /** Octets that may pass at once after a rest; a tenth of a second's rate when absent. */
  readonly burstBytes?: number | undefined;
  /** Called when somebody stands in line and nobody did: `pollAt` tells when to poll. */
  readonly onWaiting?: (() => void) | undefined;
}

/** A rate and who shares it; full at first. */
export class RateLimiter {
  /** The most that one operation moves. */
  readonly quantumBytes: number;
  readonly #perMs: number;
  readonly #burstBytes: number;
  readonly #onWaiting: (() => void) | undefined;
  /** Below 0 while debts of flows that have left are being paid. */
  #tokens: number;
  #filledMs = -Infinity;
  /** When somebody who had waited was last served. */
  #servedMs = -Infinity;
  readonly #line = new Set<RateShare>();

  constructor({ bytesPerSecond, burstBytes, onWaiting }: RateLimiterOptions) {
    assert(bytesPerSecond > 0, "a rate is above 0");
    this.#perMs = bytesPerSecond / 1000;
    const quantum = Math.ceil(this.#perMs * QUANTUM_MS);
    this.quantumBytes = Math.min(Math.max(quantum, QUANTUM_MIN_BYTES), QUANTUM_MAX_BYTES);
    this.#burstBytes = Math.max(1, burstBytes ?? Math.ceil(this.#perMs * BURST_MS));
    this.#onWaiting = onWaiting;
    this.#tokens = this.#burstBytes;
  }

  /** Shares that stand in line. */
  get waiting(): number {
    return this.#line.size;
  }

  /**
   * Makes a flow's share.
   *
   * @param resume Called by `poll` when the flow may go on, after `allow` has said 0.
   */
  share(resume: () => void = () => {}): RateShare {
    return new RateShare(this, resume);
  }

  /** When a poll has something to do; `Infinity` while nobody waits. */
  pollAt(): number {
    const head = this.#head();
    if (head === undefined) return Infinity;
    const missing = this.#turnBytes(head) - this.#tokens;
    // A whole millisecond, and never one that has been: what is promised has then come.
    return missing <= 0 ? this.#filledMs : Math.floor(this.#filledMs + missing / this.#perMs) + 1;
  }

  /** Serves those that wait; each that owes nothing any more is resumed. */
  poll(nowMs: number): void {
    this.fill(nowMs);
    // Who comes back to the line meanwhile has had its turn.
    for (let turns = this.#line.size; turns > 0; turns--) {
      const share = this.#head();
      if (share === undefined || this.#tokens < this.#turnBytes(share)) return;
      this.#line.delete(share);
      this.#servedMs = nowMs;
      const payment = Math.min(share.owedBytes, this.quantumBytes);
      this.#tokens -= payment;
      if (share.pay(payment)) this.#line.add(share);
      else share.leaveLine();
    }
  }

  /** Lets the bucket fill; for shares. */
  fill(nowMs: number): void {
    if (nowMs <= this.#filledMs) return;
    const sinceMs = this.#filledMs === -Infinity ? 0 : nowMs - this.#filledMs;
    this.#filledMs = nowMs;
    // Whoever was served a moment ago is about to want more of what a late poll has left.
    const isWanted = this.#line.size > 0 || nowMs - this.#servedMs <= LATE_MS;
    const most = isWanted
      ? Math.max(this.#burstBytes, this.quantumBytes + this.#perMs * LATE_MS)
      : this.#burstBytes;
    this.#tokens = Math.min(most, this.#tokens + sinceMs * this.#perMs);
  }

  /** Whether so much is paid at once, which nobody is while others wait; for shares. */
  payAtOnce(bytes: number): boolean {
    if (this.#line.size > 0 || this.#tokens < Math.max(1, bytes)) return false;
    this.#tokens -= bytes;
    return true;
  }

  /** Puts a share at the end of the line; for shares. */
  enterLine(share: RateShare): void {
    this.#line.add(share);
    if (this.#line.size === 1) this.#onWaiting?.();
  }

  /** Takes a share out of the line for good; its debt is everybody's. For shares. */
  remove(share: RateShare, owedBytes: number): void {
    this.#line.delete(share);
    this.#tokens -= owedBytes;
  }

  #head(): RateShare | undefined {
    return this.#line.values().next().value;
  }

  /** What the bucket must hold for a share's turn. */
  #turnBytes(share: RateShare): number {
    return Math.max(1, Math.min(share.owedBytes, this.quantumBytes));
  }
}

/** One flow's part in a rate. */
export class RateShare {
  readonly #limiter: RateLimiter;
  readonly #resume: () => void;
  #owedBytes = 0;
  #isInLine = false;
  /** Whether `resume` is to be called when its turn has come. */
  #isPaused = false;
  /** Whether its turn has come, and it has not made use of that. */
  #isCleared = false;
  #hasLeft = false;

  constructor(limiter: RateLimiter, resume: () => void) {
    this.#limiter = limiter;
    this.#resume = resume;
  }

  /** What was spent and is not paid. */
  get owedBytes(): number {
    return this.#owedBytes;
  }

  /**
   * How many octets the flow's next operation may move: at most `wantedBytes`, or 0 if it has to
   * wait for `resume`. One operation at a time: it is over when `spend` tells what it has moved.
   */
  allow(wantedBytes: number, nowMs: number): number {
    assert(wantedBytes > 0, "an operation moves something");
    if (this.#hasLeft) return 0;
    if (!this.#isCleared && !this.#payAtOnce(nowMs)) {
      this.#isPaused = true;
      this.#stand();
      return 0;
    }
    this.#isCleared = false;
    return Math.min(wantedBytes, this.#limiter.quantumBytes);
  }

  /** Tells what an operation has moved, whatever was allowed. */
  spend(bytes: number): void {
    if (this.#hasLeft) this.#limiter.remove(this, bytes);
    else this.#owedBytes += bytes;
  }

  /** Whether a datagram may pass, which is then spent; one that may not is to be dropped. */
  offer(bytes: number, nowMs: number): boolean {
    if (this.#hasLeft) return false;
    const most = OFFER_QUANTA * this.#limiter.quantumBytes;
    if (!this.#isInLine && this.#payAtOnce(nowMs)) {
      this.#owedBytes = bytes;
      return true;
    }
    const passes = this.#owedBytes === 0 || this.#owedBytes + bytes <= most;
    if (passes) this.#owedBytes += bytes;
    this.#stand();
    return passes;
  }

  /** Ends the flow's part: it is not resumed any more. What it owes is paid before others go on. */
  leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#isInLine = false;
    this.#limiter.remove(this, this.#owedBytes);
    this.#owedBytes = 0;
  }

  /** Takes a payment: whether something is owed still. For the limiter. */
  pay(bytes: number): boolean {
    this.#owedBytes -= bytes;
    return this.#owedBytes > 0;
  }

  /** Its turn has come. For the limiter. */
  leaveLine(): void {
    this.#isInLine = false;
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#isCleared = true;
    this.#resume();
  }

  #payAtOnce(nowMs: number): boolean {
    this.#limiter.fill(nowMs);
    if (!this.#limiter.payAtOnce(this.#owedBytes)) return false;
    this.#owedBytes = 0;
    return true;
  }

  #stand(): void {
    if (this.#isInLine) return;
    this.#isInLine = true;
    this.#limiter.enterLine(this);
  }
}
