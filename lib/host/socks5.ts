/**
 * A connection through a SOCKS proxy of version 5 (RFC 1928), with user and password (RFC 1929).
 *
 *     greeting ─▶  ◀─ method   [user, password ─▶  ◀─ status]   request ─▶  ◀─ reply
 *
 * The destination is always a literal. Each answer tells its own length, so that no octet of the
 * destination's is read. Only CONNECT: no listening, no datagrams.
 *
 * @module
 */
import type { ProxyCredentials } from "../config/proxy_url.ts";
import {
  ProxyFailure,
  type ProxyFailureCode,
  type ProxyStream,
  type ProxyTarget,
  readExactly,
  writeAll,
} from "./proxy_handshake.ts";

const VERSION = 5;
const METHOD_NONE = 0;
const METHOD_PASSWORD = 2;
const METHOD_REFUSED = 0xff;
const PASSWORD_VERSION = 1;
const COMMAND_CONNECT = 1;
const ADDRESS_IP4 = 1;
const ADDRESS_NAME = 3;
const ADDRESS_IP6 = 4;

/** What each reply (RFC 1928 section 6) means for the guest, and in words. */
const REPLIES: readonly (readonly [code: ProxyFailureCode, text: string])[] = [
  ["ECONNREFUSED", "succeeded"],
  ["ECONNREFUSED", "general failure"],
  ["EACCES", "not allowed by its rules"],
  ["ENETUNREACH", "network unreachable"],
  ["EHOSTUNREACH", "host unreachable"],
  ["ECONNREFUSED", "connection refused"],
  ["ETIMEDOUT", "TTL expired"],
  ["ECONNREFUSED", "command not supported"],
  ["EAFNOSUPPORT", "address type not supported"],
];
const COMMAND_NOT_SUPPORTED = 7;

/**
 * Has the proxy connect.
 *
 * @param stream A fresh connection to the proxy.
 * @param target Where to.
 * @param credentials Who asks, or `null`.
 * @throws {ProxyFailure} Where there is no connection.
 */
export async function socks5Connect(
  stream: ProxyStream,
  target: ProxyTarget,
  credentials: ProxyCredentials | null,
): Promise<void> {
  const methods = credentials === null ? [METHOD_NONE] : [METHOD_NONE, METHOD_PASSWORD];
  await writeAll(stream, Uint8Array.of(VERSION, methods.length, ...methods));
  const [version, method] = await readExactly(stream, 2);
  if (version !== VERSION) throw notSocks();
  if (method === METHOD_PASSWORD && credentials !== null) await logIn(stream, credentials);
  else if (method !== METHOD_NONE) throw methodRefused(method!, credentials !== null);
  await writeAll(stream, request(target));
  await readReply(stream);
}

async function logIn(stream: ProxyStream, { user, password }: ProxyCredentials): Promise<void> {
  const encoder = new TextEncoder();
  const userBytes = encoder.encode(user);
  const passwordBytes = encoder.encode(password);
  const head = [PASSWORD_VERSION, userBytes.length, ...userBytes];
  await writeAll(stream, Uint8Array.of(...head, passwordBytes.length, ...passwordBytes));
  // The version is not looked at: proxies that answer with SOCKS's own are about.
  const [, status] = await readExactly(stream, 2);
  if (status !== 0) throw new ProxyFailure("EACCES", "the proxy refused user and password", true);
}

function request({ address, port }: ProxyTarget): Uint8Array {
  const type = address.length === 4 ? ADDRESS_IP4 : ADDRESS_IP6;
  return Uint8Array.of(VERSION, COMMAND_CONNECT, 0, type, ...address, port >> 8, port & 0xff);
}

async function readReply(stream: ProxyStream): Promise<void> {
  const [version, reply = 0, , type] = await readExactly(stream, 4);
  if (version !== VERSION) throw notSocks();
  if (reply !== 0) {
    const [code, text] = REPLIES[reply] ?? ["ECONNREFUSED", `reply ${reply}`];
    throw new ProxyFailure(code, `the proxy answered: ${text}`, reply === COMMAND_NOT_SUPPORTED);
  }
  await readExactly(stream, await boundBytes(stream, type!) + 2);
}

/** Octets of the address that the proxy uses itself, which nobody needs. */
async function boundBytes(stream: ProxyStream, type: number): Promise<number> {
  switch (type) {
    case ADDRESS_IP4:
      return 4;
    case ADDRESS_IP6:
      return 16;
    case ADDRESS_NAME:
      return (await readExactly(stream, 1))[0]!;
    default:
      throw notSocks();
  }
}

function methodRefused(method: number, hasCredentials: boolean): ProxyFailure {
  if (method !== METHOD_REFUSED && method !== METHOD_PASSWORD) return notSocks();
  const why = hasCredentials
    ? "the proxy takes no user and password"
    : "the proxy wants a user and a password";
  return new ProxyFailure("EACCES", why, true);
}

function notSocks(): ProxyFailure {
  return new ProxyFailure(
    "ECONNREFUSED",
    "what answered at the proxy's port is not SOCKS version 5",
    true,
  );
}
