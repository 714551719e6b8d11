/**
 * Published UDP ports: host sockets whose datagrams go to the guest, and take its answers back.
 *
 * Ports come and go one by one, and stay bound while guests come and go; without a guest a datagram is
 * dropped. Who may send is asked once for each flow; of the refusals of one port so many become events,
 * and the guest's network counts all of them.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import type { PortMapping } from "../config/options.ts";
import { isAtPlace, type PublishedPlace, type PublishedPort } from "../config/published.ts";
import type { Denial } from "../policy/denial.ts";
import { Sources } from "../policy/sources.ts";
import { TokenBucket } from "../stack/token_bucket.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import {
  type BoundDatagramBackend,
  type BoundDatagramListener,
  boundDatagrams,
  type BoundDatagramSocket,
} from "./bound_datagrams.ts";
import { canBind } from "./destinations.ts";
import type { HostClient } from "./guest_clients.ts";
import { mayUseAddress, mayUseAnyAddress } from "./permissions.ts";
import { anyFirst, bindPort, type Bound, type PortBinder } from "./port_binding.ts";
import type { PublishedSocket } from "./published_udp.ts";
import { QuietWarning } from "./quiet_warning.ts";

/** Who hears of published datagrams. */
export interface DatagramHandlers {
  /** A client's datagram; `data` stays for the call. */
  onDatagram(socket: PublishedSocket, client: HostClient, data: Uint8Array): void;
  /** A port is published no longer: its flows end. */
  onClosed(socket: PublishedSocket): void;
  /** A client that is not let in. */
  onRefused(denial: Denial): void;
}

/** What published UDP ports take from the machine. */
export interface DatagramHost {
  readonly sockets: BoundDatagramBackend;
  /** Whether a literal is an address of the host; `null` where the system has no answer. */
  canBind(hostname: string): boolean | null;
  /** Whether Deno lets the process send to an address; nothing prompts. */
  maySendTo(client: HostClient): boolean;
  /** The clock, in milliseconds. */
  now(): number;
}

/** Refusals of a port that become events in a second, or at once. */
const REFUSALS_PER_SECOND = 20;
/** Verdicts on clients that are kept, and for how long: the host's addresses may change. */
const VERDICTS_MAX = 256;
const VERDICT_MS = 5_000;

/** The machine itself. */
export function datagramHost(): DatagramHost {
  return {
    sockets: boundDatagrams(),
    canBind,
    maySendTo: ({ hostname, port }) => mayUseAnyAddress() || mayUseAddress(hostname, port),
    now: () => performance.now(),
  };
}

/** The sockets of all published UDP ports. */
export class UdpPortListeners implements Disposable {
  #bound: Bound<UdpPort>[] = [];
  readonly #logger: GatewayLogger;
  readonly #handlers: DatagramHandlers;
  readonly #host: DatagramHost;

  /**
   * Binds every port, all or nothing.
   *
   * @throws {GatewayError} Where an address is in use, is none of the host's, or is not permitted.
   */
  constructor(
    ports: readonly PortMapping[],
    handlers: DatagramHandlers,
    logger: GatewayLogger,
    host: DatagramHost = datagramHost(),
  ) {
    this.#handlers = handlers;
    this.#logger = logger;
    this.#host = host;
    try {
      for (const port of ports.toSorted(anyFirst)) this.add(port);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** What is bound. */
  get published(): readonly PublishedPort[] {
    return this.#bound.map(({ published }) => published);
  }

  /**
   * Publishes another port, at all its addresses or at none.
   *
   * @throws {GatewayError} Where an address is in use, is none of the host's, or is not permitted.
   */
  add(port: PortMapping): readonly PublishedPort[] {
    const added = bindPort(port, this.#binder(port), this.#bound);
    this.#bound.push(...added);
    return added.map(({ published }) => published);
  }

  /** Takes what is at a place back, and ends its flows. */
  remove(place: PublishedPlace): readonly PublishedPort[] {
    const isMeant = ({ published }: Bound<UdpPort>) => isAtPlace(published, place);
    const removed = this.#bound.filter(isMeant);
    this.#bound = this.#bound.filter((bound) => !isMeant(bound));
    for (const { socket } of removed) socket.close();
    return removed.map(({ published }) => published);
  }

  /** Frees the ports. */
  [Symbol.dispose](): void {
    for (const { socket } of this.#bound.splice(0)) socket.close();
  }

  /** Resolves when every socket has been closed and every operation has settled. */
  ended(): Promise<void> {
    return this.#host.sockets.settled();
  }

  #binder(port: PortMapping): PortBinder<UdpPort> {
    return {
      protocol: "udp",
      bind: (hostname, hostPort) => {
        return new UdpPort(hostname, hostPort, port, this.#host, this.#handlers, this.#logger);
      },
      portOf: ({ hostPort }) => hostPort,
      close: (each) => each.close(),
    };
  }
}

/** One socket. */
class UdpPort implements PublishedSocket, BoundDatagramListener {
  readonly guestPort: number;
  readonly #host: DatagramHost;
  readonly #handlers: DatagramHandlers;
  readonly #logger: GatewayLogger;
  readonly #warning: QuietWarning;
  readonly #sources: Sources | null;
  readonly #refusals = new TokenBucket(REFUSALS_PER_SECOND, REFUSALS_PER_SECOND);
  readonly #verdicts = new Map<string, Denial | null>();
  #verdictsMs = -Infinity;
  readonly #socket: BoundDatagramSocket;
  #closed = false;

  constructor(
    hostname: string,
    port: number,
    { guestPort, allowFrom }: PortMapping,
    host: DatagramHost,
    handlers: DatagramHandlers,
    logger: GatewayLogger,
  ) {
    this.guestPort = guestPort;
    this.#host = host;
    this.#handlers = handlers;
    this.#logger = logger;
    this.#warning = new QuietWarning(logger, host.now);
    const isHost = (address: Uint8Array) => host.canBind(formatIp(address)) === true;
    this.#sources = allowFrom === undefined ? null : new Sources(allowFrom, isHost, "udp");
    this.#socket = host.sockets.bind({ hostname, port }, this);
  }

  /** The port that it is bound to. */
  get hostPort(): number {
    return this.#socket.port;
  }

  received(data: Uint8Array, from: HostClient): void {
    if (this.#closed) return;
    try {
      this.#handlers.onDatagram(this, from, data);
    } catch (error) {
      this.#logger.error("a datagram of a published port was lost to a bug of the gateway", {
        error: (error as Error).stack ?? String(error),
      });
    }
  }

  failed(error: unknown): void {
    this.#warning.warn("cannot receive on a published port; trying again", {
      guestPort: this.guestPort,
      error: (error as Error).message,
    });
  }

  admits(client: HostClient): boolean {
    const address = parseIp(client.hostname.replace(/%.*$/, ""));
    if (address === null) return false; // nowhere that a rule could name
    const denial = this.#sources === null
      ? null
      : this.#verdict(client.hostname, address, this.#sources);
    if (denial !== null) {
      if (this.#refusals.take(this.#host.now())) this.#handlers.onRefused(denial);
      return false;
    }
    if (this.#host.maySendTo(client)) return true;
    this.#warning.warn("a client of a published port can't be answered: Deno has no permission", {
      guestPort: this.guestPort,
      flag: "--allow-net",
    });
    return false;
  }

  send(
    to: HostClient,
    from: Uint8Array,
    at: number,
    length: number,
    failed: (error: unknown) => void,
  ): boolean {
    return this.#socket.send(to, from, at, length, failed);
  }

  /** Frees the port, and ends its flows. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    this.#handlers.onClosed(this);
  }

  /** Why a client is not let in; `null` lets it in. Whether an address is the host's costs a socket. */
  #verdict(hostname: string, address: Uint8Array, sources: Sources): Denial | null {
    const nowMs = this.#host.now();
    if (nowMs - this.#verdictsMs >= VERDICT_MS || this.#verdicts.size >= VERDICTS_MAX) {
      this.#verdicts.clear();
      this.#verdictsMs = nowMs;
    }
    let denial = this.#verdicts.get(hostname);
    if (denial === undefined) {
      denial = sources.refusal(address, this.guestPort);
      this.#verdicts.set(hostname, denial);
    }
    return denial;
  }
}
