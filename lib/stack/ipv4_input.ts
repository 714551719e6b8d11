/**
 * IPv4 from the guest: header, source, destination, TTL, fragments; what passes is a `Packet`.
 *
 * RFC 791, RFC 1122 section 3.2.1, RFC 1812 sections 5.2 and 5.3; source filter as BCP 38, source
 * routing refused as RFC 7126. Octets behind the total length (Ethernet padding) end here. Groups
 * are for DHCP only. Protocols other than ICMP, TCP and UDP are told off with 3/2 and never looked
 * into (IP-in-IP, GRE).
 *
 * The guest's own address is the only source, but for DHCP from 0.0.0.0. What a DHCP server would
 * send is not the guest's to say. A TTL of 1 is enough for the gateway itself and ends with 11/0
 * for anything behind it.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import { isGroup4 } from "./destination4.ts";
import { type IcmpErrors, IcmpReason } from "./icmp_errors.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import type { Reassembly } from "./reassembly.ts";
import {
  IpProtocol,
  IPV4_HEADER_BYTES,
  ipv4ChecksumIsRight,
  ipv4HeaderBytes,
  ipv4IsFragment,
  Ipv4Options,
  ipv4TotalBytes,
  ipv4Version,
  judgeIpv4Options,
} from "../wire/ipv4.ts";
import { UDP_HEADER_BYTES, udpDestinationPort, udpSourcePort } from "../wire/udp.ts";

const DROP_HEADER = Counter["drop.ip.hdr"];
const DROP_CHECKSUM = Counter["drop.csum"];
const DROP_OPTION = Counter["drop.ip.opt"];
const DROP_SOURCE = Counter["drop.ip.src"];
const DROP_LAND = Counter["drop.ip.land"];
const DROP_DESTINATION = Counter["drop.ip.dst"];
const DROP_TTL = Counter["drop.ip.ttl"];
const DROP_ROLE = Counter["drop.role"];
const DROP_PROTOCOL = Counter["drop.ip.protocol"];

const DHCP_SERVER_PORT = 67;
const DHCP_CLIENT_PORT = 68;

/** Judges the guest's IPv4 packets. */
export class Ipv4Input {
  readonly #link: Link;
  readonly #reassembly: Reassembly;
  readonly #errors: IcmpErrors;

  constructor(link: Link, reassembly: Reassembly, errors: IcmpErrors) {
    this.#link = link;
    this.#reassembly = reassembly;
    this.#errors = errors;
  }

  /**
   * Takes the payload of an Ethernet frame; `packet.linkMulticast` says already whether the frame
   * was sent to a group.
   *
   * @returns Whether `packet` holds something for the layers above.
   */
  process(at: number, bytes: number, packet: Packet, nowMs: number): boolean {
    const { view } = this.#link.memory;
    if (!this.#headerIsRight(at, bytes)) return false;
    packet.takeIpv4(view, at);
    const fragment = ipv4IsFragment(view, at);
    const dhcp = !fragment && this.#isDhcp(packet, DHCP_CLIENT_PORT, DHCP_SERVER_PORT);
    if (!this.#addressesAreRight(packet, dhcp, fragment)) return false;
    if (dhcp) return true;
    if (!this.#mayGoOn(packet, nowMs)) return false;
    return !fragment || this.#reassembly.process4(packet, nowMs);
  }

  #headerIsRight(at: number, bytes: number): boolean {
    const { memory } = this.#link;
    const { view } = memory;
    if (bytes < IPV4_HEADER_BYTES || ipv4Version(view, at) !== 4) return this.#drop(DROP_HEADER);
    const headerBytes = ipv4HeaderBytes(view, at);
    const totalBytes = ipv4TotalBytes(view, at);
    if (headerBytes < IPV4_HEADER_BYTES || totalBytes < headerBytes || totalBytes > bytes) {
      return this.#drop(DROP_HEADER);
    }
    if (!ipv4ChecksumIsRight(memory, at, headerBytes)) return this.#drop(DROP_CHECKSUM);
    if (
      headerBytes > IPV4_HEADER_BYTES &&
      judgeIpv4Options(view, at, headerBytes) !== Ipv4Options.harmless
    ) {
      return this.#drop(DROP_OPTION);
    }
    return true;
  }

  /** A DHCP message, to a group or to the gateway: a client's or a server's by its ports. */
  #isDhcp(packet: Packet, sourcePort: number, destinationPort: number): boolean {
    if (packet.protocol !== IpProtocol.udp || packet.payloadBytes < UDP_HEADER_BYTES) return false;
    const { view } = this.#link.memory;
    return udpDestinationPort(view, packet.payloadAt) === destinationPort &&
      udpSourcePort(view, packet.payloadAt) === sourcePort &&
      (isGroup4(this.#link, packet.destinationAt) || this.#isForGateway(packet));
  }

  #addressesAreRight(packet: Packet, dhcp: boolean, fragment: boolean): boolean {
    const link = this.#link;
    const { view } = link.memory;
    const source = view.getUint32(packet.sourceAt);
    const fromGuest = source === view.getUint32(link.guestIp4At);
    if (!fromGuest && !(dhcp && source === 0)) return this.#drop(DROP_SOURCE);
    if (source === view.getUint32(packet.destinationAt)) return this.#drop(DROP_LAND);
    if (dhcp) return true;
    if (!fragment && this.#isDhcp(packet, DHCP_SERVER_PORT, DHCP_CLIENT_PORT)) {
      return this.#drop(DROP_ROLE);
    }
    // RFC 1122 section 3.3.6: a frame to a group carries only packets to a group.
    if (packet.linkMulticast || isGroup4(link, packet.destinationAt)) {
      return this.#drop(DROP_DESTINATION);
    }
    return true;
  }

  /** TTL and protocol, each with its error. */
  #mayGoOn(packet: Packet, nowMs: number): boolean {
    if (packet.ttl <= 1 && !this.#isForGateway(packet)) {
      this.#errors.send(packet, IcmpReason.timeExceeded, nowMs);
      return this.#drop(DROP_TTL);
    }
    const { protocol } = packet;
    if (
      protocol !== IpProtocol.tcp && protocol !== IpProtocol.udp && protocol !== IpProtocol.icmp
    ) {
      this.#errors.send(packet, IcmpReason.protocolUnreachable, nowMs);
      return this.#drop(DROP_PROTOCOL);
    }
    return true;
  }

  #isForGateway(packet: Packet): boolean {
    const { view } = this.#link.memory;
    return view.getUint32(packet.destinationAt) === view.getUint32(this.#link.gatewayIp4At);
  }

  #drop(counter: number): false {
    this.#link.counters.values[counter]!++;
    return false;
  }
}
