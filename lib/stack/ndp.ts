/**
 * Neighbor discovery towards the guest (RFC 4861, RFC 4862, RFC 6980): answers for the gateway's
 * addresses, defends them against duplicates, learns the guest's, and advertises the router.
 *
 * There is no neighbor cache to poison: the link has one guest, whose MAC is the link's. A message
 * that names another MAC, claims an address of the gateway, or is a router's (advertisement,
 * redirect) is dropped. MLD reports pass unanswered: the link has no groups to forward.
 *
 * Advertisements go out when asked, and by themselves once the guest has spoken IPv6: three
 * 16 seconds apart, then every 10 minutes.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import type { GuestAddresses } from "./guest_addresses.ts";
import type { Link } from "./link.ts";
import {
  isNeighborDiscovery,
  ND_HOP_LIMIT,
  sendNeighborAdvertisement,
} from "./neighbor_messages.ts";
import type { Packet } from "./packet.ts";
import {
  type RouterAdvertisementOptions,
  sendRouterAdvertisement,
} from "./router_advertisement.ts";
import { sameMac } from "../wire/ethernet.ts";
import { icmp6Code, Icmp6Type, icmp6Type } from "../wire/icmp6.ts";
import { isIpv6Multicast, isIpv6Unspecified, isSolicitedNodeOf, sameIpv6 } from "../wire/ipv6.ts";
import {
  NdpOptions,
  NEIGHBOR_SOLICITATION_BYTES,
  NeighborFlag,
  neighborFlags,
  neighborTargetAt,
  parseNdpOptions,
  ROUTER_SOLICITATION_BYTES,
} from "../wire/ndp.ts";

const DROP = Counter["drop.icmp"];
const DROP_ROLE = Counter["drop.role"];
const ADVERTISEMENTS = Counter["nd.advertisements"];

const INITIAL_ADVERTISEMENTS = 3;
const INITIAL_INTERVAL_MS = 16_000;
const INTERVAL_MS = 600_000;

/** Octets of frame memory that an `Ndp` takes: the group of all nodes and its MAC. */
export const NDP_BYTES = 24;

/** The gateway's side of neighbor discovery. */
export class Ndp {
  readonly #link: Link;
  readonly #addresses: GuestAddresses;
  readonly #advertisement: RouterAdvertisementOptions;
  readonly #options = new NdpOptions();
  readonly #allNodesAt: number;
  readonly #allNodesMacAt: number;
  #initialLeft = INITIAL_ADVERTISEMENTS;
  #nextMs = Infinity;

  /** `at` is a region of `NDP_BYTES` in the link's memory. */
  constructor(
    link: Link,
    at: number,
    addresses: GuestAddresses,
    advertisement: RouterAdvertisementOptions,
  ) {
    this.#link = link;
    this.#addresses = addresses;
    this.#advertisement = advertisement;
    this.#allNodesAt = at;
    this.#allNodesMacAt = at + 16;
    link.memory.bytes.set([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], at);
    link.memory.bytes.set([0x33, 0x33, 0, 0, 0, 1], at + 16);
  }

  /** When `dispatch` is due; `Infinity` until the guest has spoken IPv6. */
  pollAt(): number {
    return this.#nextMs;
  }

  /** Sends the unsolicited advertisement that is due. */
  dispatch(nowMs: number): void {
    if (nowMs < this.#nextMs) return;
    if (this.#initialLeft > 0) this.#initialLeft--;
    this.#nextMs = nowMs + (this.#initialLeft > 0 ? INITIAL_INTERVAL_MS : INTERVAL_MS);
    this.#advertise(this.#allNodesAt, this.#allNodesMacAt);
  }

  /**
   * Takes an ICMPv6 message whose checksum was right.
   *
   * @returns Whether it was one of neighbor discovery or MLD; if not, nothing was done.
   */
  process(packet: Packet, nowMs: number): boolean {
    const { view } = this.#link.memory;
    const type = packet.payloadBytes > 0 ? icmp6Type(view, packet.payloadAt) : 0;
    if (isMulticastListener(type)) return true;
    if (!isNeighborDiscovery(type)) return false;
    if (type === Icmp6Type.routerAdvertisement || type === Icmp6Type.redirect) {
      this.#count(DROP_ROLE);
      return true;
    }
    if (!this.#isValid(packet, type)) {
      this.#count(DROP);
      return true;
    }
    if (this.#nextMs === Infinity) this.#nextMs = nowMs + INITIAL_INTERVAL_MS;
    if (type === Icmp6Type.routerSolicitation) this.#solicitedRouter(packet);
    else if (type === Icmp6Type.neighborSolicitation) this.#solicitedNeighbor(packet);
    else this.#advertised(packet);
    return true;
  }

  /** What sections 6.1 and 7.1 ask of every message; never in fragments (RFC 6980). */
  #isValid(packet: Packet, type: number): boolean {
    const { memory, guestMacAt } = this.#link;
    const { view } = memory;
    const { payloadAt: at, payloadBytes: bytes } = packet;
    const fixedBytes = type === Icmp6Type.routerSolicitation
      ? ROUTER_SOLICITATION_BYTES
      : NEIGHBOR_SOLICITATION_BYTES;
    if (packet.ttl !== ND_HOP_LIMIT || packet.reassembled || bytes < fixedBytes) return false;
    if (icmp6Code(view, at) !== 0) return false;
    const options = this.#options;
    if (!parseNdpOptions(view, at + fixedBytes, at + bytes, options)) return false;
    const { sourceMacAt, targetMacAt } = options;
    if (sourceMacAt >= 0) {
      if (!sameMac(view, sourceMacAt, guestMacAt)) return false;
      if (isIpv6Unspecified(view, packet.sourceAt)) return false;
    }
    return targetMacAt < 0 || sameMac(view, targetMacAt, guestMacAt);
  }

  #solicitedRouter(packet: Packet): void {
    if (isIpv6Unspecified(this.#link.memory.view, packet.sourceAt)) {
      this.#advertise(this.#allNodesAt, this.#allNodesMacAt);
    } else {
      this.#advertise(packet.sourceAt, -1);
    }
  }

  #solicitedNeighbor(packet: Packet): void {
    const { view } = this.#link.memory;
    const { sourceAt, destinationAt } = packet;
    const targetAt = neighborTargetAt(packet.payloadAt);
    if (isIpv6Multicast(view, targetAt)) return this.#count(DROP);
    const ours = this.#isOurs(targetAt);
    if (isIpv6Unspecified(view, sourceAt)) {
      if (!isSolicitedNodeOf(view, destinationAt, targetAt)) return this.#count(DROP);
      // DAD: the guest is about to take the address; ours it does not get.
      if (ours) this.#answer(targetAt, this.#allNodesAt, this.#allNodesMacAt);
      else this.#addresses.confirm(targetAt);
      return;
    }
    this.#addresses.confirm(sourceAt);
    if (ours) this.#answer(targetAt, sourceAt, -1);
  }

  #advertised(packet: Packet): void {
    const { view } = this.#link.memory;
    const { payloadAt, sourceAt, destinationAt } = packet;
    const targetAt = neighborTargetAt(payloadAt);
    const solicited = (neighborFlags(view, payloadAt) & NeighborFlag.solicited) !== 0;
    if (isIpv6Multicast(view, targetAt)) return this.#count(DROP);
    if (solicited && isIpv6Multicast(view, destinationAt)) return this.#count(DROP);
    if (this.#isOurs(targetAt)) return this.#count(DROP_ROLE);
    this.#addresses.confirm(sourceAt);
    this.#addresses.confirm(targetAt);
  }

  #isOurs(targetAt: number): boolean {
    const { memory, gatewayIp6At, gatewayLinkLocalAt } = this.#link;
    return sameIpv6(memory.view, targetAt, gatewayIp6At) ||
      sameIpv6(memory.view, targetAt, gatewayLinkLocalAt);
  }

  #answer(targetAt: number, destinationAt: number, groupMacAt: number): void {
    if (sendNeighborAdvertisement(this.#link, targetAt, destinationAt, groupMacAt)) {
      this.#count(ADVERTISEMENTS);
    }
  }

  #advertise(destinationAt: number, groupMacAt: number): void {
    sendRouterAdvertisement(this.#link, this.#advertisement, destinationAt, groupMacAt);
  }

  #count(counter: number): void {
    this.#link.counters.values[counter]!++;
  }
}

/** Multicast listener discovery (RFC 2710, RFC 3810): query, reports, done. */
function isMulticastListener(type: number): boolean {
  return (type >= 130 && type <= 132) || type === 143;
}
