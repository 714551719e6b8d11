/**
 * The fixed IPv6 header (RFC 8200 section 3) and the questions that its addresses answer by
 * themselves. Extension headers are in `ipv6_extensions.ts`.
 *
 * Every function expects that the caller has checked 40 octets (16 for an address).
 *
 * @module
 */
import type { FrameMemory } from "./memory.ts";

/** Octets of the fixed IPv6 header. */
export const IPV6_HEADER_BYTES = 40;
/** Octets of an IPv6 address. */
export const IPV6_ADDRESS_BYTES = 16;

/** The version, 6 in honest packets. */
export function ipv6Version(view: DataView, at: number): number {
  return view.getUint8(at) >> 4;
}

/** Octets behind the fixed header, extension headers included. */
export function ipv6PayloadBytes(view: DataView, at: number): number {
  return view.getUint16(at + 4);
}

/** What follows the fixed header. */
export function ipv6NextHeader(view: DataView, at: number): number {
  return view.getUint8(at + 6);
}

/** The hop limit. */
export function ipv6HopLimit(view: DataView, at: number): number {
  return view.getUint8(at + 7);
}

/** Position of the source address. */
export function ipv6SourceAt(at: number): number {
  return at + 8;
}

/** Position of the destination address. */
export function ipv6DestinationAt(at: number): number {
  return at + 24;
}

/** Writes a whole fixed header: traffic class and flow label are 0. */
export function writeIpv6Header(
  memory: FrameMemory,
  at: number,
  payloadBytes: number,
  nextHeader: number,
  hopLimit: number,
  sourceAt: number,
  destinationAt: number,
): void {
  const { view } = memory;
  view.setUint32(at, 0x6000_0000);
  view.setUint16(at + 4, payloadBytes);
  view.setUint16(at + 6, (nextHeader << 8) | hopLimit);
  for (let i = 0; i < IPV6_ADDRESS_BYTES; i += 4) {
    view.setUint32(at + 8 + i, view.getUint32(sourceAt + i));
    view.setUint32(at + 24 + i, view.getUint32(destinationAt + i));
  }
}

/** Whether two addresses are the same. */
export function sameIpv6(view: DataView, aAt: number, bAt: number): boolean {
  return view.getUint32(aAt + 12) === view.getUint32(bAt + 12) &&
    view.getUint32(aAt + 8) === view.getUint32(bAt + 8) && samePrefix64(view, aAt, bAt);
}

/** Whether two addresses agree in their first 64 bits. */
export function samePrefix64(view: DataView, aAt: number, bAt: number): boolean {
  return view.getUint32(aAt) === view.getUint32(bAt) &&
    view.getUint32(aAt + 4) === view.getUint32(bAt + 4);
}

/** Whether the address is in ff00::/8. */
export function isIpv6Multicast(view: DataView, addressAt: number): boolean {
  return view.getUint8(addressAt) === 0xff;
}

/** Whether the address is in fe80::/10. */
export function isIpv6LinkLocal(view: DataView, addressAt: number): boolean {
  return (view.getUint16(addressAt) & 0xffc0) === 0xfe80;
}

/** Whether the address is `::`. */
export function isIpv6Unspecified(view: DataView, addressAt: number): boolean {
  return view.getUint32(addressAt) === 0 && view.getUint32(addressAt + 4) === 0 &&
    view.getUint32(addressAt + 8) === 0 && view.getUint32(addressAt + 12) === 0;
}

/** Whether `groupAt` holds the solicited-node group of the address (RFC 4291 section 2.7.1). */
export function isSolicitedNodeOf(view: DataView, groupAt: number, addressAt: number): boolean {
  return view.getUint32(groupAt) === 0xff02_0000 && view.getUint32(groupAt + 4) === 0 &&
    view.getUint32(groupAt + 8) === 1 && view.getUint8(groupAt + 12) === 0xff &&
    view.getUint8(groupAt + 13) === view.getUint8(addressAt + 13) &&
    view.getUint16(groupAt + 14) === view.getUint16(addressAt + 14);
}

/** Writes the solicited-node group of the address. */
export function writeSolicitedNode(view: DataView, groupAt: number, addressAt: number): void {
  view.setUint32(groupAt, 0xff02_0000);
  view.setUint32(groupAt + 4, 0);
  view.setUint32(groupAt + 8, 1);
  view.setUint32(groupAt + 12, 0xff00_0000 | (view.getUint32(addressAt + 12) & 0xffffff));
}
