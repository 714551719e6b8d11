/**
 * Meeting the VMM at whichever kind of endpoint: who accepts sees transports, one after another.
 *
 *     unix, tcp   a listening socket; each connection is a transport
 *     vsock       the same, at a VM socket
 *     unixgram    a datagram socket; whoever sends is a VMM
 *     stdio       the process's own two pipes, once
 *
 * @module
 */
import { formatEndpoint, type VmmEndpoint, wakerPath } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { shellQuote } from "../config/permission_line.ts";
import { closeQuietly } from "./close_quietly.ts";
import { DatagramLink } from "./datagram_link.ts";
import type { FrameTransport } from "./frame_transport.ts";
import { HalfDuplexSocket, type UnixDatagramSocket } from "./half_duplex_socket.ts";
import { systemClock } from "./host_clock.ts";
import { StdioLink } from "./stdio_link.ts";
import { missingFileFlags } from "./permissions.ts";
import { isUnserved, listenForVmm, removeStale, type VmmReserve } from "./vmm_endpoint.ts";
import { VsockMeeting } from "./vsock.ts";

/** Where VMMs come. */
export interface VmmMeeting {
  /** The endpoint, with the port that was chosen. */
  readonly endpoint: VmmEndpoint;
  /** The next VMM; `null` when closed. */
  accept(): Promise<FrameTransport | null>;
  /** Ends it; can be called again. */
  close(): void;
}

/**
 * Waits for VMMs.
 *
 * @throws {GatewayError} Where the socket is in use, a permission is missing, or Deno lacks a flag.
 */
export async function meetVmm(
  endpoint: VmmEndpoint,
  logger: GatewayLogger,
  reserve?: VmmReserve,
): Promise<VmmMeeting> {
  if (endpoint.transport === "stdio") {
    const link = new StdioLink({ input: Deno.stdin, output: Deno.stdout });
    return { endpoint, accept: () => link.accept(), close: () => link.close() };
  }
  if (endpoint.transport === "vsock") return new VsockMeeting(endpoint, logger, reserve);
  if (endpoint.transport !== "unixgram") return await listenForVmm(endpoint, logger, reserve);
  return await meetByDatagram(endpoint, logger);
}

type DatagramEndpoint = Extract<VmmEndpoint, { transport: "unixgram" }>;

async function meetByDatagram(
  endpoint: DatagramEndpoint,
  logger: GatewayLogger,
): Promise<VmmMeeting> {
  const { path } = endpoint;
  using own = new DisposableStack();
  const socket = own.use(await bind(path, formatEndpoint(endpoint), logger));
  const waker = own.use(await bind(wakerPath(path), formatEndpoint(endpoint), logger));
  const pair = { socket, path, waker, wakerPath: wakerPath(path) };
  const files = own.move();
  const link = new DatagramLink(new HalfDuplexSocket(pair), {
    clock: systemClock,
    isAlive,
    whyNot: whyUnanswered,
    onTurnedAway: (why) => logger.warn(`a datagram was turned away: ${why}`, { path }),
    onEnd: () => files.dispose(),
  });
  return { endpoint, accept: () => link.accept(), close: () => link.close() };
}

/** A private socket of ours, whose file goes with it. */
async function bind(
  path: string,
  place: string,
  logger: GatewayLogger,
): Promise<UnixDatagramSocket & Disposable> {
  await removeStale(path, place);
  let socket: Deno.DatagramConn;
  try {
    socket = Deno.listenDatagram({ transport: "unixpacket", path });
  } catch (error) {
    throw new GatewayError("config", `cannot listen on ${place}: ${(error as Error).message}`, {
      hint: "Does the folder exist, and may it be written?",
      cause: error,
    });
  }
  try {
    Deno.chmodSync(path, 0o600);
  } catch (error) {
    logger.warn("cannot make the socket private", { path, error: String(error) });
  }
  const inode = inodeAt(path);
  return {
    receive: (into) => socket.receive(into),
    send: (datagram, to) => socket.send(datagram, to),
    close: () => closeQuietly(socket),
    [Symbol.dispose](): void {
      closeQuietly(socket);
      if (inode !== null && inodeAt(path) === inode) Deno.removeSync(path);
    },
  };
}

/**
 * Whether somebody has the socket at a path. Where Deno may not look, a VMM that is there counts as
 * gone once another one comes.
 */
async function isAlive(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.NotCapable || isUnserved(error));
  }
}

/** Why a VMM at a path can't be answered; `null` where it can. */
function whyUnanswered(path: string): string | null {
  if (!path.startsWith("/")) return `its socket is at ${path}, which is no absolute path`;
  const lacking = missingFileFlags(path);
  return lacking.length === 0
    ? null
    : `Deno may not use the VMM's own socket; add ${lacking.map(shellQuote).join(" ")}`;
}

function inodeAt(path: string): number | null {
  try {
    return Deno.lstatSync(path).ino;
  } catch {
    return null;
  }
}
