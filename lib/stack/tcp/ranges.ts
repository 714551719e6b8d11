/**
 * A short sorted list of disjoint sequence ranges: what a receiver holds beyond a gap.
 *
 * Bounded: a range that would be one too many is refused, so its bytes count as not received
 * (CVE-2018-5390). Search is binary. Ranges are half-open.
 *
 * @module
 */
import { seqLe, seqLt, seqMax } from "./sequence.ts";

const EMPTY = new Uint32Array(0);

/** Sorted disjoint ranges, at most `limit`. */
export class SequenceRanges {
  #starts: Uint32Array = EMPTY;
  #ends: Uint32Array = EMPTY;
  readonly #limit: number;
  /** How many ranges there are. */
  count = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** First sequence number of range `i`. */
  start(i: number): number {
    return this.#starts[i]!;
  }

  /** The number after the last of range `i`. */
  end(i: number): number {
    return this.#ends[i]!;
  }

  /** Index of the first range that ends at or after `seq`; `count` when there is none. */
  find(seq: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (seqLt(this.#ends[middle]!, seq)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Adds [start, end), joined with what it touches: the index of its range, or -1 when full. */
  add(start: number, end: number): number {
    const i = this.find(start);
    let j = i;
    let low = start;
    let high = end;
    while (j < this.count && seqLe(this.#starts[j]!, end)) {
      if (seqLt(this.#starts[j]!, low)) low = this.#starts[j]!;
      high = seqMax(high, this.#ends[j]!);
      j++;
    }
    const joined = j - i;
    if (joined === 0) {
      if (this.count >= this.#limit) return -1;
      this.#grow();
      this.#starts.copyWithin(i + 1, i, this.count);
      this.#ends.copyWithin(i + 1, i, this.count);
      this.count++;
    } else if (joined > 1) {
      this.#starts.copyWithin(i + 1, j, this.count);
      this.#ends.copyWithin(i + 1, j, this.count);
      this.count -= joined - 1;
    }
    this.#starts[i] = low;
    this.#ends[i] = high;
    return i;
  }

  /** Drops the first range. */
  shift(): void {
    this.#starts.copyWithin(0, 1, this.count);
    this.#ends.copyWithin(0, 1, this.count);
    this.count--;
  }

  /** Drops all. */
  clear(): void {
    this.count = 0;
  }

  #grow(): void {
    if (this.count < this.#starts.length) return;
    const size = Math.min(this.#limit, Math.max(8, this.#starts.length * 2));
    const starts = new Uint32Array(size);
    const ends = new Uint32Array(size);
    starts.set(this.#starts);
    ends.set(this.#ends);
    this.#starts = starts;
    this.#ends = ends;
  }
}
