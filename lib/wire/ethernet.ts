/**
 * Ethernet II frames (IEEE 802.3 clause 3, type interpretation): 14 octets of header, no FCS.
 * VLAN tags and 802.3 length frames are told by their type and not looked into.
 *
 * Every function expects that the caller has checked the header's length.
 *
 * @module
 */
import type { FrameMemory } from "./memory.ts";

/** Octets of an Ethernet header. */
export const ETHERNET_HEADER_BYTES = 14;
/** Octets of a MAC address. */
export const MAC_BYTES = 6;

/** EtherType values that the gateway speaks. */
export const EtherType = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;
/** One of `EtherType`. */
export type EtherType = typeof EtherType[keyof typeof EtherType];

/** Position of the destination MAC. */
export function ethernetDestinationAt(at: number): number {
  return at;
}

/** Position of the source MAC. */
export function ethernetSourceAt(at: number): number {
  return at + 6;
}

/** The type of the payload; below 0x600 it is an 802.3 length. */
export function etherType(view: DataView, at: number): number {
  return view.getUint16(at + 12);
}

/** Sets the type of the payload. */
export function setEtherType(view: DataView, at: number, value: number): void {
  view.setUint16(at + 12, value);
}

/** Writes a whole header, with both MACs taken from their positions. */
export function writeEthernetHeader(
  memory: FrameMemory,
  at: number,
  destinationMacAt: number,
  sourceMacAt: number,
  type: number,
): void {
  memory.copy(at, destinationMacAt, MAC_BYTES);
  memory.copy(at + 6, sourceMacAt, MAC_BYTES);
  memory.view.setUint16(at + 12, type);
}

/** Whether the MAC is a group address: broadcast or multicast. */
export function isGroupMac(view: DataView, macAt: number): boolean {
  return (view.getUint8(macAt) & 1) !== 0;
}

/** Whether the MAC is ff:ff:ff:ff:ff:ff. */
export function isBroadcastMac(view: DataView, macAt: number): boolean {
  return view.getUint32(macAt) === 0xffffffff && view.getUint16(macAt + 4) === 0xffff;
}

/** Whether the MAC is all zeros, which no interface has. */
export function isZeroMac(view: DataView, macAt: number): boolean {
  return view.getUint32(macAt) === 0 && view.getUint16(macAt + 4) === 0;
}

/** Whether two MACs are the same. */
export function sameMac(view: DataView, aAt: number, bAt: number): boolean {
  return view.getUint32(aAt) === view.getUint32(bAt) &&
    view.getUint16(aAt + 4) === view.getUint16(bAt + 4);
}

/** Writes the group MAC of an IPv6 multicast address: 33:33 and its last four octets (RFC 2464). */
export function writeMulticastMac6(memory: FrameMemory, macAt: number, addressAt: number): void {
  memory.view.setUint16(macAt, 0x3333);
  memory.copy(macAt + 2, addressAt + 12, 4);
}
