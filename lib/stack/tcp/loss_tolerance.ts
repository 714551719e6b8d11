/**
 * Which losses say that the way to the guest is full, and which only that it is bad.
 *
 * RFC 9438 takes each loss for congestion, which is right where a router is shared with others.
 * Here the way is one guest's own: a full receive queue loses a large part of a flight at once,
 * anything less is a bad link, and sending less would not mend it: it only leaves too little under
 * way behind a lost retransmission to find it by, so that timeouts have to. So a round trip may lose
 * a fifth of its flight, and three segments more, before the window shrinks; then once for the whole
 * flight (RFC 9438 section 4.6).
 *
 * @module
 */
import { seqDiff, seqLt } from "./sequence.ts";

/** The part of a flight that may be lost: one of so many. */
const TOLERATED_PART = 5;
/** Segments that may be lost whatever the size of the flight. */
const TOLERATED_SEGMENTS = 3;

/** The losses of one connection, a round trip at a time. */
export class LossTolerance {
  #roundEnd = 0;
  #flightBytes = 0;
  #lostBytes = 0;
  /**
   * Losses below this number belong to a flight that the window has shrunk for. It goes along with
   * the ACKs: numbers that are 2 GiB apart can't be compared.
   */
  #shrunkTo = 0;

  /** Nothing was sent before the number `firstSeq`. */
  begin(firstSeq: number): void {
    this.#roundEnd = firstSeq;
    this.#shrunkTo = firstSeq;
  }

  /** An ACK: the next round begins when what was out at the start of this one is acknowledged. */
  onAck(ack: number, sndNxt: number): void {
    if (seqLt(ack, this.#roundEnd)) return;
    if (!this.hasShrunk(ack)) this.#shrunkTo = ack;
    this.#roundEnd = sndNxt;
    this.#flightBytes = seqDiff(sndNxt, ack);
    this.#lostBytes = 0;
  }

  /** Notes a loss; true when it makes the window shrink. */
  isCongestion(lostBytes: number, ack: number, sndNxt: number, mssBytes: number): boolean {
    this.#lostBytes += lostBytes;
    if (this.hasShrunk(ack)) return false;
    const flightBytes = Math.max(this.#flightBytes, seqDiff(sndNxt, ack));
    const toleratedBytes = TOLERATED_SEGMENTS * mssBytes + flightBytes / TOLERATED_PART;
    if (this.#lostBytes <= toleratedBytes) return false;
    this.#shrunkTo = sndNxt;
    return true;
  }

  /** Whether the window has shrunk for the flight that `ack` still lies in. */
  hasShrunk(ack: number): boolean {
    return seqLt(ack, this.#shrunkTo);
  }
}
