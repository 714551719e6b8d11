/**
 * Bound datagram sockets by `Deno.listenDatagram`: see `datagram_deno.ts` for how it sends.
 *
 * After `BURST` datagrams in one go the others of the event loop have their turn, so a client that
 * sends without a pause fills the kernel's queue of its socket, and nobody else's time.
 *
 * @module
 */
import type {
  BoundDatagramBackend,
  BoundDatagramListener,
  BoundDatagramSocket,
  DatagramPlace,
} from "./bound_datagrams.ts";
import { closeQuietly } from "./close_quietly.ts";
import {
  type DatagramConn,
  type ListenDatagram,
  type SendBuffer,
  SendBuffers,
} from "./datagram_deno.ts";
import { type DatagramSlot, DatagramSlots } from "./datagram_slots.ts";
import { pause, systemClock } from "./host_clock.ts";
import { noDescriptors } from "./no_descriptors.ts";
import { SendQueue } from "./send_queue.ts";

const BURST = 64;
const PAUSE_MS = 100;

/** Makes such sockets, and owns their buffers. */
export class DenoBoundDatagrams implements BoundDatagramBackend {
  readonly #listen: ListenDatagram;
  readonly #slots: DatagramSlots;
  readonly #sends: SendBuffers;
  #unsettled = 0;
  #waiting: (() => void)[] = [];

  constructor(listen: ListenDatagram, sockets: number, sends: number) {
    this.#listen = listen;
    this.#slots = new DatagramSlots(sockets);
    this.#sends = new SendBuffers(sends);
  }

  bind(place: DatagramPlace, listener: BoundDatagramListener): BoundDatagramSocket {
    const slot = this.#slots.take();
    if (slot === null) throw noDescriptors("Too many sockets");
    let conn: DatagramConn;
    try {
      conn = this.#listen({ transport: "udp", ...place });
    } catch (error) {
      this.#slots.give(slot);
      throw error;
    }
    this.#unsettled++;
    return new DenoBoundSocket(conn, listener, this.#sends, slot, () => {
      this.#slots.give(slot);
      if (--this.#unsettled > 0) return;
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
  }

  settled(): Promise<void> {
    if (this.#unsettled === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** A copy of a datagram, and where it goes. */
interface Send {
  readonly buffer: SendBuffer;
  readonly to: DatagramPlace;
}

class DenoBoundSocket implements BoundDatagramSocket {
  readonly port: number;
  readonly #conn: DatagramConn;
  readonly #listener: BoundDatagramListener;
  readonly #sends: SendBuffers;
  readonly #settled: () => void;
  readonly #queue = new SendQueue<Send>((send) => this.#write(send));
  #closed = false;
  #receiving = true;

  constructor(
    conn: DatagramConn,
    listener: BoundDatagramListener,
    sends: SendBuffers,
    slot: DatagramSlot,
    settled: () => void,
  ) {
    this.port = conn.addr.port;
    this.#conn = conn;
    this.#listener = listener;
    this.#sends = sends;
    this.#settled = settled;
    // A moment later: one that receives already gives its port back only after its close.
    queueMicrotask(() => void this.#receive(slot.bytes));
  }

  send(
    to: DatagramPlace,
    from: Uint8Array,
    at: number,
    length: number,
    failed: (error: unknown) => void,
  ): boolean {
    if (this.#closed || this.#queue.isFull) return false;
    const buffer = this.#sends.take({ sendSettled: (error) => this.#sendSettled(error, failed) });
    if (buffer === null) return false;
    buffer.slot.bytes.set(from.subarray(at, at + length));
    buffer.length = length;
    this.#queue.push({ buffer, to });
    return true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const { buffer } of this.#queue.drop()) buffer.release();
    closeQuietly(this.#conn);
  }

  #write({ buffer, to: { hostname, port } }: Send): void {
    const data = buffer.slot.bytes.subarray(0, buffer.length);
    this.#conn.send(data, { transport: "udp", hostname, port }).then(buffer.sent, buffer.failed);
  }

  #sendSettled(error: unknown, failed: (error: unknown) => void): void {
    this.#queue.settled();
    if (this.#closed) return this.#settleIfDone();
    if (error !== null) failed(error);
  }

  async #receive(buffer: Uint8Array): Promise<void> {
    for (let burst = 1; !this.#closed; burst++) {
      try {
        const [data, from] = await this.#conn.receive(buffer);
        if (this.#closed) break;
        this.#listener.received(data, from as DatagramPlace);
        if (burst % BURST === 0) await new Promise<void>((resolve) => systemClock.soon(resolve));
      } catch (error) {
        if (this.#closed) break;
        this.#listener.failed(error);
        await pause(systemClock, PAUSE_MS);
      }
    }
    this.#receiving = false;
    this.#settleIfDone();
  }

  #settleIfDone(): void {
    if (!this.#receiving && this.#queue.underWay === 0) this.#settled();
  }
}
