/**
 * One host socket for one UDP flow: `Deno.listenDatagram` where the runtime offers it (with
 * `--unstable-net`), else `node:dgram`, behind one interface.
 *
 * Both are unconnected sockets underneath (the connection of `node:dgram` in Deno is only a note
 * of the peer's address), so neither hears ICMP errors, and both hear datagrams from anybody: what
 * is not from the peer is reported as stray and goes no further.
 *
 * Nothing prompts: a permission that is not granted counts as refused. Nothing is thrown or
 * rejected after `open`: failures are told to the listener, a send that was under way at `close`
 * to nobody.
 *
 * Limits: `sockets` sockets, and `CLOSING` that settle; 256 sends under way for each, `SENDS` for all.
 *
 * @module
 */
import { DenoDatagrams, type ListenDatagram } from "./datagram_deno.ts";
import { NodeDatagrams } from "./datagram_node.ts";
import { DatagramPeer } from "./datagram_peer.ts";
import { mayUseAddress, noNetPermission } from "./permissions.ts";

/** What a socket tells its flow. */
export interface DatagramListener {
  /** A datagram from the peer; `data` is only valid during the call. */
  received(data: Uint8Array): void;
  /** A datagram from somebody else was dropped. */
  stray(): void;
  /** A datagram could not be sent. */
  failed(error: unknown): void;
  /** The socket is of no more use. */
  ended(error: unknown): void;
}

/** A socket of the host that speaks with one peer. */
export interface DatagramSocket {
  /**
   * Sends `length` octets at `at` of `from`, which are copied.
   *
   * @returns Whether it was taken; not where too much is under way.
   */
  send(from: Uint8Array, at: number, length: number): boolean;
  /** Closes the socket at once; it may be called again. */
  close(): void;
}

/** A kind of socket. */
export interface DatagramBackend {
  /** Sockets that are open, or whose last operation has not settled. */
  readonly unsettled: number;
  /** Opens a socket, or throws. */
  open(peer: DatagramPeer, listener: DatagramListener, settled: () => void): DatagramSocket;
}

/** Which kind of socket to use. */
export type DatagramBackendName = "deno" | "node";

/** How datagram sockets are made. */
export interface DatagramSocketsOptions {
  /** How many sockets may be open at once. */
  readonly sockets: number;
  /** Which kind; what the runtime offers when absent. */
  readonly backend?: DatagramBackendName;
}

/** Sockets beyond those in use: they were closed, and what was under way settles in a turn. */
const CLOSING = 512;
/** Sends that may be under way at once, of all sockets. */
const SENDS = 4096;

/** Makes sockets, and knows when all of them are gone. */
export class DatagramSockets {
  /** Which kind is used. */
  readonly backendName: DatagramBackendName;
  readonly #backend: DatagramBackend;
  #waiting: (() => void)[] = [];

  /** @throws {TypeError} Where the runtime does not offer the kind that was asked for. */
  constructor(options: DatagramSocketsOptions) {
    const listen = (Deno as unknown as { listenDatagram?: ListenDatagram }).listenDatagram;
    this.backendName = options.backend ?? (listen === undefined ? "node" : "deno");
    if (this.backendName === "node") {
      this.#backend = new NodeDatagrams(options.sockets + CLOSING);
    } else {
      if (listen === undefined) {
        throw new TypeError("Cannot use Deno.listenDatagram: it needs --unstable-net");
      }
      this.#backend = new DenoDatagrams(listen, options.sockets + CLOSING, SENDS);
    }
  }

  /** Sockets that are open, or whose last operation has not settled. */
  get unsettled(): number {
    return this.#backend.unsettled;
  }

  /**
   * Opens a socket for one peer.
   *
   * @param address Address literal of the peer.
   * @throws Where the socket can't be opened, with the system's `code` where it says one; EACCES
   * where a permission is missing.
   */
  open(address: string, port: number, listener: DatagramListener): DatagramSocket {
    const peer = new DatagramPeer(address, port);
    demandNet(peer.bindAddress, 0);
    demandNet(peer.address, peer.port);
    return this.#backend.open(peer, listener, this.#settled);
  }

  /** Resolves once every socket has been closed and every operation has settled. */
  settled(): Promise<void> {
    if (this.unsettled === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  readonly #settled = (): void => {
    if (this.unsettled > 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  };
}

/** Throws where the runtime would refuse, or ask a person at the terminal. */
function demandNet(address: string, port: number): void {
  if (!mayUseAddress(address, port)) throw noNetPermission(address, port);
}
