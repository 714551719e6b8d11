/**
 * Published unix sockets: connections to a file's path that are opened to the guest.
 *
 * The file is made, looked after and removed as the VMM's own is (vmm_endpoint.ts): with mode 0600, in
 * place of one that nobody serves any more, never in place of a live one. It is named by its whole path,
 * whatever folder who takes it back is in. Its clients have no address, so the guest sees the gateway's.
 *
 * @module
 */
import { UNIX_PATH_MAX_BYTES } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { isAtPlace, type PublishedPlace, type PublishedPort } from "../config/published.ts";
import { closeQuietly } from "./close_quietly.ts";
import { listenAt, removeStale, type SocketUse, type VmmListener } from "./vmm_endpoint.ts";

/** A published unix socket as a configuration has it. */
export interface UnixMapping {
  readonly unix: string;
  readonly guestPort: number;
}

/** Takes a client's connection; the receiver owns it. `false` leaves it to the listener to close. */
export type UnixHandler = (conn: Deno.UnixConn, guestPort: number) => boolean;

/** A socket that is listened on. */
interface BoundSocket {
  readonly listener: VmmListener;
  readonly published: PublishedPort;
}

const USE: SocketUse = { peer: "a client of a published socket", flag: "-p" };

/**
 * Clears the way for published unix sockets: one that nobody serves any more is removed.
 *
 * @throws {GatewayError} Where a live process serves one, or what is there is no socket.
 */
export async function clearSocketPath(path: string): Promise<void> {
  try {
    await removeStale(path, `unix:${path}`);
  } catch (error) {
    throw publishing(error);
  }
}

/** The accept loops of all published unix sockets. */
export class UnixPortListeners implements Disposable {
  #bound: BoundSocket[] = [];
  /** By path; a loop ends when the socket's file is gone. */
  readonly #loops = new Map<string, Promise<void>>();
  readonly #onConnection: UnixHandler;
  readonly #logger: GatewayLogger;

  /**
   * Listens on every path, all or nothing; the way is clear already.
   *
   * @throws {GatewayError} Where a socket is in use, or not permitted.
   */
  constructor(
    ports: readonly UnixMapping[],
    onConnection: UnixHandler,
    logger: GatewayLogger,
  ) {
    this.#onConnection = onConnection;
    this.#logger = logger;
    try {
      for (const port of ports) this.add(port);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** What is listened on. */
  get published(): readonly PublishedPort[] {
    return this.#bound.map(({ published }) => published);
  }

  /**
   * Clears the way for another socket, also of one that was taken back a moment ago.
   *
   * @throws {GatewayError} Where a live process serves it, or what is there is no socket.
   */
  async clear(path: string): Promise<void> {
    const name = wholePath(path);
    if (this.published.some(({ bind }) => bind === name)) {
      throw new GatewayError("address-in-use", `cannot publish unix:${path}: it is published`, {
        hint: "Take it back first, or choose another path",
      });
    }
    await this.#loops.get(name);
    await clearSocketPath(path);
  }

  /**
   * Publishes another socket.
   *
   * @throws {GatewayError} Where it is in use, or not permitted.
   */
  add({ unix: path, guestPort }: UnixMapping): readonly PublishedPort[] {
    let listener: VmmListener;
    try {
      listener = listenAt({ transport: "unix", path }, USE, this.#logger);
    } catch (error) {
      throw publishing(error);
    }
    const bind = wholePath(path);
    const published: PublishedPort = { protocol: "unix", bind, hostPort: 0, guestPort };
    this.#bound.push({ listener, published });
    const loop = this.#accept(listener, guestPort).finally(() => {
      if (this.#loops.get(bind) === loop) this.#loops.delete(bind);
    });
    this.#loops.set(bind, loop);
    return [published];
  }

  /** Takes a socket back; flows that came through it go on. */
  remove(place: PublishedPlace): readonly PublishedPort[] {
    const { protocol, bind } = place;
    if (protocol !== "unix" || bind === undefined) return [];
    const whole = { ...place, bind: wholePath(bind) };
    const isMeant = ({ published }: BoundSocket) => isAtPlace(published, whole);
    const removed = this.#bound.filter(isMeant);
    this.#bound = this.#bound.filter((bound) => !isMeant(bound));
    for (const { listener } of removed) listener.close();
    return removed.map(({ published }) => published);
  }

  /** Stops accepting and removes the files. */
  [Symbol.dispose](): void {
    for (const { listener } of this.#bound.splice(0)) listener.close();
  }

  /** Resolves when every loop has ended, and its file is gone. */
  async ended(): Promise<void> {
    await Promise.all(this.#loops.values());
  }

  async #accept(listener: VmmListener, guestPort: number): Promise<void> {
    for (;;) {
      const conn = await listener.accept();
      if (conn === null) return;
      if (!this.#handOver(conn as Deno.UnixConn, guestPort)) closeQuietly(conn);
    }
  }

  #handOver(conn: Deno.UnixConn, guestPort: number): boolean {
    try {
      return this.#onConnection(conn, guestPort);
    } catch (error) {
      this.#logger.error("a client of a published socket was lost to a bug of the gateway", {
        error: (error as Error).stack ?? String(error),
      });
      return false;
    }
  }
}

/** A path from the root, where that is not too long for a socket. */
export function wholePath(path: string): string {
  if (path.startsWith("/")) return path;
  const whole = `${Deno.cwd()}/${path.replace(/^(\.\/)+/, "")}`;
  return new TextEncoder().encode(whole).length > UNIX_PATH_MAX_BYTES ? path : whole;
}

/** An error of a socket of ours, in the words of who publishes it. */
function publishing(error: unknown): unknown {
  if (!(error instanceof GatewayError)) return error;
  const { code, message, hint, cause } = error;
  const text = message.replace(/^cannot (listen on|use) /, "cannot publish ");
  return new GatewayError(code, text, { hint, cause });
}
