/**
 * The order of the audit's records between those who append and the one who sends: segments, the
 * sender's place in them, and the records that are with it.
 *
 *     segment (done, handed out) | segment ▲ cursor | segment | the last one, being filled
 *
 * A record is with the sender from when it is handed out until it is done; one that came back is
 * handed out again before any other, under the same number. A segment is removed when all of its
 * records are done. `WINDOW` records in a row are with the sender at most, so few segments are held.
 *
 * It does no I/O: where a segment's lines are only on disk, `lease` stops, and the spool brings them.
 *
 * @module
 */
import type { SpoolMark } from "./audit_files.ts";
import { Segment, SEGMENT_BYTES, type SpoolLine } from "./audit_segment.ts";

/** Records between the oldest one with the sender and the last one. */
export const WINDOW = 256;

/** A record with the sender. */
export interface SpoolRecord extends SpoolLine {
  readonly number: number;
  readonly segment: Segment;
  readonly index: number;
  isLeased: boolean;
}

/** Segments, from the oldest to the one that is filled. */
export class AuditQueue {
  /** Records that wait, those with the sender too. */
  waiting = 0;
  /** Octets of those. */
  waitingBytes = 0;
  /** Files of segments that are no more. */
  readonly obsolete: number[] = [];
  readonly #segments: Segment[] = [new Segment()];
  /** What the sender gets next. */
  #cursor: { segment: Segment; index: number } = { segment: this.#segments[0]!, index: 0 };
  /** Records with the sender, in order. */
  readonly #out = new Map<number, SpoolRecord>();
  #handedOut = 0;

  /** All of them, the oldest first; the last one is being filled. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  /** The segment that the sender is in. */
  get current(): Segment {
    return this.#cursor.segment;
  }

  /** Octets of all records, those too that are done while their segment is not. */
  get bytes(): number {
    return this.#segments.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Octets that are in memory alone. */
  get unwrittenBytes(): number {
    return this.#segments.reduce((sum, each) => sum + each.unwrittenBytes, 0);
  }

  /** When the oldest record that waits was; `null` where none waits. */
  get oldestMs(): number | null {
    if (this.waiting === 0) return null;
    for (const { timeMs } of this.#out.values()) return timeMs;
    const { segment, index } = this.#cursor;
    if (index < segment.count) return segment.lines?.[index]?.timeMs ?? segment.timeMs;
    return this.#segments[this.#segments.indexOf(segment) + 1]?.timeMs ?? null;
  }

  /** How much of the oldest segment is done and need not be sent after a restart. */
  get mark(): SpoolMark {
    const first = this.#segments[0]!;
    let records = this.#fromOf(first);
    for (const { segment, index } of this.#out.values()) {
      if (segment === first) records = Math.min(records, index);
    }
    return { segment: first.number, records: Math.min(records, first.written) };
  }

  /** Takes a record at the end. */
  add(line: SpoolLine): void {
    const last = this.#segments.at(-1)!;
    if (last.count > 0 && last.bytes + line.octets.length > SEGMENT_BYTES) this.#startSegment();
    this.#segments.at(-1)!.add(line);
    this.waiting++;
    this.waitingBytes += line.octets.length;
  }

  /** Hands out records in order, those that came {@linkcode back} first. */
  lease(max: number): SpoolRecord[] {
    const records: SpoolRecord[] = [];
    for (const record of this.#out.values()) {
      if (records.length === max) return records;
      if (record.isLeased) continue;
      record.isLeased = true;
      records.push(record);
    }
    while (records.length < max && this.#hasWindow()) {
      const { segment, index } = this.#cursor;
      if (index < segment.count) {
        if (segment.lines === null) break;
        records.push(this.#hand(segment, index, segment.lines[index]!));
      } else if (segment.isSealed) this.#enter(this.#segments.indexOf(segment) + 1);
      else break;
    }
    return records;
  }

  /** Whether what is next stands on disk alone. */
  get isOnDisk(): boolean {
    const { segment, index } = this.#cursor;
    return index < segment.count && segment.lines === null && this.#hasWindow();
  }

  /** A record is done; whether it was not before. */
  done({ number, segment, octets }: SpoolRecord): boolean {
    if (!this.#out.delete(number)) return false;
    segment.out--;
    segment.done++;
    segment.doneBytes += octets.length;
    this.waiting--;
    this.waitingBytes -= octets.length;
    if (segment.isDone) this.#remove(segment);
    return true;
  }

  /** What is with the sender and not done is to be handed out again. */
  back(): void {
    for (const record of this.#out.values()) record.isLeased = false;
  }

  /** The oldest segment that can go; `null` where each is being filled or partly with the sender. */
  victim(): Segment | null {
    return this.#segments.find((each) => each.isSealed && each.out === 0) ?? null;
  }

  /** A segment goes, though records in it are not done; where those begin, and how many there are. */
  drop(victim: Segment): { from: number; count: number } {
    const from = this.#fromOf(victim);
    const count = victim.count - victim.done;
    this.waiting -= count;
    this.waitingBytes -= victim.bytes - victim.doneBytes;
    this.#remove(victim);
    return { from, count };
  }

  /** A segment's lines are lost: all that is not with the sender is gone, so many records. */
  forget(segment: Segment): number {
    let outBytes = 0;
    for (const each of this.#out.values()) {
      if (each.segment === segment) outBytes += each.octets.length;
    }
    const lost = segment.count - segment.done - segment.out;
    this.waiting -= lost;
    this.waitingBytes -= segment.bytes - segment.doneBytes - outBytes;
    segment.count -= lost;
    segment.written = segment.count;
    segment.lines = [];
    if (this.current === segment) this.#cursor.index = segment.count;
    if (segment.isDone) this.#remove(segment);
    return lost;
  }

  /** A segment that stands on disk, and that the sender is not in, has no lines in memory. */
  release(segment: Segment): void {
    if (segment.isWhole && segment !== this.current) segment.lines = null;
  }

  /**
   * Takes segments of an earlier life in front of what waits here.
   *
   * @param found The last one may be filled on; only where nothing waits here.
   */
  adopt(found: readonly Segment[]): void {
    const { segment: here, index } = this.#cursor;
    for (const each of this.#segments.slice(0, this.#segments.indexOf(here))) {
      each.start = each.count;
    }
    here.start = index;
    const left = found.filter((each) => !each.isDone);
    for (const each of found) {
      this.waiting += each.count - each.done;
      this.waitingBytes += each.bytes - each.doneBytes;
      if (each.isDone) this.obsolete.push(each.number);
    }
    if (left.at(-1)?.isSealed === false) this.#segments.length = 0;
    this.#segments.unshift(...left);
    this.#enter(0);
  }

  /** The first record of a segment that was never handed out. */
  #fromOf(segment: Segment): number {
    if (segment === this.current) return this.#cursor.index;
    return this.#segments.indexOf(segment) < this.#segments.indexOf(this.current)
      ? segment.count
      : segment.start;
  }

  #hasWindow(): boolean {
    for (const number of this.#out.keys()) return this.#handedOut - number < WINDOW;
    return true;
  }

  #hand(segment: Segment, index: number, line: SpoolLine): SpoolRecord {
    const record = { ...line, number: this.#handedOut++, segment, index, isLeased: true };
    this.#out.set(record.number, record);
    segment.out++;
    this.#cursor.index++;
    return record;
  }

  #startSegment(): void {
    this.#segments.at(-1)!.isSealed = true;
    this.#segments.push(new Segment());
  }

  #remove(segment: Segment): void {
    if (segment === this.#segments.at(-1)) this.#startSegment();
    const index = this.#segments.indexOf(segment);
    if (this.current === segment) this.#enter(index + 1);
    this.#segments.splice(index, 1);
    if (segment.number > 0) this.obsolete.push(segment.number);
  }

  #enter(index: number): void {
    const left = this.current;
    const segment = this.#segments[index]!;
    this.#cursor = { segment, index: segment.start };
    this.release(left);
  }
}
