/**
 * Encrypted connections to upstream resolvers by Deno's own TLS and HTTP: certificates are always
 * checked, and a missing permission is an error that names its flag, never a question.
 *
 * @module
 */
import { formatHostPort } from "../config/endpoint.ts";
import { closeQuietly } from "./close_quietly.ts";
import { textOf } from "./dns_attempt.ts";
import { isGranted } from "./permissions.ts";

/** What is used of a TLS connection. */
export type TlsLink = Pick<Deno.TlsConn, "read" | "write" | "close">;

/** Where to connect, and whose certificate it must show. */
export interface TlsConnectOptions {
  /** Literal, or a name that the host's own resolver finds. */
  readonly hostname: string;
  readonly port: number;
  /** The name or literal of the certificate. */
  readonly serverName: string;
  /** Gives the connection up. */
  readonly signal: AbortSignal;
}

/** Connects and has the certificate checked. */
export type ConnectTls = (options: TlsConnectOptions) => Promise<TlsLink>;

/** What is posted to a resolver. */
export interface HttpsPost {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array<ArrayBuffer>;
  readonly signal: AbortSignal;
}

/** Posts over connections of its own. */
export interface HttpsClient {
  /** Posts; the answer's head has come when it resolves. Redirects are answers as others are. */
  post(url: string, post: HttpsPost): Promise<Response>;
  /** Keeps no connection for later any more. */
  close(): void;
}

/** Who may vouch for resolvers beside those that vouch for everybody. */
export interface TlsTrust {
  /** Certificates in PEM. */
  readonly caCerts?: readonly string[];
}

/** Makes a way to connect over TLS. */
export function tlsConnector({ caCerts = [] }: TlsTrust = {}): ConnectTls {
  return async ({ hostname, port, serverName, signal }) => {
    requireNetFlag(formatHostPort(hostname, port));
    const plain = await Deno.connect({ hostname, port, transport: "tcp", signal });
    plain.setNoDelay(true);
    let conn: Deno.TcpConn | Deno.TlsConn = plain;
    const abort = () => closeQuietly(conn);
    signal.addEventListener("abort", abort);
    try {
      const tls = await Deno.startTls(plain, { hostname: serverName, caCerts: [...caCerts] });
      conn = tls;
      signal.throwIfAborted();
      await tls.handshake();
      signal.throwIfAborted();
      return tls;
    } catch (error) {
      closeQuietly(conn);
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  };
}

/** How long an HTTPS connection is kept without a question. */
const HTTPS_IDLE_MS = 10_000;

/** Most connections to one resolver that are kept without a question. */
const HTTPS_IDLE_CONNECTIONS = 2;

/** Makes a client for questions over HTTPS. */
export function openHttpsClient({ caCerts = [] }: TlsTrust = {}): HttpsClient {
  const client = Deno.createHttpClient({
    caCerts: [...caCerts],
    poolIdleTimeout: HTTPS_IDLE_MS,
    poolMaxIdlePerHost: HTTPS_IDLE_CONNECTIONS,
  });
  return {
    // deno-lint-ignore require-await -- so that a missing permission is a rejection too
    async post(url, { headers, body, signal }) {
      const { host, port } = new URL(url);
      requireNetFlag(port === "" ? `${host}:443` : host);
      return fetch(url, { method: "POST", headers, body, signal, client, redirect: "manual" });
    },
    close: () => client.close(),
  };
}

/**
 * What an error says about the other side's certificate.
 *
 * @returns What is wrong with it, or `null` where the error is of another kind.
 */
export function certificateFault(error: unknown): string | null {
  return /invalid peer certificate: .*/s.exec(reasonOf(error))?.[0] ?? null;
}

/** Most of what an error says: some of it may be the peer's own words. */
const REASON_MAX = 300;

/** What an error says at its bottom: HTTP puts others around it that say nothing. */
export function reasonOf(error: unknown): string {
  let one = error;
  for (let depth = 0; depth < 4 && one instanceof Error && one.cause instanceof Error; depth++) {
    one = one.cause;
  }
  const said = textOf(one).replace(/^error sending request for url \(.*?\): /, "");
  return said.replace(/[^\x20-\x7e]/g, "?").slice(0, REASON_MAX);
}

function requireNetFlag(host: string): void {
  if (!isGranted({ name: "net", host })) {
    throw new Deno.errors.NotCapable(`needs --allow-net=${host}`);
  }
}
