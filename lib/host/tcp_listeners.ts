/**
 * Published TCP ports: host sockets whose connections are opened to the guest.
 *
 * One accept loop for each bound address. Ports come and go one by one, and stay bound while guests
 * come and go; without a guest a client's connection is closed at once. The number of connections
 * that wait for the guest's answer is bounded, and running out of descriptors only pauses the loop.
 *
 * @module
 */
import { AcceptFaults } from "./accept_faults.ts";
import { closeQuietly } from "./close_quietly.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { PortMapping } from "../config/options.ts";
import { isAtPlace, type PublishedPlace, type PublishedPort } from "../config/published.ts";
import type { Denial } from "../policy/denial.ts";
import { Sources } from "../policy/sources.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import { canBind } from "./destinations.ts";
import { type HostClock, pause, systemClock } from "./host_clock.ts";
import { anyFirst, bindPort, type Bound, type PortBinder } from "./port_binding.ts";
import { QuietWarning } from "./quiet_warning.ts";

/** Takes a client's connection; the receiver owns it. `false` leaves it to the listener to close. */
export type PublishedHandler = (conn: Deno.TcpConn, guestPort: number) => boolean;

/** Hears of each client that is not let in. */
export type RefusedHandler = (denial: Denial) => void;

/** What published ports take from the machine. */
export interface ListenHost extends HostClock {
  /** Listens at an address literal, or throws. */
  listen(options: Deno.TcpListenOptions & { transport: "tcp" }): Deno.TcpListener;
  /** Whether a literal is an address of the host; `null` where the system has no answer. */
  canBind(hostname: string): boolean | null;
}

const ownHost: ListenHost = { ...systemClock, listen: (options) => Deno.listen(options), canBind };

/** A listening socket and whom it lets in; `null` is everybody. */
interface BoundPort extends Bound<Deno.TcpListener> {
  readonly sources: Sources | null;
  isClosed: boolean;
}

const PAUSE_MS = 100;

/** The accept loops of all published ports. */
export class TcpPortListeners implements Disposable {
  #bound: BoundPort[] = [];
  readonly #loops = new Set<Promise<void>>();
  readonly #logger: GatewayLogger;
  readonly #cannotAccept: QuietWarning;
  readonly #onConnection: PublishedHandler;
  readonly #onRefused: RefusedHandler;
  readonly #host: ListenHost;
  readonly #binder: PortBinder<Deno.TcpListener>;

  /**
   * Binds every port, all or nothing; `host` is the machine where it is another than this one.
   *
   * @throws {GatewayError} Where an address is in use, is none of the host's, or is not permitted.
   */
  constructor(
    ports: readonly PortMapping[],
    onConnection: PublishedHandler,
    logger: GatewayLogger,
    { host = ownHost, onRefused = () => {} }: {
      readonly host?: ListenHost;
      readonly onRefused?: RefusedHandler;
    } = {},
  ) {
    this.#logger = logger;
    this.#host = host;
    this.#binder = {
      protocol: "tcp",
      bind: (hostname, port) => host.listen({ hostname, port, transport: "tcp" }),
      portOf: ({ addr }) => addr.port,
      close: (listener) => listener.close(),
    };
    this.#cannotAccept = new QuietWarning(logger, host.now);
    this.#onConnection = onConnection;
    this.#onRefused = onRefused;
    try {
      for (const port of ports.toSorted(anyFirst)) this.#bind(port);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    // Only now: a listener that accepts already gives its port back a moment later.
    this.#listen(this.#bound);
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
    const added = this.#bind(port);
    this.#listen(added);
    return added.map(({ published }) => published);
  }

  /** Takes what is at a place back; flows that came through it go on. */
  remove(place: PublishedPlace): readonly PublishedPort[] {
    const isMeant = ({ published }: BoundPort) => isAtPlace(published, place);
    const removed = this.#bound.filter(isMeant);
    this.#bound = this.#bound.filter((bound) => !isMeant(bound));
    for (const bound of removed) this.#close(bound);
    return removed.map(({ published }) => published);
  }

  /** Stops accepting and frees the ports. */
  [Symbol.dispose](): void {
    for (const bound of this.#bound) this.#close(bound);
    this.#bound = [];
  }

  /** Resolves when every loop has ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#loops);
  }

  #bind(port: PortMapping): readonly BoundPort[] {
    const { allowFrom } = port;
    const isHost = (address: Uint8Array) => this.#host.canBind(formatIp(address)) === true;
    const sources = allowFrom === undefined ? null : new Sources(allowFrom, isHost);
    const bound = bindPort(port, this.#binder, this.#bound)
      .map((each): BoundPort => ({ ...each, sources, isClosed: false }));
    this.#bound.push(...bound);
    return bound;
  }

  #listen(ports: readonly BoundPort[]): void {
    for (const port of ports) {
      const loop = this.#accept(port).finally(() => this.#loops.delete(loop));
      this.#loops.add(loop);
    }
  }

  #close(bound: BoundPort): void {
    bound.isClosed = true;
    bound.socket.close();
  }

  #handOver(conn: Deno.TcpConn, { published: { guestPort }, sources }: BoundPort): boolean {
    try {
      if (sources !== null) {
        const from = parseIp(conn.remoteAddr.hostname.replace(/%.*$/, ""));
        if (from === null) return false; // nowhere that a rule could name
        const denial = sources.refusal(from, guestPort);
        if (denial !== null) {
          this.#onRefused(denial);
          return false;
        }
      }
      return this.#onConnection(conn, guestPort);
    } catch (error) {
      this.#logger.error("a client of a published port was lost to a bug of the gateway", {
        error: (error as Error).stack ?? String(error),
      });
      return false;
    }
  }

  async #accept(port: BoundPort): Promise<void> {
    const { socket, published: { guestPort } } = port;
    const faults = new AcceptFaults();
    while (!port.isClosed) {
      let conn: Deno.TcpConn;
      try {
        conn = await socket.accept();
        faults.accepted();
      } catch (error) {
        if (port.isClosed) return;
        if (!faults.isToBeWaitedOut(error)) continue; // a client that has gone
        this.#cannotAccept.warn("cannot accept on a published port; trying again", {
          guestPort,
          error: (error as Error).message,
        });
        await pause(this.#host, PAUSE_MS);
        continue;
      }
      if (!port.isClosed && this.#handOver(conn, port)) continue;
      closeQuietly(conn);
    }
  }
}
