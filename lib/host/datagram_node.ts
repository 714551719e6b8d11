/**
 * Datagram sockets by `node:dgram`, where `Deno.listenDatagram` is not offered.
 *
 * Such a socket binds and connects a little later than it is made: what is sent meanwhile waits,
 * and a failure to bind comes as an error event. Buffers are the runtime's.
 *
 * Limits: 256 KiB of sends under way for each socket, 16 MiB for all.
 *
 * @module
 */
import process from "node:process";
import type { Socket } from "node:dgram";
import type { DatagramPeer } from "./datagram_peer.ts";
import type { DatagramBackend, DatagramListener, DatagramSocket } from "./datagram_socket.ts";

const SOCKET_SEND_BYTES = 256 * 1024;
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
    // One more, as a flow is opened before the one that makes way for it is closed.
    if (this.#unsettled > this.#sockets) {
      throw Object.assign(new Error("Too many sockets"), { code: "EMFILE" });
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
  #waiting: Uint8Array[] | null = [];
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
      this.#closed || this.#underWayBytes + bytes > SOCKET_SEND_BYTES ||
      this.#all.underWayBytes + bytes > ALL_SEND_BYTES
    ) {
      return false;
    }
    const data = from.slice(at, at + length);
    this.#underWayBytes += bytes;
    this.#all.underWayBytes += bytes;
    if (this.#waiting !== null) this.#waiting.push(data);
    else this.#write(data);
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
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const data of waiting) this.#write(data);
  }

  #write(data: Uint8Array): void {
    this.#socket.send(data, 0, data.length, (error) => this.#sent(data, error));
  }

  #sent(data: Uint8Array, error: Error | null): void {
    if (this.#closed) return;
    this.#underWayBytes -= data.length + OVERHEAD_BYTES;
    this.#all.underWayBytes -= data.length + OVERHEAD_BYTES;
    if (error) this.#listener.failed(error);
  }

  #end(error: unknown): void {
    if (this.#closed) return;
    this.close();
    this.#listener.ended(error);
  }
}
