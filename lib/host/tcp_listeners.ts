/**
 * Published ports: host sockets whose connections are opened to the guest.
 *
 * One accept loop for each bound address. Ports come and go one by one, and stay bound while guests
 * come and go; without a guest a client's connection is closed at once. The number of connections
 * that wait for the guest's answer is bounded, and running out of descriptors only pauses the loop.
 *
 * A socket on `::` takes IPv4 too where the system has it so (Linux does unless `bindv6only` is set).
 * So `::` is bound first, and an IPv4 address that is in use then is one that it has taken already.
 *
 * @module
 */
import { closeQuietly } from "./close_quietly.ts";
import { GatewayError } from "../config/errors.ts";
import { formatHostPort } from "../config/endpoint.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { PortMapping } from "../config/options.ts";
import { DEFAULT_BIND } from "../config/port_spec.ts";
import type { Denial } from "../policy/denial.ts";
import { Sources } from "../policy/sources.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import { canBind } from "./destinations.ts";
import { type HostClock, pause, systemClock } from "./host_clock.ts";
import { QuietWarning } from "./quiet_warning.ts";

/**
 * A published address that is bound. As {@linkcode VirtioNetworkServer.publish} yields it.
 */
export interface PublishedPort {
  /** The host's address, as a literal. */
  readonly bind: string;
  /** The host's port: the one that was chosen where 0 was asked for. */
  readonly hostPort: number;
  /** The guest's port. */
  readonly guestPort: number;
}

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
interface BoundPort {
  readonly listener: Deno.TcpListener;
  readonly published: PublishedPort;
  readonly sources: Sources | null;
  readonly allowFrom: readonly string[] | undefined;
  isClosed: boolean;
}

const PAUSE_MS = 100;
const PORT_MAX = 65_535;
/** All addresses. */
const ANY = "::";

/** The accept loops of all published ports. */
export class TcpPortListeners implements Disposable {
  #bound: BoundPort[] = [];
  readonly #loops = new Set<Promise<void>>();
  readonly #logger: GatewayLogger;
  readonly #cannotAccept: QuietWarning;
  readonly #onConnection: PublishedHandler;
  readonly #onRefused: RefusedHandler;
  readonly #host: ListenHost;

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
    this.#cannotAccept = new QuietWarning(logger, host.now);
    this.#onConnection = onConnection;
    this.#onRefused = onRefused;
    try {
      for (const port of ports.toSorted(anyFirst)) this.#bindAll(port);
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
    const before = this.#bound.length;
    try {
      this.#bindAll(port);
    } catch (error) {
      for (const bound of this.#bound.splice(before)) this.#close(bound);
      throw error;
    }
    const added = this.#bound.slice(before);
    this.#listen(added);
    return added.map(({ published }) => published);
  }

  /** Takes a port back, at one address or at all; flows that came through it go on. */
  remove(hostPort: number, bind?: string): readonly PublishedPort[] {
    const isMeant = ({ published }: BoundPort) => {
      return published.hostPort === hostPort && (bind === undefined || published.bind === bind);
    };
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

  #bindAll(port: PortMapping): void {
    let { hostPort } = port;
    const { guestPort, allowFrom } = port;
    const isHost = (address: Uint8Array) => this.#host.canBind(formatIp(address)) === true;
    const sources = allowFrom === undefined ? null : new Sources(allowFrom, isHost);
    for (const bind of (port.bind ?? DEFAULT_BIND).toSorted(anyAddressFirst)) {
      const listener = this.#bind(bind, hostPort, port);
      if (listener === null) continue;
      hostPort = listener.addr.port; // the other addresses get the port that was chosen
      const published = { bind, hostPort, guestPort };
      this.#bound.push({ listener, published, sources, allowFrom, isClosed: false });
    }
  }

  #bind(bind: string, hostPort: number, port: PortMapping): Deno.TcpListener | null {
    try {
      return this.#host.listen({ hostname: bind, port: hostPort, transport: "tcp" });
    } catch (error) {
      // A host without IPv6 has no ::1; that was a default, not a wish.
      const wished = port.bind !== undefined;
      const isTaken = error instanceof Deno.errors.AddrInUse;
      if (!wished && bind === "::1" && !isTaken) return null;
      if (isTaken && !bind.includes(":") && this.#isTakenByAny({ ...port, hostPort })) return null;
      throw publishError(error, bind, { ...port, hostPort });
    }
  }

  /** Whether `::` leads where an IPv4 address of the same port is to lead. */
  #isTakenByAny({ hostPort, guestPort, allowFrom }: PortMapping): boolean {
    return this.#bound.some(({ published, ...bound }) =>
      published.bind === ANY && published.hostPort === hostPort &&
      published.guestPort === guestPort && String(bound.allowFrom) === String(allowFrom)
    );
  }

  #listen(ports: readonly BoundPort[]): void {
    for (const port of ports) {
      const loop = this.#accept(port).finally(() => this.#loops.delete(loop));
      this.#loops.add(loop);
    }
  }

  #close(bound: BoundPort): void {
    bound.isClosed = true;
    bound.listener.close();
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
    const { listener, published: { guestPort } } = port;
    while (!port.isClosed) {
      let conn: Deno.TcpConn;
      try {
        conn = await listener.accept();
      } catch (error) {
        if (port.isClosed) return;
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

function anyAddressFirst(a: string, b: string): number {
  return Number(b === ANY) - Number(a === ANY);
}

function anyFirst(a: PortMapping, b: PortMapping): number {
  return Number(b.bind?.includes(ANY) ?? false) - Number(a.bind?.includes(ANY) ?? false);
}

function publishError(
  error: unknown,
  bind: string,
  { hostPort, guestPort, bind: wished }: PortMapping,
): GatewayError {
  const address = formatHostPort(bind, hostPort);
  const spec = (port: number): string => {
    return `-p ${wished === undefined ? port : formatHostPort(bind, port)}:${guestPort}`;
  };
  const cause = { cause: error };
  if (error instanceof Deno.errors.AddrInUse) {
    return new GatewayError("address-in-use", `cannot publish ${address}: the address is in use`, {
      hint: `Try ${spec(neighbour(hostPort))}, or ${spec(0)} to pick a free port`,
      ...cause,
    });
  }
  if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.PermissionDenied) {
    const privileged = error instanceof Deno.errors.PermissionDenied;
    return new GatewayError("permission", `cannot publish ${address}: permission denied`, {
      hint: privileged
        ? `Ports below 1024 belong to root; try ${spec(8000 + hostPort)}`
        : `Add --allow-net=${address}`,
      ...cause,
    });
  }
  return new GatewayError(
    "address-in-use",
    `cannot publish ${address}: ${(error as Error).message}`,
    {
      hint: "Is it an address of this host?",
      ...cause,
    },
  );
}

/** Another port, for someone to try. */
function neighbour(port: number): number {
  return port < PORT_MAX ? port + 1 : port - 1;
}
