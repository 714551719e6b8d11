/**
 * How long what a server sends is: the client keeps a line or a message until it is whole, however
 * long that one is, so whoever reads for it looks here first.
 *
 *     INFO {…}\r\n    MSG SUBJECT SID [REPLY] LENGTH\r\n LENGTH octets \r\n    PING\r\n    -ERR '…'\r\n
 *
 * It says no more than whether something is too long; what is wrong otherwise the client finds. Pure.
 *
 * @module
 */

/** Longest line: the greeting has the addresses of a cluster. */
export const LINE_MAX_BYTES = 256 * 1024;
/** Longest message: a document of the policy has a third of a MiB. */
export const MESSAGE_MAX_BYTES = 8 * 1024 * 1024;

const NEWLINE = 10;
/** The end of a line has the length of its message. */
const TAIL_BYTES = 32;

/** Follows one connection's octets. */
export class EngineFrames {
  /** Octets of the line so far. */
  #lineBytes = 0;
  /** Whether the line begins a message, by its first octet. */
  #isMessage = false;
  /** The last octets of the line. */
  #tail = "";
  /** Octets of a message that are still to come. */
  #leftBytes = 0;

  /** Takes octets as they come; whether nothing of it is too long. */
  takes(chunk: Uint8Array): boolean {
    for (let at = 0; at < chunk.length;) {
      if (this.#leftBytes > 0) {
        const skipped = Math.min(this.#leftBytes, chunk.length - at);
        this.#leftBytes -= skipped;
        at += skipped;
        continue;
      }
      const newline = chunk.indexOf(NEWLINE, at);
      const end = newline < 0 ? chunk.length : newline + 1;
      if (!this.#line(chunk.subarray(at, end), newline >= 0)) return false;
      at = end;
    }
    return true;
  }

  #line(part: Uint8Array, isWhole: boolean): boolean {
    if (this.#lineBytes === 0) this.#isMessage = /^[mh]/i.test(String.fromCharCode(part[0]!));
    this.#lineBytes += part.length;
    if (this.#lineBytes > LINE_MAX_BYTES) return false;
    if (this.#isMessage) {
      const tail = String.fromCharCode(...part.subarray(-TAIL_BYTES));
      this.#tail = (this.#tail + tail).slice(-TAIL_BYTES);
    }
    if (!isWhole) return true;
    // Without a length it is the client's to refuse.
    if (this.#isMessage) this.#leftBytes = Number(/ (\d+)\s*$/.exec(this.#tail)?.[1] ?? 0);
    this.#lineBytes = 0;
    this.#tail = "";
    return this.#leftBytes <= MESSAGE_MAX_BYTES;
  }
}
