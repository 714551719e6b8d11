/**
 * The guest's end of the link, made from the gateway's `Link` with the two ends swapped: what that
 * class calls the gateway is here the guest itself, what it calls the guest is the router. This file
 * gives the positions their right names.
 *
 * All addresses are zeros, and the router's MAC is the broadcast one, until they have been learned.
 *
 * @module
 */
import type { Counters } from "../stack/counters.ts";
import type { VirtioNetworkDevice } from "../stack/device.ts";
import { Link, LINK_BYTES } from "../stack/link.ts";
import { formatIp } from "../wire/address.ts";
import { isGroupMac, isZeroMac } from "../wire/ethernet.ts";
import { isIpv6LinkLocal } from "../wire/ipv6.ts";
import type { FrameMemory } from "../wire/memory.ts";

/** What the guest's device is told, as a VMM tells a real one. */
export interface GuestLinkConfig {
  /** The guest's MAC. */
  readonly mac: Uint8Array;
  /** Largest IP packet, in bytes. */
  readonly mtu: number;
  /** Whether the guest speaks IPv6. */
  readonly ipv6: boolean;
}

const BROADCAST_MAC = new Uint8Array(6).fill(0xff);
const NO_IP4 = new Uint8Array(4);
const NO_IP6 = new Uint8Array(16);
/** Room for one address that a caller names. */
const SCRATCH_BYTES = 16;

/** Octets of frame memory that a `GuestLink` takes. */
export const GUEST_LINK_BYTES: number = LINK_BYTES + SCRATCH_BYTES + 16;

/** The guest's addresses and its router's, by position. */
export class GuestLink {
  /** What the shared parts of the stack send with. */
  readonly link: Link;
  readonly memory: FrameMemory;
  readonly macAt: number;
  readonly ip4At: number;
  readonly ip6At: number;
  readonly linkLocalAt: number;
  readonly routerMacAt: number;
  readonly router4At: number;
  /** The router's link-local address. */
  readonly router6At: number;
  /** Position of ff:ff:ff:ff:ff:ff, which is also the limited broadcast address. */
  readonly broadcastAt: number;
  /** Position of zeros: the unspecified address of either family. */
  readonly unspecifiedAt: number;
  /** Whether the guest has an IPv4 address. */
  hasIp4 = false;
  /** Whether the guest has an IPv6 address beyond the link-local one. */
  hasIp6 = false;
  /** Whether the router's MAC is known. */
  hasRouterMac = false;

  /** `at` is a region of `GUEST_LINK_BYTES` in `memory`. */
  constructor(
    memory: FrameMemory,
    at: number,
    device: VirtioNetworkDevice,
    counters: Counters,
    config: GuestLinkConfig,
  ) {
    const link = new Link(memory, at, device, counters, {
      gatewayMac: config.mac,
      guestMac: BROADCAST_MAC,
      gatewayIp4: NO_IP4,
      guestIp4: NO_IP4,
      prefix4: 0,
      gatewayIp6: NO_IP6,
      guestIp6: NO_IP6,
      prefix6: 0,
      mtu: config.mtu,
      ipv6: config.ipv6,
      verifyChecksums: true,
    });
    this.link = link;
    this.memory = memory;
    this.macAt = link.gatewayMacAt;
    this.ip4At = link.gatewayIp4At;
    this.ip6At = link.gatewayIp6At;
    this.linkLocalAt = link.gatewayLinkLocalAt;
    this.routerMacAt = link.guestMacAt;
    this.router4At = link.guestIp4At;
    this.router6At = link.guestIp6At;
    this.broadcastAt = at + LINK_BYTES;
    this.unspecifiedAt = at + LINK_BYTES + 16;
    memory.bytes.set(BROADCAST_MAC, this.broadcastAt);
    memory.fill(this.unspecifiedAt, 16);
  }

  /** Takes note of the router's MAC at `macAt`; a group's is none. */
  learnRouterMac(macAt: number): void {
    const { view } = this.memory;
    if (isGroupMac(view, macAt) || isZeroMac(view, macAt)) return; // nobody's
    this.memory.copy(this.routerMacAt, macAt, 6);
    this.hasRouterMac = true;
  }

  /** The address that packets to `destinationAt` come from; -1 where the guest has none. */
  sourceFor(family: 4 | 6, destinationAt: number): number {
    if (family === 4) return this.hasIp4 ? this.ip4At : -1;
    if (isIpv6LinkLocal(this.memory.view, destinationAt)) return this.linkLocalAt;
    return this.hasIp6 ? this.ip6At : -1;
  }

  /** The text of the address at a position. */
  text(family: 4 | 6, at: number): string {
    return formatIp(this.memory.bytes.subarray(at, at + (family === 4 ? 4 : 16)));
  }
}
