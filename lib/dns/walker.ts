/**
 * Walks over the records of a message, whoever made it (RFC 1035 section 4.1.3): one reused view,
 * no copy, no exception. Each step checks that the record lies inside the message, so its fields
 * can then be read without another check. A message of n octets has at most n / 11 records and
 * each name is bounded (see name.ts), so a walk ends whatever the counts in the header say.
 *
 * The insides of RDATA are not looked at: what is forwarded passes as it is.
 *
 * @module
 */
import { HEADER_BYTES, longWord, questionCount, word } from "./message.ts";
import { nameEnd } from "./name.ts";

/** The part of a message that a record stands in. */
export const Section = { answer: 0, authority: 1, additional: 2 } as const;

/** One of {@linkcode Section}. */
export type Section = typeof Section[keyof typeof Section];

/** Octets of type, class, TTL and RDLENGTH, between a record's name and its data. */
const RECORD_FIXED_BYTES = 10;

/**
 * A view of one record after the other.
 *
 * Call `open` first, then `next` until it returns false; `malformed` then tells whether the
 * message ended too early or a name was wrong, and `at` where the last record ended.
 */
export class RecordWalker {
  #message: Uint8Array = EMPTY;
  #left = 0;
  #section: Section = Section.answer;
  /** Where the message goes on: behind the last record that was walked over. */
  at = 0;
  /** Whether the walk met something that is no record. */
  malformed = false;
  /** Where the record's name begins. */
  nameAt = 0;
  /** The record's type. */
  type = 0;
  /** The record's class, for OPT its UDP size. */
  class = 0;
  /** The record's TTL as 32 bits, for OPT its extended code, version and flags. */
  ttl = 0;
  /** Where the record's data begins. */
  dataAt = 0;
  /** Length of the record's data. */
  dataBytes = 0;

  /** The section that the record stands in. */
  get section(): Section {
    return this.#section;
  }

  /**
   * Starts with a message and walks over its question section.
   *
   * @param message The message; it is only read.
   * @returns Whether header and questions are well-formed.
   */
  open(message: Uint8Array): boolean {
    this.#message = message;
    this.#section = Section.answer;
    this.#left = 0;
    this.malformed = true;
    if (message.length < HEADER_BYTES) return false;
    let at = HEADER_BYTES;
    for (let left = questionCount(message); left > 0; left--) {
      const end = nameEnd(message, at);
      if (end < 0 || end + 4 > message.length) return false;
      at = end + 4;
    }
    this.at = at;
    this.malformed = false;
    this.#left = word(message, 6);
    return true;
  }

  /**
   * Goes on to the next record.
   *
   * @returns Whether there is one.
   */
  next(): boolean {
    if (this.malformed) return false;
    const message = this.#message;
    while (this.#left === 0) {
      if (this.#section === Section.additional) return false;
      this.#section = this.#section === Section.answer ? Section.authority : Section.additional;
      this.#left = word(message, 6 + 2 * this.#section);
    }
    this.#left--;
    const fixedAt = nameEnd(message, this.at);
    if (fixedAt < 0 || fixedAt + RECORD_FIXED_BYTES > message.length) return this.#fail();
    const dataBytes = word(message, fixedAt + 8);
    const dataAt = fixedAt + RECORD_FIXED_BYTES;
    if (dataAt + dataBytes > message.length) return this.#fail();
    this.nameAt = this.at;
    this.type = word(message, fixedAt);
    this.class = word(message, fixedAt + 2);
    this.ttl = longWord(message, fixedAt + 4);
    this.dataAt = dataAt;
    this.dataBytes = dataBytes;
    this.at = dataAt + dataBytes;
    return true;
  }

  #fail(): false {
    this.malformed = true;
    return false;
  }
}

const EMPTY = new Uint8Array(0);
