/**
 * Several gateways that run here, each for a guest with a name, as the control interface works on
 * them. Which there are does not change; a worker that serves some of them may end and be started
 * again, and what is asked of its guests meanwhile fails with a `GatewayError`.
 *
 * @module
 */
import type { Endpoint } from "../config/endpoint.ts";
import type { Awaitable } from "./gateway.ts";
import type { EventStream } from "./gateway_event.ts";
import type { ServedGateway } from "./served_gateway.ts";
import type { SocketUse, VmmListener } from "./vmm_endpoint.ts";

/** Who has room for another socket of the program. As {@linkcode VirtioNetworkServer} is one. */
export interface ListensBeside {
  /**
   * Listens on a socket that no guest reaches, with the descriptors that are kept for the gateway's
   * own; it ends with the gateway.
   *
   * @param endpoint A unix socket's path or a TCP address.
   * @param use Whom it is for, in the words of messages.
   * @throws {GatewayError} Where the socket is in use or a permission is missing.
   */
  listenBeside(endpoint: Endpoint, use: SocketUse): Promise<VmmListener>;
  /** Stops accepting, lets queued bytes drain, and ends. */
  close(): Promise<void>;
}

/** A worker and what it serves. Part of what {@linkcode serveControl} works on. */
export interface GuestWorker {
  /** The names of its guests. */
  readonly guests: readonly string[];
  /** How often it was started again. */
  readonly restarts: number;
  /** Whether it runs. */
  readonly alive: boolean;
}

/** Several guests, each with a gateway of its own. For {@linkcode serveControl}. */
export interface ServedGuests extends ListensBeside {
  /** The names of the guests, in their order: labels of small letters, digits and hyphens. */
  readonly names: readonly string[];
  /**
   * The gateway of one guest.
   *
   * @param name One of `names`.
   * @throws {GatewayError} Where there is no such guest.
   */
  guest(name: string): ServedGateway;
  /**
   * The shared network that a guest is in; `null` where it has one of its own.
   *
   * @param name One of `names`.
   */
  network(name: string): string | null;
  /** The workers that serve the guests; none where this isolate does. */
  workers(): Awaitable<readonly GuestWorker[]>;
  /**
   * What happens at all of them from now on, each event with its `guest`.
   *
   * @param signal Ends the iteration.
   */
  events(signal?: AbortSignal): EventStream;
}
