/**
 * What is in flight: the bytes between SND.UNA and SND.NXT as runs that were sent at one time.
 *
 * Loss recovery by time (RFC 8985) wants to know when each segment was last sent. Segments that
 * left in the same turn share that time, so one run stands for all of them, and is split only
 * where a SACK block or a retransmission begins or ends. Runs are sorted by sequence number,
 * disjoint, and cover the flight without a gap.
 *
 * Limits: 256 runs a connection; a split beyond that is refused, which only means that less of a
 * SACK block is believed (CVE-2019-11477). A connection with nothing in flight holds no columns.
 *
 * @module
 */
import { seqDiff, seqLe, seqLt } from "./sequence.ts";

/** State bits of a run. */
export const RunFlag = { sacked: 1, lost: 2, retransmitted: 4 } as const;

const LIMIT = 256;
const NO_COLUMNS = {
  starts: new Uint32Array(0),
  ends: new Uint32Array(0),
  times: new Float64Array(0),
  flags: new Uint8Array(0),
};

/** Room for the runs of a connection, one array for each of their properties. */
class Columns {
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
  readonly times: Float64Array;
  readonly flags: Uint8Array;

  constructor(size: number) {
    this.starts = new Uint32Array(size);
    this.ends = new Uint32Array(size);
    this.times = new Float64Array(size);
    this.flags = new Uint8Array(size);
  }
}

const FIRST_SIZE = 4;
/** Columns that nobody uses, by the doublings of their size. */
const SPARE: Columns[][] = Array.from({ length: Math.log2(LIMIT / FIRST_SIZE) + 1 }, () => []);
const SPARE_MAX = 256;

/** The runs of one connection, in columns. */
export class Transmissions {
  #columns: Columns | null = null;
  #starts: Uint32Array = NO_COLUMNS.starts;
  #ends: Uint32Array = NO_COLUMNS.ends;
  #times: Float64Array = NO_COLUMNS.times;
  #flags: Uint8Array = NO_COLUMNS.flags;
  /** How many runs there are. */
  count = 0;
  /** Sequence space in runs that are marked sacked. */
  sackedBytes = 0;
  /** Sequence space in runs that are marked lost. */
  lostBytes = 0;
  /** Runs that were sent more than once. */
  retransmittedRuns = 0;

  start(i: number): number {
    return this.#starts[i]!;
  }

  end(i: number): number {
    return this.#ends[i]!;
  }

  /** When run `i` was last sent. */
  sentMs(i: number): number {
    return this.#times[i]!;
  }

  flags(i: number): number {
    return this.#flags[i]!;
  }

  has(i: number, flag: number): boolean {
    return (this.#flags[i]! & flag) !== 0;
  }

  length(i: number): number {
    return seqDiff(this.#ends[i]!, this.#starts[i]!);
  }

  /** Notes that [start, end), which follows the last run, was sent. */
  append(start: number, end: number, nowMs: number): void {
    const last = this.count - 1;
    if (
      last >= 0 && this.#flags[last] === 0 && (this.#times[last] === nowMs || this.count >= LIMIT)
    ) {
      this.#ends[last] = end;
      this.#times[last] = nowMs; // joined at the limit: taken as sent later, so as lost later
      return;
    }
    if (this.count >= LIMIT) {
      this.#dropFlags(last);
      this.#ends[last] = end;
      this.#times[last] = nowMs;
      return;
    }
    this.#insert(this.count, start, end, nowMs, 0);
  }

  /** Index of the run that holds `seq`; `count` when it is beyond the last. */
  find(seq: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (seqLe(this.#ends[middle]!, seq)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Cuts run `i` at `seq`, which lies inside it; false when there are too many runs. */
  split(i: number, seq: number): boolean {
    if (this.count >= LIMIT) return false;
    const end = this.#ends[i]!;
    this.#ends[i] = seq;
    this.#insert(i + 1, seq, end, this.#times[i]!, this.#flags[i]!);
    if (this.has(i, RunFlag.retransmitted)) this.retransmittedRuns++;
    return true;
  }

  /** Sets or clears flags of run `i` and keeps the sums. */
  mark(i: number, set: number, clear: number): void {
    const before = this.#flags[i]!;
    const after = (before & ~clear) | set;
    const bytes = this.length(i);
    this.sackedBytes += bytes * ((after & 1) - (before & 1));
    this.lostBytes += bytes * (((after >> 1) & 1) - ((before >> 1) & 1));
    this.retransmittedRuns += ((after >> 2) & 1) - ((before >> 2) & 1);
    this.#flags[i] = after;
  }

  /** Notes that run `i` was sent again; it joins its neighbour below if that left with it. */
  resent(i: number, nowMs: number): void {
    this.mark(i, RunFlag.retransmitted, RunFlag.lost);
    this.#times[i] = nowMs;
    if (i === 0 || this.#times[i - 1] !== nowMs || this.#flags[i - 1] !== this.#flags[i]) return;
    this.#ends[i - 1] = this.#ends[i]!;
    this.retransmittedRuns--;
    this.#remove(i);
  }

  /** Takes away what lies below `seq` of the first run, or the whole of it. */
  trimFirst(seq: number): void {
    if (seqLt(seq, this.#ends[0]!)) {
      const bytes = seqDiff(seq, this.#starts[0]!);
      if (this.has(0, RunFlag.sacked)) this.sackedBytes -= bytes;
      if (this.has(0, RunFlag.lost)) this.lostBytes -= bytes;
      this.#starts[0] = seq;
      return;
    }
    this.#dropFlags(0);
    this.#remove(0);
  }

  /** Joins neighbours that were sacked, so that many small blocks don't use up the runs. */
  joinSacked(i: number): void {
    while (i + 1 < this.count && this.has(i, RunFlag.sacked) && this.has(i + 1, RunFlag.sacked)) {
      this.#ends[i] = this.#ends[i + 1]!;
      if (this.has(i + 1, RunFlag.retransmitted)) this.retransmittedRuns--;
      this.#remove(i + 1);
    }
  }

  clear(): void {
    this.count = 0;
    this.#giveBack();
    this.sackedBytes = 0;
    this.lostBytes = 0;
    this.retransmittedRuns = 0;
  }

  #dropFlags(i: number): void {
    this.mark(i, 0, RunFlag.sacked | RunFlag.lost | RunFlag.retransmitted);
  }

  #remove(i: number): void {
    if (i + 1 < this.count) {
      this.#starts.copyWithin(i, i + 1, this.count);
      this.#ends.copyWithin(i, i + 1, this.count);
      this.#times.copyWithin(i, i + 1, this.count);
      this.#flags.copyWithin(i, i + 1, this.count);
    }
    if (--this.count === 0) this.#giveBack();
  }

  #insert(i: number, start: number, end: number, sentMs: number, flags: number): void {
    if (this.count === this.#starts.length) this.#grow();
    if (i < this.count) {
      this.#starts.copyWithin(i + 1, i, this.count);
      this.#ends.copyWithin(i + 1, i, this.count);
      this.#times.copyWithin(i + 1, i, this.count);
      this.#flags.copyWithin(i + 1, i, this.count);
    }
    this.#starts[i] = start;
    this.#ends[i] = end;
    this.#times[i] = sentMs;
    this.#flags[i] = flags;
    this.count++;
  }

  #grow(): void {
    const size = Math.max(FIRST_SIZE, this.#starts.length * 2);
    const columns = SPARE[Math.log2(size / FIRST_SIZE)]!.pop() ?? new Columns(size);
    columns.starts.set(this.#starts);
    columns.ends.set(this.#ends);
    columns.times.set(this.#times);
    columns.flags.set(this.#flags);
    this.#giveBack();
    this.#use(columns, columns);
  }

  #giveBack(): void {
    const columns = this.#columns;
    if (columns === null) return;
    const spare = SPARE[Math.log2(columns.starts.length / FIRST_SIZE)]!;
    if (spare.length < SPARE_MAX) spare.push(columns);
    this.#use(null, NO_COLUMNS);
  }

  #use(owned: Columns | null, { starts, ends, times, flags }: Columns): void {
    this.#columns = owned;
    this.#starts = starts;
    this.#ends = ends;
    this.#times = times;
    this.#flags = flags;
  }
}
