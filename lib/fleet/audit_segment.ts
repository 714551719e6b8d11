/**
 * One segment of the audit's spool: records in a row, of which some have been acknowledged.
 *
 * A segment is filled in memory, written from there, and once it is full and written only counted: its
 * lines come back from the disk when it is their turn. What can't be read in it (a line that was torn
 * when the process was killed) is passed over. The records of a segment have the numbers 0, 1, 2, … of
 * the lines that can be read, in memory as on disk.
 *
 * @module
 */
import { parseAuditRecord } from "./audit_record.ts";

/** A segment takes no more records from here on. */
export const SEGMENT_BYTES = 256 * 1024;

const NEWLINE = 10;

/** A record as the spool keeps it. */
export interface SpoolLine {
  /** Its identity. */
  readonly id: string;
  /** What it is. */
  readonly kind: "denial" | "life";
  /** How many denials are in it. */
  readonly denials: number;
  /** For a record of others that were dropped: how many; else 0. */
  readonly shed: number;
  /** When it was, in milliseconds since 1970. */
  readonly timeMs: number;
  /** The record, with the line's end. */
  readonly octets: Uint8Array;
}

/** Reads a line; `null` where it is no record. */
export function spoolLine(octets: Uint8Array): SpoolLine | null {
  const record = parseAuditRecord(octets);
  if (record === null) return null;
  const { id, kind, timeMs } = record;
  if (record.kind === "denial") {
    return { id, kind, denials: record.count, shed: 0, timeMs, octets };
  }
  const { count = 0, denials = 0 } = record;
  const isShed = record.event === "shed";
  return { id, kind, denials: isShed ? denials : 0, shed: isShed ? count : 0, timeMs, octets };
}

/** What stands in a file. */
export interface ReadLines {
  readonly lines: SpoolLine[];
  /** Whether there is nothing but records, and perhaps a torn one behind them all. */
  readonly isClean: boolean;
  /** How many lines are none, the torn one with them. */
  readonly broken: number;
}

/** Reads a segment's file, whatever is in it. */
export function readLines(file: Uint8Array): ReadLines {
  const lines: SpoolLine[] = [];
  let broken = 0;
  let start = 0;
  for (let end = file.indexOf(NEWLINE); end >= 0; end = file.indexOf(NEWLINE, start)) {
    const line = spoolLine(file.subarray(start, end + 1));
    if (line === null) broken++;
    else lines.push(line);
    start = end + 1;
  }
  const torn = start < file.length ? 1 : 0;
  return { lines, isClean: broken === 0, broken: broken + torn };
}

/** Octets of lines. */
export function bytesOf(lines: readonly SpoolLine[]): number {
  return lines.reduce((sum, { octets }) => sum + octets.length, 0);
}

/** Records in a row. */
export class Segment {
  /** Its name among the files; 0 as long as it has none. */
  number: number;
  /** Its records; `null` where they are only on disk. */
  lines: SpoolLine[] | null = [];
  /** How many records it has. */
  count = 0;
  /** Octets of all of them. */
  bytes = 0;
  /** Octets of those that are not denials. */
  lifeBytes = 0;
  /** How many records are on disk, from the first. */
  written = 0;
  /** Octets of those. */
  writtenBytes = 0;
  /** The sender gets its records from this one on. */
  start = 0;
  /** How many records nobody needs any more. */
  done = 0;
  /** Octets of those. */
  doneBytes = 0;
  /** How many records are with the sender. */
  out = 0;
  /** When the first of its records was. */
  timeMs = 0;
  /** Whether it takes no more. */
  isSealed = false;
  /** Whether it has been brought to the disk itself. */
  isSynced = false;

  constructor(number: number = 0) {
    this.number = number;
  }

  /**
   * A segment of what stands in a file.
   *
   * @param start How many of its records need not be sent.
   */
  static of(number: number, { lines }: ReadLines, start: number): Segment {
    const segment = new Segment(number);
    for (const line of lines) segment.add(line);
    segment.noteWritten(segment.count, segment.bytes);
    segment.start = segment.done = Math.min(start, segment.count);
    segment.doneBytes = bytesOf(lines.slice(0, segment.start));
    return segment;
  }

  /** Octets that are in memory alone. */
  get unwrittenBytes(): number {
    return this.bytes - this.writtenBytes;
  }

  /** Whether all of its records are done. */
  get isDone(): boolean {
    return this.done === this.count;
  }

  /** Whether all that it will ever have is on disk. */
  get isWhole(): boolean {
    return this.isSealed && this.written === this.count;
  }

  /** Takes a record at its end. */
  add(line: SpoolLine): void {
    if (this.count === 0) this.timeMs = line.timeMs;
    this.lines!.push(line);
    this.count++;
    this.bytes += line.octets.length;
    if (line.kind === "life") this.lifeBytes += line.octets.length;
  }

  /** The records that are not on disk, as octets. */
  unwritten(): Uint8Array {
    const octets = new Uint8Array(this.unwrittenBytes);
    let at = 0;
    for (let index = this.written; index < this.count; index++) {
      const line = this.lines![index]!.octets;
      octets.set(line, at);
      at += line.length;
    }
    return octets;
  }

  /** Records up to this one are on disk. */
  noteWritten(count: number, bytes: number): void {
    this.written = count;
    this.writtenBytes = bytes;
  }
}
