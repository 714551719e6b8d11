/**
 * Everything of the host that leads to the guest from outside: TCP ports, UDP ports and unix sockets,
 * one class for each, behind one list.
 *
 * What was published stays bound while guests come and go. One that is added or taken back touches no
 * other.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { PortMapping } from "../config/options.ts";
import type { PublishedPlace, PublishedPort } from "../config/published.ts";
import type { Denial } from "../policy/denial.ts";
import { type ListenHost, TcpPortListeners } from "./tcp_listeners.ts";
import { type DatagramHandlers, type DatagramHost, UdpPortListeners } from "./udp_listeners.ts";
import { clearSocketPath, type UnixMapping, UnixPortListeners } from "./unix_listeners.ts";

/** Who takes what comes from clients. */
export interface PublishedHandlers extends DatagramHandlers {
  /** A client's connection; the receiver owns it. `false` leaves it to the listener to close. */
  onConnection(conn: Deno.TcpConn | Deno.UnixConn, guestPort: number): boolean;
}

/** The machine, where it is another than this one. */
export interface PublishedHost {
  readonly tcp?: ListenHost;
  readonly udp?: DatagramHost;
}

/** All published ports of one gateway. */
export class PublishedPorts implements Disposable {
  readonly #tcp: TcpPortListeners;
  readonly #udp: UdpPortListeners;
  readonly #unix: UnixPortListeners;
  /** Unix sockets are published one after another: whether a file is in the way is asked first. */
  #unixTurn: Promise<unknown> = Promise.resolve();
  #closed = false;

  /**
   * Binds every port, all or nothing; for unix sockets the way is clear (`clearPublished`).
   *
   * @throws {GatewayError} Where a place is in use, is none of the host's, or is not permitted.
   */
  constructor(
    ports: readonly PortMapping[],
    handlers: PublishedHandlers,
    logger: GatewayLogger,
    { tcp, udp }: PublishedHost = {},
  ) {
    const onConnection = (conn: Deno.TcpConn | Deno.UnixConn, guestPort: number) =>
      handlers.onConnection(conn, guestPort);
    const onRefused = (denial: Denial) => handlers.onRefused(denial);
    using bound = new DisposableStack();
    const udpPorts = ports.filter((port) => isAddress(port, "udp"));
    this.#udp = bound.use(new UdpPortListeners(udpPorts, handlers, logger, udp));
    this.#unix = bound.use(new UnixPortListeners(ports.filter(isUnix), onConnection, logger));
    // The last, since a listener that accepts already gives its port back a moment later.
    this.#tcp = bound.use(
      new TcpPortListeners(
        ports.filter((port) => isAddress(port, "tcp")),
        onConnection,
        logger,
        { onRefused, ...(tcp === undefined ? {} : { host: tcp }) },
      ),
    );
    bound.move(); // they are this object's to close from here on
  }

  /** What is bound. */
  get published(): readonly PublishedPort[] {
    return [...this.#tcp.published, ...this.#udp.published, ...this.#unix.published];
  }

  /**
   * Publishes another port, at all its addresses or at none. An address is bound inside the call.
   *
   * @throws {GatewayError} Where a place is in use, is none of the host's, or is not permitted.
   */
  async add(port: PortMapping): Promise<readonly PublishedPort[]> {
    if (isAddress(port, "tcp")) return this.#tcp.add(port);
    if (isAddress(port, "udp")) return this.#udp.add(port);
    if (!isUnix(port)) return [];
    const added = this.#unixTurn.then(async () => {
      await this.#unix.clear(port.unix);
      if (this.#closed) {
        throw new GatewayError("closed", "cannot publish a port: the gateway is stopping");
      }
      return this.#unix.add(port);
    });
    this.#unixTurn = added.catch(() => {});
    return await added;
  }

  /**
   * Takes what is at a place back. Connections that came through it go on; flows of datagrams, whose
   * answers need its socket, end.
   */
  remove(place: PublishedPlace): readonly PublishedPort[] {
    return [this.#tcp, this.#udp, this.#unix].flatMap((each) => each.remove(place));
  }

  /** Stops accepting and frees all places. */
  [Symbol.dispose](): void {
    this.#closed = true;
    for (const each of [this.#tcp, this.#udp, this.#unix]) each[Symbol.dispose]();
  }

  /** Resolves when nothing of them is under way any more. */
  async ended(): Promise<void> {
    await this.#unixTurn;
    await Promise.all([this.#tcp, this.#udp, this.#unix].map((each) => each.ended()));
  }
}

/**
 * Clears the way for published unix sockets.
 *
 * @throws {GatewayError} Where a live process serves one, or what is there is no socket.
 */
export async function clearPublished(ports: readonly PortMapping[]): Promise<void> {
  for (const port of ports) if (isUnix(port)) await clearSocketPath(port.unix);
}

function isUnix(port: PortMapping): port is PortMapping & UnixMapping {
  return port.unix !== undefined;
}

function isAddress(port: PortMapping, protocol: "tcp" | "udp"): boolean {
  return !isUnix(port) && (port.protocol ?? "tcp") === protocol;
}
