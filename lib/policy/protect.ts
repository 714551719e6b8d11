/**
 * What no guest reaches whatever its rules say: the `--protect` levels.
 *
 *                 metadata,     host's own   private,      loopback, unspecified, broadcast,
 *                 link-local    addresses    CGNAT, ULA    multicast, reserved, own sockets
 *     off         reachable     reachable    reachable     refused
 *     metadata    refused       reachable    reachable     refused
 *     strict      refused       refused      refused       refused
 *
 * @module
 */
import { AddressClass } from "./address_class.ts";

/** What no guest reaches whatever else is set. */
export type ProtectLevel = "off" | "metadata" | "strict";

/** The first class that each level refuses; all stricter ones follow. */
const FIRST_REFUSED: Readonly<Record<ProtectLevel, AddressClass>> = {
  off: AddressClass.reserved,
  metadata: AddressClass.linkLocal,
  strict: AddressClass.private,
};

/** Whether a level refuses the addresses of a class. */
export function refusesClass(level: ProtectLevel, addressClass: AddressClass): boolean {
  return addressClass >= FIRST_REFUSED[level];
}

/** Whether a level refuses the host's own addresses. */
export function refusesHost(level: ProtectLevel): boolean {
  return level === "strict";
}

/** The strictest level that lets a class pass; `null` where none does. */
export function levelThatAllows(addressClass: AddressClass): ProtectLevel | null {
  if (!refusesClass("metadata", addressClass)) return "metadata";
  return refusesClass("off", addressClass) ? null : "off";
}
