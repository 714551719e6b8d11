/**
 * Port specifications: what a published port or a host service is written as.
 *
 * Published ports are `[BIND:]HOSTPORT:GUESTPORT[/tcp|/udp]` or `[BIND:]HOSTPORT[/tcp|/udp]`, each
 * port a range of the same length too; host port 0 lets the system choose. IPv6 binds stand in
 * brackets. A unix socket is `unix:/path:GUESTPORT`. Host services are `GATEWAYPORT:HOSTPORT`.
 *
 * @module
 */
import { formatIp, parseIp } from "../wire/address.ts";
import { parseEndpoint } from "./endpoint.ts";
import { ConfigError } from "./errors.ts";
import type { HostService, PortMapping } from "./options.ts";
import { formatPublished, type PublishedPort } from "./published.ts";

/** Most ports that one network publishes: each is one or two sockets. */
export const PUBLISHED_MAX = 1_024;

/** Ports `first` to `last`, both included. */
interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Longest spec, in characters. */
const SPEC_MAX = 128;
const UNIX_SCHEME = "unix:";

/** Bind (an address in brackets, or text that is no port or range), host, guest, protocol. */
const SPEC =
  /^(?:(\[[^\]]*\]|[^[\]:]*[^0-9:[\]-][^[\]:]*):)?([^:]*?)(?::([^:]*?))?(?:\/([^/:]*))?$/;

const EXAMPLE =
  "such as 8080:80, 127.0.0.1:5353:53/udp, 8000-8010:8000-8010 or unix:/run/web.sock:80";

/**
 * Reads a published port or range.
 *
 * @param spec The text.
 * @returns One mapping per port, or what is wrong.
 */
export function parsePublishSpec(spec: string): PortMapping[] | string {
  if (spec.startsWith(UNIX_SCHEME)) return parseUnixSpec(spec);
  const match = spec.length > SPEC_MAX ? null : SPEC.exec(spec);
  if (match === null) return notSpec(spec);
  const [, bindText, hostText = "", guestText, protocol = "tcp"] = match;
  if (protocol !== "tcp" && protocol !== "udp") {
    return `"${spec}": a published port is of tcp or udp, not of ${protocol || "nothing"}`;
  }
  const bind = bindText === undefined ? undefined : parseBind(bindText);
  if (bind === null) return `"${spec}": ${bindText} is not an address to bind`;
  const host = parseRange(hostText, 0);
  if (host === null) {
    if (!/[0-9]/.test(spec)) return notSpec(spec);
    return `${
      hostText === spec ? "" : `"${spec}": `
    }"${hostText}" is not a port or range of the host`;
  }
  if (guestText === undefined && host.first === 0) {
    return `"${spec}": host port 0 needs a guest port, such as 0:80`;
  }
  const guest = guestText === undefined ? host : parseRange(guestText, 1);
  if (guest === null) return `"${spec}": "${guestText}" is not a port or range of the guest`;
  const count = host.last - host.first + 1;
  if (count !== guest.last - guest.first + 1) {
    return `"${spec}": the ranges differ in length (${count} and ${guest.last - guest.first + 1})`;
  }
  if (count > PUBLISHED_MAX) return `"${spec}": at most ${PUBLISHED_MAX} ports can be published`;
  return Array.from({ length: count }, (_, i) => ({
    hostPort: host.first + i,
    guestPort: guest.first + i,
    ...(protocol === "tcp" ? {} : { protocol }),
    ...(bind === undefined ? {} : { bind: [bind] }),
  }));
}

function notSpec(spec: string): string {
  return `"${spec}" is not [BIND:]HOSTPORT:GUESTPORT, ${EXAMPLE}`;
}

/** `unix:/path:GUESTPORT`; the path may have colons of its own. */
function parseUnixSpec(spec: string): PortMapping[] | string {
  const colon = spec.lastIndexOf(":");
  const path = spec.slice(UNIX_SCHEME.length, Math.max(colon, UNIX_SCHEME.length));
  if (path === "") return `"${spec}" is not unix:/path:GUESTPORT, such as unix:/run/web.sock:80`;
  const guestText = spec.slice(colon + 1);
  const guestPort = parsePort(guestText.replace(/\/tcp$/, ""), 1);
  if (guestText.endsWith("/udp")) return `"${spec}": a unix socket carries connections, not udp`;
  if (guestPort === null) return `"${spec}": "${guestText}" is not a port of the guest`;
  const fault = unixPathFault(path);
  return fault === null ? [{ unix: path, guestPort }] : `"${spec}": ${fault}`;
}

/** What is wrong with the path of a unix socket, or `null`. */
export function unixPathFault(path: string): string | null {
  try {
    parseEndpoint(`${UNIX_SCHEME}${path}`);
    return null;
  } catch (error) {
    if (error instanceof ConfigError) return error.problems[0]!.text;
    throw error;
  }
}

/**
 * Finds the first place of the host that two mappings share.
 *
 * @param mappings The published ports.
 * @returns The shared place, or `null`.
 */
export function publishedTwice(mappings: readonly PortMapping[]): string | null {
  const seen = new Set<string>();
  for (const place of mappings.flatMap(publishedPlaces)) {
    if (seen.has(place)) return place;
    seen.add(place);
  }
  return null;
}

/** The places of the host that a mapping takes for itself; none where the system chooses. */
export function publishedPlaces(
  { hostPort = 0, unix, protocol = "tcp", bind }: PortMapping,
): string[] {
  if (unix !== undefined) return [formatPublished({ protocol: "unix", bind: unix, hostPort })];
  if (hostPort === 0) return [];
  return (bind ?? DEFAULT_BIND).map((address) =>
    formatPublished({ protocol, bind: address, hostPort })
  );
}

/**
 * The mapping of one published port alone, at the port that was chosen for it: that one of those that
 * were asked for from which it came.
 */
export function mappingOf(port: PublishedPort, asked: readonly PortMapping[]): PortMapping {
  const { protocol, bind, hostPort, guestPort } = port;
  if (protocol === "unix") return { unix: bind, guestPort };
  const mapping = asked.find((each) =>
    each.unix === undefined && (each.protocol ?? "tcp") === protocol &&
    each.guestPort === guestPort && [0, undefined, hostPort].includes(each.hostPort) &&
    (each.bind ?? DEFAULT_BIND).includes(bind)
  );
  const allowFrom = mapping?.allowFrom;
  return {
    hostPort,
    guestPort,
    ...(protocol === "tcp" ? {} : { protocol }),
    bind: [bind],
    ...(allowFrom === undefined ? {} : { allowFrom }),
  };
}

/** Where a published port is bound when nothing is said: the host's loopback only. */
export const DEFAULT_BIND: readonly string[] = Object.freeze(["127.0.0.1", "::1"]);

/**
 * Reads an address to bind: an IPv4 or IPv6 literal, IPv6 with or without brackets.
 *
 * @param text The text.
 * @returns The canonical literal, or `null`.
 */
export function parseBind(text: string): string | null {
  const bracketed = text.startsWith("[") && text.endsWith("]");
  const address = parseIp(bracketed ? text.slice(1, -1) : text);
  if (address === null || (bracketed && address.length === 4)) return null;
  if (address[0]! === 0xff || (address.length === 4 && address[0]! >= 224)) return null;
  return formatIp(address);
}

/**
 * Reads a host service.
 *
 * @param spec `GATEWAYPORT:HOSTPORT`.
 * @returns The service, or what is wrong.
 */
export function parseHostService(spec: string): HostService | string {
  const [gateway = "", host = "", ...more] = spec.split(":");
  const gatewayPort = parsePort(gateway, 1);
  const hostPort = parsePort(host, 1);
  if (gatewayPort === null || hostPort === null || more.length > 0) {
    return `"${spec}" is not GATEWAYPORT:HOSTPORT, such as 3128:3128`;
  }
  if (gatewayPort === 53) return `"${spec}": port 53 of the gateway is its DNS`;
  return { gatewayPort, hostPort };
}

/**
 * Reads a port number.
 *
 * @param text Decimal digits.
 * @param min The smallest port that is taken.
 * @returns The port, or `null`.
 */
export function parsePort(text: string, min: 0 | 1): number | null {
  if (!/^(0|[1-9][0-9]{0,4})$/.test(text)) return null;
  const port = Number(text);
  return port < min || port > 65_535 ? null : port;
}

function parseRange(text: string, min: 0 | 1): PortRange | null {
  const [head = "", tail, ...more] = text.split("-");
  // Port 0 is one port of the system's choice and no end of a range.
  const first = parsePort(head, tail === undefined ? min : 1);
  const last = tail === undefined ? first : parsePort(tail, 1);
  if (first === null || last === null || more.length > 0 || last < first) return null;
  return { first, last };
}
