/**
 * The questions of one TCP connection: each behind a two-octet length (RFC 1035 section 4.2.2),
 * several under way at once, answered in any order (RFC 7766 section 6.2.1.1).
 *
 * Bytes go in with `push` (at most `roomBytes`), questions come out with `next`, each is settled
 * with one `frame` or `drop`. At most {@linkcode STREAM_MAX_OUTSTANDING} are out at once; bytes
 * beyond wait here, at most one longest message, in a buffer that grows with what has come. What
 * can't be a question (shorter than a header, or longer than one may be) fails the whole stream, as
 * soon as its length is there: nothing says where the next one would begin.
 *
 * @module
 */
import { HEADER_BYTES, MESSAGE_MAX_BYTES, word } from "./message.ts";

/** Most questions of one connection that wait for their answer. */
export const STREAM_MAX_OUTSTANDING = 16;

/** Octets of the length in front of each message. */
export const LENGTH_BYTES = 2;

/** Most bytes that wait to become questions, where they may be of any length. */
export const STREAM_BUFFER_BYTES: number = LENGTH_BYTES + MESSAGE_MAX_BYTES;

/** What most connections need: an ordinary question. A larger buffer goes when it is empty. */
const BUFFER_START_BYTES = 128;

/** The questions of one TCP connection. */
export class DnsStream {
  readonly #bufferMaxBytes: number;
  #buffer = EMPTY;
  #from = 0;
  #to = 0;
  #outstanding = 0;
  #failed = false;

  /** @param messageMaxBytes Longest question. */
  constructor(messageMaxBytes: number = MESSAGE_MAX_BYTES) {
    this.#bufferMaxBytes = LENGTH_BYTES + messageMaxBytes;
  }

  /** Whether the peer broke the framing: the connection is of no more use. */
  get failed(): boolean {
    return this.#failed;
  }

  /** How many questions wait for their answer. */
  get outstanding(): number {
    return this.#outstanding;
  }

  /** How many bytes wait to become questions. */
  get heldBytes(): number {
    return this.#to - this.#from;
  }

  /** How many bytes `push` takes. */
  get roomBytes(): number {
    return this.#failed ? 0 : this.#bufferMaxBytes - this.heldBytes;
  }

  /**
   * Takes bytes of the connection, in order; they are copied.
   *
   * @param bytes At most `roomBytes`; more fails the stream.
   */
  push(bytes: Uint8Array): void {
    if (bytes.length > this.roomBytes) this.#failed = true;
    if (this.#failed) return;
    if (this.#to + bytes.length > this.#buffer.length) this.#makeRoom(bytes.length);
    this.#buffer.set(bytes, this.#to);
    this.#to += bytes.length;
  }

  /**
   * The next whole question.
   *
   * @returns A copy of its message, or `null` where none is whole, too many are outstanding, or
   * the stream has failed.
   */
  next(): Uint8Array | null {
    const held = this.heldBytes;
    if (this.#failed || held < LENGTH_BYTES) return null;
    const length = word(this.#buffer, this.#from);
    if (length < HEADER_BYTES || LENGTH_BYTES + length > this.#bufferMaxBytes) {
      this.#failed = true;
      return null;
    }
    if (held < LENGTH_BYTES + length || this.#outstanding >= STREAM_MAX_OUTSTANDING) return null;
    const at = this.#from + LENGTH_BYTES;
    this.#from = at + length;
    this.#outstanding++;
    const question = this.#buffer.slice(at, at + length);
    if (this.heldBytes === 0) this.#empty();
    return question;
  }

  /**
   * Settles a question with its answer.
   *
   * @param answer The answer's message, at most 65,535 octets.
   * @returns What goes into the connection: the length and the message.
   */
  frame(answer: Uint8Array): Uint8Array {
    this.drop();
    return frameMessage(answer);
  }

  /** Settles a question that gets no answer. */
  drop(): void {
    if (this.#outstanding === 0) throw new RangeError("Cannot settle: no question is outstanding");
    this.#outstanding--;
  }

  #makeRoom(bytes: number): void {
    const held = this.heldBytes;
    let size = Math.max(BUFFER_START_BYTES, this.#buffer.length);
    while (size < held + bytes) size *= 2;
    size = Math.min(size, this.#bufferMaxBytes);
    const into = size === this.#buffer.length ? this.#buffer : new Uint8Array(size);
    into.set(this.#buffer.subarray(this.#from, this.#to));
    this.#buffer = into;
    this.#from = 0;
    this.#to = held;
  }

  #empty(): void {
    this.#from = 0;
    this.#to = 0;
    if (this.#buffer.length > BUFFER_START_BYTES) this.#buffer = EMPTY;
  }
}

const EMPTY = new Uint8Array(0);

/** A message behind its length, as TCP carries it. */
export function frameMessage(message: Uint8Array): Uint8Array {
  if (message.length > MESSAGE_MAX_BYTES) {
    throw new RangeError(`Cannot frame a message of ${message.length} bytes`);
  }
  const framed = new Uint8Array(LENGTH_BYTES + message.length);
  framed[0] = message.length >> 8;
  framed[1] = message.length & 0xff;
  framed.set(message, LENGTH_BYTES);
  return framed;
}
