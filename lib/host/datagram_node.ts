/**
 * Datagram sockets by `node:dgram`, where `Deno.listenDatagram` is not offered.
 *
 * Such a socket binds and connects a little later than it is made: what is sent meanwhile waits,
 * and a failure to bind comes as an error event. As in `datagram_deno.ts`, the first send goes
 * alone, so that the others keep their order. Buffers are the runtime's.
 *
 * Limits: `SENDS_A_SOCKET` sends under way for each socket, 16 MiB for all.
 *
 * @module
 */
import process from "node:process";
import type { Socket } from "node:dgram";
import type { DatagramPeer } from "./datagram_peer.ts";
import { SENDS_A_SOCKET } from "./datagram_slots.ts";
import { noDescriptors } from "./no_descriptors.ts";
import type { DatagramBackend, DatagramListener, DatagramSocket } from "./datagram_socket.ts";

const ALL_SEND_BYTES = 16 * 1024 * 1024;
/** What a datagram costs beyond its data, so that empty ones are bounded too. */
const OVERHEAD_BYTES = 256;

/** Makes such sockets. */
export class NodeDatagrams implements DatagramBackend {
  readonly #sockets: number;
  #unsettled = 0;
  /** Octets of all sockets that are being sent. */
  underWayBytes = 0;

  constructor(sockets: number) {
    this.#sockets = sockets;
  }

  get unsettled(): number {
    return this.#unsettled;
  }

  open(peer: DatagramPeer, listener: DatagramListener, settled: () => void): DatagramSocket {
    if (this.#unsettled >= this.#sockets) {
      throw noDescriptors("Too many sockets");
    }
    this.#unsettled++;
    return new NodeDatagramSocket(this, peer, listener, () => {
      this.#unsettled--;
      settled();
    });
  }
}

class NodeDatagramSocket implements DatagramSocket {
  readonly #all: NodeDatagrams;
  readonly #socket: Socket;
  readonly #listener: DatagramListener;
  /** What waits for the connection and the first send; `null` once that has settled. */
  #waiting: Uint8Array[] | null = [];
  #isConnected = false;
  #underWay = 0;
  #underWayBytes = 0;
  #closed = false;

  constructor(
    all: NodeDatagrams,
    peer: DatagramPeer,
    listener: DatagramListener,
    settled: () => void,
  ) {
    this.#all = all;
    this.#listener = listener;
    const { family } = peer;
    // Loaded here since its 10 ms are lost where Deno's own sockets serve.
    const { createSocket } = process.getBuiltinModule("node:dgram");
    this.#socket = createSocket({
      type: family === 4 ? "udp4" : "udp6",
      ipv6Only: family === 6,
      // Only literals come here: no name is ever looked up.
      lookup: (literal, _options, done) => done(null, literal, family),
    });
    this.#socket.on("close", settled);
    this.#socket.on("error", (error) => this.#end(error));
    this.#socket.on("message", (data, from) => {
      if (this.#closed) return;
      if (peer.is(from.address, from.port)) listener.received(data);
      else listener.stray();
    });
    try {
      this.#socket.bind({ address: peer.bindAddress, port: 0, exclusive: true });
      this.#socket.connect(peer.port, peer.address, () => this.#connected());
    } catch (error) {
      // As all other failures here: told later.
      queueMicrotask(() => this.#end(error));
    }
  }

  send(from: Uint8Array, at: number, length: number): boolean {
    const bytes = length + OVERHEAD_BYTES;
    if (
      this.#closed || this.#underWay >= SENDS_A_SOCKET ||
      this.#all.underWayBytes + bytes > ALL_SEND_BYTES
    ) {
      return false;
    }
    const data = from.slice(at, at + length);
    const goesAlone = this.#isConnected && this.#underWay === 0;
    this.#underWay++;
    this.#underWayBytes += bytes;
    this.#all.underWayBytes += bytes;
    if (this.#waiting === null || goesAlone) this.#write(data);
    else this.#waiting.push(data);
    return true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // A send that is under way at the close may never call back.
    this.#all.underWayBytes -= this.#underWayBytes;
    this.#waiting = [];
    this.#socket.close();
  }

  #connected(): void {
    if (this.#closed) return;
    this.#isConnected = true;
    const first = this.#waiting?.shift();
    if (first !== undefined) this.#write(first);
  }

  #write(data: Uint8Array): void {
    this.#socket.send(data, 0, data.length, (error) => this.#sent(data, error));
  }

  #sent(data: Uint8Array, error: Error | null): void {
    if (this.#closed) return;
    this.#underWay--;
    this.#underWayBytes -= data.length + OVERHEAD_BYTES;
    this.#all.underWayBytes -= data.length + OVERHEAD_BYTES;
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null) { for (const next of waiting) this.#write(next); }
    if (error) this.#listener.failed(error);
  }

  #end(error: unknown): void {
    if (this.#closed) return;
    this.close();
    this.#listener.ended(error);
  }
}
