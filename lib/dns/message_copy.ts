/**
 * Copies a message without some of its records, or with others in their place.
 *
 * What stands behind a removed record moves, so pointers to names are made again: a name that
 * several others pointed to is written out where it is first needed, and pointed to from then on.
 * So names stay as compressed as they were, and an honest copy is no longer than the original.
 * Names inside RDATA are known for the types that may be compressed (RFC 1035) and for those where
 * a reader has to expect it (RFC 3597 section 4, RFC 2230, RFC 6672); all other data is copied as
 * it is. The copy keeps the bounds of name.ts: pointers lead backwards, 16 in a row.
 *
 * Not kept: what stands behind the last record, and signatures of the whole message (TSIG, SIG(0)),
 * which pass but are no longer true.
 *
 * @module
 */
import { HEADER_BYTES, MESSAGE_MAX_BYTES, putWord, questionCount, word } from "./message.ts";
import { NAME_MAX_BYTES, NAME_MAX_JUMPS, nameEnd } from "./name.ts";
import type { RecordWalker } from "./walker.ts";

/** How far a pointer reaches. */
const POINTER_MAX = 0x3fff;

/** Type, class, TTL and RDLENGTH. */
const RECORD_FIXED_BYTES = 10;

/** Room for the longest message and one more record of any kind, with three names written out. */
const ROOM_BYTES = 2 * MESSAGE_MAX_BYTES + 3 * NAME_MAX_BYTES + RECORD_FIXED_BYTES;

/** Where names stand in RDATA: octets before them, how many, one behind the other. */
interface Layout {
  readonly before: number;
  readonly names: number;
  /** Character strings between the octets and the names. */
  readonly strings?: number;
}

const NAME: Layout = { before: 0, names: 1 };
const TWO_NAMES: Layout = { before: 0, names: 2 };
const PREFERENCE: Layout = { before: 2, names: 1 };
const SIGNATURE: Layout = { before: 18, names: 1 };

/** Layouts by type. */
const LAYOUTS: ReadonlyMap<number, Layout> = new Map([
  [2, NAME], // NS
  [3, NAME], // MD
  [4, NAME], // MF
  [5, NAME], // CNAME
  [6, TWO_NAMES], // SOA
  [7, NAME], // MB
  [8, NAME], // MG
  [9, NAME], // MR
  [12, NAME], // PTR
  [14, TWO_NAMES], // MINFO
  [15, PREFERENCE], // MX
  [17, TWO_NAMES], // RP
  [18, PREFERENCE], // AFSDB
  [21, PREFERENCE], // RT
  [24, SIGNATURE], // SIG
  [26, { before: 2, names: 2 }], // PX
  [30, NAME], // NXT
  [33, { before: 6, names: 1 }], // SRV
  [35, { before: 4, strings: 3, names: 1 }], // NAPTR
  [36, PREFERENCE], // KX
  [39, NAME], // DNAME
  [46, SIGNATURE], // RRSIG
]);

/**
 * A copy under way: `begin`, then for each record that stays `copy` or `replace`, section by
 * section, then `finish`. One can be used for message after message.
 */
export class MessageCopy {
  #source: Uint8Array = EMPTY;
  readonly #out = new Uint8Array(ROOM_BYTES);
  #at = 0;
  #failed = false;
  readonly #counts = new Uint16Array(3);
  /** Where in the copy the name is that begins at an offset of the source; 0: not there yet. */
  readonly #homes = new Uint16Array(POINTER_MAX + 1);
  /** How many pointers that name in the copy has. */
  readonly #jumps = new Uint8Array(POINTER_MAX + 1);
  /** Offsets of the labels that a name wrote, in the source and in the copy. */
  readonly #labels = new Uint16Array(NAME_MAX_BYTES);

  /**
   * Begins with the header and the questions of a message.
   *
   * @param source A message that `RecordWalker.open` took.
   */
  begin(source: Uint8Array): void {
    this.#failed = false;
    this.#counts.fill(0);
    this.from(source);
    this.#out.set(source.subarray(0, HEADER_BYTES));
    this.#at = HEADER_BYTES;
    let at = HEADER_BYTES;
    for (let left = questionCount(source); left > 0 && !this.#failed; left--) {
      at = this.#name(at);
      this.#octets(at, at + 4);
      at += 4;
      this.#failed = this.#at > MESSAGE_MAX_BYTES;
    }
  }

  /**
   * Goes on with the records of another message.
   *
   * @param source The message that the next records stand in.
   */
  from(source: Uint8Array): void {
    this.#source = source;
    this.#homes.fill(0, 0, Math.min(source.length, POINTER_MAX + 1));
  }

  /**
   * Copies a record.
   *
   * @param record The walker that stands at it.
   */
  copy(record: RecordWalker): void {
    if (this.#failed) return;
    const lengthAt = this.#head(record);
    if (!this.#data(record)) this.#failed = true;
    this.#close(record, lengthAt);
  }

  /**
   * Copies a record with other data.
   *
   * @param record The walker that stands at it.
   * @param data The data, without pointers; at most as long as the record's own.
   */
  replace(record: RecordWalker, data: Uint8Array): void {
    if (this.#failed) return;
    const lengthAt = this.#head(record);
    this.#out.set(data, this.#at);
    this.#at += data.length;
    this.#close(record, lengthAt);
  }

  /**
   * Ends the copy.
   *
   * @returns The message, or `null` where the source has a record without the names that its type
   * asks for, or its names do not fit a message once they are written out.
   */
  finish(): Uint8Array | null {
    if (this.#failed) return null;
    this.#counts.forEach((count, section) => putWord(this.#out, 6 + 2 * section, count));
    return this.#out.slice(0, this.#at);
  }

  /** The record up to its length, whose place is returned. */
  #head(record: RecordWalker): number {
    const fixedAt = this.#name(record.nameAt);
    this.#octets(fixedAt, fixedAt + RECORD_FIXED_BYTES);
    return this.#at - 2;
  }

  #close(record: RecordWalker, lengthAt: number): void {
    putWord(this.#out, lengthAt, this.#at - lengthAt - 2);
    this.#counts[record.section]!++;
    if (this.#at > MESSAGE_MAX_BYTES) this.#failed = true;
  }

  #data(record: RecordWalker): boolean {
    const end = record.dataAt + record.dataBytes;
    const layout = LAYOUTS.get(record.type);
    let at = record.dataAt;
    if (layout !== undefined) {
      let namesAt = at + layout.before;
      for (let left = layout.strings ?? 0; left > 0 && namesAt < end; left--) {
        namesAt += 1 + this.#source[namesAt]!;
      }
      this.#octets(at, namesAt);
      at = namesAt;
      for (let left = layout.names; left > 0; left--) {
        const nameEndAt = nameEnd(this.#source, at);
        if (nameEndAt < 0 || nameEndAt > end) return false;
        at = this.#name(at);
      }
    }
    this.#octets(at, end);
    return true;
  }

  #octets(from: number, to: number): void {
    this.#out.set(this.#source.subarray(from, to), this.#at);
    this.#at += to - from;
  }

  /** Copies a name that `nameEnd` took; returns where the source goes on. */
  #name(start: number): number {
    const source = this.#source;
    let at = start;
    let end = -1;
    let labels = 0;
    let jumps = 0;
    for (let length = source[at]!; length !== 0; length = source[at]!) {
      if (length >= 0xc0) {
        if (end < 0) end = at + 2;
        at = word(source, at) & POINTER_MAX;
        continue;
      }
      const home = at <= POINTER_MAX ? this.#homes[at]! : 0;
      if (home !== 0 && this.#jumps[at]! < NAME_MAX_JUMPS) {
        putWord(this.#out, this.#at, 0xc000 | home);
        this.#at += 2;
        jumps = this.#jumps[at]! + 1;
        break;
      }
      if (home === 0 && at <= POINTER_MAX && this.#at <= POINTER_MAX) {
        this.#labels[labels++] = at;
        this.#labels[labels++] = this.#at;
      }
      this.#octets(at, at + 1 + length);
      at += 1 + length;
    }
    if (jumps === 0) this.#out[this.#at++] = 0;
    // A name can be pointed to once it is whole.
    for (let i = 0; i < labels; i += 2) {
      this.#homes[this.#labels[i]!] = this.#labels[i + 1]!;
      this.#jumps[this.#labels[i]!] = jumps;
    }
    return end < 0 ? nameEnd(source, start) : end;
  }
}

const EMPTY = new Uint8Array(0);
