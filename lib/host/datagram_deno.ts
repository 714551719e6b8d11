/**
 * Datagram sockets by `Deno.listenDatagram`.
 *
 * A send enters the kernel inside the call only when the socket is known to be writable; the first
 * one, or one that meets a full send buffer, reads its octets later. So each send gets a copy,
 * which stays lent until the send has settled. And as sends that wait for the same socket may
 * overtake each other, the first one goes alone and the others follow in their order.
 *
 * @module
 */
import { type DatagramSlot, DatagramSlots } from "./datagram_slots.ts";
import type { DatagramPeer } from "./datagram_peer.ts";
import { noDescriptors } from "./no_descriptors.ts";
import { SendQueue } from "./send_queue.ts";
import type { DatagramBackend, DatagramListener, DatagramSocket } from "./datagram_socket.ts";

/** What is used of `Deno.listenDatagram`, whose types need a flag. */
export type ListenDatagram = (
  options: { transport: "udp"; hostname: string; port: number },
) => DatagramConn;

interface NetAddress {
  transport: "udp";
  hostname: string;
  port: number;
}

/** What is used of a socket that it makes. */
export interface DatagramConn {
  readonly addr: { readonly port: number };
  receive(buffer: Uint8Array): Promise<[Uint8Array, unknown]>;
  send(data: Uint8Array, address: NetAddress): Promise<number>;
  close(): void;
}

/** Makes such sockets, and owns their buffers. */
export class DenoDatagrams implements DatagramBackend {
  readonly #listen: ListenDatagram;
  readonly #receiveSlots: DatagramSlots;
  readonly sends: SendBuffers;
  #unsettled = 0;

  constructor(listen: ListenDatagram, sockets: number, sends: number) {
    this.#listen = listen;
    this.#receiveSlots = new DatagramSlots(sockets);
    this.sends = new SendBuffers(sends);
  }

  get unsettled(): number {
    return this.#unsettled;
  }

  open(peer: DatagramPeer, listener: DatagramListener, settled: () => void): DatagramSocket {
    const slot = this.#receiveSlots.take();
    if (slot === null) throw noDescriptors("Too many sockets");
    let conn: DatagramConn;
    try {
      conn = this.#listen({ transport: "udp", hostname: peer.bindAddress, port: 0 });
    } catch (error) {
      this.#receiveSlots.give(slot);
      throw error;
    }
    this.#unsettled++;
    return new DenoDatagramSocket(conn, peer, listener, this.sends, slot, () => {
      this.#receiveSlots.give(slot);
      this.#unsettled--;
      settled();
    });
  }
}

class DenoDatagramSocket implements DatagramSocket {
  readonly #conn: DatagramConn;
  readonly #to: NetAddress;
  readonly #listener: DatagramListener;
  readonly #sends: SendBuffers;
  readonly #settled: () => void;
  #closed = false;
  #receiving = true;
  readonly #queue = new SendQueue<SendBuffer>((buffer) => this.#write(buffer));

  constructor(
    conn: DatagramConn,
    peer: DatagramPeer,
    listener: DatagramListener,
    sends: SendBuffers,
    slot: DatagramSlot,
    settled: () => void,
  ) {
    this.#conn = conn;
    this.#to = { transport: "udp", hostname: peer.address, port: peer.port };
    this.#listener = listener;
    this.#sends = sends;
    this.#settled = settled;
    this.#receive(peer, slot.bytes);
  }

  send(from: Uint8Array, at: number, length: number): boolean {
    if (this.#closed || this.#queue.isFull) return false;
    const buffer = this.#sends.take(this);
    if (buffer === null) return false;
    buffer.slot.bytes.set(from.subarray(at, at + length));
    buffer.length = length;
    this.#queue.push(buffer);
    return true;
  }

  #write(buffer: SendBuffer): void {
    const data = buffer.slot.bytes.subarray(0, buffer.length);
    this.#conn.send(data, this.#to).then(buffer.sent, buffer.failed);
  }

  /** A send is over; `error` is `null` where it went well. */
  sendSettled(error: unknown): void {
    this.#queue.settled();
    if (this.#closed) return this.#settleIfDone();
    if (error !== null) this.#listener.failed(error);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const buffer of this.#queue.drop()) buffer.release();
    this.#conn.close();
  }

  async #receive(peer: DatagramPeer, buffer: Uint8Array): Promise<void> {
    try {
      while (!this.#closed) {
        const [data, from] = await this.#conn.receive(buffer);
        if (this.#closed) break;
        const { hostname, port } = from as NetAddress;
        if (peer.is(hostname, port)) this.#listener.received(data);
        else this.#listener.stray();
      }
    } catch (error) {
      if (!this.#closed) {
        this.close();
        this.#listener.ended(error);
      }
    }
    this.#receiving = false;
    this.#settleIfDone();
  }

  #settleIfDone(): void {
    if (!this.#receiving && this.#queue.underWay === 0) this.#settled();
  }
}

/** The copies that are being sent. */
export class SendBuffers {
  readonly #slots: DatagramSlots;
  readonly #buffers: SendBuffer[] = [];

  constructor(capacity: number) {
    this.#slots = new DatagramSlots(capacity);
  }

  /** Copies that are lent. */
  get lent(): number {
    return this.#slots.lent;
  }

  /** Lends a buffer until one of its callbacks is called; `null` when all are lent. */
  take(socket: SendOwner): SendBuffer | null {
    const slot = this.#slots.take();
    if (slot === null) return null;
    const buffer = this.#buffers[slot.index] ??= new SendBuffer(slot, this.#slots);
    buffer.socket = socket;
    return buffer;
  }
}

/** Whose send it is. */
export interface SendOwner {
  /** A send is over; `error` is `null` where it went well. */
  sendSettled(error: unknown): void;
}

/** One copy, with callbacks that are made once. */
export class SendBuffer {
  readonly slot: DatagramSlot;
  readonly sent: () => void;
  readonly failed: (error: unknown) => void;
  /** Octets of the datagram in it. */
  length = 0;
  socket: SendOwner | null = null;
  readonly #slots: DatagramSlots;

  constructor(slot: DatagramSlot, slots: DatagramSlots) {
    this.slot = slot;
    this.#slots = slots;
    this.failed = (error) => {
      const socket = this.socket!;
      this.release();
      socket.sendSettled(error);
    };
    this.sent = () => this.failed(null);
  }

  /** Gives the buffer back; nothing may be under way with it. */
  release(): void {
    this.socket = null;
    this.#slots.give(this.slot);
  }
}
