/**
 * Connects that go through a proxy: to the proxy first, then its handshake, and the connection that
 * comes out is the destination's.
 *
 * The proxy is met where whoever runs the gateway said, by the same silent permission check as any
 * other connect, at whichever address of its name Deno reaches; it is given canonical literals only.
 * What leads to the host's own loopback, a service opened to the guest, does not go through it: the
 * proxy's loopback is another machine's.
 *
 * Failures come out as the system's own would: with a `code`, and as `PermissionDenied` where the
 * proxy forbids. A proxy that can't be reached is a network without a way out. An abort closes the
 * connection, whatever it waits for; there is no time limit but the dial's.
 *
 * The address that the proxy connects from, and the one that it reaches, are not known here:
 * `localAddr` and `remoteAddr` are those of the connection to the proxy.
 *
 * @module
 */
import { formatHostPort } from "../config/endpoint.ts";
import { ConfigError } from "../config/errors.ts";
import { parseProxyUrl, type ProxyUrl } from "../config/proxy_url.ts";
import { AddressClass, classify } from "../policy/address_class.ts";
import { parseIp } from "../wire/address.ts";
import { closeQuietly } from "./close_quietly.ts";
import type { Connect } from "./dialer.ts";
import { httpConnect } from "./http_connect.ts";
import { isPermissionError } from "./permissions.ts";
import { ProxyFailure, type ProxyTarget } from "./proxy_handshake.ts";
import { socks5Connect } from "./socks5.ts";

/**
 * Makes connects go through a proxy.
 *
 * @param proxyUrl The proxy, as `parseProxyUrl` reads it.
 * @param connect Connects to the proxy itself, and to the host's loopback.
 * @param onFault Hears of each connect that failed by the proxy's or its setting's fault.
 * @returns A connect of the same kind.
 * @throws {ConfigError} Where the URL is wrong.
 */
export function proxyConnect(
  proxyUrl: string,
  connect: Connect,
  onFault: (error: Error) => void = () => {},
): Connect {
  const proxy = parseProxyUrl(proxyUrl);
  if (typeof proxy === "string") throw new ConfigError([{ key: "upstreamProxy", text: proxy }]);
  return (options) => {
    const { hostname = "127.0.0.1", port, signal } = options;
    const address = parseIp(hostname);
    if (address === null) {
      return Promise.reject(new TypeError(`Cannot connect to "${hostname}": it is no literal`));
    }
    if (classify(address) === AddressClass.loopback) return connect(options);
    return connectThrough(proxy, { address, port }, { connect, signal, onFault });
  };
}

interface Way {
  readonly connect: Connect;
  readonly signal: AbortSignal;
  readonly onFault: (error: Error) => void;
}

async function connectThrough(
  proxy: ProxyUrl,
  target: ProxyTarget,
  { connect, signal, onFault }: Way,
): Promise<Deno.TcpConn> {
  const { hostname, port, credentials } = proxy;
  let conn: Deno.TcpConn;
  try {
    conn = await connect({ hostname, port, transport: "tcp", signal });
  } catch (error) {
    signal.throwIfAborted();
    const failure = unreachable(proxy, error);
    onFault(failure);
    throw failure;
  }
  const close = () => closeQuietly(conn);
  signal.addEventListener("abort", close);
  try {
    signal.throwIfAborted();
    const handshake = proxy.scheme === "http" ? httpConnect : socks5Connect;
    await handshake(conn, target, credentials);
    signal.throwIfAborted();
    return conn;
  } catch (error) {
    close();
    signal.throwIfAborted();
    if (!(error instanceof ProxyFailure)) throw error;
    const failure = asSystemError(proxy, error);
    if (error.isFault) onFault(failure);
    throw failure;
  } finally {
    signal.removeEventListener("abort", close);
  }
}

/** What a guest is to hear where the proxy itself can't be reached. */
function unreachable(proxy: ProxyUrl, error: unknown): Error {
  const { code, message } = error as { code?: string; message?: string };
  // A refusal would tell the guest that its destination runs nothing at that port.
  const isRefusal = code === undefined || code === "ECONNREFUSED" || code === "ECONNRESET";
  const text = `cannot reach the proxy ${placeOf(proxy)}: ${message ?? error}`;
  if (isPermissionError(error)) return new Deno.errors.PermissionDenied(text, { cause: error });
  return Object.assign(new Error(text, { cause: error }), {
    code: isRefusal ? "ENETUNREACH" : code,
  });
}

/** A failure as a connect's error of the same kind would be. */
function asSystemError(proxy: ProxyUrl, { code, message }: ProxyFailure): Error {
  const text = `by way of ${placeOf(proxy)}: ${message}`;
  const error = code === "EACCES" ? new Deno.errors.PermissionDenied(text) : new Error(text);
  return Object.assign(error, { code });
}

function placeOf({ scheme, hostname, port }: ProxyUrl): string {
  return `${scheme}://${formatHostPort(hostname, port)}`;
}
