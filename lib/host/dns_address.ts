/**
 * Addresses of upstream resolvers as text: `ADDR`, `ADDR:PORT`, `V6` or `[V6]:PORT`.
 *
 * A literal that holds an IPv4 address inside IPv6 (`::ffff:1.2.3.4`) is that IPv4 address; one
 * that no resolver can have (unspecified, multicast, broadcast, link-local without its zone) is
 * not usable. The host's loopback is: it is the host that asks.
 *
 * @module
 */
import { parseHostPort } from "../config/endpoint.ts";
import { formatIp, parseIp } from "../wire/address.ts";

/** Port of DNS. */
const DNS_PORT = 53;

/** Where an upstream resolver is asked. */
export interface UpstreamAddress {
  /** Canonical IPv4 or IPv6 literal, as the host's sockets report it. */
  readonly hostname: string;
  /** Port, 1 to 65,535. */
  readonly port: number;
}

/**
 * Reads the address of an upstream resolver.
 *
 * @param text The address, with or without a port.
 * @returns The address, or `null` where the text is none or no resolver can be there.
 */
export function parseUpstream(text: string): UpstreamAddress | null {
  const bare = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
  const alone = parseIp(bare);
  const place = alone !== null
    ? { hostname: formatIp(alone), port: DNS_PORT }
    : parseHostPort(text);
  if (place === null || place.port === 0) return null;
  const address = unmapped(parseIp(place.hostname)!);
  return isUsable(address) ? { hostname: formatIp(address), port: place.port } : null;
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

/** The text that {@linkcode parseUpstream} reads back; also the key of an upstream. */
export function formatUpstream({ hostname, port }: UpstreamAddress): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/**
 * Checks that the runtime may use an address, since without the permission it would ask on the
 * terminal.
 *
 * @param address The address to be asked, or with port 0 the one to be bound.
 * @throws Where it may not.
 */
export function requireNet(address: UpstreamAddress): void {
  const host = formatUpstream(address);
  const { state } = Deno.permissions.querySync({ name: "net", host });
  if (state !== "granted") throw new Error(`needs --allow-net=${host}`);
}
