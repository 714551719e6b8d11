/**
 * ARP for IPv4 over Ethernet (RFC 826): one fixed layout of 28 octets; any other combination of
 * hardware and protocol is refused by `isArpForIpv4`.
 *
 * Every function expects that the caller has checked the length.
 *
 * @module
 */
import type { FrameMemory } from "./memory.ts";

/** Octets of an ARP packet for IPv4 over Ethernet. */
export const ARP_BYTES = 28;

/** ARP operations. */
export const ArpOperation = { request: 1, reply: 2 } as const;
/** One of `ArpOperation`. */
export type ArpOperation = typeof ArpOperation[keyof typeof ArpOperation];

// Hardware type 1, protocol type 0x0800; then address sizes 6 and 4.
const ETHERNET_IPV4 = 0x0001_0800;
const SIZES = 0x0604;

/** Whether the four fixed fields say IPv4 over Ethernet. */
export function isArpForIpv4(view: DataView, at: number): boolean {
  return view.getUint32(at) === ETHERNET_IPV4 && view.getUint16(at + 4) === SIZES;
}

/** The operation, one of `ArpOperation` in honest packets. */
export function arpOperation(view: DataView, at: number): number {
  return view.getUint16(at + 6);
}

/** Position of the sender's MAC. */
export function arpSenderMacAt(at: number): number {
  return at + 8;
}

/** Position of the sender's IPv4 address. */
export function arpSenderIpAt(at: number): number {
  return at + 14;
}

/** Position of the target's MAC. */
export function arpTargetMacAt(at: number): number {
  return at + 18;
}

/** Position of the target's IPv4 address. */
export function arpTargetIpAt(at: number): number {
  return at + 24;
}

/** Writes a whole packet; `targetMacAt` -1 leaves the target's MAC zero, as a request does. */
export function writeArp(
  memory: FrameMemory,
  at: number,
  operation: ArpOperation,
  senderMacAt: number,
  senderIpAt: number,
  targetMacAt: number,
  targetIpAt: number,
): void {
  memory.view.setUint32(at, ETHERNET_IPV4);
  memory.view.setUint16(at + 4, SIZES);
  memory.view.setUint16(at + 6, operation);
  memory.copy(at + 8, senderMacAt, 6);
  memory.copy(at + 14, senderIpAt, 4);
  if (targetMacAt < 0) memory.fill(at + 18, 6);
  else memory.copy(at + 18, targetMacAt, 6);
  memory.copy(at + 24, targetIpAt, 4);
}
