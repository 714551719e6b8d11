/**
 * The guest's side of address resolution: ARP for the router's MAC (RFC 826), router solicitation,
 * an address of its own from the advertised prefix (RFC 4862), and answers for its own addresses.
 *
 * The address is used at once, as RFC 4429 allows, while the duplicate check is under way; nobody
 * else is on the link. Of several routers the first one that advertises is taken. Solicitations go
 * out three times, a second apart (RFC 4861 waits four: nobody wants to watch that), ARP requests ten
 * times.
 *
 * Sans-I/O; keeps no cache, as the link has one neighbor.
 *
 * @module
 */
import { isNeighborDiscovery, ND_HOP_LIMIT } from "../stack/neighbor_messages.ts";
import type { Packet } from "../stack/packet.ts";
import {
  ARP_BYTES,
  ArpOperation,
  arpOperation,
  arpSenderIpAt,
  arpSenderMacAt,
  arpTargetIpAt,
  isArpForIpv4,
  writeArp,
} from "../wire/arp.ts";
import { EtherType, writeMulticastMac6 } from "../wire/ethernet.ts";
import { Icmp6Type, icmp6Type, writeIcmp6Checksum } from "../wire/icmp6.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { isIpv6Unspecified, sameIpv6, writeSolicitedNode } from "../wire/ipv6.ts";
import {
  LINK_LAYER_OPTION_BYTES,
  NdpOption,
  NdpOptions,
  NEIGHBOR_ADVERTISEMENT_BYTES,
  NEIGHBOR_SOLICITATION_BYTES,
  NeighborFlag,
  neighborTargetAt,
  parseNdpOptions,
  prefixAt,
  PrefixFlag,
  prefixFlags,
  prefixLength,
  rdnssAddressesAt,
  rdnssCount,
  ROUTER_ADVERTISEMENT_BYTES,
  ROUTER_SOLICITATION_BYTES,
  routerLifetimeSeconds,
  writeLinkLayerOption,
  writeNeighborAdvertisement,
  writeNeighborSolicitation,
  writeRouterSolicitation,
} from "../wire/ndp.ts";
import type { GuestLink } from "./guest_link.ts";

/** What a router advertised. */
export interface Advertised {
  /** The guest's address inside the prefix; empty where the prefix is not for that. */
  readonly address: string;
  readonly prefix: number;
  /** The router's link-local address. */
  readonly router: string;
  readonly dns: readonly string[];
  /** The link's MTU; 0 where the router did not say. */
  readonly mtu: number;
  /** Whether the router leads to the IPv6 world. */
  readonly isDefaultRouter: boolean;
}

/** Octets of frame memory that `Neighbors` take: group addresses and a group MAC. */
export const NEIGHBORS_BYTES = 40;

const TRIES = 3;
/** Nothing works without the router, and the gateway may be stalled for seconds. */
const MAC_TRIES = 10;
const RETRY_MS = 1_000;

/** Finds the router, and is found by it. */
export class Neighbors {
  readonly #guest: GuestLink;
  readonly #groupAt: number;
  readonly #allRoutersAt: number;
  readonly #macAt: number;
  readonly #options = new NdpOptions();
  #advertised: Advertised | null = null;
  #solicitations = 0;
  #solicitMs = Infinity;
  #requests = 0;
  #requestMs = Infinity;

  /** `at` is a region of `NEIGHBORS_BYTES`. */
  constructor(guest: GuestLink, at: number) {
    this.#guest = guest;
    this.#groupAt = at;
    this.#allRoutersAt = at + 16;
    this.#macAt = at + 32;
    guest.memory.bytes.set([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], at + 16);
  }

  /** What the router advertised; `null` until it did. */
  get advertised(): Advertised | null {
    return this.#advertised;
  }

  /** Whether routers were asked in vain. */
  get hasNoRouter(): boolean {
    return this.#advertised === null && this.#solicitations >= TRIES &&
      this.#solicitMs === Infinity;
  }

  /** Whether the router's MAC was asked for in vain. */
  get hasNoMac(): boolean {
    return !this.#guest.hasRouterMac && this.#requests >= MAC_TRIES && this.#requestMs === Infinity;
  }

  /** Asks for routers. */
  solicitRouters(nowMs: number): void {
    this.#solicitations = 0;
    this.#solicitMs = nowMs;
  }

  /** Asks for the IPv4 router's MAC. */
  requestRouterMac(nowMs: number): void {
    this.#requests = 0;
    this.#requestMs = nowMs;
  }

  /** When `advance` has something to do. */
  pollAt(): number {
    return Math.min(this.#solicitMs, this.#requestMs);
  }

  /** Sends what is due. */
  advance(nowMs: number): void {
    if (nowMs >= this.#requestMs) {
      const again = this.#requests < MAC_TRIES && !this.#guest.hasRouterMac;
      this.#requestMs = again ? nowMs + RETRY_MS : Infinity;
      if (again) {
        this.#requests++;
        this.#sendArp(ArpOperation.request, -1, this.#guest.router4At);
      }
    }
    if (nowMs >= this.#solicitMs) {
      const again = this.#solicitations < TRIES && this.#advertised === null;
      this.#solicitMs = again ? nowMs + RETRY_MS : Infinity;
      if (again) {
        this.#solicitations++;
        this.#sendRouterSolicitation();
      }
    }
  }

  /** Takes an ARP packet. */
  processArp(at: number, bytes: number): void {
    const guest = this.#guest;
    const { view } = guest.memory;
    if (bytes < ARP_BYTES || !isArpForIpv4(view, at) || !guest.hasIp4) return;
    const isForUs = view.getUint32(arpTargetIpAt(at)) === view.getUint32(guest.ip4At);
    if (!isForUs) return;
    if (arpOperation(view, at) === ArpOperation.request) {
      this.#sendArp(ArpOperation.reply, arpSenderMacAt(at), arpSenderIpAt(at));
    } else if (view.getUint32(arpSenderIpAt(at)) === view.getUint32(guest.router4At)) {
      guest.learnRouterMac(arpSenderMacAt(at));
      this.#requestMs = Infinity;
    }
  }

  /** Takes an ICMPv6 message, its checksum right; whether it was one of neighbor discovery. */
  processNdp(packet: Packet): boolean {
    const { view } = this.#guest.memory;
    const { payloadAt: at, payloadBytes: bytes } = packet;
    const type = icmp6Type(view, at);
    if (!isNeighborDiscovery(type)) return false;
    if (packet.ttl !== ND_HOP_LIMIT || packet.reassembled) return true;
    const fixedBytes = type === Icmp6Type.routerAdvertisement
      ? ROUTER_ADVERTISEMENT_BYTES
      : NEIGHBOR_SOLICITATION_BYTES;
    if (bytes < fixedBytes) return true;
    if (!parseNdpOptions(view, at + fixedBytes, at + bytes, this.#options)) return true;
    if (type === Icmp6Type.routerAdvertisement) this.#takeRouter(packet);
    else if (type === Icmp6Type.neighborSolicitation) this.#answer(packet);
    return true;
  }

  #takeRouter(packet: Packet): void {
    const guest = this.#guest;
    const { memory } = guest;
    const { view } = memory;
    const options = this.#options;
    if (this.#advertised !== null) return;
    memory.copy(guest.router6At, packet.sourceAt, 16);
    if (options.sourceMacAt >= 0) guest.learnRouterMac(options.sourceMacAt);
    this.#solicitMs = Infinity;
    const { prefixOptionAt, rdnssOptionAt } = options;
    const bits = prefixOptionAt < 0 ? 0 : prefixLength(view, prefixOptionAt);
    const autonomous = bits === 64 &&
      (prefixFlags(view, prefixOptionAt) & PrefixFlag.autonomous) !== 0;
    if (autonomous) this.#takeAddress(prefixAt(prefixOptionAt));
    this.#advertised = {
      address: autonomous ? guest.text(6, guest.ip6At) : "",
      prefix: bits,
      router: guest.text(6, guest.router6At),
      dns: Array.from(
        { length: rdnssOptionAt < 0 ? 0 : rdnssCount(view, rdnssOptionAt) },
        (_, i) => guest.text(6, rdnssAddressesAt(rdnssOptionAt) + 16 * i),
      ),
      mtu: options.mtu,
      isDefaultRouter: routerLifetimeSeconds(view, packet.payloadAt) > 0,
    };
  }

  /** The prefix, and behind it the interface's identifier, which the link-local address has too. */
  #takeAddress(prefix: number): void {
    const guest = this.#guest;
    guest.memory.copy(guest.ip6At, prefix, 8);
    guest.memory.copy(guest.ip6At + 8, guest.linkLocalAt + 8, 8);
    guest.hasIp6 = true;
    this.#sendDuplicateCheck();
  }

  #answer(packet: Packet): void {
    const { memory: { view }, ip6At, linkLocalAt, hasIp6 } = this.#guest;
    const targetAt = neighborTargetAt(packet.payloadAt);
    const isOurs = sameIpv6(view, targetAt, linkLocalAt) ||
      (hasIp6 && sameIpv6(view, targetAt, ip6At));
    if (!isOurs || isIpv6Unspecified(view, packet.sourceAt)) return;
    this.#sendNeighborAdvertisement(targetAt, packet.sourceAt);
  }

  #sendArp(operation: ArpOperation, targetMacAt: number, targetIpAt: number): void {
    const { link, memory, macAt, ip4At } = this.#guest;
    const at = link.beginEthernet(EtherType.arp, ARP_BYTES);
    if (at < 0) return;
    if (operation === ArpOperation.request) link.setDestinationMac(this.#guest.broadcastAt);
    writeArp(memory, at, operation, macAt, ip4At, targetMacAt, targetIpAt);
    link.end();
  }

  #sendRouterSolicitation(): void {
    const { link, memory, linkLocalAt: sourceAt, macAt } = this.#guest;
    const bytes = ROUTER_SOLICITATION_BYTES + LINK_LAYER_OPTION_BYTES;
    const groupAt = this.#allRoutersAt;
    const at = this.#beginToGroup(sourceAt, groupAt, bytes);
    if (at < 0) return;
    const optionAt = writeRouterSolicitation(memory.view, at);
    writeLinkLayerOption(memory, optionAt, NdpOption.sourceLinkLayer, macAt);
    writeIcmp6Checksum(memory, at, bytes, sourceAt, groupAt);
    link.end();
  }

  #sendDuplicateCheck(): void {
    const { link, memory, unspecifiedAt, ip6At } = this.#guest;
    const groupAt = this.#groupAt;
    writeSolicitedNode(memory.view, groupAt, ip6At);
    const at = this.#beginToGroup(unspecifiedAt, groupAt, NEIGHBOR_SOLICITATION_BYTES);
    if (at < 0) return;
    writeNeighborSolicitation(memory, at, ip6At);
    writeIcmp6Checksum(memory, at, NEIGHBOR_SOLICITATION_BYTES, unspecifiedAt, groupAt);
    link.end();
  }

  #beginToGroup(sourceAt: number, groupAt: number, bytes: number): number {
    const { link, memory } = this.#guest;
    const at = link.beginIpv6(sourceAt, groupAt, IpProtocol.icmp6, bytes, ND_HOP_LIMIT);
    if (at < 0) return -1;
    writeMulticastMac6(memory, this.#macAt, groupAt);
    link.setDestinationMac(this.#macAt);
    return at;
  }

  #sendNeighborAdvertisement(targetAt: number, destinationAt: number): void {
    const { link, memory, macAt } = this.#guest;
    const bytes = NEIGHBOR_ADVERTISEMENT_BYTES + LINK_LAYER_OPTION_BYTES;
    const at = link.beginIpv6(targetAt, destinationAt, IpProtocol.icmp6, bytes, ND_HOP_LIMIT);
    if (at < 0) return;
    const flags = NeighborFlag.solicited | NeighborFlag.override;
    const optionAt = writeNeighborAdvertisement(memory, at, flags, targetAt);
    writeLinkLayerOption(memory, optionAt, NdpOption.targetLinkLayer, macAt);
    writeIcmp6Checksum(memory, at, bytes, targetAt, destinationAt);
    link.end();
  }
}
