/**
 * Whether a guest's frame may go to the others of its shared network: it speaks for itself alone.
 *
 *     ARP     its own MAC and address; a probe only for its own (RFC 5227)
 *     IPv4    from its own address; to a member, to that member's
 *     IPv6    from one of its own (`lan_members.ts`); `::` only to find duplicates of its own
 *     ND      for its own addresses, with its own MAC (RFC 4861); whole, without extension headers
 *     groups  ARP, neighbor discovery and datagrams
 *
 * What only the gateway says or hears goes to no member: DHCP, router discovery, redirects, group
 * membership. Nothing is learnt of what passes. A fragment that a header is in is read like a packet;
 * a later one is for the policy to judge, as `lan_port.ts` does.
 *
 * Each refusal has its counter. Does not verify checksums: the receiver does.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import { isGroup4 } from "./destination4.ts";
import { LanFrame, Piece } from "./lan_frame.ts";
import type { LanMembers } from "./lan_members.ts";
import type { Link } from "./link.ts";
import { ND_HOP_LIMIT } from "./neighbor_messages.ts";
import {
  ARP_BYTES,
  ArpOperation,
  arpOperation,
  arpSenderIpAt,
  arpSenderMacAt,
  arpTargetIpAt,
  isArpForIpv4,
} from "../wire/arp.ts";
import { DHCP4_CLIENT_PORT, DHCP4_SERVER_PORT } from "../wire/dhcp4.ts";
import { DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT } from "../wire/dhcp6.ts";
import { ETHERNET_HEADER_BYTES, EtherType, etherType, sameMac } from "../wire/ethernet.ts";
import { Icmp4Type, icmp4Type } from "../wire/icmp4.ts";
import { icmp6Code, Icmp6Type, icmp6Type } from "../wire/icmp6.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { isIpv6Multicast, isIpv6Unspecified } from "../wire/ipv6.ts";
import {
  NdpOptions,
  NEIGHBOR_SOLICITATION_BYTES,
  neighborTargetAt,
  parseNdpOptions,
} from "../wire/ndp.ts";
import { udpDestinationPort, udpSourcePort } from "../wire/udp.ts";

/** Where a frame may go. */
export const LanWay = {
  /** Nowhere; it was counted. */
  refused: 0,
  /** To the gateway alone, which judges it by itself. */
  gateway: 1,
  /** To the members meant, and to the gateway if it went to a group: it is no flow. */
  all: 2,
  /** To the members meant, as far as the policy allows the flow. */
  flow: 3,
  /** To the members meant, unless a policy would have to know its flow. */
  opaque: 4,
} as const;
/** One of `LanWay`. */
export type LanWay = typeof LanWay[keyof typeof LanWay];

const DROP_TYPE = Counter["drop.lan.type"];
const DROP_HEADER = Counter["drop.lan.hdr"];
const DROP_SOURCE = Counter["drop.lan.src"];
const DROP_DESTINATION = Counter["drop.lan.dst"];
const DROP_ARP = Counter["drop.lan.arp"];
const DROP_ND = Counter["drop.lan.nd"];
const DROP_ROLE = Counter["drop.lan.role"];

const IGMP = 2;
/** Router discovery for IPv4 (RFC 1256). */
const ROUTER_ADVERTISEMENT4 = 9;
const ROUTER_SOLICITATION4 = 10;
const ROUTER_RENUMBERING6 = 138;

/** Judges what a guest wants other guests to get. */
export class LanGuard {
  /** The packet of the frame that was examined last, where it is a flow or opaque. */
  readonly frame: LanFrame = new LanFrame();
  readonly #link: Link;
  readonly #members: LanMembers;
  readonly #options = new NdpOptions();

  constructor(link: Link, members: LanMembers) {
    this.#link = link;
    this.#members = members;
  }

  /**
   * Judges a frame whose source MAC is the guest's.
   *
   * @param at The Ethernet header.
   * @param bytes Octets of the frame, at least those of that header.
   * @param to The member whose MAC it goes to; -1 for a group.
   */
  examine(at: number, bytes: number, to: number): LanWay {
    const { memory: { view }, config } = this.#link;
    const type = etherType(view, at);
    if (type === EtherType.arp) return this.#arp(at, bytes);
    if (type !== EtherType.ipv4 && (type !== EtherType.ipv6 || !config.ipv6)) {
      return this.#drop(DROP_TYPE);
    }
    if (!this.frame.parse(view, at, bytes)) return this.#drop(DROP_HEADER);
    this.frame.packet.linkMulticast = to < 0;
    return type === EtherType.ipv4 ? this.#ipv4(to) : this.#ipv6(to);
  }

  #arp(at: number, bytes: number): LanWay {
    const { memory: { view }, guestMacAt, guestIp4At } = this.#link;
    const arpAt = at + ETHERNET_HEADER_BYTES;
    if (bytes < ETHERNET_HEADER_BYTES + ARP_BYTES || !isArpForIpv4(view, arpAt)) {
      return this.#drop(DROP_ARP);
    }
    const operation = arpOperation(view, arpAt);
    const isRequest = operation === ArpOperation.request;
    if (!isRequest && operation !== ArpOperation.reply) return this.#drop(DROP_ARP);
    if (!sameMac(view, arpSenderMacAt(arpAt), guestMacAt)) return this.#drop(DROP_ARP);
    const own = view.getUint32(guestIp4At);
    const sender = view.getUint32(arpSenderIpAt(arpAt));
    // A probe for another's address would keep that one from taking it.
    const isProbe = isRequest && sender === 0 && view.getUint32(arpTargetIpAt(arpAt)) === own;
    return sender === own || isProbe ? LanWay.all : this.#drop(DROP_ARP);
  }

  #ipv4(to: number): LanWay {
    const link = this.#link;
    const { view } = link.memory;
    const { packet, piece } = this.frame;
    const { protocol, payloadAt, sourceAt, destinationAt } = packet;
    const hasHeader = piece !== Piece.later;
    if (hasHeader && protocol === IpProtocol.udp) {
      const from = udpSourcePort(view, payloadAt);
      const port = udpDestinationPort(view, payloadAt);
      if (port === DHCP4_SERVER_PORT && from !== DHCP4_SERVER_PORT && to < 0) return LanWay.gateway;
      const isDhcp = port === DHCP4_SERVER_PORT || port === DHCP4_CLIENT_PORT ||
        from === DHCP4_SERVER_PORT;
      if (isDhcp) return this.#drop(DROP_ROLE);
    }
    if (view.getUint32(sourceAt) !== view.getUint32(link.guestIp4At)) {
      return this.#drop(DROP_SOURCE);
    }
    if (to < 0) {
      if (!isGroup4(link, destinationAt)) return this.#drop(DROP_DESTINATION);
      if (protocol === IGMP) return LanWay.gateway;
      if (protocol !== IpProtocol.udp) return this.#drop(DROP_DESTINATION);
    } else if (this.#members.ofIp4(view, destinationAt) !== to) {
      return this.#drop(DROP_DESTINATION);
    }
    if (protocol !== IpProtocol.icmp || !hasHeader) return this.#flowOrOpaque();
    const type = icmp4Type(view, payloadAt);
    const isRouters = type === Icmp4Type.redirect || type === Icmp4Type.sourceQuench ||
      type === ROUTER_ADVERTISEMENT4 || type === ROUTER_SOLICITATION4;
    return isRouters ? this.#drop(DROP_ROLE) : this.#flowOrOpaque();
  }

  #ipv6(to: number): LanWay {
    const { view } = this.#link.memory;
    const { self } = this.#members;
    const { packet: { sourceAt, destinationAt, protocol, payloadAt }, piece } = this.frame;
    const owner = this.#members.ofIp6(view, sourceAt);
    if (owner >= 0 && owner !== self) return this.#drop(DROP_SOURCE);
    const hasHeader = piece !== Piece.later;
    if (hasHeader && protocol === IpProtocol.udp) {
      const from = udpSourcePort(view, payloadAt);
      const port = udpDestinationPort(view, payloadAt);
      if (port === DHCP6_SERVER_PORT && from !== DHCP6_SERVER_PORT && to < 0) return LanWay.gateway;
      const isDhcp = port === DHCP6_SERVER_PORT || port === DHCP6_CLIENT_PORT ||
        from === DHCP6_SERVER_PORT;
      if (isDhcp) return this.#drop(DROP_ROLE);
    }
    if (hasHeader && protocol === IpProtocol.icmp6) {
      const type = icmp6Type(view, payloadAt);
      switch (type) {
        case Icmp6Type.routerAdvertisement:
        case Icmp6Type.redirect:
        case ROUTER_RENUMBERING6:
          return this.#drop(DROP_ROLE);
        case Icmp6Type.neighborSolicitation:
        case Icmp6Type.neighborAdvertisement:
          return this.#neighbor(to, owner);
        case Icmp6Type.routerSolicitation:
          return to < 0 ? LanWay.gateway : this.#drop(DROP_ROLE);
        default:
          if (isMulticastListener(type)) return to < 0 ? LanWay.gateway : this.#drop(DROP_ROLE);
      }
    }
    // What the gateway knows of the guest's other addresses is for the way to the host.
    if (owner < 0) return to < 0 ? LanWay.gateway : this.#drop(DROP_SOURCE);
    if (!this.#isForMeant6(to, destinationAt)) return this.#drop(DROP_DESTINATION);
    if (to < 0 && protocol !== IpProtocol.udp) return this.#drop(DROP_DESTINATION);
    return this.#flowOrOpaque();
  }

  /** A neighbor solicitation or advertisement, from an address of `owner`. */
  #neighbor(to: number, owner: number): LanWay {
    const { view } = this.#link.memory;
    const { packet: { sourceAt, destinationAt, payloadAt } } = this.frame;
    if (!this.#isNeighborValid()) return this.#drop(DROP_ND);
    const isAdvertisement = icmp6Type(view, payloadAt) === Icmp6Type.neighborAdvertisement;
    const isDuplicateSearch = !isAdvertisement && isIpv6Unspecified(view, sourceAt);
    if (isAdvertisement || isDuplicateSearch) {
      // Both say that the target is the sender's, or is about to be.
      const target = this.#members.ofIp6(view, neighborTargetAt(payloadAt));
      if (target !== this.#members.self) {
        return target < 0 && to < 0 ? LanWay.gateway : this.#drop(DROP_ND);
      }
    }
    if (owner < 0 && !isDuplicateSearch) return to < 0 ? LanWay.gateway : this.#drop(DROP_SOURCE);
    return this.#isForMeant6(to, destinationAt) ? LanWay.all : this.#drop(DROP_DESTINATION);
  }

  /** What RFC 4861 sections 7.1.1 and 7.1.2 ask, RFC 6980, and the guest's MAC in every option. */
  #isNeighborValid(): boolean {
    const { memory: { view }, guestMacAt } = this.#link;
    const { packet: { payloadAt, payloadBytes, ttl }, piece, hasExtensions } = this.frame;
    if (ttl !== ND_HOP_LIMIT || piece !== Piece.whole || hasExtensions) return false;
    if (payloadBytes < NEIGHBOR_SOLICITATION_BYTES || icmp6Code(view, payloadAt) !== 0) {
      return false;
    }
    if (isIpv6Multicast(view, neighborTargetAt(payloadAt))) return false;
    const options = this.#options;
    const optionsAt = payloadAt + NEIGHBOR_SOLICITATION_BYTES;
    if (!parseNdpOptions(view, optionsAt, payloadAt + payloadBytes, options)) return false;
    const { sourceMacAt, targetMacAt } = options;
    return (sourceMacAt < 0 || sameMac(view, sourceMacAt, guestMacAt)) &&
      (targetMacAt < 0 || sameMac(view, targetMacAt, guestMacAt));
  }

  /** Whether the packet's destination is the one of its frame. */
  #isForMeant6(to: number, destinationAt: number): boolean {
    const { view } = this.#link.memory;
    return to < 0
      ? isIpv6Multicast(view, destinationAt)
      : this.#members.ofIp6(view, destinationAt) === to;
  }

  #flowOrOpaque(): LanWay {
    const { piece, hasExtensions, packet: { family, protocol } } = this.frame;
    if (piece === Piece.later || hasExtensions) return LanWay.opaque;
    const icmp = family === 4 ? IpProtocol.icmp : IpProtocol.icmp6;
    const isSpoken = protocol === IpProtocol.tcp || protocol === IpProtocol.udp ||
      protocol === icmp;
    return isSpoken ? LanWay.flow : LanWay.opaque;
  }

  #drop(counter: number): LanWay {
    this.#link.counters.values[counter]!++;
    return LanWay.refused;
  }
}

/** Multicast listener discovery (RFC 2710, RFC 3810): query, reports, done. */
function isMulticastListener(type: number): boolean {
  return (type >= 130 && type <= 132) || type === 143;
}
