/**
 * The one peer of a datagram socket: is this datagram from it, and where to bind for it.
 *
 * @module
 */
import { parseIp, sameBytes } from "../wire/address.ts";

/** An address literal and a port. */
export class DatagramPeer {
  readonly address: string;
  readonly port: number;
  readonly #bytes: Uint8Array;

  /**
   * @param address A literal.
   * @throws {TypeError} Where it is none: no name is ever looked up here.
   */
  constructor(address: string, port: number) {
    const bytes = parseIp(address);
    if (bytes === null) throw new TypeError(`Cannot use "${address}": not an address literal`);
    this.address = address;
    this.port = port;
    this.#bytes = bytes;
  }

  /** 4 or 6. */
  get family(): 4 | 6 {
    return this.#bytes.length === 4 ? 4 : 6;
  }

  /** Whether a datagram came from this peer; its address may be spelled in another way. */
  is(address: string, port: number): boolean {
    if (port !== this.port) return false;
    if (address === this.address) return true;
    const bytes = parseIp(address);
    return bytes !== null && sameBytes(bytes, this.#bytes);
  }

  /**
   * The local address for a socket that speaks only with this peer: the loopback address for a
   * peer there, so that nobody outside can send to the socket, and any address otherwise.
   */
  get bindAddress(): string {
    if (this.family === 4) return this.#bytes[0] === 127 ? "127.0.0.1" : "0.0.0.0";
    return this.#bytes.every((octet, i) => octet === (i === 15 ? 1 : 0)) ? "::1" : "::";
  }
}
