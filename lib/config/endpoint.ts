/**
 * Where the VMM is met: `unix:/path` or `tcp:ADDRESS:PORT`.
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
  if (colon > 0 && scheme === "unix") return parseUnix(rest);
  if (colon > 0 && scheme === "tcp") return parseTcp(rest);
  const other = text.includes("/") ? `unix:${text}` : "unix:/path or tcp:127.0.0.1:7654";
  throw wrong(`"${text}" is not an endpoint; write ${other}`);
}

/** The text that {@linkcode parseEndpoint} reads back. */
export function formatEndpoint(endpoint: Endpoint): string {
  return endpoint.transport === "unix"
    ? `unix:${endpoint.path}`
    : `tcp:${formatHostPort(endpoint.hostname, endpoint.port)}`;
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

function parseUnix(path: string): Endpoint {
  if (path === "") throw wrong(`"unix:" lacks the path of its socket`);
  if (path.includes("\0")) throw wrong("the path of a unix socket has no NUL");
  const bytes = new TextEncoder().encode(path).length;
  if (bytes > UNIX_PATH_MAX_BYTES) {
    throw wrong(`the path of a unix socket has at most ${UNIX_PATH_MAX_BYTES} bytes, not ${bytes}`);
  }
  return { transport: "unix", path };
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

function wrong(text: string): ConfigError {
  return new ConfigError([{ key: "", text }]);
}
