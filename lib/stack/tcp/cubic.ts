/**
 * Congestion control towards the guest: CUBIC (RFC 9438) with the initial window of RFC 6928.
 *
 * A window is in bytes. The link to a guest has no router that would drop, but its receive queue
 * does overflow, so loss is real; which losses count is for `loss_tolerance.ts`. The window grows
 * only while it is what limits the sender (RFC 9438 section 5.8). Does not pace.
 *
 * @module
 */

const BETA = 0.7;
const C = 0.4;
const INITIAL_SEGMENTS = 10;

/** The congestion window of one connection. */
export class Cubic {
  /** Congestion window. */
  cwndBytes = 0;
  /** Slow-start threshold. */
  ssthreshBytes = Infinity;
  #mssBytes = 0;
  #wMaxSegments = 0;
  #epochMs = -1;
  #kSeconds = 0;
  #estimateSegments = 0;

  constructor(mssBytes: number) {
    this.begin(mssBytes);
  }

  /** The segment size is settled, before anything was sent. */
  begin(mssBytes: number): void {
    this.#mssBytes = mssBytes;
    this.cwndBytes = INITIAL_SEGMENTS * mssBytes;
  }

  /** New data was acknowledged while the window was what limited the sender. */
  onAck(ackedBytes: number, nowMs: number, srttMs: number): void {
    const mss = this.#mssBytes;
    if (this.cwndBytes < this.ssthreshBytes) {
      this.cwndBytes += ackedBytes; // RFC 9406 L = infinity: whole batches are acknowledged at once
      return;
    }
    const cwnd = this.cwndBytes / mss;
    if (this.#epochMs < 0) {
      this.#epochMs = nowMs;
      if (cwnd < this.#wMaxSegments) {
        this.#kSeconds = Math.cbrt((this.#wMaxSegments - cwnd) / C);
      } else {
        this.#kSeconds = 0;
        this.#wMaxSegments = cwnd;
      }
      this.#estimateSegments = cwnd;
    }
    const t = (nowMs - this.#epochMs) / 1000 + srttMs / 1000 - this.#kSeconds;
    const target = Math.min(Math.max(this.#wMaxSegments + C * t * t * t, cwnd), 1.5 * cwnd);
    const acked = ackedBytes / mss;
    const alpha = this.#estimateSegments >= this.#wMaxSegments ? 1 : 3 * (1 - BETA) / (1 + BETA);
    this.#estimateSegments += alpha * acked / cwnd;
    const grown = cwnd + (target - cwnd) * acked / cwnd;
    this.cwndBytes = Math.max(grown, this.#estimateSegments) * mss;
  }

  /** Segments have become smaller; the window in bytes stays (RFC 1191 section 6.3). */
  lowerMss(mssBytes: number): void {
    const ratio = this.#mssBytes / mssBytes;
    this.#wMaxSegments *= ratio;
    this.#estimateSegments *= ratio;
    this.#mssBytes = mssBytes;
  }

  /** A loss was found: one reduction for each episode (RFC 9438 section 4.6). */
  onLoss(inFlightBytes: number): void {
    const cwnd = this.cwndBytes / this.#mssBytes;
    this.#wMaxSegments = cwnd < this.#wMaxSegments ? cwnd * (1 + BETA) / 2 : cwnd; // fast convergence
    this.ssthreshBytes = Math.max(
      Math.min(this.cwndBytes, Math.max(inFlightBytes, 1)) * BETA,
      2 * this.#mssBytes,
    );
    this.cwndBytes = this.ssthreshBytes;
    this.#epochMs = -1;
  }

  /** The retransmission timer expired: one segment, then slow start up to the reduced threshold. */
  onTimeout(inFlightBytes: number): void {
    this.onLoss(inFlightBytes);
    this.cwndBytes = this.#mssBytes;
  }

  /** After an idle period of more than one timeout the window restarts (RFC 5681 section 4.1). */
  onIdle(): void {
    this.cwndBytes = Math.min(this.cwndBytes, INITIAL_SEGMENTS * this.#mssBytes);
    this.#epochMs = -1;
  }
}
