/**
 * hyperkit's and vpnkit's framing: after a handshake, 2 bytes of length, little-endian, and a frame.
 *
 *     VMM                                    gateway
 *     magic 5, version 4, commit 40    ──▶
 *                                      ◀──   the same 49 bytes: it speaks that version
 *     command 1, uuid 36, address 4    ──▶
 *                                      ◀──   1, MTU 2, frame 2, MAC 6, zeros to 258
 *     length 2, frame …                ◀─▶   length 2, frame …
 *
 * A VMM that begins with anything else is cut off. Frames are copied once each way, into and out of
 * the stream that the gateway speaks; a length of more than a frame can be ends the transport there,
 * as in the stream itself.
 *
 * @module
 */
import { LENGTH_BYTES } from "../stack/queues.ts";
import { ETHERNET_HEADER_BYTES } from "../wire/ethernet.ts";
import type { FrameTransport } from "./frame_transport.ts";

/** What the VMM is told of its link. */
export interface HyperkitLink {
  /** The guest's MAC address, 6 octets. */
  readonly guestMac: Uint8Array;
  /** The link's MTU, in bytes. */
  readonly mtu: number;
}

const MAGIC = new TextEncoder().encode("VMN3T");
const HELLO_BYTES = 49;
const COMMAND_BYTES = 41;
/** The two commands that ask for a link: with any address, and with a preferred one. */
const COMMANDS: ReadonlySet<number> = new Set([1, 8]);
const ANSWER_BYTES = 258;
const ANSWER_LINK = 1;
const SHORT_LENGTH_BYTES = 2;
/** The longest frame that two bytes tell. */
const FRAME_MAX_BYTES = 0xffff;
const READ_BYTES = 64 * 1024;

/** A stream of hyperkit's, as the gateway's own. */
export class HyperkitTransport implements FrameTransport {
  readonly #conn: FrameTransport;
  readonly #link: HyperkitLink;
  /** Resolves once the VMM may be written to; rejects where it is none of hyperkit's. */
  #opened: Promise<void> | null = null;
  readonly #held = new Uint8Array(READ_BYTES + SHORT_LENGTH_BYTES + FRAME_MAX_BYTES);
  #heldFrom = 0;
  #heldTo = 0;
  readonly #out = new Uint8Array(READ_BYTES + FRAME_MAX_BYTES);
  /** The part of a frame for the VMM of which the rest is still to come. */
  #partial = new Uint8Array(0);

  constructor(conn: FrameTransport, link: HyperkitLink) {
    this.#conn = conn;
    this.#link = link;
  }

  async read(into: Uint8Array): Promise<number | null> {
    await this.#open();
    for (;;) {
      const bytes = this.#moveFrames(into);
      if (bytes > 0) return bytes;
      if (!await this.#fill()) return null;
    }
  }

  async write(bytes: Uint8Array): Promise<number> {
    await this.#open();
    const all = this.#partial.length === 0 ? bytes : joined(this.#partial, bytes);
    const view = new DataView(all.buffer, all.byteOffset, all.byteLength);
    let at = 0;
    let to = 0;
    while (all.length - at >= LENGTH_BYTES) {
      const length = view.getUint32(at);
      if (all.length - at < LENGTH_BYTES + length) break;
      if (length <= FRAME_MAX_BYTES) {
        if (to + SHORT_LENGTH_BYTES + length > this.#out.length) {
          await writeAll(this.#conn, this.#out.subarray(0, to));
          to = 0;
        }
        this.#out[to] = length & 0xff;
        this.#out[to + 1] = length >> 8;
        this.#out.set(all.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length), to + 2);
        to += SHORT_LENGTH_BYTES + length;
      }
      at += LENGTH_BYTES + length;
    }
    this.#partial = all.slice(at);
    await writeAll(this.#conn, this.#out.subarray(0, to));
    return bytes.length;
  }

  close(): void {
    this.#conn.close();
  }

  /** Moves whole frames, as many as are held and fit: how many bytes these are then. */
  #moveFrames(into: Uint8Array): number {
    let to = 0;
    while (this.#heldTo - this.#heldFrom >= SHORT_LENGTH_BYTES) {
      const at = this.#heldFrom;
      const length = this.#held[at]! | this.#held[at + 1]! << 8;
      const end = at + SHORT_LENGTH_BYTES + length;
      if (end > this.#heldTo || to + LENGTH_BYTES + length > into.length) break;
      into[to] = 0;
      into[to + 1] = 0;
      into[to + 2] = length >> 8;
      into[to + 3] = length & 0xff;
      into.set(this.#held.subarray(at + SHORT_LENGTH_BYTES, end), to + LENGTH_BYTES);
      to += LENGTH_BYTES + length;
      this.#heldFrom = end;
    }
    return to;
  }

  async #fill(): Promise<boolean> {
    this.#held.copyWithin(0, this.#heldFrom, this.#heldTo);
    this.#heldTo -= this.#heldFrom;
    this.#heldFrom = 0;
    const count = await this.#conn.read(this.#held.subarray(this.#heldTo));
    if (count === null) return false;
    this.#heldTo += count;
    return true;
  }

  #open(): Promise<void> {
    return this.#opened ??= this.#shakeHands();
  }

  async #shakeHands(): Promise<void> {
    const hello = await this.#take(HELLO_BYTES);
    if (MAGIC.some((octet, i) => hello[i] !== octet)) throw foreign("it does not begin with VMN3T");
    await writeAll(this.#conn, hello);
    const command = await this.#take(COMMAND_BYTES);
    if (!COMMANDS.has(command[0]!)) throw foreign(`it asks for command ${command[0]}`);
    const answer = new Uint8Array(ANSWER_BYTES);
    const view = new DataView(answer.buffer);
    view.setUint8(0, ANSWER_LINK);
    view.setUint16(1, this.#link.mtu, true);
    view.setUint16(3, Math.min(FRAME_MAX_BYTES, this.#link.mtu + ETHERNET_HEADER_BYTES), true);
    answer.set(this.#link.guestMac, 5);
    await writeAll(this.#conn, answer);
  }

  /** The next `count` bytes of the VMM. */
  async #take(count: number): Promise<Uint8Array> {
    while (this.#heldTo - this.#heldFrom < count) {
      if (!await this.#fill()) throw foreign("it has ended in the middle of its greeting");
    }
    const bytes = this.#held.slice(this.#heldFrom, this.#heldFrom + count);
    this.#heldFrom += count;
    return bytes;
  }
}

function foreign(why: string): Error {
  return new Error(`the VMM does not speak hyperkit's framing: ${why}`);
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}

async function writeAll(conn: FrameTransport, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}
