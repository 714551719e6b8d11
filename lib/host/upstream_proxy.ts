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
 * The proxy itself is no place for a guest, which could ask it for anything that the policy refuses,
 * with no one looking: `isProxy` knows it by its literal, or by the addresses of its name that
 * connects have met; and where it is on this host, at each of the host's addresses. A connect that
 * meets a new one goes no further if that is where it was to lead.
 *
 * @module
 */
import { formatHostPort } from "../config/endpoint.ts";
import { ConfigError } from "../config/errors.ts";
import { parseProxyUrl, type ProxyUrl } from "../config/proxy_url.ts";
import { AddressClass, classify, embeddedIpv4 } from "../policy/address_class.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import { closeQuietly } from "./close_quietly.ts";
import type { Connect } from "./dialer.ts";
import { httpConnect } from "./http_connect.ts";
import { isPermissionError } from "./permissions.ts";
import { ProxyFailure, type ProxyTarget } from "./proxy_handshake.ts";
import { socks5Connect } from "./socks5.ts";

/** What the way through a proxy works with. */
export interface UpstreamProxyOptions {
  /** Connects to the proxy itself, and to the host's loopback. */
  readonly connect: Connect;
  /** Tries whether a socket can be bound to a literal. */
  readonly canBind: (hostname: string) => boolean | null;
  /** Hears of each connect that failed by the proxy's or its setting's fault. */
  readonly onFault?: (error: Error) => void;
}

/** Addresses of the proxy that are remembered, the latest of them. */
const PLACES_MAX = 256;

/** One proxy, and the way through it. */
export class UpstreamProxy {
  readonly #proxy: ProxyUrl;
  readonly #options: UpstreamProxyOptions;
  /** Canonical literals of the proxy's own addresses. */
  readonly #places = new Set<string>();
  /** Whether it listens on this host. */
  #isOnHost: boolean;

  /**
   * @param proxyUrl The proxy, as `parseProxyUrl` reads it.
   * @param options What the way works with.
   * @throws {ConfigError} Where the URL is wrong.
   */
  constructor(proxyUrl: string, options: UpstreamProxyOptions) {
    const proxy = parseProxyUrl(proxyUrl);
    if (typeof proxy === "string") throw new ConfigError([{ key: "upstreamProxy", text: proxy }]);
    this.#proxy = proxy;
    this.#options = options;
    const { hostname } = proxy;
    this.#isOnHost = LOCALHOST.test(hostname);
    const address = parseIp(hostname);
    if (address === null) return;
    this.#remember(address);
    this.#isOnHost = isLocal(address) || options.canBind(hostname) === true;
  }

  /** A connect of the same kind as the one it was given, by way of the proxy. */
  readonly connect: Connect = (options) => {
    const { hostname = "127.0.0.1", port, signal } = options;
    const address = parseIp(hostname);
    if (address === null) {
      return Promise.reject(new TypeError(`Cannot connect to "${hostname}": it is no literal`));
    }
    if (classify(address) === AddressClass.loopback) return this.#options.connect(options);
    return this.#connectThrough({ address, port }, signal);
  };

  /** Whether a literal and a port are where the proxy listens, as far as that has been seen. */
  isProxy(hostname: string, port: number): boolean {
    const address = parseIp(hostname);
    if (port !== this.#proxy.port || address === null) return false;
    const literals = literalsOf(address);
    if (literals.some((literal) => this.#places.has(literal))) return true;
    if (!this.#isOnHost) return false;
    return isLocal(address) || literals.some((one) => this.#options.canBind(one) !== false);
  }

  async #connectThrough(target: ProxyTarget, signal: AbortSignal): Promise<Deno.TcpConn> {
    const proxy = this.#proxy;
    const { connect, onFault = () => {} } = this.#options;
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
      this.#learn(conn);
      if (this.isProxy(formatIp(target.address), target.port)) throw toItself(proxy);
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

  /** Where a name has led. */
  #learn({ localAddr, remoteAddr }: Deno.TcpConn): void {
    const address = parseIp(remoteAddr.hostname);
    if (address === null) return;
    this.#remember(address);
    this.#isOnHost ||= isLocal(address) || localAddr.hostname === remoteAddr.hostname;
  }

  #remember(address: Uint8Array): void {
    for (const literal of literalsOf(address)) {
      this.#places.delete(literal);
      this.#places.add(literal);
    }
    for (const oldest of this.#places) {
      if (this.#places.size <= PLACES_MAX) return;
      this.#places.delete(oldest);
    }
  }
}

/** Names that are this host's on any system (RFC 6761 section 6.3). */
const LOCALHOST = /(^|\.)localhost$/;

/** Whether an address is this host by itself; connects take the unspecified one for it. */
function isLocal(address: Uint8Array): boolean {
  const addressClass = classify(address);
  return addressClass === AddressClass.loopback || addressClass === AddressClass.unspecified;
}

/** An address, and the IPv4 addresses that it carries. */
function literalsOf(address: Uint8Array): string[] {
  const carried = address.length === 16 ? embeddedIpv4(address) : [];
  return [address, ...carried].map(formatIp);
}

/** What a guest hears that asks the proxy for the proxy. */
function toItself(proxy: ProxyUrl): Error {
  const text = `the proxy ${placeOf(proxy)} itself is no place for a guest`;
  return Object.assign(new Deno.errors.PermissionDenied(text), { code: "EACCES" });
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
