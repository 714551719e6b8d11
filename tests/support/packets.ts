/**
 * Frames by hand for the stack's tests, and a reader that checks every checksum on the way. Written
 * apart from `lib/wire`, so that the two hold each other to the RFCs.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { formatIp, parseIp, parseMac } from "../../lib/wire/address.ts";

/** The addresses of a link for which nothing was set. */
export const GUEST_MAC = "02:53:4d:00:00:02";
export const GATEWAY_MAC = "02:53:4d:00:00:01";
export const BROADCAST_MAC = "ff:ff:ff:ff:ff:ff";
export const GUEST4 = "100.96.0.2";
export const GATEWAY4 = "100.96.0.1";
export const GUEST6 = "fd53:4d00::2";
export const GATEWAY6 = "fd53:4d00::1";
export const GUEST_LL = "fe80::53:4dff:fe00:2";
export const GATEWAY_LL = "fe80::53:4dff:fe00:1";
export const WORLD4 = "192.0.2.10";
export const WORLD6 = "2001:db8::10";

/** Octets of an address text. */
export function ip(text: string): Uint8Array {
  const bytes = parseIp(text);
  if (bytes === null) throw new Error(`not an address: ${text}`);
  return bytes;
}

/** Octets of a MAC text. */
export function mac(text: string): Uint8Array {
  const bytes = parseMac(text);
  if (bytes === null) throw new Error(`not a MAC: ${text}`);
  return bytes;
}

/** Joins octets. */
export function concat(...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => Array.from(part)));
}

/** A 16-bit number in network order. */
export function u16(value: number): number[] {
  return [(value >> 8) & 0xff, value & 0xff];
}

/** A 32-bit number in network order. */
export function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value & 0xffff)];
}

/** Octets that can be told apart by their place. */
export function pattern(bytes: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + (i >> 8) + seed) & 0xff);
}

/** The ones'-complement sum of the octets, folded, not complemented. */
export function onesSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += (bytes[i]! << 8) + (i + 1 < bytes.length ? bytes[i + 1]! : 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

/** The pseudo-header of either family. */
export function pseudoHeader(
  source: string,
  destination: string,
  protocol: number,
  bytes: number,
): Uint8Array {
  return source.includes(":")
    ? concat(ip(source), ip(destination), u32(bytes), [0, 0, 0, protocol])
    : concat(ip(source), ip(destination), [0, protocol], u16(bytes));
}

/** An Ethernet frame; the type follows from what the payload looks like unless it is given. */
export function ethernet(
  payload: Uint8Array,
  options: { source?: string; destination?: string; type?: number } = {},
): Uint8Array {
  const type = options.type ?? (payload[0]! >> 4 === 6 ? 0x86dd : 0x0800);
  const destination = mac(options.destination ?? GATEWAY_MAC);
  return concat(destination, mac(options.source ?? GUEST_MAC), u16(type), payload);
}

/** Fields of an IPv4 header that differ from the plain ones. */
export interface Ip4Options {
  source?: string;
  destination?: string;
  protocol?: number;
  ttl?: number;
  id?: number;
  /** Flags and offset, as they stand in the header. */
  fragment?: number;
  /** Options, a multiple of 4 octets. */
  options?: readonly number[];
  version?: number;
  ihl?: number;
  totalBytes?: number;
  badChecksum?: boolean;
}

/** An IPv4 packet. */
export function ip4(payload: Uint8Array, options: Ip4Options = {}): Uint8Array {
  const extra = options.options ?? [];
  const headerBytes = 20 + extra.length;
  const header = concat(
    [((options.version ?? 4) << 4) | (options.ihl ?? headerBytes / 4), 0],
    u16(options.totalBytes ?? headerBytes + payload.length),
    u16(options.id ?? 0),
    u16(options.fragment ?? 0),
    [options.ttl ?? 64, options.protocol ?? 17, 0, 0],
    ip(options.source ?? GUEST4),
    ip(options.destination ?? GATEWAY4),
    extra,
  );
  header.set(u16(~onesSum(header) & 0xffff), 10);
  if (options.badChecksum) header[10]! ^= 1;
  return concat(header, payload);
}

/** Fields of an IPv6 header that differ from the plain ones. */
export interface Ip6Options {
  source?: string;
  destination?: string;
  next?: number;
  hopLimit?: number;
  payloadBytes?: number;
  version?: number;
}

/** An IPv6 packet; extension headers are the beginning of the payload. */
export function ip6(payload: Uint8Array, options: Ip6Options = {}): Uint8Array {
  return concat(
    [(options.version ?? 6) << 4, 0, 0, 0],
    u16(options.payloadBytes ?? payload.length),
    [options.next ?? 17, options.hopLimit ?? 64],
    ip(options.source ?? GUEST6),
    ip(options.destination ?? GATEWAY6),
    payload,
  );
}

/** An IPv6 fragment header in front of a piece. */
export function fragment6(
  piece: Uint8Array,
  next: number,
  offset: number,
  more: boolean,
  id: number,
): Uint8Array {
  return concat([next, 0], u16(offset | (more ? 1 : 0)), u32(id), piece);
}

/** Puts the L4 checksum at `offset` of the payload. */
export function sealed(
  bytes: Uint8Array,
  offset: number,
  source: string,
  destination: string,
  protocol: number,
): Uint8Array {
  const out = bytes.slice();
  out.set([0, 0], offset);
  const sum = onesSum(concat(pseudoHeader(source, destination, protocol, out.length), out));
  out.set(u16((~sum & 0xffff) || (protocol === 17 ? 0xffff : 0)), offset);
  return out;
}

/** A UDP datagram with its checksum. */
export function udp(
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
  data: Uint8Array,
): Uint8Array {
  const bytes = concat(u16(sourcePort), u16(destinationPort), u16(8 + data.length), [0, 0], data);
  return sealed(bytes, 6, source, destination, 17);
}

/** A TCP segment with its checksum. */
export function tcp(source: string, destination: string, data: Uint8Array, flags = 0x18) {
  const bytes = concat(
    u16(40000),
    u16(80),
    u32(1),
    u32(1),
    [0x50, flags],
    u16(65535),
    [0, 0, 0, 0],
    data,
  );
  return sealed(bytes, 16, source, destination, 6);
}

/** An ICMP message with its checksum. */
export function icmp4(
  type: number,
  code: number,
  rest: readonly number[],
  data: Uint8Array,
): Uint8Array {
  const bytes = concat([type, code, 0, 0], rest, data);
  bytes.set(u16(~onesSum(bytes) & 0xffff), 2);
  return bytes;
}

/** An ICMPv6 message with its checksum. */
export function icmp6(
  source: string,
  destination: string,
  type: number,
  code: number,
  rest: readonly number[],
  data: Uint8Array,
): Uint8Array {
  return sealed(concat([type, code, 0, 0], rest, data), 2, source, destination, 58);
}

/** What a frame from the gateway holds. */
export interface Read {
  destinationMac: string;
  type: number;
  /** The IP header, or empty. */
  header: Uint8Array;
  source: string;
  destination: string;
  protocol: number;
  ttl: number;
  /** Flags and offset of IPv4. */
  fragment: number;
  /** What is behind the IP header, or behind the Ethernet header. */
  payload: Uint8Array;
}

/** Takes a frame from the gateway apart; lengths and IPv4 header checksum must be right. */
export function read(frame: Uint8Array): Read {
  const type = (frame[12]! << 8) | frame[13]!;
  const hex = (bytes: Uint8Array) => [...bytes].map((octet) => octet.toString(16).padStart(2, "0"));
  assertEquals(hex(frame.subarray(6, 12)).join(":"), GATEWAY_MAC);
  const body = frame.slice(14);
  const out: Read = {
    destinationMac: hex(frame.subarray(0, 6)).join(":"),
    type,
    header: new Uint8Array(0),
    source: "",
    destination: "",
    protocol: -1,
    ttl: 0,
    fragment: 0,
    payload: body,
  };
  const view = new DataView(body.buffer);
  if (type === 0x0800) {
    assertEquals(body[0], 0x45);
    assertEquals(view.getUint16(2), body.length);
    assertEquals(onesSum(body.slice(0, 20)), 0xffff, "IPv4 header checksum");
    out.header = body.slice(0, 20);
    out.source = body.slice(12, 16).join(".");
    out.destination = body.slice(16, 20).join(".");
    out.protocol = body[9]!;
    out.ttl = body[8]!;
    out.fragment = view.getUint16(6);
    out.payload = body.slice(20);
  } else if (type === 0x86dd) {
    assertEquals(body[0], 0x60);
    assertEquals(view.getUint16(4), body.length - 40);
    out.header = body.slice(0, 40);
    out.source = formatIp(body.slice(8, 24));
    out.destination = formatIp(body.slice(24, 40));
    out.protocol = body[6]!;
    out.ttl = body[7]!;
    out.payload = body.slice(40);
  }
  const whole = (out.fragment & 0x3fff) === 0 && out.protocol !== 44;
  if (whole && out.protocol >= 0) assertL4(out);
  return out;
}

/** The L4 checksum of a whole packet must be right. */
export function assertL4(packet: Pick<Read, "source" | "destination" | "protocol" | "payload">) {
  const { source, destination, protocol, payload } = packet;
  const pseudo = protocol === 1
    ? new Uint8Array(0)
    : pseudoHeader(source, destination, protocol, payload.length);
  assertEquals(onesSum(concat(pseudo, payload)), 0xffff, "L4 checksum");
}
