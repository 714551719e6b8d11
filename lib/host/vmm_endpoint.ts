/**
 * Meeting the VMM: a listening socket of ours, or a connection to its own. Other sockets that are the
 * gateway's own business are listened on in the same way.
 *
 * A unix socket's file is made with mode 0600, a stale one (left by a process that was killed) is
 * replaced, one that a live process serves is an error, and ours vanishes with the listener. Where
 * somebody removes the file, it is made anew; where another one has taken its place, that is left
 * alone.
 *
 * @module
 */
import { type Endpoint, formatEndpoint, type StreamEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { AcceptFaults } from "./accept_faults.ts";
import { closeQuietly } from "./close_quietly.ts";
import { pause, systemClock, type Timer } from "./host_clock.ts";
import type { FrameTransport } from "./frame_transport.ts";
import { QuietWarning } from "./quiet_warning.ts";
import { connectVsock } from "./vsock.ts";

/**
 * Our own listening socket. As {@linkcode VirtioNetworkServer.listenBeside} yields it.
 */
export interface VmmListener {
  /** The endpoint, with the port that was chosen. */
  readonly endpoint: Endpoint;
  /** The next connection; `null` when closed. */
  accept(): Promise<Deno.Conn | null>;
  /** Stops listening; can be called again. */
  close(): void;
}

/** Lets a descriptor be had for the VMM where flows use up all others. */
export interface VmmReserve {
  /** Sees to it that one is free. */
  free(): void;
}

/**
 * Whom a listening socket is for, in the words of messages. For
 * {@linkcode VirtioNetworkServer.listenBeside}.
 */
export interface SocketUse {
  /** Who connects, such as `the VMM`. */
  readonly peer: string;
  /** The flag that names the endpoint. */
  readonly flag: string;
}

const FOR_VMM: SocketUse = { peer: "the VMM", flag: "--listen" };
const PAUSE_MS = 100;
/** How often a unix socket's file is looked after. */
const WATCH_MS = 2_000;

/**
 * Listens for the VMM, or for whom the socket is else.
 *
 * @throws {GatewayError} Where the socket is in use or a permission is missing.
 */
export async function listenForVmm(
  endpoint: Endpoint,
  logger: GatewayLogger,
  reserve?: VmmReserve,
  use: SocketUse = FOR_VMM,
): Promise<VmmListener> {
  if (endpoint.transport === "unix") await removeStale(endpoint.path, formatEndpoint(endpoint));
  return listenAt(endpoint, use, logger, reserve);
}

/**
 * As `listenForVmm`, where the way is clear already.
 *
 * @throws {GatewayError} Where the socket is in use or a permission is missing.
 */
export function listenAt(
  endpoint: Endpoint,
  use: SocketUse,
  logger: GatewayLogger,
  reserve?: VmmReserve,
): VmmListener {
  return new ListeningSocket(endpoint, use, logger, reserve);
}

/** A socket of ours; that of a unix path is made anew where somebody has removed its file. */
class ListeningSocket implements VmmListener {
  readonly endpoint: Endpoint;
  readonly #use: SocketUse;
  readonly #logger: GatewayLogger;
  readonly #reserve: VmmReserve | undefined;
  readonly #cannotAccept: QuietWarning;
  readonly #faults = new AcceptFaults();
  readonly #cannotListen: QuietWarning;
  #listener: Deno.Listener | null;
  /** Wakes who accepts, where there is another listener or none any more. */
  #changed = () => {};
  #file = "";
  #timer: Timer | undefined;
  #closed = false;

  constructor(endpoint: Endpoint, use: SocketUse, logger: GatewayLogger, reserve?: VmmReserve) {
    this.#use = use;
    this.#logger = logger;
    this.#reserve = reserve;
    this.#cannotAccept = new QuietWarning(logger);
    this.#cannotListen = new QuietWarning(logger);
    this.#listener = open(endpoint, use);
    const { addr } = this.#listener;
    this.endpoint = addr.transport === "tcp" && endpoint.transport === "tcp"
      ? { ...endpoint, port: addr.port }
      : endpoint;
    if (endpoint.transport === "unix") this.#own(endpoint.path);
  }

  async accept(): Promise<Deno.Conn | null> {
    while (!this.#closed) {
      const listener = this.#listener;
      const changed = new Promise<null>((resolve) => this.#changed = () => resolve(null));
      try {
        const accepting = listener?.accept() ?? changed;
        const conn = await Promise.race([accepting, changed]);
        if (conn !== null) {
          this.#faults.accepted();
          return conn;
        }
        // Who still comes by a listener that was given up finds nobody there.
        accepting.then((late) => late?.close(), () => {});
      } catch (error) {
        if (this.#closed) break;
        if (listener !== this.#listener || !this.#faults.isToBeWaitedOut(error)) continue;
        this.#cannotAccept.warn(`cannot accept ${this.#use.peer}; trying again`, {
          error: (error as Error).message,
        });
        this.#reserve?.free();
        await pause(systemClock, PAUSE_MS);
      }
    }
    return null;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    systemClock.clearTimer(this.#timer);
    this.#drop();
  }

  /** Makes our file private, notes which one it is, and looks after it. */
  #own(path: string): void {
    try {
      Deno.chmodSync(path, 0o600);
    } catch (error) {
      this.#logger.warn("cannot make the socket private", { path, error: String(error) });
    }
    this.#file = fileAt(path);
    this.#watch(path);
  }

  #watch(path: string, delayMs = WATCH_MS): void {
    this.#timer = systemClock.setTimer(() => this.#look(path), delayMs);
  }

  #look(path: string): void {
    const file = fileAt(path);
    if (file === ABSENT) return this.#listenAgain(path);
    if (file !== this.#file && file !== UNKNOWN) {
      this.#cannotListen.warn("another file has taken the socket's place: nobody finds it", {
        path,
      });
    }
    this.#watch(path);
  }

  /** Nobody finds a socket whose file was removed. */
  #listenAgain(path: string): void {
    if (this.#listener !== null) {
      this.#logger.warn("the socket's file was removed; making it anew", { path });
      this.#drop();
      // It removes the file at its path a turn later, whichever that is.
      this.#watch(path, PAUSE_MS);
      return;
    }
    try {
      this.#listener = open(this.endpoint, this.#use);
      this.#own(path);
      this.#logger.info(`listening on ${formatEndpoint(this.endpoint)} again`);
    } catch (error) {
      this.#cannotListen.warn((error as Error).message);
      this.#watch(path);
    }
    this.#changed();
  }

  /**
   * Gives the listener up. Closing it removes whatever file stands at its path, and ends an accept
   * when that is done; what is left open for the sake of another's file ends with the process.
   */
  #drop(): void {
    const listener = this.#listener;
    this.#listener = null;
    const { endpoint } = this;
    const file = endpoint.transport === "unix" ? fileAt(endpoint.path) : ABSENT;
    const isOurs = file === ABSENT || file === UNKNOWN || file === this.#file;
    if (listener !== null && isOurs) return closeQuietly(listener);
    listener?.unref();
    this.#changed();
  }
}

const ABSENT = "absent";
const UNKNOWN = "unknown";

/** Which file stands at a path: another one has another name here, even in the same inode. */
function fileAt(path: string): string {
  try {
    const { dev, ino, birthtime, mtime } = Deno.lstatSync(path);
    return `${dev} ${ino} ${(birthtime ?? mtime)?.getTime()}`;
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? ABSENT : UNKNOWN;
  }
}
/**
 * Goes to the VMM's own socket.
 *
 * @returns The connection, or `null` when `signal` fired.
 * @throws {GatewayError} Where nothing answers there or a permission is missing.
 */
export async function connectVmm(
  endpoint: StreamEndpoint,
  signal: AbortSignal,
): Promise<FrameTransport | null> {
  if (endpoint.transport === "vsock") return await connectVsock(endpoint, signal);
  try {
    const conn = endpoint.transport === "unix"
      ? await Deno.connect({ transport: "unix", path: endpoint.path })
      : await Deno.connect({ hostname: endpoint.hostname, port: endpoint.port, signal });
    if ("setNoDelay" in conn) conn.setNoDelay(true);
    if (!signal.aborted) return conn;
    conn.close();
    return null;
  } catch (error) {
    if (signal.aborted) return null;
    if (isPermission(error)) throw permissionError(endpoint, error);
    throw new GatewayError(
      "unreachable",
      `cannot reach the VMM at ${formatEndpoint(endpoint)}: ${reasonOf(error)}`,
      { hint: "Start the VMM first, or let it connect to us with --listen", cause: error },
    );
  }
}

function open(endpoint: Endpoint, { flag }: SocketUse): Deno.Listener {
  try {
    return endpoint.transport === "unix"
      ? Deno.listen({ transport: "unix", path: endpoint.path })
      : Deno.listen({ hostname: endpoint.hostname, port: endpoint.port });
  } catch (error) {
    if (isPermission(error)) throw permissionError(endpoint, error);
    if (error instanceof Deno.errors.AddrInUse) {
      throw new GatewayError(
        "address-in-use",
        `cannot listen on ${formatEndpoint(endpoint)}: the address is in use`,
        { hint: `Is another gateway running? Choose another ${flag} endpoint`, cause: error },
      );
    }
    throw new GatewayError(
      "config",
      `cannot listen on ${formatEndpoint(endpoint)}: ${reasonOf(error)}`,
      { hint: "Does the folder exist, and may it be written?", cause: error },
    );
  }
}

/**
 * Clears the way for a socket of ours: one that nobody serves any more is removed.
 *
 * @param place The endpoint, as messages name it.
 * @throws {GatewayError} Where a live process serves it, or what is there is no socket.
 */
export async function removeStale(path: string, place: string): Promise<void> {
  let info: Deno.FileInfo;
  try {
    info = Deno.lstatSync(path);
  } catch (error) {
    if (isPermission(error)) throw permissionError({ transport: "unix", path }, error);
    return;
  }
  if (info.isSocket !== true) {
    throw new GatewayError("socket-in-use", `cannot listen on ${place}: a file is in the way`, {
      hint: "It is no socket, so it is left alone: choose another path",
    });
  }
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (isPermission(error)) throw permissionError({ transport: "unix", path }, error);
    if (isUnserved(error)) return Deno.removeSync(path);
  }
  throw new GatewayError(
    "socket-in-use",
    `cannot listen on ${place}: a live process serves it`,
    {
      hint: "Is another gateway running? Stop it, or choose another path",
    },
  );
}

/**
 * Whether a connect's error says that nobody has the socket at a path. One of another kind, or one
 * whose queue is full, has somebody behind it.
 */
export function isUnserved(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionRefused || error instanceof Deno.errors.NotFound;
}

function isPermission(error: unknown): boolean {
  return error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.PermissionDenied;
}

/** A flag of Deno is missing, or the system says no, which no flag changes. */
function permissionError(endpoint: Endpoint, cause: unknown): GatewayError {
  const place = formatEndpoint(endpoint);
  const isUnix = endpoint.transport === "unix";
  if (!(cause instanceof Deno.errors.NotCapable)) {
    return new GatewayError("permission", `cannot use ${place}: the system does not permit it`, {
      hint: isUnix
        ? "Run as the user whose folder and socket that is, or choose another path"
        : "Ports below 1024 belong to root: choose another one",
      cause,
    });
  }
  const flag = isUnix
    ? `--allow-read=${endpoint.path} --allow-write=${endpoint.path}`
    : `--allow-net=${endpoint.hostname}:${endpoint.port}`;
  return new GatewayError("permission", `cannot use ${place}: Deno has no permission for it`, {
    hint: `Add ${flag}`,
    cause,
  });
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file";
  if (error instanceof Deno.errors.ConnectionRefused) return "nothing listens there";
  return (error as Error).message;
}
