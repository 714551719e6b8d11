/**
 * The sending half of a connection: what the host sent waits in a ring until the guest has
 * acknowledged it (RFC 9293 sections 3.8.1 and 3.8.6).
 *
 *     ring:   [ sent, not acknowledged ][ not sent ]   free
 *              ▲ SND.UNA                ▲ SND.NXT
 *
 * The FIN takes the sequence number behind the last byte. Nagle's algorithm is off: the host's
 * application has decided what belongs together. The ring starts smaller than a page, since most
 * flows are idle most of the time; a read that fills it makes it eight times as large, from
 * `QUICK_GROWTH_BYTES` on it doubles when a whole ring has passed, until it holds several of the
 * guest's windows. It goes back when it is empty and no read works on it, but where memory is short.
 * The next one begins with 16 KiB at most and has its full size as soon as a read fills them; after
 * reads that were small it is the least one.
 *
 * Decides how much may go out; `recovery.ts` decides what must go out again.
 *
 * @module
 */
import type { BufferQuota } from "../buffer_pool.ts";
import { Ring } from "../ring.ts";
import { LossRecovery } from "./recovery.ts";
import { seqAdd, seqDiff, seqLe, seqLt } from "./sequence.ts";

/** Bounds of a sender's ring. */
export interface SenderLimits {
  readonly minBytes: number;
  /** The most for a guest that answers within `LONG_RTT_MS`: more would overrun its queue. */
  readonly maxBytes: number;
  /** The most for one that answers later, so has that much on its way. */
  readonly longMaxBytes: number;
}

const SMALL_READ_BYTES = 512;
const QUICK_GROWTH_BYTES = 64 * 1024;
/** A ring that was given back begins with so much: nobody knows yet whether anything comes. */
const FIRST_BYTES = 16 * 1024;
/** A ring that has room for so many of the guest's windows grows no more: it would hold what can't be sent. */
const WORTH_WINDOWS = 4;
const LONG_RTT_MS = 4;

/** SND.* of one connection. */
export class TcpSender {
  readonly ring: Ring;
  readonly recovery: LossRecovery = new LossRecovery();
  /** ISS. */
  readonly iss: number;
  /** SND.UNA. */
  sndUna: number;
  /** SND.NXT. */
  sndNxt: number;
  /** SND.WND, in bytes. */
  sndWnd = 0;
  /** The largest window that the guest ever offered. */
  maxSndWnd = 0;
  /** The guest's window shift. */
  shift = 0;
  /** Whether nothing more comes from the host. */
  finishing = false;
  /** Whether the congestion window was what stopped the last sending. */
  cwndLimited = false;
  readonly #pool: BufferQuota;
  readonly #limits: SenderLimits;
  #wl1 = 0;
  #wl2 = 0;
  #capacityGoalBytes: number;
  #sinceGrowthBytes = 0;
  /** The span that the last read had, and whether it took all of it. */
  #spanBytes = 0;
  #isFilled = false;
  /** The largest of the last reads; what it was counts three quarters after each. */
  #recentReadBytes = 0;

  constructor(pool: BufferQuota, limits: SenderLimits, iss: number) {
    this.ring = new Ring(pool);
    this.#pool = pool;
    this.#limits = limits;
    this.#capacityGoalBytes = limits.minBytes;
    this.iss = iss;
    this.sndUna = iss;
    this.sndNxt = iss;
  }

  /** The options are settled: recovery begins with this segment size. */
  begin(mssBytes: number, sack: boolean): void {
    this.recovery.begin(mssBytes, sack, this.iss);
  }

  /** Bytes and FIN that were sent and are not acknowledged. */
  get flightBytes(): number {
    return seqDiff(this.sndNxt, this.sndUna);
  }

  /** The sequence number behind the last byte that the host has sent so far: the FIN's, at the end. */
  get dataEnd(): number {
    return seqAdd(this.sndUna, this.finAcknowledged ? 0 : this.ring.lengthBytes);
  }

  /** Whether the guest has acknowledged our FIN. */
  finAcknowledged = false;

  /** Whether the FIN has been sent. */
  get finSent(): boolean {
    return this.finishing && seqLt(this.dataEnd, this.sndNxt);
  }

  /** Bytes that were never sent. */
  get unsentBytes(): number {
    return Math.max(0, seqDiff(this.dataEnd, this.sndNxt));
  }

  /** Makes room for a read from the host: the length of the free span at `ring.writeSpanAt`. */
  prepareSpan(): number {
    const { ring } = this;
    const { minBytes } = this.#limits;
    if (
      ring.lengthBytes === 0 && this.#capacityGoalBytes > minBytes &&
      this.#recentReadBytes < SMALL_READ_BYTES
    ) {
      ring.release();
      this.#capacityGoalBytes = minBytes;
    }
    if (ring.at < 0) {
      if (!ring.ensure(this.#firstBytes())) ring.ensure(minBytes);
      this.#isFilled = false;
    } else if (this.#isGrowing && !ring.ensure(this.#capacityGoalBytes)) {
      this.#capacityGoalBytes = ring.capacityBytes; // the pool has no more
    }
    this.#spanBytes = ring.at < 0 ? 0 : ring.writeSpanBytes;
    return this.#spanBytes;
  }

  /** The host's bytes stand in the span. */
  commit(bytes: number): void {
    this.ring.commit(bytes);
    this.#isFilled = bytes === this.#spanBytes;
    this.#recentReadBytes = Math.max(bytes, this.#recentReadBytes * 3 / 4);
    this.#sinceGrowthBytes += bytes;
    const goal = this.#capacityGoalBytes;
    if (this.#sinceGrowthBytes < goal && bytes < goal >> 1) return;
    // For a guest that takes nothing, or has not answered our SYN, what there is is enough.
    if (this.sndUna === this.iss || this.stalled) return;
    this.#sinceGrowthBytes = 0;
    const { maxBytes, longMaxBytes } = this.#limits;
    const { minRttMs } = this.recovery.rtt;
    const isLong = minRttMs >= LONG_RTT_MS && minRttMs < Infinity;
    const times = goal < QUICK_GROWTH_BYTES ? 8 : 2;
    const mostBytes = Math.min(isLong ? longMaxBytes : maxBytes, this.#worthBytes());
    const larger = Math.min(mostBytes, goal * times);
    if (larger > goal && this.#pool.mayGrowTo(larger)) this.#capacityGoalBytes = larger;
  }

  /** Whether a read has filled a ring that was the first one. */
  get isBeginning(): boolean {
    return this.#isGrowing && this.ring.capacityBytes <= this.#firstBytes();
  }

  #firstBytes(): number {
    return Math.min(this.#capacityGoalBytes, Math.max(FIRST_BYTES, this.#limits.minBytes));
  }

  /** Whether the last read took its whole span, and a larger ring may be had. */
  get #isGrowing(): boolean {
    return this.#isFilled && this.ring.at >= 0 && this.ring.capacityBytes < this.#capacityGoalBytes;
  }

  /** What the guest's windows may still make use of. */
  #worthBytes(): number {
    return Math.max(QUICK_GROWTH_BYTES, WORTH_WINDOWS * this.maxSndWnd);
  }

  /**
   * Takes SND.WND from an acceptable segment that is not older than the last that set it. One that
   * acknowledges more is newer too, though its bytes are old: the guest sends them again.
   */
  updateWindow(seq: number, ack: number, window: number): boolean {
    const later = seqLt(this.#wl1, seq);
    const newer = later || seqLt(this.sndUna, ack) ||
      (this.#wl1 === seq && seqLe(this.#wl2, ack));
    if (!newer) return false;
    if (later) this.#wl1 = seq;
    this.#wl2 = ack;
    const changed = window !== this.sndWnd;
    this.sndWnd = window;
    if (window > this.maxSndWnd) this.maxSndWnd = window;
    return changed;
  }

  /** The first window, with the SYN's number. */
  setWindow(seq: number, ack: number, window: number): void {
    this.#wl1 = seq;
    this.#wl2 = ack;
    this.sndWnd = window;
    this.maxSndWnd = window;
  }

  /** Whether what `ack` acknowledges was sent, and not too long ago (RFC 5961 section 5). */
  hasSent(ack: number): boolean {
    return seqLe(ack, this.sndNxt) && seqDiff(this.sndUna, ack) <= Math.max(this.maxSndWnd, 0xffff);
  }

  /** Moves SND.UNA to `ack` and frees what it covers. */
  acknowledge(ack: number): void {
    const finSeq = this.dataEnd;
    let bytes = seqDiff(ack, this.sndUna);
    if (this.finishing && seqLt(finSeq, ack) && !this.finAcknowledged) {
      this.finAcknowledged = true;
      bytes--;
    }
    if (bytes > 0) this.ring.consume(bytes);
    this.#releaseEmpty();
    if (this.finAcknowledged) this.ring.discard(); // nothing comes any more; TIME_WAIT needs no buffer
    this.sndUna = ack;
  }

  /** Where memory is short a flow that has some keeps it: it might get none again. */
  #releaseEmpty(): void {
    const { ring } = this;
    if (ring.lengthBytes === 0 && !ring.lent && this.#pool.mayGrowTo(FIRST_BYTES)) ring.release();
  }

  /**
   * How many new bytes may go out as one frame; 0 when none. That is one segment of `mssBytes`, or as
   * many as would go out one by one and are not more than `largestBytes`, itself whole segments.
   */
  sendableBytes(mssBytes: number, largestBytes = mssBytes): number {
    this.cwndLimited = false;
    const unsent = this.unsentBytes;
    if (unsent === 0) return 0;
    const usable = this.sndWnd - this.flightBytes;
    if (usable <= 0) return 0;
    const bytes = Math.min(unsent, usable, mssBytes);
    const { recovery } = this;
    const inFlight = recovery.inFlightBytes(this.flightBytes);
    if (inFlight > 0 && inFlight + bytes > recovery.congestion.cwndBytes) {
      this.cwndLimited = true;
      return 0;
    }
    if (bytes === mssBytes && largestBytes > mssBytes) {
      const roomBytes = recovery.congestion.cwndBytes - inFlight;
      return this.#severalBytes(mssBytes, largestBytes, usable, roomBytes);
    }
    return this.#isWorthSending(bytes, unsent, mssBytes) ? bytes : 0;
  }

  /** Silly window avoidance (RFC 9293 section 3.8.6.2.1). */
  #isWorthSending(bytes: number, unsent: number, mssBytes: number): boolean {
    return bytes === mssBytes || bytes === unsent || bytes * 2 >= this.maxSndWnd;
  }

  /** All whole segments that may go, the first of them in any case, and a short last one. */
  #severalBytes(
    mssBytes: number,
    largestBytes: number,
    usable: number,
    roomBytes: number,
  ): number {
    const unsent = this.unsentBytes;
    const bytes = Math.min(unsent, usable, largestBytes);
    const roomFor = Math.floor(Math.min(bytes, roomBytes) / mssBytes);
    const whole = Math.max(1, roomFor) * mssBytes;
    const rest = bytes - whole;
    const fits = rest > 0 && rest < mssBytes && bytes <= roomBytes;
    return fits && this.#isWorthSending(rest, unsent - whole, mssBytes) ? bytes : whole;
  }

  /** Whether data waits while the guest's window lets none through and nothing is in flight. */
  get stalled(): boolean {
    return this.flightBytes === 0 && (this.unsentBytes > 0) &&
      this.sndWnd < this.unsentBytes && (this.sndWnd === 0 || this.sndWnd * 2 < this.maxSndWnd);
  }

  /** Gives all memory back; the connection is over. */
  release(): void {
    this.recovery.runs.clear();
    this.ring.discard();
  }
}
