/**
 * The gateway stack of one guest: frames in, each to its protocol, frames out.
 *
 *     device ─▶ Ethernet ─┬─ ARP
 *                         ├─ IPv4 ─┬─ reassembly ─┬─ TCP endpoint
 *                         └─ IPv6 ─┘              ├─ UDP input ── DHCP, DNS, flows
 *                                                 └─ ICMP, neighbor discovery
 *
 *     poll(now)     walks at most so many frames; true when more wait
 *     flush(now)    timers, then what TCP has to send
 *     pollAt()      when the next timer is due
 *
 * One MAC for each link: the guest's first frame settles it, and in a shared network the configuration.
 * There, what goes to other guests goes to `LanPort` before it comes to any protocol. Sans-I/O: what a
 * flow leads to is decided above, in the handlers that were handed in.
 *
 * @module
 */
import {
  ETHERNET_HEADER_BYTES,
  ethernetDestinationAt,
  ethernetSourceAt,
  EtherType,
  etherType,
  isGroupMac,
  isZeroMac,
  sameMac,
} from "../wire/ethernet.ts";
import { ICMP4_HEADER_BYTES } from "../wire/icmp4.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { ArpResponder } from "./arp.ts";
import { checkL4 } from "./checksum_check.ts";
import { Counter, type Counters } from "./counters.ts";
import { GUEST_ADDRESSES_BYTES, GuestAddresses } from "./guest_addresses.ts";
import { QuotedError } from "./quoted_error.ts";
import { type EchoOutside, IcmpEcho, type IcmpEchoLimits } from "./icmp_echo.ts";
import { type IcmpErrorLimits, IcmpErrors, IcmpReason } from "./icmp_errors.ts";
import { Ipv4Input } from "./ipv4_input.ts";
import { Ipv6Input } from "./ipv6_input.ts";
import type { LanMembers } from "./lan_members.ts";
import type { Link } from "./link.ts";
import { Ndp, NDP_BYTES } from "./ndp.ts";
import { sendNeighborSolicitation } from "./neighbor_messages.ts";
import { Packet } from "./packet.ts";
import { NextFrame } from "./queues.ts";
import { Reassembly, reassemblyBytes, type ReassemblyLimits } from "./reassembly.ts";
import type { RouterAdvertisementOptions } from "./router_advertisement.ts";

/** A protocol above IP. */
export interface L4Input {
  /** Takes a packet whose IP header is checked. */
  process(packet: Packet, nowMs: number): void;
  /** Takes a guest's ICMP error about a packet of its own; false where it fits nothing. */
  processError?(error: QuotedError, nowMs: number): boolean;
}

/** Settings of a stack. */
export interface GatewayStackOptions {
  readonly link: Link;
  /** A region of `stackBytes(limits)` in the link's memory. */
  readonly at: number;
  readonly limits: ReassemblyLimits & IcmpErrorLimits & IcmpEchoLimits;
  readonly advertisement: RouterAdvertisementOptions;
  /** The network that the guest shares with others, where it does. */
  readonly members?: LanMembers;
}

/** Takes frames that are not for the gateway alone. */
export interface LanForwarder {
  /** Takes a frame of the guest's MAC, to a group or another's MAC; whether the gateway gets it too. */
  forward(at: number, bytes: number, isGroup: boolean, nowMs: number): boolean;
}

/** How a walk over the frames ended. */
export const Polled = { empty: 0, more: 1, broken: 2 } as const;
/** One of `Polled`. */
export type Polled = typeof Polled[keyof typeof Polled];

const DROP_TYPE = Counter["drop.eth.type"];
const DROP_SOURCE = Counter["drop.eth.src"];
const DROP_DESTINATION = Counter["drop.eth.dst"];
const DROP_PROTOCOL = Counter["drop.ip.protocol"];

/** Octets of frame memory that a stack needs. */
export function stackBytes(limits: Pick<ReassemblyLimits, "fragmentSets">): number {
  return GUEST_ADDRESSES_BYTES + NDP_BYTES + 8 + reassemblyBytes(limits);
}

/** Everything between the device and the L4 protocols. */
export class GatewayStack {
  readonly link: Link;
  readonly errors: IcmpErrors;
  readonly addresses: GuestAddresses;
  readonly reassembly: Reassembly;
  readonly #counters: Counters;
  readonly #packet = new Packet();
  readonly #error = new QuotedError();
  readonly #arp: ArpResponder;
  readonly #ipv4: Ipv4Input;
  readonly #ipv6: Ipv6Input;
  readonly #ndp: Ndp;
  readonly #echo: IcmpEcho;
  #lan: LanForwarder | null = null;
  #tcp: L4Input | null = null;
  #udp: L4Input | null = null;

  constructor(options: GatewayStackOptions) {
    const { link, at, limits } = options;
    this.link = link;
    this.#counters = link.counters;
    this.errors = new IcmpErrors(link, limits);
    this.addresses = new GuestAddresses(link, at, options.members);
    link.isMacFixed = options.members !== undefined;
    const ndpAt = at + GUEST_ADDRESSES_BYTES;
    this.#ndp = new Ndp(link, ndpAt, this.addresses, options.advertisement);
    this.reassembly = new Reassembly(link, ndpAt + NDP_BYTES + 8, limits, this.errors);
    this.#arp = new ArpResponder(link);
    this.#ipv4 = new Ipv4Input(link, this.reassembly, this.errors);
    this.#ipv6 = new Ipv6Input(link, this.reassembly, this.errors, this.addresses);
    this.#echo = new IcmpEcho(link, this.errors, limits);
  }

  /** Joins the protocols above, and who takes pings of the world. */
  attach(tcp: L4Input, udp: L4Input, pings: EchoOutside | null = null): void {
    this.#tcp = tcp;
    this.#udp = udp;
    this.#echo.outside = pings;
  }

  /** Joins the way to other guests. */
  join(lan: LanForwarder): void {
    this.#lan = lan;
  }

  /** Walks at most `frames` frames. */
  poll(frames: number, nowMs: number): Polled {
    const { device } = this.link;
    for (let i = 0; i < frames; i++) {
      const next = device.receive();
      if (next === NextFrame.none) return Polled.empty;
      if (next === NextFrame.tooLong) return Polled.broken;
      if (next === NextFrame.refused) continue;
      this.#processFrame(device.frameAt, device.frameBytes, nowMs);
    }
    return Polled.more;
  }

  /** Asks who is on the link, in both families: only a guest that is there answers. */
  askGuest(): void {
    this.#arp.ask();
    const { preferredAt } = this.addresses;
    if (this.link.config.ipv6 && preferredAt >= 0) sendNeighborSolicitation(this.link, preferredAt);
  }

  /** Runs the timers of the layers below L4. */
  advance(nowMs: number): void {
    this.reassembly.advance(nowMs);
    if (this.link.config.ipv6) this.#ndp.dispatch(nowMs);
  }

  /** When `advance` has something to do. */
  pollAt(): number {
    const ndpMs = this.link.config.ipv6 ? this.#ndp.pollAt() : Infinity;
    return Math.min(this.reassembly.pollAt(), ndpMs);
  }

  #processFrame(at: number, bytes: number, nowMs: number): void {
    const { link } = this;
    const { view } = link.memory;
    const packet = this.#packet;
    const destinationAt = ethernetDestinationAt(at);
    const lan = this.#lan;
    packet.linkMulticast = isGroupMac(view, destinationAt);
    const isForGateway = !packet.linkMulticast && sameMac(view, destinationAt, link.gatewayMacAt);
    if (!packet.linkMulticast && !isForGateway && lan === null) {
      this.#counters.values[DROP_DESTINATION]!++;
      return;
    }
    if (!this.#isGuest(ethernetSourceAt(at))) {
      this.#counters.values[DROP_SOURCE]!++;
      return;
    }
    if (lan !== null && !isForGateway && !lan.forward(at, bytes, packet.linkMulticast, nowMs)) {
      return;
    }
    const payloadAt = at + ETHERNET_HEADER_BYTES;
    const payloadBytes = bytes - ETHERNET_HEADER_BYTES;
    switch (etherType(view, at)) {
      case EtherType.ipv4:
        if (this.#ipv4.process(payloadAt, payloadBytes, packet, nowMs)) this.#processPacket(nowMs);
        return;
      case EtherType.ipv6:
        if (!link.config.ipv6) break; // to a link without it one more unknown type
        if (this.#ipv6.process(payloadAt, payloadBytes, packet, nowMs)) this.#processPacket(nowMs);
        return;
      case EtherType.arp:
        this.#arp.process(payloadAt, payloadBytes);
        return;
    }
    this.#counters.values[DROP_TYPE]!++;
  }

  /** The first frame's source is the guest's MAC, unless it is fixed; afterwards only that one. */
  #isGuest(sourceAt: number): boolean {
    const { link } = this;
    const { view } = link.memory;
    if (link.guestMacKnown) return sameMac(view, sourceAt, link.guestMacAt);
    if (isGroupMac(view, sourceAt) || isZeroMac(view, sourceAt)) return false;
    if (sameMac(view, sourceAt, link.gatewayMacAt)) return false;
    if (link.isMacFixed && !sameMac(view, sourceAt, link.guestMacAt)) return false;
    link.settleGuest(sourceAt);
    return true;
  }

  #processPacket(nowMs: number): void {
    const packet = this.#packet;
    switch (packet.protocol) {
      case IpProtocol.tcp:
        if (checkL4(this.link, packet)) this.#tcp?.process(packet, nowMs);
        return;
      case IpProtocol.udp:
        this.#udp?.process(packet, nowMs);
        return;
      case IpProtocol.icmp:
      case IpProtocol.icmp6:
        this.#processIcmp(packet, nowMs);
        return;
      default:
        this.#refuseProtocol(packet, nowMs);
    }
  }

  #processIcmp(packet: Packet, nowMs: number): void {
    if ((packet.protocol === IpProtocol.icmp) !== (packet.family === 4)) {
      return this.#refuseProtocol(packet, nowMs);
    }
    if (!checkL4(this.link, packet)) return;
    if (packet.family === 6 && this.#ndp.process(packet, nowMs)) return;
    if (this.#processError(packet, nowMs)) return;
    this.#echo.process(packet, nowMs);
  }

  /** Whether it was an error about a segment or datagram of ours. */
  #processError(packet: Packet, nowMs: number): boolean {
    const error = this.#error;
    const isError = packet.payloadBytes > ICMP4_HEADER_BYTES &&
      error.parse(this.link.memory, packet);
    if (!isError) return false;
    const { protocol } = error;
    const above = protocol === IpProtocol.tcp
      ? this.#tcp
      : protocol === IpProtocol.udp
      ? this.#udp
      : null;
    return above?.processError?.(error, nowMs) ?? false;
  }

  #refuseProtocol(packet: Packet, nowMs: number): void {
    this.#counters.values[DROP_PROTOCOL]!++;
    // The octet that names the protocol: in the fixed IPv6 header unless extensions stand between.
    this.errors.send(packet, IcmpReason.protocolUnreachable, nowMs, packet.family === 4 ? 0 : 6);
  }
}
