/**
 * An upstream resolver as text, and what the text says:
 *
 *     system                       the host's own resolvers, whatever they are at the moment
 *     ADDR[:PORT]                  plain, over UDP and TCP
 *     tls://ADDR[:PORT][#NAME]     over TLS (RFC 7858); the certificate is for NAME, else for ADDR
 *     tls://NAME[:PORT]            the same, where the host's own resolver finds NAME
 *     https://HOST[:PORT]/PATH     over HTTPS (RFC 8484)
 *
 * A literal that holds an IPv4 address inside IPv6 (`::ffff:1.2.3.4`) is that IPv4 address; one
 * that no resolver can have (unspecified, multicast, broadcast, link-local without its zone) is
 * refused. The host's loopback is not: it is the host that asks. Nothing is resolved here.
 *
 * @module
 */
import { normalizeName } from "../dns/name.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import { formatHostPort, parseHostPort } from "./endpoint.ts";

/** The host's own resolvers. */
export interface SystemUpstream {
  readonly kind: "system";
}

/** A resolver that is asked in the clear. */
export interface PlainUpstream {
  readonly kind: "plain";
  /** Canonical IPv4 or IPv6 literal. */
  readonly hostname: string;
  readonly port: number;
}

/** A resolver that is asked over TLS. */
export interface TlsUpstream {
  readonly kind: "tls";
  /** Canonical literal, or a name that the host's own resolver finds. */
  readonly hostname: string;
  readonly port: number;
  /** The name or literal that its certificate must be for; a name is sent as SNI. */
  readonly serverName: string;
}

/** A resolver that is asked over HTTPS. */
export interface HttpsUpstream {
  readonly kind: "https";
  /** Canonical literal, or a name that the host's own resolver finds. */
  readonly hostname: string;
  readonly port: number;
  /** Where questions are posted. */
  readonly url: string;
}

/** One upstream resolver with a place of its own. */
export type UpstreamPlace = PlainUpstream | TlsUpstream | HttpsUpstream;

/** What the text of an upstream says. */
export type UpstreamSpec = SystemUpstream | UpstreamPlace;

const DNS_PORT = 53;
const TLS_PORT = 853;
const HTTPS_PORT = 443;

/** Longest text of an upstream. */
const TEXT_MAX = 1_024;

const FORMS = "system, ADDRESS[:PORT], tls://ADDRESS[#NAME], tls://NAME or https://HOST/PATH";

/**
 * Reads the text of an upstream.
 *
 * @param text The text.
 * @returns What it says, or what is wrong with it and the way out.
 */
export function parseUpstreamUrl(text: string): UpstreamSpec | string {
  if (text.length > TEXT_MAX) return `an upstream's text has at most ${TEXT_MAX} characters`;
  if (text === "system") return { kind: "system" };
  if (text.startsWith("tls://")) return parseTls(text, text.slice("tls://".length));
  if (text.startsWith("https://")) return parseHttps(text);
  if (text.includes("://")) return `"${text}" is no kind of upstream; write ${FORMS}`;
  const place = parsePlace(text, DNS_PORT);
  if (typeof place === "object" && place !== null) return { kind: "plain", ...place };
  if (place !== null) return place;
  return hostName(text) === null
    ? `"${text}" is not ${FORMS}`
    : `"${text}" is a name; write a resolver's address, or tls://${text}`;
}

/** The text that {@linkcode parseUpstreamUrl} reads back; plain ones with their port. */
export function formatUpstreamSpec(spec: UpstreamSpec): string {
  switch (spec.kind) {
    case "system":
      return "system";
    case "plain":
      return formatHostPort(spec.hostname, spec.port);
    case "tls": {
      const { hostname, port, serverName } = spec;
      const place = port === TLS_PORT
        ? formatHostPort(hostname, port).slice(0, -`:${port}`.length)
        : formatHostPort(hostname, port);
      return `tls://${place}${serverName === hostname ? "" : `#${serverName}`}`;
    }
    case "https":
      return spec.url;
  }
}

function parseTls(text: string, rest: string): TlsUpstream | string {
  const [place = "", ...names] = rest.split("#");
  if (names.length > 1) return `"${text}" has two "#"; write tls://ADDRESS#NAME`;
  const [wanted] = names;
  const serverName = wanted === undefined ? null : hostName(wanted);
  if (wanted !== undefined && serverName === null) {
    return `"${wanted}" in "${text}" is not the name of a certificate, such as dns.example`;
  }
  const literal = parsePlace(place, TLS_PORT);
  if (typeof literal === "string") return literal;
  if (literal !== null) {
    return { kind: "tls", ...literal, serverName: serverName ?? literal.hostname };
  }
  const named = /^([^:[\]]+)(?::([0-9]{1,5}))?$/.exec(place);
  const hostname = named === null ? null : hostName(named[1]!);
  const port = Number(named?.[2] ?? TLS_PORT);
  if (hostname === null || port === 0 || port > 65_535) {
    return `"${text}" is not tls://ADDRESS[:PORT][#NAME] or tls://NAME[:PORT]`;
  }
  if (serverName !== null && serverName !== hostname) {
    return `"${text}" has two names; write tls://${hostname}, or the address before #${serverName}`;
  }
  return { kind: "tls", hostname, port, serverName: hostname };
}

function parseHttps(text: string): HttpsUpstream | string {
  // A URI template of RFC 8484 stands for GET; what is posted goes to the same place without it.
  const bare = text.replace(/\{\?dns\}$/, "");
  if (!URL.canParse(bare)) return `"${text}" is not a URL; write https://HOST/PATH`;
  const url = new URL(bare);
  if (url.username !== "" || url.password !== "") {
    return `the URL of an upstream can't hold a name or a password; write https://HOST/PATH`;
  }
  if (bare.includes("#")) {
    return `"${text}" has a "#", which no server is told; write https://HOST/PATH`;
  }
  if (!/^https:\/\/[^/?]+\//.test(bare)) {
    return `"${text}" lacks its path; most resolvers have https://${url.host}/dns-query`;
  }
  const hostname = url.hostname.replace(/^\[|\]$/g, "");
  const port = url.port === "" ? HTTPS_PORT : Number(url.port);
  const address = parseIp(hostname);
  if (port === 0 || (address !== null && !isUsable(unmapped(address)))) return unusable(text);
  if (address === null && hostName(hostname) === null) return `"${hostname}" is not a host's name`;
  return { kind: "https", hostname, port, url: url.href };
}

/** A literal and a port; `null` where there is none, text where no resolver can be there. */
function parsePlace(
  text: string,
  port: number,
): { hostname: string; port: number } | string | null {
  const bare = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
  const alone = parseIp(bare);
  const place = alone !== null ? { hostname: formatIp(alone), port } : parseHostPort(text);
  if (place === null) return null;
  const address = unmapped(parseIp(place.hostname)!);
  if (place.port === 0 || !isUsable(address)) return unusable(text);
  return { hostname: formatIp(address), port: place.port };
}

function unusable(text: string): string {
  return `"${text}" is a place where no resolver can be; write ${FORMS}`;
}

/** A host's name in its one form, or `null`: what ends in digits is read as an address elsewhere. */
function hostName(text: string): string | null {
  const name = normalizeName(text);
  return name === null || /(^|\.)[0-9]+$/.test(name) ? null : name;
}

function unmapped(address: Uint8Array): Uint8Array {
  if (address.length === 4) return address;
  for (let i = 0; i < 10; i++) if (address[i] !== 0) return address;
  return address[10] === 0xff && address[11] === 0xff ? address.slice(12) : address;
}

function isUsable(address: Uint8Array): boolean {
  const first = address[0]!;
  if (address.length === 4) return first !== 0 && first < 224;
  if (first === 0xff) return false;
  if (first === 0xfe && (address[1]! & 0xc0) === 0x80) return false;
  return address.some((octet) => octet !== 0);
}
