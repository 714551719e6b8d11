/**
 * Datagram sockets at an address of the gateway's choice, which speak with whoever writes to them:
 * those of published ports. `Deno.listenDatagram` where the runtime offers it (with `--unstable-net`),
 * else `node:dgram`.
 *
 * Limits: `SOCKETS` sockets; 256 sends under way for each, `SENDS` for all.
 *
 * @module
 */
import { DenoBoundDatagrams } from "./bound_datagram_deno.ts";
import { NodeBoundDatagrams } from "./bound_datagram_node.ts";
import type { ListenDatagram } from "./datagram_deno.ts";
import type { DatagramBackendName } from "./datagram_socket.ts";

/** An address literal and a port, as the runtime spells them. */
export interface DatagramPlace {
  readonly hostname: string;
  readonly port: number;
}

/** What a socket tells its owner. */
export interface BoundDatagramListener {
  /** A datagram has come; `data` is only valid during the call. */
  received(data: Uint8Array, from: DatagramPlace): void;
  /** Nothing can be received at the moment; it is tried again. */
  failed(error: unknown): void;
}

/** A socket that is bound. */
export interface BoundDatagramSocket {
  /** Its port: the one that was chosen where 0 was asked for. */
  readonly port: number;
  /**
   * Sends `length` octets at `at` of `from`, which are copied; `failed` hears why they did not go.
   *
   * @returns Whether they were taken; not where too much is under way.
   */
  send(
    to: DatagramPlace,
    from: Uint8Array,
    at: number,
    length: number,
    failed: (error: unknown) => void,
  ): boolean;
  /** Closes the socket at once; it may be called again. */
  close(): void;
}

/** A kind of such sockets. */
export interface BoundDatagramBackend {
  /** Binds a socket, or throws as `Deno.listenDatagram` does. */
  bind(place: DatagramPlace, listener: BoundDatagramListener): BoundDatagramSocket;
  /** Resolves once every socket has been closed and every operation has settled. */
  settled(): Promise<void>;
}

/** Most sockets at once, those that settle included. */
const SOCKETS = 4_096;
/** Sends that may be under way at once, of all sockets. */
const SENDS = 1_024;

/** The sockets of one gateway; `backend` is what the runtime offers when absent. */
export function boundDatagrams(backend?: DatagramBackendName): BoundDatagramBackend {
  const listen = (Deno as unknown as { listenDatagram?: ListenDatagram }).listenDatagram;
  const isDeno = (backend ?? (listen === undefined ? "node" : "deno")) === "deno";
  return isDeno && listen !== undefined
    ? new DenoBoundDatagrams(listen, SOCKETS, SENDS)
    : new NodeBoundDatagrams();
}
