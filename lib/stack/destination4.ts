/**
 * Which IPv4 destinations are groups as the guest's link sees them: multicast, the limited
 * broadcast and the directed broadcast of the guest's own prefix (RFC 1122 section 3.2.1.3).
 *
 * @module
 */
import type { Link } from "./link.ts";

/** Whether the destination at `destinationAt` is multicast or broadcast. */
export function isGroup4(link: Link, destinationAt: number): boolean {
  const destination = link.memory.view.getUint32(destinationAt);
  return destination >>> 28 === 0xe || isBroadcast4(link, destination);
}

/** Whether an address is the limited or the directed broadcast. */
export function isBroadcast4(link: Link, destination: number): boolean {
  if (destination === 0xffff_ffff) return true;
  const { prefix4 } = link.config;
  // RFC 3021: a prefix of 31 or 32 bits has no broadcast address.
  if (prefix4 >= 31) return false;
  const host = 0xffff_ffff >>> prefix4;
  const own = link.memory.view.getUint32(link.guestIp4At);
  return ((destination ^ own) & ~host) === 0 && ((destination & host) >>> 0) === host;
}
