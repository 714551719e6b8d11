/**
 * IP packets from the router: header, destination, fragments, L4 checksum; what passes is a
 * `Packet`, as the gateway's stack has them.
 *
 * RFC 791, RFC 1122 section 3.2.1, RFC 8200. For the guest are its own addresses, the groups of
 * neighbor discovery, broadcasts, and, while it has no address, DHCP replies. Checksums must be
 * right: a gateway that leaves them to others is caught here (`drop.csum`).
 *
 * Does not forward, and answers nothing.
 *
 * @module
 */
import { checkL4 } from "../stack/checksum_check.ts";
import { Counter } from "../stack/counters.ts";
import type { Packet } from "../stack/packet.ts";
import type { Reassembly } from "../stack/reassembly.ts";
import { DHCP4_CLIENT_PORT } from "../wire/dhcp4.ts";
import {
  IpProtocol,
  IPV4_HEADER_BYTES,
  ipv4ChecksumIsRight,
  ipv4HeaderBytes,
  ipv4IsFragment,
  ipv4TotalBytes,
  ipv4Version,
} from "../wire/ipv4.ts";
import {
  IPV6_HEADER_BYTES,
  ipv6PayloadBytes,
  ipv6Version,
  isSolicitedNodeOf,
  sameIpv6,
} from "../wire/ipv6.ts";
import { Ipv6Extensions, Ipv6Walk, walkIpv6Extensions } from "../wire/ipv6_extensions.ts";
import { UDP_HEADER_BYTES, udpDestinationPort } from "../wire/udp.ts";
import type { GuestLink } from "./guest_link.ts";

const DROP_HEADER = Counter["drop.ip.hdr"];
const DROP_CHECKSUM = Counter["drop.csum"];
const DROP_DESTINATION = Counter["drop.ip.dst"];
const DROP_PROTOCOL = Counter["drop.ip.protocol"];
const DROP_EXTENSION = Counter["drop.ext.hdr"];

/** Takes the router's packets. */
export class GuestIpInput {
  readonly #guest: GuestLink;
  readonly #reassembly: Reassembly;
  readonly #extensions = new Ipv6Extensions();

  constructor(guest: GuestLink, reassembly: Reassembly) {
    this.#guest = guest;
    this.#reassembly = reassembly;
  }

  /** Takes an IPv4 packet at `at`; whether `packet` then holds something whole and right. */
  process4(at: number, bytes: number, packet: Packet, nowMs: number): boolean {
    const { memory } = this.#guest;
    const { view } = memory;
    if (bytes < IPV4_HEADER_BYTES || ipv4Version(view, at) !== 4) return this.#drop(DROP_HEADER);
    const headerBytes = ipv4HeaderBytes(view, at);
    const totalBytes = ipv4TotalBytes(view, at);
    if (headerBytes < IPV4_HEADER_BYTES || totalBytes < headerBytes || totalBytes > bytes) {
      return this.#drop(DROP_HEADER);
    }
    if (!ipv4ChecksumIsRight(memory, at, headerBytes)) return this.#drop(DROP_CHECKSUM);
    packet.takeIpv4(view, at);
    if (!this.#isForUs4(packet)) return this.#drop(DROP_DESTINATION);
    if (ipv4IsFragment(view, at) && !this.#reassembly.process4(packet, nowMs)) return false;
    return this.#isRight(packet);
  }

  /** As `process4`, over IPv6. */
  process6(at: number, bytes: number, packet: Packet, nowMs: number): boolean {
    const { view } = this.#guest.memory;
    if (bytes < IPV6_HEADER_BYTES || ipv6Version(view, at) !== 6) return this.#drop(DROP_HEADER);
    const end = at + IPV6_HEADER_BYTES + ipv6PayloadBytes(view, at);
    if (end > at + bytes) return this.#drop(DROP_HEADER);
    const extensions = this.#extensions;
    const walk = walkIpv6Extensions(view, at, end, extensions);
    packet.takeIpv6(view, at);
    packet.takePayload6(extensions, end);
    if (!this.#isForUs6(packet)) return this.#drop(DROP_DESTINATION);
    if (walk === Ipv6Walk.fragment) {
      if (!this.#reassembly.process6(packet, extensions, nowMs)) return false;
    } else if (walk !== Ipv6Walk.payload) {
      return this.#drop(DROP_EXTENSION);
    }
    return this.#isRight(packet);
  }

  #isForUs4(packet: Packet): boolean {
    const { memory: { view }, ip4At, broadcastAt, hasIp4 } = this.#guest;
    const destination = view.getUint32(packet.destinationAt);
    if (hasIp4 && destination === view.getUint32(ip4At)) return true;
    if (destination === view.getUint32(broadcastAt)) return true;
    return !hasIp4 && packet.protocol === IpProtocol.udp &&
      packet.payloadBytes >= UDP_HEADER_BYTES &&
      udpDestinationPort(view, packet.payloadAt) === DHCP4_CLIENT_PORT;
  }

  #isForUs6(packet: Packet): boolean {
    const { memory: { view }, ip6At, linkLocalAt, hasIp6 } = this.#guest;
    const { destinationAt } = packet;
    if (sameIpv6(view, destinationAt, linkLocalAt)) return true;
    if (hasIp6 && sameIpv6(view, destinationAt, ip6At)) return true;
    if (isSolicitedNodeOf(view, destinationAt, linkLocalAt)) return true;
    return isAllNodes(view, destinationAt);
  }

  /** Whether the payload is of a protocol that the guest speaks, and its checksum right. */
  #isRight(packet: Packet): boolean {
    const { protocol } = packet;
    const icmp = packet.family === 4 ? IpProtocol.icmp : IpProtocol.icmp6;
    if (protocol !== IpProtocol.tcp && protocol !== IpProtocol.udp && protocol !== icmp) {
      return this.#drop(DROP_PROTOCOL);
    }
    return checkL4(this.#guest.link, packet);
  }

  #drop(counter: number): false {
    this.#guest.link.counters.values[counter]!++;
    return false;
  }
}

/** Whether the address is ff02::1. */
function isAllNodes(view: DataView, at: number): boolean {
  return view.getUint32(at) === 0xff02_0000 && view.getUint32(at + 4) === 0 &&
    view.getUint32(at + 8) === 0 && view.getUint32(at + 12) === 1;
}
