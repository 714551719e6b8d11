/**
 * The guest's UDP sockets: each has a port, sends anywhere, and keeps what comes until it is asked
 * for. An ICMP error about a datagram fails the next `receive`.
 *
 * Limit: 256 datagrams wait for each socket; more are dropped.
 *
 * @module
 */
import { GuestError, type GuestErrorCode } from "./guest_error.ts";

/** A datagram that came. */
export interface GuestDatagram {
  /** The sender's address. */
  readonly address: string;
  /** The sender's port. */
  readonly port: number;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** The way out of a socket. */
export interface UdpWays {
  /** Sends a datagram; false where it can't be sent now. */
  send(socket: GuestUdp, address: string, port: number, data: Uint8Array): boolean;
  /** Gives the port back. */
  close(socket: GuestUdp): void;
}

const QUEUE_MAX = 256;

interface Waiting {
  readonly resolve: (datagram: GuestDatagram) => void;
  readonly reject: (error: GuestError) => void;
}

/** A UDP socket of the guest. */
export class GuestUdp implements Disposable {
  /** The socket's port. */
  readonly port: number;
  readonly #ways: UdpWays;
  readonly #queue: (GuestDatagram | GuestError)[] = [];
  readonly #waiting: Waiting[] = [];
  #closed = false;

  constructor(port: number, ways: UdpWays) {
    this.port = port;
    this.#ways = ways;
  }

  /**
   * Sends a datagram.
   *
   * @throws {GuestError} Where the guest has no address of that family or no room.
   */
  send(address: string, port: number, data: Uint8Array): void {
    if (this.#closed) throw new GuestError("closed", "Cannot send: the socket is closed");
    if (!this.#ways.send(this, address, port, data)) {
      throw new GuestError("unavailable", `Cannot send ${data.length} bytes to ${address}:${port}`);
    }
  }

  /**
   * The next datagram.
   *
   * @throws {GuestError} Where an earlier datagram was refused, or the socket closes.
   */
  receive(): Promise<GuestDatagram> {
    const next = this.#queue.shift();
    if (next instanceof GuestError) return Promise.reject(next);
    if (next !== undefined) return Promise.resolve(next);
    if (this.#closed) return Promise.reject(closedError());
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Gives the port back; who waits is told. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ways.close(this);
    for (const { reject } of this.#waiting.splice(0)) reject(closedError());
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** A datagram has come; for the stack. */
  deliver(datagram: GuestDatagram): void {
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) waiting.resolve(datagram);
    else if (this.#queue.length < QUEUE_MAX) this.#queue.push(datagram);
  }

  /** An ICMP error about a datagram has come; for the stack. */
  fail(code: GuestErrorCode, address: string, port: number): void {
    const error = new GuestError(code, `Cannot reach ${address}:${port}: ${code}`);
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) waiting.reject(error);
    else if (this.#queue.length < QUEUE_MAX) this.#queue.push(error);
  }
}

function closedError(): GuestError {
  return new GuestError("closed", "Cannot receive: the socket is closed");
}
