/**
 * Meeting the VMM: a listening socket of ours, or a connection to its own.
 *
 * A unix socket's file is made with mode 0600, a stale one (left by a process that was killed) is
 * replaced, one that a live process serves is an error, and ours vanishes with the listener.
 *
 * @module
 */
import { type Endpoint, formatEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";

/** Our own listening socket. */
export interface VmmListener {
  /** The endpoint, with the port that was chosen. */
  readonly endpoint: Endpoint;
  /** The next connection; `null` when closed. */
  accept(): Promise<Deno.Conn | null>;
  /** Stops listening; can be called again. */
  close(): void;
}

const PAUSE_MS = 100;

/**
 * Listens for the VMM.
 *
 * @throws {GatewayError} Where the socket is in use or a permission is missing.
 */
export async function listenForVmm(
  endpoint: Endpoint,
  logger: GatewayLogger,
): Promise<VmmListener> {
  if (endpoint.transport === "unix") await removeStale(endpoint.path);
  const listener = open(endpoint);
  if (endpoint.transport === "unix") {
    try {
      Deno.chmodSync(endpoint.path, 0o600);
    } catch (error) {
      logger.warn("cannot make the socket private", { path: endpoint.path, error: String(error) });
    }
  }
  const address = listener.addr;
  let closed = false;
  return {
    endpoint: address.transport === "tcp" && endpoint.transport === "tcp"
      ? { ...endpoint, port: address.port }
      : endpoint,
    async accept() {
      while (!closed) {
        try {
          return await listener.accept();
        } catch (error) {
          if (closed) break;
          logger.warn("cannot accept the VMM; trying again", { error: (error as Error).message });
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        }
      }
      return null;
    },
    close() {
      if (closed) return;
      closed = true;
      listener.close();
    },
  };
}

/**
 * Goes to the VMM's own socket.
 *
 * @returns The connection, or `null` when `signal` fired.
 * @throws {GatewayError} Where nothing answers there or a permission is missing.
 */
export async function connectVmm(
  endpoint: Endpoint,
  signal: AbortSignal,
): Promise<Deno.Conn | null> {
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

function open(endpoint: Endpoint): Deno.Listener {
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
        { hint: "Is another gateway running? Choose another --listen endpoint", cause: error },
      );
    }
    throw new GatewayError(
      "config",
      `cannot listen on ${formatEndpoint(endpoint)}: ${reasonOf(error)}`,
      { hint: "Does the folder exist, and may it be written?", cause: error },
    );
  }
}

async function removeStale(path: string): Promise<void> {
  let info: Deno.FileInfo;
  try {
    info = Deno.lstatSync(path);
  } catch (error) {
    if (isPermission(error)) throw permissionError({ transport: "unix", path }, error);
    return;
  }
  const endpoint = `unix:${path}`;
  if (info.isSocket !== true) {
    throw new GatewayError("socket-in-use", `cannot listen on ${endpoint}: a file is in the way`, {
      hint: "It is no socket, so it is left alone: choose another path",
    });
  }
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (isPermission(error)) throw permissionError({ transport: "unix", path }, error);
    Deno.removeSync(path);
    return;
  }
  throw new GatewayError(
    "socket-in-use",
    `cannot listen on ${endpoint}: a live process serves it`,
    {
      hint: "Is another gateway running? Stop it, or choose another path",
    },
  );
}

function isPermission(error: unknown): boolean {
  return error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.PermissionDenied;
}

function permissionError(endpoint: Endpoint, cause: unknown): GatewayError {
  const flag = endpoint.transport === "unix"
    ? `--allow-read=${endpoint.path} --allow-write=${endpoint.path}`
    : `--allow-net=${endpoint.hostname}:${endpoint.port}`;
  return new GatewayError(
    "permission",
    `cannot use ${formatEndpoint(endpoint)}: permission denied`,
    {
      hint: `Add ${flag}`,
      cause,
    },
  );
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file";
  if (error instanceof Deno.errors.ConnectionRefused) return "nothing listens there";
  return (error as Error).message;
}
