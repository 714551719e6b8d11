/**
 * Bound datagram sockets by `node:dgram`, where `Deno.listenDatagram` is not offered.
 *
 * With addresses that are literals it binds inside the call, so a failure to bind is thrown here as
 * Deno's own sockets throw it. Buffers are the runtime's.
 *
 * Limits: 256 sends under way for each socket, `ALL_SEND_BYTES` for all.
 *
 * @module
 */
import process from "node:process";
import type { Socket } from "node:dgram";
import type {
  BoundDatagramBackend,
  BoundDatagramListener,
  BoundDatagramSocket,
  DatagramPlace,
} from "./bound_datagrams.ts";
import { closeQuietly } from "./close_quietly.ts";
import { SendQueue } from "./send_queue.ts";

const ALL_SEND_BYTES = 4 * 1024 * 1024;
/** What a datagram costs beyond its data, so that empty ones are bounded too. */
const OVERHEAD_BYTES = 256;

/** Makes such sockets. */
export class NodeBoundDatagrams implements BoundDatagramBackend {
  #unsettled = 0;
  #waiting: (() => void)[] = [];
  /** Octets of all sockets that are being sent. */
  underWayBytes = 0;

  bind(place: DatagramPlace, listener: BoundDatagramListener): BoundDatagramSocket {
    const socket = new NodeBoundSocket(this, place, listener, () => {
      if (--this.#unsettled > 0) return;
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
    this.#unsettled++;
    return socket;
  }

  settled(): Promise<void> {
    if (this.#unsettled === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Whether so many octets may be sent beside the others; they then count. */
  admits(bytes: number): boolean {
    if (this.underWayBytes + bytes > ALL_SEND_BYTES) return false;
    this.underWayBytes += bytes;
    return true;
  }
}

/** A copy of a datagram, and where it goes. */
interface Send {
  readonly data: Uint8Array;
  readonly to: DatagramPlace;
  readonly failed: (error: unknown) => void;
}

class NodeBoundSocket implements BoundDatagramSocket {
  readonly port: number;
  readonly #all: NodeBoundDatagrams;
  readonly #socket: Socket;
  readonly #queue = new SendQueue<Send>((send) => this.#write(send));
  #underWayBytes = 0;
  #closed = false;

  constructor(
    all: NodeBoundDatagrams,
    { hostname, port }: DatagramPlace,
    listener: BoundDatagramListener,
    settled: () => void,
  ) {
    this.#all = all;
    const family = hostname.includes(":") ? 6 : 4;
    // Loaded here since its 10 ms are lost where Deno's own sockets serve.
    const { createSocket } = process.getBuiltinModule("node:dgram");
    this.#socket = createSocket({
      type: family === 4 ? "udp4" : "udp6",
      // Only literals come here: no name is ever looked up.
      lookup: (literal, _options, done) => done(null, literal, family),
    });
    let failure: unknown = null;
    this.#socket.on("error", (error) => {
      failure ??= error;
      if (!this.#closed) listener.failed(error);
    });
    this.#closed = true; // until it is bound, a failure is thrown and told to nobody
    this.#socket.bind({ address: hostname, port, exclusive: true });
    if (failure !== null) {
      closeQuietly(this.#socket);
      throw bindError(failure);
    }
    this.port = this.#socket.address().port;
    this.#closed = false;
    this.#socket.on("close", settled);
    this.#socket.on("message", (data, from) => {
      if (!this.#closed) listener.received(data, { hostname: from.address, port: from.port });
    });
  }

  send(
    to: DatagramPlace,
    from: Uint8Array,
    at: number,
    length: number,
    failed: (error: unknown) => void,
  ): boolean {
    const bytes = length + OVERHEAD_BYTES;
    if (this.#closed || this.#queue.isFull || !this.#all.admits(bytes)) return false;
    this.#underWayBytes += bytes;
    this.#queue.push({ data: from.slice(at, at + length), to, failed });
    return true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // A send that is under way at the close may never call back.
    this.#all.underWayBytes -= this.#underWayBytes;
    this.#queue.drop();
    this.#socket.close();
  }

  #write(send: Send): void {
    const { data, to: { hostname, port } } = send;
    const sent = (error: Error | null) => this.#sent(send, error);
    try {
      this.#socket.send(data, 0, data.length, port, hostname, sent);
    } catch (error) {
      queueMicrotask(() => sent(error as Error)); // as all other failures here: told later
    }
  }

  #sent({ data, failed }: Send, error: Error | null): void {
    if (this.#closed) return;
    this.#underWayBytes -= data.length + OVERHEAD_BYTES;
    this.#all.underWayBytes -= data.length + OVERHEAD_BYTES;
    this.#queue.settled();
    if (error) failed(error);
  }
}

/** The error of a bind as Deno's own sockets have it. */
function bindError(error: unknown): unknown {
  const { code, message } = error as { code?: string; message: string };
  switch (code) {
    case "EADDRINUSE":
      return new Deno.errors.AddrInUse(message);
    case "EADDRNOTAVAIL":
      return new Deno.errors.AddrNotAvailable(message);
    case "EACCES":
    case "EPERM":
      return new Deno.errors.PermissionDenied(message);
    default:
      return error;
  }
}
