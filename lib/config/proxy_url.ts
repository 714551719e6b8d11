/**
 * The URL of an upstream proxy: `http://[user:password@]host:port` or `socks5://…`.
 *
 * Read by hand: `URL` drops a port of 80, and treats the host of a scheme that it does not know as
 * mere text. What stands before the last `@` is user and password, percent-encoded where need be.
 * No text that comes from here, of an error or for the log, has a word of them.
 *
 * The host may be a name, which the host's own resolver looks up: whoever runs the gateway wrote it.
 *
 * @module
 */
import { formatIp, parseIp } from "../wire/address.ts";
import { parsePort } from "./port_spec.ts";

/** What a proxy is told of who asks. */
export interface ProxyCredentials {
  readonly user: string;
  readonly password: string;
}

/** A proxy, and how to talk to it. */
export interface ProxyUrl {
  /** `http`: by CONNECT; `socks5`: RFC 1928. */
  readonly scheme: "http" | "socks5";
  /** A canonical literal without brackets, or a name in lower case. */
  readonly hostname: string;
  readonly port: number;
  readonly credentials: ProxyCredentials | null;
}

/** Longest URL, in characters. */
const URL_MAX = 2_048;
/** Longest user and password of SOCKS, in octets (RFC 1929). */
const SOCKS_TEXT_MAX_BYTES = 255;

const EXAMPLE = "write http://HOST:PORT or socks5://HOST:PORT";

/** Schemes that are close to what is spoken, and what there is to say of them. */
const OTHER_SCHEMES: Readonly<Record<string, string>> = {
  https: `TLS to the proxy is not spoken; ${EXAMPLE}`,
  socks: "write socks5://",
  socks4: "only SOCKS version 5 is spoken; write socks5://",
  socks4a: "only SOCKS version 5 is spoken; write socks5://",
  socks5h: "the proxy is given addresses and no names; write socks5://",
};

/**
 * Reads a proxy's URL.
 *
 * @param text The URL.
 * @returns The proxy, or what is wrong, without user and password.
 */
export function parseProxyUrl(text: string): ProxyUrl | string {
  const wrong = (what: string): string => `"${maskProxyUrl(text.slice(0, URL_MAX))}": ${what}`;
  if (text.length > URL_MAX) return `has more than ${URL_MAX} characters`;
  const [, schemeText = "", rest = ""] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(text) ?? [];
  const scheme = schemeText.toLowerCase();
  if (scheme !== "http" && scheme !== "socks5") {
    const hint = Object.hasOwn(OTHER_SCHEMES, scheme) ? OTHER_SCHEMES[scheme] : undefined;
    return wrong(hint ?? `is not a proxy; ${EXAMPLE}`);
  }
  const at = rest.lastIndexOf("@");
  const place = parsePlace(rest.slice(at + 1).replace(/\/$/, ""));
  if (typeof place === "string") return wrong(place);
  const credentials = at < 0 ? null : parseCredentials(rest.slice(0, at), scheme);
  if (typeof credentials === "string") return wrong(credentials);
  return { scheme, ...place, credentials };
}

/**
 * A proxy's URL for whoever reads the log: `***` stands for user and password.
 *
 * @param text The URL, right or wrong.
 * @returns The text without what stands before the last `@`, but for its scheme.
 */
export function maskProxyUrl(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, "$1***@");
}

function parsePlace(text: string): { hostname: string; port: number } | string {
  if (/[/?#]/.test(text)) return "nothing may follow the port";
  const match = /^(?:\[([^[\]]*)\]|([^:[\]]*))(?::([^:]*))?$/.exec(text);
  if (match === null) return "an IPv6 address stands in brackets, such as [::1]:3128";
  const [, bracketed, plain = "", portText] = match;
  const hostname = bracketed === undefined ? parseHost(plain) : parseBracketed(bracketed);
  if (hostname === null) return `"${bracketed ?? plain}" is no address or name of a host`;
  if (portText === undefined) return "lacks the port, such as :3128";
  const port = parsePort(portText, 1);
  return port === null ? `"${portText}" is not a port from 1 to 65535` : { hostname, port };
}

function parseBracketed(text: string): string | null {
  const address = parseIp(text);
  return address?.length === 16 ? formatIp(address) : null;
}

/** An IPv4 literal or a name; what a resolver would read as an odd form of an address is neither. */
function parseHost(text: string): string | null {
  const address = parseIp(text);
  if (address !== null) return formatIp(address);
  const name = text.toLowerCase().replace(/\.$/, "");
  const labels = name.split(".");
  const areLabels = labels.every((label) =>
    /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label)
  );
  const isNumber = /^(?:[0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1)!);
  return name.length <= 253 && areLabels && !isNumber ? name : null;
}

function parseCredentials(text: string, scheme: ProxyUrl["scheme"]): ProxyCredentials | string {
  const colon = text.indexOf(":");
  let user: string;
  let password: string;
  try {
    user = decodeURIComponent(colon < 0 ? text : text.slice(0, colon));
    password = colon < 0 ? "" : decodeURIComponent(text.slice(colon + 1));
  } catch {
    return "user or password has a % that begins no octet; write %25 for %";
  }
  if (hasControl(user) || hasControl(password)) return "user or password has a control character";
  if (scheme === "socks5") {
    if (!isSocksText(user) || !isSocksText(password)) {
      return `user and password have 1 to ${SOCKS_TEXT_MAX_BYTES} octets each (RFC 1929)`;
    }
  } else if (user.includes(":")) {
    return "a user has no colon (RFC 7617)";
  } else if (user === "" && password === "") {
    return "user and password are empty; leave out the @";
  }
  return { user, password };
}

function isSocksText(text: string): boolean {
  const { length } = new TextEncoder().encode(text);
  return length > 0 && length <= SOCKS_TEXT_MAX_BYTES;
}

function hasControl(text: string): boolean {
  return [...text].some((char) => char < " " || char === "\x7f");
}
