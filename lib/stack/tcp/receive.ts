/**
 * The receiving half of a connection: what came in order waits in a ring for the host's socket,
 * what came early waits behind it, and the window says how much more may come (RFC 9293
 * sections 3.8.6 and 3.10.7.4, RFC 2018, RFC 2883).
 *
 *     ring:   [ in order, for the host ][ gap ][ early ][ gap ][ early ]   free
 *              ▲ head                   ▲ RCV.NXT                          ▲ window's edge
 *
 * The window's right edge never moves left. Of overlapping copies the first one counts. At most
 * 256 early ranges. The ring goes back to the pool whenever it is empty. It starts smaller than a
 * page for as long as that has held all that came at a time, since most flows have little to say.
 * The window promises more: how large the ring may become, which doubles when so much has passed.
 * Where the pool is short the bytes count as lost, and the guest sends them again.
 *
 * Does not decide about states, and never sends.
 *
 * @module
 */
import type { FrameMemory } from "../../wire/memory.ts";
import type { BufferQuota } from "../buffer_pool.ts";
import { powerOfTwo, Ring } from "../ring.ts";
import { SequenceRanges } from "./ranges.ts";
import { seqAdd, seqDiff, seqLe, seqLt, seqMax, seqMin } from "./sequence.ts";

/** Bounds of a receiver's ring. */
export interface ReceiverLimits {
  readonly initialBytes: number;
  readonly maxBytes: number;
}

/** What a segment's data did; without room it was `refused`, with too many gaps it was `scattered`. */
export const Received = {
  nothing: 0,
  inOrder: 1,
  early: 2,
  duplicate: 3,
  refused: 4,
  scattered: 5,
} as const;
/** One of `Received`. */
export type Received = typeof Received[keyof typeof Received];

const SMALL_RING_BYTES = 1024;
const RANGES_MAX = 256;
const RECENT = 4;
const NONE = new Uint32Array(0);
/** Segments that may wait for a common ACK; one frame may bring several. */
const DELAYED_SEGMENTS = 2;

/** RCV.* of one connection. */
export class TcpReceiver {
  readonly ring: Ring;
  /** IRS. */
  irs = 0;
  /** RCV.NXT. */
  rcvNxt = 0;
  /** The right edge of the window that the guest has been told. */
  rcvEdge = 0;
  /** Our window shift; 0 where the guest did not offer one. */
  shift = 0;
  /** Octets of a full segment. */
  mssBytes = 536;
  /** Whether the guest's FIN is in order. */
  finished = false;
  /** Whether an ACK is due at once. */
  ackNow = false;
  /** Segments in order since the last ACK. */
  unacknowledged = 0;
  /** The last acknowledgment that was sent. */
  lastAckSent = 0;
  readonly #memory: FrameMemory;
  readonly #pool: BufferQuota;
  readonly #limits: ReceiverLimits;
  readonly #early = new SequenceRanges(RANGES_MAX);
  #recent: Uint32Array = NONE;
  #recentCount = 0;
  #finSeq = -1;
  #duplicateStart = 0;
  #duplicateEnd = 0;
  #hasDuplicate = false;
  /** What the window promises room for. */
  #goalBytes: number;
  /** Whether a small ring has been too small before. */
  #startsLarge = false;
  /** Whether the pool had no block of the promised size. */
  #short = false;
  #sinceGrowthBytes = 0;

  constructor(memory: FrameMemory, pool: BufferQuota, limits: ReceiverLimits) {
    this.#memory = memory;
    this.#pool = pool;
    this.ring = new Ring(pool);
    this.#limits = limits;
    this.#goalBytes = limits.initialBytes;
  }

  /** The guest's SYN has come. */
  synchronise(irs: number): void {
    this.irs = irs;
    this.rcvNxt = seqAdd(irs, 1);
    this.rcvEdge = seqAdd(this.rcvNxt, Math.min(0xffff, this.#goalBytes));
    this.lastAckSent = this.rcvNxt;
  }

  /** RCV.WND, as the guest knows it. */
  get windowBytes(): number {
    return Math.max(0, seqDiff(this.rcvEdge, this.rcvNxt));
  }

  /** Early ranges that wait for a gap to close. */
  get earlyRanges(): number {
    return this.#early.count;
  }

  /** RFC 9293 section 3.10.7.4, first step: does any of the segment lie in the window? */
  acceptable(seq: number, sequenceBytes: number): boolean {
    const window = this.windowBytes;
    if (sequenceBytes === 0) {
      return window === 0
        ? seq === this.rcvNxt
        : seqLe(this.rcvNxt, seq) && seqLe(seq, this.rcvEdge); // at the edge: it is used up
    }
    if (window === 0) return false;
    const last = seqAdd(seq, sequenceBytes - 1);
    return (seqLe(this.rcvNxt, seq) && seqLt(seq, this.rcvEdge)) ||
      (seqLe(this.rcvNxt, last) && seqLt(last, this.rcvEdge));
  }

  /** Notes that bytes came which had been received before: reported once as D-SACK. */
  noteDuplicate(start: number, end: number): void {
    this.#duplicateStart = start;
    this.#duplicateEnd = end;
    this.#hasDuplicate = true;
    this.ackNow = true;
  }

  /** Takes `bytes` octets of data at `at`, which begin at `seq`, and a FIN behind them. */
  accept(seq: number, at: number, bytes: number, fin: boolean): Received {
    const end = seqAdd(seq, bytes);
    if (fin && this.#finSeq < 0 && seqLe(end, this.rcvEdge)) this.#finSeq = end;
    if (bytes === 0) {
      if (this.#takeFin()) return Received.inOrder;
      this.ackNow = true; // it came before what it follows
      return Received.nothing;
    }
    if (seqLe(end, this.rcvNxt)) {
      this.noteDuplicate(seq, end);
      return Received.duplicate;
    }
    const from = seqMax(seq, this.rcvNxt);
    if (from !== seq) this.noteDuplicate(seq, from);
    let to = seqMin(end, this.rcvEdge);
    if (this.#finSeq >= 0) to = seqMin(to, this.#finSeq);
    const room = this.#makeRoom(seqDiff(to, this.rcvNxt));
    to = seqMin(to, seqAdd(this.rcvNxt, room));
    if (!seqLt(from, to)) {
      this.ackNow = true;
      return Received.refused;
    }
    if (from === this.rcvNxt && this.#early.count === 0) {
      this.ring.writeAtOffset(
        this.ring.lengthBytes,
        at + seqDiff(from, seq),
        seqDiff(to, from),
        this.#memory,
      );
      this.#advance(to);
      this.#takeFin();
      this.unacknowledged += Math.max(1, Math.floor(bytes / this.mssBytes));
      if (this.unacknowledged >= DELAYED_SEGMENTS) this.ackNow = true;
      return Received.inOrder;
    }
    return this.#acceptAround(seq, at, from, to);
  }

  /** Contiguous bytes that wait for the host: their position is `ring.readSpanAt`. */
  get readySpanBytes(): number {
    return this.ring.readSpanBytes;
  }

  /** The host has taken `bytes`; asks for a window update where it is worth one. */
  consume(bytes: number): void {
    this.ring.consume(bytes);
    this.#sinceGrowthBytes += bytes;
    if (this.ring.lengthBytes === 0 && this.#early.count === 0) this.ring.release();
    if (this.#sinceGrowthBytes >= this.#goalBytes) this.#grow();
    if (this.#finSeq >= 0) return;
    const gain = seqDiff(this.#edge(), this.rcvEdge);
    if (
      gain * 4 >= Math.min(this.#capacityBytes(), 0xffff << this.shift) ||
      (this.windowBytes === 0 && gain >= this.#leastGain())
    ) {
      this.ackNow = true;
    }
  }

  /** Moves the edge to where the free space ends and gives the window field for the next segment. */
  advertise(): number {
    const edge = this.#edge();
    if (seqDiff(edge, this.rcvEdge) >= this.#leastGain()) this.rcvEdge = edge;
    return Math.min(0xffff, this.windowBytes >> this.shift);
  }

  /** Notes that everything up to RCV.NXT was acknowledged. */
  acknowledged(): void {
    this.ackNow = false;
    this.#hasDuplicate = false;
    this.unacknowledged = 0;
    this.lastAckSent = this.rcvNxt;
  }

  /** Writes at most `limit` SACK blocks as pairs into `edges`: how many. */
  sackBlocks(edges: Uint32Array, limit: number): number {
    let count = 0;
    if (this.#hasDuplicate && limit > 0) {
      edges[0] = this.#duplicateStart;
      edges[1] = this.#duplicateEnd;
      count = 1;
    }
    const firstReal = count;
    for (let i = 0; i < this.#recentCount && count < limit; i++) {
      const range = this.#early.find(seqAdd(this.#recent[i]!, 1));
      if (range >= this.#early.count) continue;
      const start = this.#early.start(range);
      let known = seqLt(this.#recent[i]!, start);
      for (let j = firstReal; j < count; j++) known ||= edges[2 * j] === start;
      if (known) continue;
      edges[2 * count] = start;
      edges[2 * count + 1] = this.#early.end(range);
      count++;
    }
    return count;
  }

  /** Whether a SACK option would say something. */
  get hasSack(): boolean {
    return this.#hasDuplicate || this.#early.count > 0;
  }

  /** Gives all memory back; the connection is over. */
  release(): void {
    this.#early.clear();
    this.ring.discard();
  }

  #acceptAround(seq: number, at: number, from: number, to: number): Received {
    this.ackNow = true;
    const index = this.#early.find(seqAdd(from, 1));
    const covered = index < this.#early.count && seqLe(this.#early.start(index), from) &&
      seqLe(to, this.#early.end(index));
    if (covered) {
      this.noteDuplicate(from, to);
      this.#remember(index); // the range stands behind its D-SACK (RFC 2883 section 4)
      return Received.duplicate;
    }
    if (from !== this.rcvNxt && this.#early.count >= RANGES_MAX && !this.#touches(from, to)) {
      return Received.scattered;
    }
    this.#writeUncovered(seq, at, from, to);
    if (from === this.rcvNxt) {
      this.#joinEarly(to);
      this.#takeFin();
      return Received.inOrder;
    }
    this.#remember(this.#early.add(from, to));
    return Received.early;
  }

  #touches(from: number, to: number): boolean {
    const i = this.#early.find(from);
    return i < this.#early.count && seqLe(this.#early.start(i), to);
  }

  /** Copies only what no earlier copy holds. */
  #writeUncovered(seq: number, at: number, from: number, to: number): void {
    const early = this.#early;
    let cursor = from;
    for (let i = early.find(from); i < early.count && seqLt(early.start(i), to); i++) {
      if (seqLt(cursor, early.start(i))) this.#write(seq, at, cursor, early.start(i));
      cursor = seqMax(cursor, early.end(i));
    }
    if (seqLt(cursor, to)) this.#write(seq, at, cursor, to);
  }

  #write(seq: number, at: number, from: number, to: number): void {
    const offset = this.ring.lengthBytes + seqDiff(from, this.rcvNxt);
    this.ring.writeAtOffset(offset, at + seqDiff(from, seq), seqDiff(to, from), this.#memory);
  }

  #joinEarly(to: number): void {
    const early = this.#early;
    let end = to;
    while (early.count > 0 && seqLe(early.start(0), end)) {
      end = seqMax(end, early.end(0));
      early.shift();
    }
    if (early.count === 0) this.#recentCount = 0;
    this.#advance(end);
  }

  #advance(to: number): void {
    this.ring.commit(seqDiff(to, this.rcvNxt));
    this.rcvNxt = to;
  }

  #takeFin(): boolean {
    if (this.finished || this.#finSeq < 0 || this.#finSeq !== this.rcvNxt) return false;
    this.rcvNxt = seqAdd(this.rcvNxt, 1);
    this.rcvEdge = seqMax(this.rcvEdge, this.rcvNxt);
    this.finished = true;
    this.ackNow = true;
    return true;
  }

  /** Puts a range in front of those that came before; what it has swallowed is forgotten. */
  #remember(range: number): void {
    if (this.#recent === NONE) this.#recent = new Uint32Array(RECENT);
    const recent = this.#recent;
    const start = this.#early.start(range);
    const end = this.#early.end(range);
    let kept = 0;
    for (let i = 0; i < this.#recentCount; i++) {
      const other = recent[i]!;
      const inside = seqLe(start, other) && seqLt(other, end);
      if (!inside && seqLt(this.rcvNxt, other)) recent[kept++] = other;
    }
    kept = Math.min(kept, RECENT - 1);
    recent.copyWithin(1, 0, kept);
    recent[0] = start;
    this.#recentCount = kept + 1;
  }

  /** Makes the ring hold `bytes` beyond RCV.NXT if it can: how many it holds there. */
  #makeRoom(bytes: number): number {
    const { ring } = this;
    const need = ring.lengthBytes + bytes;
    if (ring.at < 0 || need > ring.capacityBytes) {
      const smallBytes = Math.min(SMALL_RING_BYTES, this.#goalBytes);
      if (need > smallBytes) this.#startsLarge = true;
      let size = this.#startsLarge ? Math.max(this.#goalBytes, powerOfTwo(need)) : smallBytes;
      this.#short = false;
      while (!ring.ensure(size)) {
        this.#short = true;
        size >>= 1;
        if (size < this.#limits.initialBytes >> 2 || size <= ring.capacityBytes) break;
      }
    }
    return ring.at < 0 ? 0 : ring.capacityBytes - ring.lengthBytes;
  }

  /** A whole ring has passed: the host keeps up, so the window may be larger. */
  #grow(): void {
    this.#sinceGrowthBytes = 0;
    const bytes = Math.min(this.#limits.maxBytes, this.#goalBytes * 2);
    if (bytes === this.#goalBytes || !this.#pool.mayGrowTo(bytes)) return;
    this.#goalBytes = bytes;
    if (this.ring.at >= 0) this.#short = !this.ring.ensure(bytes);
  }

  /** What the edge moves by at least: silly window avoidance (RFC 9293 section 3.8.6.2.2). */
  #leastGain(): number {
    return Math.min(this.#capacityBytes() >> 1, this.mssBytes);
  }

  #capacityBytes(): number {
    return this.ring.at >= 0 && this.#short ? this.ring.capacityBytes : this.#goalBytes;
  }

  #edge(): number {
    const limit = 0xffff << this.shift;
    const free = Math.min(this.#capacityBytes() - this.ring.lengthBytes, limit);
    return seqMax(this.rcvEdge, seqAdd(this.rcvNxt, Math.max(0, free)));
  }
}
