/**
 * The questions of one TCP connection: each behind a two-octet length (RFC 1035 section 4.2.2),
 * several under way at once, answered in any order (RFC 7766 section 6.2.1.1).
 *
 * Bytes go in with `push` (at most `roomBytes`), questions come out with `next`, each is settled
 * with one `frame` or `drop`. At most {@linkcode STREAM_MAX_OUTSTANDING} are out at once; bytes
 * beyond wait here, at most one longest message. What can't be a question (shorter than a header)
 * fails the whole stream, since nothing says where the next one would begin.
 *
 * @module
 */
import { HEADER_BYTES, MESSAGE_MAX_BYTES, word } from "./message.ts";

/** Most questions of one connection that wait for their answer. */
export const STREAM_MAX_OUTSTANDING = 16;

/** Octets of the length in front of each message. */
export const LENGTH_BYTES = 2;

/** Most bytes that wait to become questions: one longest message. */
export const STREAM_BUFFER_BYTES: number = LENGTH_BYTES + MESSAGE_MAX_BYTES;

/** What most connections need: a few ordinary questions. */
const BUFFER_START_BYTES = 1_024;

/** The questions of one TCP connection. */
export class DnsStream {
  #buffer = new Uint8Array(BUFFER_START_BYTES);
  #from = 0;
  #to = 0;
  #outstanding = 0;
  #failed = false;

  /** Whether the peer broke the framing: the connection is of no more use. */
  get failed(): boolean {
    return this.#failed;
  }

  /** How many questions wait for their answer. */
  get outstanding(): number {
    return this.#outstanding;
  }

  /** How many bytes `push` takes. */
  get roomBytes(): number {
    return this.#failed ? 0 : STREAM_BUFFER_BYTES - (this.#to - this.#from);
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
    const held = this.#to - this.#from;
    if (this.#failed || held < LENGTH_BYTES) return null;
    const length = word(this.#buffer, this.#from);
    if (length < HEADER_BYTES) {
      this.#failed = true;
      return null;
    }
    if (held < LENGTH_BYTES + length || this.#outstanding >= STREAM_MAX_OUTSTANDING) return null;
    const at = this.#from + LENGTH_BYTES;
    this.#from = at + length;
    this.#outstanding++;
    return this.#buffer.slice(at, at + length);
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
    const held = this.#to - this.#from;
    let size = this.#buffer.length;
    while (size < held + bytes) size *= 2;
    const into = size === this.#buffer.length ? this.#buffer : new Uint8Array(size);
    into.set(this.#buffer.subarray(this.#from, this.#to));
    this.#buffer = into;
    this.#from = 0;
    this.#to = held;
  }
}

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
