/**
 * Where the VMM is met: `unix:/path`, `tcp:ADDRESS:PORT`, `vsock:CID:PORT`, `unixgram:/path` or
 * `stdio:`.
 *
 * Addresses are literals, never names: what is listened on must not depend on a resolver. The path
 * of a unix socket is bounded by the kernel's `sun_path`.
 *
 * @module
 */
import { formatIp, parseIp } from "../wire/address.ts";
import { ConfigError } from "./errors.ts";

/**
 * A place where gateway and VMM meet. As {@linkcode parseEndpoint} yields it.
 */
export type Endpoint =
  | {
    /** A unix stream socket. */
    readonly transport: "unix";
    /** Path of its file. */
    readonly path: string;
  }
  | {
    /** A TCP connection. */
    readonly transport: "tcp";
    /** IPv4 or IPv6 literal in canonical form, without brackets. */
    readonly hostname: string;
    /** Port; 0 lets the system choose when listening. */
    readonly port: number;
  };

/**
 * A port of a VM socket: between a host and its virtual machines, without a network. Needs Deno's
 * `--unstable-vsock`. A part of what {@linkcode parseVmmEndpoint} yields.
 */
export interface VsockEndpoint {
  /** A stream between machines of one host. */
  readonly transport: "vsock";
  /** Whose port: 1 this machine's own, 2 the host's, above those a guest's; 4,294,967,295 for any. */
  readonly cid: number;
  /** The port, up to 4,294,967,294. */
  readonly port: number;
}

/** Where a stream to a VMM can begin from either side. */
export type StreamEndpoint = Endpoint | VsockEndpoint;

/**
 * A place where gateway and VMM meet, which need not carry a stream. As
 * {@linkcode parseVmmEndpoint} yields it.
 */
export type VmmEndpoint =
  | Endpoint
  | VsockEndpoint
  | {
    /** A unix datagram socket: each datagram is one frame. Needs Deno's `--unstable-net`. */
    readonly transport: "unixgram";
    /** Path of its file. */
    readonly path: string;
  }
  | {
    /** Standard input and output: one guest, whose frames come in at the one and go out at the other. */
    readonly transport: "stdio";
  };

/**
 * How frames are told apart in a stream. For {@linkcode serveVirtioNetwork}.
 *
 * - `stream`: 4 bytes of length, big-endian (QEMU, libkrun)
 * - `stream-vnet`: the same, and then the 12 bytes of a virtio-net header, which count to the length
 * - `hyperkit`: 2 bytes, little-endian, after a handshake (hyperkit, vpnkit)
 */
export type Framing = "stream" | "stream-vnet" | "hyperkit";

/** Every framing. */
export const FRAMINGS: readonly Framing[] = ["stream", "stream-vnet", "hyperkit"];

/** The CID of a listening VM socket that takes whoever comes. */
export const VSOCK_CID_ANY = 0xffff_ffff;

/** Longest path of a unix socket, in bytes: `sun_path` less its NUL. */
export const UNIX_PATH_MAX_BYTES = 107;

/**
 * Reads an endpoint.
 *
 * @param text `unix:/path`, `tcp:127.0.0.1:7654` or `tcp:[::1]:7654`.
 * @returns The endpoint.
 * @throws {ConfigError} Where the text is no endpoint.
 *
 * @example Both transports
 * ```ts
 * import { parseEndpoint } from "@virtio/gateway";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * assertEquals(parseEndpoint("unix:/run/vm1.sock"), { transport: "unix", path: "/run/vm1.sock" });
 * assertEquals(parseEndpoint("tcp:[::1]:7654"), { transport: "tcp", hostname: "::1", port: 7654 });
 * assertThrows(() => parseEndpoint("tcp:localhost:7654")); // a name: what it means may change
 * ```
 */
export function parseEndpoint(text: string): Endpoint {
  const colon = text.indexOf(":");
  const scheme = text.slice(0, colon);
  const rest = text.slice(colon + 1);
  if (colon > 0 && scheme === "unix") return { transport: "unix", path: socketPath(text) };
  if (colon > 0 && scheme === "tcp") return parseTcp(rest);
  if (scheme === "unixgram" || text === "stdio:") {
    throw wrong(
      `"${text}" is only for a VMM that is waited for; write unix:/path or tcp:127.0.0.1:7654`,
    );
  }
  if (colon > 0 && scheme === "vsock") {
    throw wrong(`"${text}" is only for a VMM; write unix:/path or tcp:127.0.0.1:7654`);
  }
  const other = text.includes("/") ? `unix:${text}` : "unix:/path or tcp:127.0.0.1:7654";
  throw wrong(`"${text}" is not an endpoint; write ${other}`);
}

/**
 * Reads an endpoint of which a VMM may be at the other side.
 *
 * @param text As for {@linkcode parseEndpoint}, or `vsock:CID:PORT`, `unixgram:/path` or `stdio:`.
 * @returns The endpoint.
 * @throws {ConfigError} Where the text is no endpoint.
 *
 * @example A datagram socket, a VM socket, and the standard streams
 * ```ts
 * import { parseVmmEndpoint } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseVmmEndpoint("unixgram:/run/vm1.sock"), {
 *   transport: "unixgram",
 *   path: "/run/vm1.sock",
 * });
 * assertEquals(parseVmmEndpoint("vsock:2:1024"), { transport: "vsock", cid: 2, port: 1024 });
 * assertEquals(parseVmmEndpoint("stdio:"), { transport: "stdio" });
 * assertEquals(parseVmmEndpoint("tcp:[::1]:7654").transport, "tcp");
 * ```
 */
export function parseVmmEndpoint(text: string): VmmEndpoint {
  if (text === "stdio:") return { transport: "stdio" };
  const [scheme] = text.split(":", 1);
  if (scheme !== "unixgram") return parseStreamEndpoint(text);
  return { transport: "unixgram", path: socketPath(text) };
}

/** Reads an endpoint of streams: `vsock:CID:PORT`, or as {@linkcode parseEndpoint}. */
export function parseStreamEndpoint(text: string): StreamEndpoint {
  return text.startsWith("vsock:") ? parseVsock(text) : parseEndpoint(text);
}

/** The text that {@linkcode parseEndpoint} or {@linkcode parseVmmEndpoint} reads back. */
export function formatEndpoint(endpoint: VmmEndpoint): string {
  if (endpoint.transport === "stdio") return "stdio:";
  if (endpoint.transport === "vsock") {
    return `vsock:${endpoint.cid === VSOCK_CID_ANY ? "any" : endpoint.cid}:${endpoint.port}`;
  }
  return endpoint.transport === "tcp"
    ? `tcp:${formatHostPort(endpoint.hostname, endpoint.port)}`
    : `${endpoint.transport}:${endpoint.path}`;
}

/** Where the small second socket of a datagram endpoint stands, beside the first. */
export function wakerPath(path: string): string {
  return `${path}.wake`;
}

/**
 * What can't be of an endpoint, who goes to whom, and a framing beside each other.
 *
 * @returns The fault and the way out, or `null`.
 */
export function meetingFault(
  endpoint: VmmEndpoint,
  mode: "listen" | "connect",
  framing: Framing,
): string | null {
  if (!FRAMINGS.includes(framing)) {
    return `the framing ${framing} is none of ${FRAMINGS.join(", ")}`;
  }
  const { transport } = endpoint;
  if (transport === "unix" || transport === "tcp") return null;
  const place = formatEndpoint(endpoint);
  if (transport === "vsock") {
    const isAny = mode === "connect" && endpoint.cid === VSOCK_CID_ANY;
    return isAny ? `${place} can only be listened on; name the CID to go to` : null;
  }
  if (mode === "connect") return `${place} can only be listened on, since it is no connection`;
  if (transport === "unixgram" && framing !== "stream") {
    return `${place} has a frame in each datagram; the framing ${framing} is for streams`;
  }
  return null;
}

/**
 * What can't be of a framing and of segments longer than the MTU.
 *
 * @returns The fault and the way out, or `null`.
 */
export function offloadFault(framing: Framing, offload: boolean): string | null {
  if (!offload || framing !== "hyperkit") return null;
  return "the framing hyperkit has no frames as long as these; leave it or the offload out";
}

/** The longest time that a guest without a VMM is kept, in milliseconds. */
export const LINGER_MAX_MS = 3_600_000;

/**
 * What is wrong with keeping a guest for so long at an endpoint.
 *
 * @param endpoint Where the VMM is met.
 * @param lingerMs For how long.
 * @returns The fault and the way out, or `null`.
 */
export function lingerFault(endpoint: VmmEndpoint, lingerMs: number): string | null {
  if (!(lingerMs >= 0 && lingerMs <= LINGER_MAX_MS)) {
    return `it is from 0 to ${LINGER_MAX_MS} milliseconds, an hour`;
  }
  if (lingerMs === 0 || endpoint.transport !== "stdio") return null;
  return `nobody can come again at ${formatEndpoint(endpoint)}; leave it out`;
}

/** `ADDRESS:PORT`, with brackets around IPv6. */
export function formatHostPort(hostname: string, port: number): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/**
 * Splits `ADDRESS:PORT` or `[ADDRESS]:PORT`.
 *
 * @param text What to split.
 * @returns The canonical address literal and the port (0 to 65,535), or `null`.
 */
export function parseHostPort(text: string): { hostname: string; port: number } | null {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(text);
  if (match === null) return null;
  const [, bracketed, plain, digits = ""] = match;
  const address = parseIp(bracketed ?? plain ?? "");
  const port = Number(digits);
  if (address === null || port > 65_535) return null;
  if ((bracketed !== undefined) !== (address.length === 16)) return null;
  return { hostname: formatIp(address), port };
}

/** The path behind the scheme. */
function socketPath(text: string): string {
  const colon = text.indexOf(":");
  const path = text.slice(colon + 1);
  if (path === "") throw wrong(`"${text}" lacks the path of its socket`);
  if (path.includes("\0")) throw wrong("the path of a unix socket has no NUL");
  const longest = text.startsWith("unixgram:") ? wakerPath(path) : path;
  const bytes = new TextEncoder().encode(longest).length;
  if (bytes > UNIX_PATH_MAX_BYTES) {
    const beside = longest === path ? "" : " with the .wake beside it";
    throw wrong(
      `the path of a unix socket has at most ${UNIX_PATH_MAX_BYTES} bytes, not ${bytes}${beside}`,
    );
  }
  return path;
}

function parseTcp(rest: string): Endpoint {
  const place = parseHostPort(rest);
  if (place === null) {
    throw wrong(
      `"tcp:${rest}" is not tcp:ADDRESS:PORT, such as tcp:127.0.0.1:7654 or tcp:[::1]:7654`,
    );
  }
  return { transport: "tcp", ...place };
}

function parseVsock(text: string): VsockEndpoint {
  const [, cidText = "", portText = ""] = /^vsock:(any|[0-9]{1,10}):([0-9]{1,10})$/.exec(text) ??
    [];
  const cid = cidText === "any" ? VSOCK_CID_ANY : Number(cidText);
  const port = Number(portText);
  const isCid = cidText === "any" || (cidText !== "" && cid < VSOCK_CID_ANY);
  if (!isCid || portText === "" || port >= VSOCK_CID_ANY) {
    throw wrong(`"${text}" is not vsock:CID:PORT, such as vsock:any:1024 or vsock:3:1024`);
  }
  return { transport: "vsock", cid, port };
}

function wrong(text: string): ConfigError {
  return new ConfigError([{ key: "", text }]);
}
