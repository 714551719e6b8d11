/**
 * Meeting the VMM at a VM socket: a stream between a host and its virtual machines, without a network.
 * What comes is whoever has bridged the guest's card to it.
 *
 * Where Deno's `--unstable-vsock` is missing, Deno ends the process at the first call, with a line of
 * its own that names the flag: no call tells beforehand whether it is there, and none throws.
 *
 * @module
 */
import { formatEndpoint, type VsockEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { closeQuietly } from "./close_quietly.ts";
import type { FrameTransport } from "./frame_transport.ts";
import { pause, systemClock } from "./host_clock.ts";
import { isPermissionError, permissionError } from "./permissions.ts";
import { QuietWarning } from "./quiet_warning.ts";

/** A port of this machine's. */
export interface VsockListener {
  /** The next stream; rejects when closed. */
  accept(): Promise<FrameTransport>;
  /** Stops listening. */
  close(): void;
}

/** What of Deno is used; tests have another one, since a machine may have no VM sockets. */
export interface VsockSystem {
  listen(options: { transport: "vsock"; cid: number; port: number }): VsockListener;
  connect(options: { transport: "vsock"; cid: number; port: number }): Promise<FrameTransport>;
}

/** Lets a descriptor be had where flows use up all others. */
interface Reserve {
  free(): void;
}

const PAUSE_MS = 100;
const denoVsock: VsockSystem = {
  listen: (options) => Deno.listen(options),
  connect: (options) => Deno.connect(options),
};

/** A listening VM socket, whose streams are taken one after another. */
export class VsockMeeting {
  readonly endpoint: VsockEndpoint;
  readonly #listener: VsockListener;
  readonly #reserve: Reserve | undefined;
  readonly #cannotAccept: QuietWarning;
  #closed = false;

  /** @throws {GatewayError} Where the port is taken, a permission is missing, or there is none. */
  constructor(
    endpoint: VsockEndpoint,
    logger: GatewayLogger,
    reserve?: Reserve,
    system: VsockSystem = denoVsock,
  ) {
    this.endpoint = endpoint;
    this.#reserve = reserve;
    this.#cannotAccept = new QuietWarning(logger);
    try {
      this.#listener = system.listen(endpoint);
    } catch (error) {
      throw explained(error, endpoint, "listen on");
    }
  }

  /** The next VMM; `null` when closed. */
  async accept(): Promise<FrameTransport | null> {
    while (!this.#closed) {
      try {
        return await this.#listener.accept();
      } catch (error) {
        if (this.#closed) break;
        const { message } = error as Error;
        this.#cannotAccept.warn("cannot accept the VMM; trying again", { error: message });
        this.#reserve?.free();
        await pause(systemClock, PAUSE_MS);
      }
    }
    return null;
  }

  /** Ends it; can be called again. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeQuietly(this.#listener);
  }
}

/**
 * Goes to a VMM's own VM socket.
 *
 * @returns The stream, or `null` when `signal` fired.
 * @throws {GatewayError} Where nothing answers there or a permission is missing.
 */
export async function connectVsock(
  endpoint: VsockEndpoint,
  signal: AbortSignal,
  system: VsockSystem = denoVsock,
): Promise<FrameTransport | null> {
  let conn: FrameTransport;
  try {
    conn = await system.connect(endpoint);
  } catch (error) {
    if (signal.aborted) return null;
    throw explained(error, endpoint, "connect to");
  }
  if (!signal.aborted) return conn;
  conn.close();
  return null;
}

function explained(
  error: unknown,
  endpoint: VsockEndpoint,
  doing: "listen on" | "connect to",
): GatewayError {
  const place = formatEndpoint(endpoint);
  if (isPermissionError(error)) {
    return permissionError(
      `${doing} ${place}`,
      `--allow-net=vsock:${endpoint.cid}:${endpoint.port}`,
      error,
    );
  }
  const { message } = error as Error;
  if (doing === "connect to") {
    return new GatewayError("unreachable", `cannot reach the VMM at ${place}: ${message}`, {
      hint: "Start the VMM first, or let it connect to us with --listen",
      cause: error,
    });
  }
  if (error instanceof Deno.errors.AddrInUse) {
    return new GatewayError("address-in-use", `cannot listen on ${place}: the port is in use`, {
      hint: "Is another gateway running? Choose another --listen endpoint",
      cause: error,
    });
  }
  return new GatewayError("config", `cannot listen on ${place}: ${message}`, {
    hint:
      `Has the kernel VM sockets (/dev/vsock), and is the CID its own? vsock:any:${endpoint.port}`,
    cause: error,
  });
}
