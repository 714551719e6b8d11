/**
 * UDP from the guest (RFC 768, RFC 8200 section 8.1): header and checksum, then to whom it goes.
 *
 *     for the gateway, port 67 / 547   DHCP server
 *     port 53                          DNS gateway: at the gateway's own addresses, or at any
 *     a known flow                     its owner, straight from the read buffer
 *     anything else                    asked for: an owner, and so a flow, or a refusal
 *
 * Keeps nothing itself. Never knows the policy: `open` asks whoever does.
 *
 * @module
 */
import { checkL4 } from "./checksum_check.ts";
import { isGroup4 } from "./destination4.ts";
import { type IcmpErrors, IcmpReason } from "./icmp_errors.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import { type QuotedError, QuotedErrorKind } from "./quoted_error.ts";
import type { UdpFlowOwner, UdpFlows } from "./udp_flows.ts";
import { DHCP4_SERVER_PORT } from "../wire/dhcp4.ts";
import { DHCP6_SERVER_PORT } from "../wire/dhcp6.ts";
import { isIpv6Multicast, sameIpv6 } from "../wire/ipv6.ts";
import {
  UDP_HEADER_BYTES,
  udpDestinationPort,
  udpLengthBytes,
  udpSourcePort,
} from "../wire/udp.ts";

const DNS_PORT = 53;

/** Why there is no flow: what the guest is told, or `null` for nothing (the drop was counted). */
export type UdpRefusal = IcmpReason | null;

/** Where datagrams go that belong to no flow. The packet stays only for the call. */
export interface UdpHandlers {
  /** A datagram to the gateway's DHCP port. */
  dhcp4(packet: Packet, nowMs: number): void;
  /** A datagram to the gateway's DHCPv6 port. */
  dhcp6(packet: Packet, nowMs: number): void;
  /** A question for the DNS gateway; the answer comes from the address that the guest asked. */
  dns(packet: Packet, guestPort: number, dataAt: number, dataBytes: number, nowMs: number): void;
  /** Judges a destination; whoever is returned owns the flow that is made. */
  open(packet: Packet, peerPort: number, nowMs: number): UdpFlowOwner | UdpRefusal;
}

/** Takes the guest's datagrams apart. */
export class UdpInput {
  readonly #link: Link;
  readonly #flows: UdpFlows;
  readonly #errors: IcmpErrors;
  readonly #handlers: UdpHandlers;
  readonly #interceptDns: boolean;

  /** `interceptDns`: whether port 53 of any address is the DNS gateway's. */
  constructor(
    link: Link,
    flows: UdpFlows,
    errors: IcmpErrors,
    handlers: UdpHandlers,
    interceptDns = true,
  ) {
    this.#link = link;
    this.#flows = flows;
    this.#errors = errors;
    this.#handlers = handlers;
    this.#interceptDns = interceptDns;
  }

  /** Takes a packet whose protocol is UDP. */
  process(packet: Packet, nowMs: number): void {
    if (!checkL4(this.#link, packet)) return;
    const { view } = this.#link.memory;
    const at = packet.payloadAt;
    const guestPort = udpSourcePort(view, at);
    const peerPort = udpDestinationPort(view, at);
    if (this.#isForServers(packet, guestPort, peerPort, nowMs)) return;
    const dataAt = at + UDP_HEADER_BYTES;
    const dataBytes = udpLengthBytes(view, at) - UDP_HEADER_BYTES;
    const flow = this.#flows.find(packet, guestPort, peerPort);
    if (flow !== undefined) {
      this.#flows.usedByGuest(flow, nowMs);
      flow.owner.send(dataAt, dataBytes);
      return;
    }
    this.#open(packet, guestPort, peerPort, dataAt, dataBytes, nowMs);
  }

  /**
   * An ICMP error of the guest about a datagram: nothing takes what a client of a published port sends
   * there. False where it says something else, or fits no such flow.
   */
  processError(error: QuotedError): boolean {
    if (error.kind !== QuotedErrorKind.unreachable) return false;
    const flow = this.#flows.findQuoted(error);
    if (flow?.owner.unreachable === undefined) return false;
    flow.owner.unreachable();
    return true;
  }

  #isForServers(packet: Packet, guestPort: number, peerPort: number, nowMs: number): boolean {
    if (peerPort === DNS_PORT) {
      if (!this.#interceptDns && !this.#isForGateway(packet)) return false;
      const at = packet.payloadAt;
      const dataBytes = udpLengthBytes(this.#link.memory.view, at) - UDP_HEADER_BYTES;
      this.#handlers.dns(packet, guestPort, at + UDP_HEADER_BYTES, dataBytes, nowMs);
      return true;
    }
    if (packet.family === 4) {
      if (peerPort !== DHCP4_SERVER_PORT) return false;
      if (!this.#isForGateway(packet) && !isGroup4(this.#link, packet.destinationAt)) return false;
      this.#handlers.dhcp4(packet, nowMs);
      return true;
    }
    if (peerPort !== DHCP6_SERVER_PORT) return false;
    const isForGroup = isIpv6Multicast(this.#link.memory.view, packet.destinationAt);
    if (!isForGroup && !this.#isForGateway(packet)) return false;
    this.#handlers.dhcp6(packet, nowMs);
    return true;
  }

  #isForGateway(packet: Packet): boolean {
    const { memory: { view }, gatewayIp4At, gatewayIp6At, gatewayLinkLocalAt } = this.#link;
    const at = packet.destinationAt;
    if (packet.family === 4) return view.getUint32(at) === view.getUint32(gatewayIp4At);
    return sameIpv6(view, at, gatewayIp6At) || sameIpv6(view, at, gatewayLinkLocalAt);
  }

  #open(
    packet: Packet,
    guestPort: number,
    peerPort: number,
    dataAt: number,
    dataBytes: number,
    nowMs: number,
  ): void {
    // No system sends to port 0, and nobody can be asked whether it is open.
    const owner = peerPort === 0
      ? IcmpReason.portUnreachable
      : this.#handlers.open(packet, peerPort, nowMs);
    if (owner === null) return;
    if (typeof owner === "number") {
      this.#errors.send(packet, owner, nowMs);
      return;
    }
    const flow = this.#flows.insert(packet, guestPort, peerPort, owner, nowMs);
    owner.opened(flow);
    this.#flows.usedByGuest(flow, nowMs);
    owner.send(dataAt, dataBytes);
  }
}
