/**
 * IPv6 from the guest: header, source, destination, extension headers, fragments; what passes is a
 * `Packet`.
 *
 * RFC 8200, RFC 4861, RFC 5095 (routing headers refused), RFC 5722, RFC 6980, RFC 7112. A source
 * is link-local, configured, or announced inside the guest's prefix (`guest_addresses.ts`).
 * Neighbor discovery is how a source becomes announced, so it passes from an unannounced one, and
 * from `::` (DAD). Anything else from an unannounced source is dropped, and the guest is asked for
 * that address (as RFC 6620 does): if it answers, the next packet passes. So a gateway that was
 * started anew finds the addresses of a guest that was not.
 *
 * Groups are for neighbor discovery, MLD and DHCPv6 only, and of DHCPv6 for what a client says.
 *
 * Limits: `MAX_EXTENSION_HEADERS` before and after reassembly; 4 such questions a second.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import { AddressOwner, type GuestAddresses } from "./guest_addresses.ts";
import { type IcmpErrors, IcmpReason } from "./icmp_errors.ts";
import { hasL4Header } from "./l4_header.ts";
import type { Link } from "./link.ts";
import {
  isNeighborDiscovery,
  ND_HOP_LIMIT,
  sendNeighborSolicitation,
} from "./neighbor_messages.ts";
import type { Packet } from "./packet.ts";
import type { Reassembly } from "./reassembly.ts";
import { TokenBucket } from "./token_bucket.ts";
import { DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT } from "../wire/dhcp6.ts";
import { ICMP6_HEADER_BYTES, Icmp6Type, icmp6Type } from "../wire/icmp6.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import {
  IPV6_HEADER_BYTES,
  ipv6PayloadBytes,
  ipv6Version,
  isIpv6Multicast,
  isIpv6Unspecified,
  sameIpv6,
} from "../wire/ipv6.ts";
import {
  Ipv6Extensions,
  Ipv6Walk,
  walkFragmentablePart,
  walkIpv6Extensions,
} from "../wire/ipv6_extensions.ts";
import { UDP_HEADER_BYTES, udpDestinationPort, udpSourcePort } from "../wire/udp.ts";

const DROP_HEADER = Counter["drop.ip.hdr"];
const DROP_SOURCE = Counter["drop.ip.src"];
const DROP_LAND = Counter["drop.ip.land"];
const DROP_DESTINATION = Counter["drop.ip.dst"];
const DROP_TTL = Counter["drop.ip.ttl"];
const DROP_ROLE = Counter["drop.role"];
const DROP_PROTOCOL = Counter["drop.ip.protocol"];
const DROP_EXTENSION = Counter["drop.ext.hdr"];
const DROP_EXTENSIONS = Counter["drop.ext.limit"];
const DROP_NESTED = Counter["drop.frag.nested"];
const DROP_TINY = Counter["drop.frag.tiny"];

/** Questions for unannounced addresses, a second. */
const QUESTIONS_PER_SECOND = 4;

/** Judges the guest's IPv6 packets. */
export class Ipv6Input {
  readonly #link: Link;
  readonly #reassembly: Reassembly;
  readonly #errors: IcmpErrors;
  readonly #addresses: GuestAddresses;
  readonly #extensions = new Ipv6Extensions();
  readonly #inner = new Ipv6Extensions();
  readonly #questions = new TokenBucket(QUESTIONS_PER_SECOND, QUESTIONS_PER_SECOND);

  constructor(
    link: Link,
    reassembly: Reassembly,
    errors: IcmpErrors,
    addresses: GuestAddresses,
  ) {
    this.#link = link;
    this.#reassembly = reassembly;
    this.#errors = errors;
    this.#addresses = addresses;
  }

  /**
   * Takes the payload of an Ethernet frame; `packet.linkMulticast` says already whether the frame
   * was sent to a group.
   *
   * @returns Whether `packet` holds something for the layers above.
   */
  process(at: number, bytes: number, packet: Packet, nowMs: number): boolean {
    const { view } = this.#link.memory;
    if (bytes < IPV6_HEADER_BYTES || ipv6Version(view, at) !== 6) return this.#drop(DROP_HEADER);
    const payloadBytes = ipv6PayloadBytes(view, at);
    if (IPV6_HEADER_BYTES + payloadBytes > bytes) return this.#drop(DROP_HEADER);
    packet.takeIpv6(view, at);
    const end = at + IPV6_HEADER_BYTES + payloadBytes;
    const walk = walkIpv6Extensions(view, at, end, this.#extensions);
    packet.takePayload6(this.#extensions, end);
    if (!this.#addressesAreRight(packet, walk, nowMs)) return false;
    if (!this.#mayGoOn(packet, walk, nowMs)) return false;
    if (walk === Ipv6Walk.payload) return this.#isSpoken(packet, nowMs);
    if (walk !== Ipv6Walk.fragment) return this.#refuse(walk, this.#extensions, packet, nowMs);
    return this.#reassemble(packet, end, nowMs);
  }

  #addressesAreRight(packet: Packet, walk: Ipv6Walk, nowMs: number): boolean {
    const { view } = this.#link.memory;
    const { sourceAt, destinationAt } = packet;
    const owner = this.#addresses.ownerOf(sourceAt);
    const isWhole = walk === Ipv6Walk.payload;
    if (owner !== AddressOwner.guest) {
      if (owner === AddressOwner.unannounced) {
        if (!isWhole || !this.#isAnnouncement(packet)) return this.#ask(packet, nowMs);
      } else if (!isWhole || !this.#isTentative(packet)) {
        return this.#drop(DROP_SOURCE);
      }
    }
    if (sameIpv6(view, sourceAt, destinationAt)) return this.#drop(DROP_LAND);
    if (isWhole && this.#isFromDhcpServer(packet)) return this.#drop(DROP_ROLE);
    if (!isIpv6Multicast(view, destinationAt)) {
      // As RFC 1122 section 3.3.6 has it for IPv4.
      return !packet.linkMulticast || this.#drop(DROP_DESTINATION);
    }
    return (isWhole && this.#isForGroups(packet)) || this.#drop(DROP_DESTINATION);
  }

  /** A neighbor solicitation or advertisement that came over this link. */
  #isAnnouncement(packet: Packet): boolean {
    if (packet.ttl !== ND_HOP_LIMIT) return false;
    const type = this.#icmpType(packet);
    return type === Icmp6Type.neighborSolicitation || type === Icmp6Type.neighborAdvertisement;
  }

  /** What a node without an address may send: DAD, a question for routers, MLD reports. */
  #isTentative(packet: Packet): boolean {
    if (!isIpv6Unspecified(this.#link.memory.view, packet.sourceAt)) return false;
    const type = this.#icmpType(packet);
    return type === Icmp6Type.neighborSolicitation || type === Icmp6Type.routerSolicitation ||
      isMldReport(type);
  }

  #isForGroups(packet: Packet): boolean {
    if (packet.protocol === IpProtocol.udp) {
      return packet.payloadBytes >= UDP_HEADER_BYTES &&
        udpDestinationPort(this.#link.memory.view, packet.payloadAt) === DHCP6_SERVER_PORT;
    }
    const type = this.#icmpType(packet);
    return isNeighborDiscovery(type) || isMldReport(type);
  }

  /** What a DHCP server would send, to a group or to the gateway. */
  #isFromDhcpServer(packet: Packet): boolean {
    const { payloadAt, payloadBytes, protocol, destinationAt } = packet;
    if (protocol !== IpProtocol.udp || payloadBytes < UDP_HEADER_BYTES) return false;
    const { view } = this.#link.memory;
    return udpDestinationPort(view, payloadAt) === DHCP6_CLIENT_PORT &&
      udpSourcePort(view, payloadAt) === DHCP6_SERVER_PORT &&
      (isIpv6Multicast(view, destinationAt) || this.#isForGateway(packet));
  }

  /** The ICMPv6 type; -1 for another protocol. */
  #icmpType(packet: Packet): number {
    if (packet.protocol !== IpProtocol.icmp6) return -1;
    if (packet.payloadBytes < ICMP6_HEADER_BYTES) return -1;
    return icmp6Type(this.#link.memory.view, packet.payloadAt);
  }

  #ask(packet: Packet, nowMs: number): false {
    if (this.#questions.take(nowMs)) sendNeighborSolicitation(this.#link, packet.sourceAt);
    return this.#drop(DROP_SOURCE);
  }

  #mayGoOn(packet: Packet, walk: Ipv6Walk, nowMs: number): boolean {
    const { view } = this.#link.memory;
    if (packet.ttl > 1 || this.#isForGateway(packet)) return true;
    if (isIpv6Multicast(view, packet.destinationAt)) return true;
    const isLater = walk === Ipv6Walk.fragment && this.#extensions.fragmentOffsetBytes > 0;
    if (!isLater) this.#errors.send(packet, IcmpReason.timeExceeded, nowMs);
    return this.#drop(DROP_TTL);
  }

  #isForGateway(packet: Packet): boolean {
    const { memory, gatewayIp6At, gatewayLinkLocalAt } = this.#link;
    return sameIpv6(memory.view, packet.destinationAt, gatewayIp6At) ||
      sameIpv6(memory.view, packet.destinationAt, gatewayLinkLocalAt);
  }

  #isSpoken(packet: Packet, nowMs: number): boolean {
    const { protocol } = packet;
    if (
      protocol === IpProtocol.tcp || protocol === IpProtocol.udp || protocol === IpProtocol.icmp6
    ) {
      return true;
    }
    const pointer = packet.protocolAt - packet.headerAt;
    this.#errors.send(packet, IcmpReason.protocolUnreachable, nowMs, pointer);
    return this.#drop(DROP_PROTOCOL);
  }

  #reassemble(packet: Packet, end: number, nowMs: number): boolean {
    const { view } = this.#link.memory;
    const outer = this.#extensions;
    const inner = this.#inner;
    if (outer.fragmentOffsetBytes === 0) {
      const { protocol, protocolAt, payloadAt, headers } = outer;
      const walk = walkFragmentablePart(view, protocol, protocolAt, payloadAt, end, headers, inner);
      if (walk === Ipv6Walk.overrun) return this.#drop(DROP_TINY);
      if (walk !== Ipv6Walk.payload) return this.#refuse(walk, inner, packet, nowMs);
      const leftBytes = end - inner.payloadAt;
      if (!hasL4Header(view, inner.protocol, inner.payloadAt, leftBytes)) {
        return this.#drop(DROP_TINY);
      }
    }
    if (!this.#reassembly.process6(packet, outer, nowMs)) return false;
    const { protocol, protocolAt, payloadAt, payloadBytes } = packet;
    const wholeEnd = payloadAt + payloadBytes;
    const walk = walkFragmentablePart(
      view,
      protocol,
      protocolAt,
      payloadAt,
      wholeEnd,
      outer.headers,
      inner,
    );
    packet.takePayload6(inner, wholeEnd);
    if (walk !== Ipv6Walk.payload) return this.#refuse(walk, inner, packet, nowMs);
    return this.#isSpoken(packet, nowMs);
  }

  /** Drops what the walk did not pass, with the error that is due. */
  #refuse(walk: Ipv6Walk, extensions: Ipv6Extensions, packet: Packet, nowMs: number): false {
    const pointer = extensions.problemAt - packet.headerAt;
    switch (walk) {
      case Ipv6Walk.nothing:
        return this.#drop(DROP_PROTOCOL);
      case Ipv6Walk.tooMany:
        return this.#drop(DROP_EXTENSIONS);
      case Ipv6Walk.nestedFragment:
        return this.#drop(DROP_NESTED);
      case Ipv6Walk.routing:
        this.#errors.send(packet, IcmpReason.parameterProblem, nowMs, pointer);
        return this.#drop(DROP_EXTENSION);
      case Ipv6Walk.misplaced:
        this.#errors.send(packet, IcmpReason.unrecognizedHeader, nowMs, pointer);
        return this.#drop(DROP_EXTENSION);
      case Ipv6Walk.optionProblem:
      case Ipv6Walk.optionProblemUnicast:
        this.#errors.send(packet, IcmpReason.unrecognizedOption, nowMs, pointer);
        return this.#drop(DROP_EXTENSION);
      default:
        return this.#drop(DROP_EXTENSION);
    }
  }

  #drop(counter: number): false {
    this.#link.counters.values[counter]!++;
    return false;
  }
}

/** Multicast listener discovery (RFC 2710, RFC 3810): reports and "done". */
function isMldReport(type: number): boolean {
  return type === 131 || type === 132 || type === 143;
}
