/**
 * Port specifications: what a published port or a host service is written as.
 *
 * Published ports are `[BIND:]HOSTPORT:GUESTPORT[/tcp]` or `[BIND:]HOSTPORT`, each port a range of
 * the same length too; host port 0 lets the system choose. IPv6 binds stand in brackets. Host
 * services are `GATEWAYPORT:HOSTPORT`.
 *
 * @module
 */
import { formatIp, parseIp } from "../wire/address.ts";
import type { HostService, PortMapping } from "./options.ts";

/** Most ports that one network publishes: each is one or two listening sockets. */
export const PUBLISHED_MAX = 1_024;

/** Ports `first` to `last`, both included. */
interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Longest spec, in characters. */
const SPEC_MAX = 128;

/** Bind (an address in brackets, or text that is no port or range), host, guest, protocol. */
const SPEC =
  /^(?:(\[[^\]]*\]|[^[\]:]*[^0-9:[\]-][^[\]:]*):)?([^:]*?)(?::([^:]*?))?(?:\/([^/:]*))?$/;

const EXAMPLE = "such as 8080:80, 127.0.0.1:8080:80 or 8000-8010:8000-8010";

/**
 * Reads a published port or range.
 *
 * @param spec The text.
 * @returns One mapping per port, or what is wrong.
 */
export function parsePublishSpec(spec: string): PortMapping[] | string {
  const match = spec.length > SPEC_MAX ? null : SPEC.exec(spec);
  if (match === null) return notSpec(spec);
  const [, bindText, hostText = "", guestText, protocol = "tcp"] = match;
  if (protocol !== "tcp") return `"${spec}": only tcp ports can be published`;
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
    ...(bind === undefined ? {} : { bind: [bind] }),
  }));
}

function notSpec(spec: string): string {
  return `"${spec}" is not [BIND:]HOSTPORT:GUESTPORT, ${EXAMPLE}`;
}

/**
 * Finds the first host address and port that two mappings share.
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

/** The host addresses and ports that a mapping takes for itself; none where the system chooses. */
export function publishedPlaces({ hostPort, bind }: PortMapping): string[] {
  if (hostPort === 0) return [];
  return (bind ?? DEFAULT_BIND).map((address) => {
    return address.includes(":") ? `[${address}]:${hostPort}` : `${address}:${hostPort}`;
  });
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
