/**
 * Round-trip time and retransmission timeout (RFC 6298).
 *
 * The floor is 200 ms rather than the RFC's second, as the systems on both sides have it; the
 * ceiling 120 s. Karn's rule is the caller's: no sample comes from what was sent twice. The doubling
 * stays until there is a sample, for an ACK of what was sent twice may be of the first copy, which
 * was only slow: a timeout that is too short would then be so again and again.
 *
 * @module
 */

const RTO_INITIAL_MS = 1000;
const RTO_MIN_MS = 200;
const RTO_MAX_MS = 120_000;

/** The estimator of one connection. */
export class RttEstimator {
  /** Smoothed round-trip time; 0 before the first sample. */
  srttMs = 0;
  /** Variation of the round-trip time. */
  rttvarMs = 0;
  /** Smallest sample seen. */
  minRttMs = Infinity;
  #rtoMs = RTO_INITIAL_MS;
  /** What the timeout is multiplied by: doubled with each expiry. */
  #backoff = 1;
  /** Expiries since the peer was last heard of. */
  unanswered = 0;

  /** Takes a sample. */
  sample(rttMs: number): void {
    if (rttMs < this.minRttMs) this.minRttMs = rttMs;
    if (this.srttMs === 0) {
      this.srttMs = Math.max(rttMs, 0.001);
      this.rttvarMs = rttMs / 2;
    } else {
      this.rttvarMs += (Math.abs(this.srttMs - rttMs) - this.rttvarMs) / 4;
      this.srttMs += (rttMs - this.srttMs) / 8;
    }
    this.#rtoMs = Math.max(RTO_MIN_MS, this.srttMs + Math.max(1, 4 * this.rttvarMs));
    this.#backoff = 1;
  }

  /** The timeout, doubled once for each expiry since the last sample. */
  get rtoMs(): number {
    return Math.min(RTO_MAX_MS, this.#rtoMs * this.#backoff);
  }

  /** Notes an expiry. */
  backOff(): void {
    this.#backoff *= 2;
    this.unanswered++;
  }

  /** The peer's window has opened: the doubling, which was for its being closed, ends. */
  reopened(): void {
    this.#backoff = 1;
    this.unanswered = 0;
  }

  /** Notes that the peer is there, whether it took something or not. */
  answered(): void {
    this.unanswered = 0;
  }
}
