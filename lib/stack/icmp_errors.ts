/**
 * ICMP errors to the guest: the gateway says why a packet went nowhere.
 *
 * RFC 1812 section 4.3.2 and RFC 4443 section 2.4: never about an ICMP error, about something sent
 * to a group, about a later fragment, or to a source that is not one host. The quote is as much of
 * the packet as fits 576 octets (IPv4) or 1,280 (IPv6). The source is the gateway's address.
 *
 * Limits: `icmpErrorsPerSecond` with bursts of `icmpErrorBurst`; what is over is counted as
 * `drop.icmp.limit`.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import { TokenBucket } from "./token_bucket.ts";
import {
  ICMP4_HEADER_BYTES,
  type Icmp4Type,
  isIcmp4Error,
  writeIcmp4Checksum,
  writeIcmp4Header,
} from "../wire/icmp4.ts";
import {
  ICMP6_HEADER_BYTES,
  type Icmp6Type,
  isIcmp6Error,
  writeIcmp6Checksum,
  writeIcmp6Header,
} from "../wire/icmp6.ts";
import {
  IpProtocol,
  IPV4_HEADER_BYTES,
  ipv4DestinationAt,
  ipv4FragmentOffsetBytes,
  ipv4HeaderBytes,
  ipv4Protocol,
  ipv4Source,
  ipv4SourceAt,
} from "../wire/ipv4.ts";
import {
  IPV6_HEADER_BYTES,
  ipv6DestinationAt,
  ipv6SourceAt,
  isIpv6LinkLocal,
  isIpv6Multicast,
  isIpv6Unspecified,
} from "../wire/ipv6.ts";
import { Ipv6Extensions, Ipv6Walk, walkIpv6Extensions } from "../wire/ipv6_extensions.ts";
import { isGroup4 } from "./destination4.ts";

/** Why a packet went nowhere. */
export const IcmpReason = {
  /** 3/0 and 1/0. */
  networkUnreachable: 0,
  /** 3/1 and 1/3. */
  hostUnreachable: 1,
  /** 3/2 and 4/1; over IPv6 the parameter is the offset of the next-header octet. */
  protocolUnreachable: 2,
  /** 3/3 and 1/4. */
  portUnreachable: 3,
  /** 3/13 and 1/1. */
  adminProhibited: 4,
  /** 3/4 and 2/0; the parameter is the MTU. */
  packetTooBig: 5,
  /** 11/0 and 3/0. */
  timeExceeded: 6,
  /** 11/1 and 3/1. */
  reassemblyTimeExceeded: 7,
  /** 12/0 and 4/0; the parameter is the offset of the wrong octet. */
  parameterProblem: 8,
  /** 12/0 and 4/1; the parameter as above. */
  unrecognizedHeader: 9,
  /** 12/0 and 4/2; the parameter as above. */
  unrecognizedOption: 10,
} as const;
/** One of `IcmpReason`. */
export type IcmpReason = typeof IcmpReason[keyof typeof IcmpReason];

/** How many errors may go out. */
export interface IcmpErrorLimits {
  readonly icmpErrorsPerSecond: number;
  readonly icmpErrorBurst: number;
}

const TYPE4 = [3, 3, 3, 3, 3, 3, 11, 11, 12, 12, 12] as const satisfies readonly Icmp4Type[];
const CODE4 = Uint8Array.of(0, 1, 2, 3, 13, 4, 0, 1, 0, 0, 0);
const TYPE6 = [1, 1, 4, 1, 1, 2, 3, 3, 4, 4, 4] as const satisfies readonly Icmp6Type[];
const CODE6 = Uint8Array.of(0, 3, 1, 4, 1, 0, 0, 1, 0, 1, 2);

const QUOTE4_BYTES = 576 - IPV4_HEADER_BYTES - ICMP4_HEADER_BYTES;
const QUOTE6_BYTES = 1280 - IPV6_HEADER_BYTES - ICMP6_HEADER_BYTES;
const SENT = Counter["icmp.errors"];
const DROP_LIMIT = Counter["drop.icmp.limit"];

/** Sends errors about the guest's packets. */
export class IcmpErrors {
  readonly #link: Link;
  readonly #bucket: TokenBucket;
  readonly #extensions = new Ipv6Extensions();

  constructor(link: Link, limits: IcmpErrorLimits) {
    this.#link = link;
    this.#bucket = new TokenBucket(limits.icmpErrorsPerSecond, limits.icmpErrorBurst);
  }

  /**
   * Sends an error about the packet at hand.
   *
   * @param parameter MTU or pointer, where the reason has one.
   * @returns Whether an error went out.
   */
  send(packet: Packet, reason: IcmpReason, nowMs: number, parameter = 0): boolean {
    if (packet.linkMulticast) return false;
    const type = packet.payloadBytes > 0 ? this.#link.memory.view.getUint8(packet.payloadAt) : 0;
    if (packet.family === 4) {
      if (packet.protocol === IpProtocol.icmp && isIcmp4Error(type)) return false;
    } else if (packet.protocol === IpProtocol.icmp6 && isIcmp6Error(type)) {
      return false;
    }
    const quoteBytes = packet.headerBytes + packet.payloadBytes;
    return this.#quote(packet.family, packet.headerAt, quoteBytes, reason, nowMs, parameter);
  }

  /**
   * Sends an error about a packet of which a copy was kept: its IP header and at least 8 octets of
   * what followed, contiguous at `quoteAt`.
   *
   * @returns Whether an error went out.
   */
  sendQuoted(
    family: 4 | 6,
    quoteAt: number,
    quoteBytes: number,
    reason: IcmpReason,
    nowMs: number,
    parameter = 0,
  ): boolean {
    const { view } = this.#link.memory;
    if (family === 4) {
      const type = view.getUint8(quoteAt + ipv4HeaderBytes(view, quoteAt));
      if (ipv4Protocol(view, quoteAt) === IpProtocol.icmp && isIcmp4Error(type)) return false;
    } else if (this.#quotesError6(quoteAt, quoteAt + quoteBytes)) {
      return false;
    }
    return this.#quote(family, quoteAt, quoteBytes, reason, nowMs, parameter);
  }

  /** Whether an ICMPv6 error stands between `at` and `end`, behind whatever headers. */
  #quotesError6(at: number, end: number): boolean {
    const { view } = this.#link.memory;
    const extensions = this.#extensions;
    if (walkIpv6Extensions(view, at, end, extensions) !== Ipv6Walk.payload) return false;
    const { protocol, payloadAt } = extensions;
    return protocol === IpProtocol.icmp6 && payloadAt < end &&
      isIcmp6Error(view.getUint8(payloadAt));
  }

  #quote(
    family: 4 | 6,
    quoteAt: number,
    quoteBytes: number,
    reason: IcmpReason,
    nowMs: number,
    parameter: number,
  ): boolean {
    const { counters } = this.#link;
    const due = family === 4 ? this.#mayQuote4(quoteAt) : this.#mayQuote6(quoteAt);
    if (!due) return false;
    if (!this.#bucket.take(nowMs)) {
      counters.values[DROP_LIMIT]!++;
      return false;
    }
    const sent = family === 4
      ? this.#emit4(quoteAt, Math.min(quoteBytes, QUOTE4_BYTES), reason, parameter)
      : this.#emit6(quoteAt, Math.min(quoteBytes, QUOTE6_BYTES), reason, parameter);
    if (sent) counters.values[SENT]!++;
    return sent;
  }

  #mayQuote4(at: number): boolean {
    const { view } = this.#link.memory;
    return ipv4FragmentOffsetBytes(view, at) === 0 && ipv4Source(view, at) >>> 24 !== 0 &&
      !isGroup4(this.#link, ipv4DestinationAt(at));
  }

  #mayQuote6(at: number): boolean {
    const { view } = this.#link.memory;
    return !isIpv6Unspecified(view, ipv6SourceAt(at)) &&
      !isIpv6Multicast(view, ipv6DestinationAt(at));
  }

  #emit4(quoteAt: number, quoteBytes: number, reason: IcmpReason, parameter: number): boolean {
    const link = this.#link;
    const bytes = ICMP4_HEADER_BYTES + quoteBytes;
    const at = link.beginIpv4(link.gatewayIp4At, ipv4SourceAt(quoteAt), IpProtocol.icmp, bytes);
    if (at < 0) return false;
    // A pointer stands in the first octet of the rest (RFC 792), an MTU in the last two (RFC 1191).
    const rest = TYPE4[reason] === 12 ? (parameter << 24) >>> 0 : parameter & 0xffff;
    writeIcmp4Header(link.memory.view, at, TYPE4[reason], CODE4[reason]!, rest);
    link.memory.copy(at + ICMP4_HEADER_BYTES, quoteAt, quoteBytes);
    writeIcmp4Checksum(link.memory, at, bytes);
    link.end();
    return true;
  }

  #emit6(quoteAt: number, quoteBytes: number, reason: IcmpReason, parameter: number): boolean {
    const link = this.#link;
    const { memory } = link;
    const destinationAt = ipv6SourceAt(quoteAt);
    const sourceAt = isIpv6LinkLocal(memory.view, destinationAt)
      ? link.gatewayLinkLocalAt
      : link.gatewayIp6At;
    const bytes = ICMP6_HEADER_BYTES + quoteBytes;
    const at = link.beginIpv6(sourceAt, destinationAt, IpProtocol.icmp6, bytes);
    if (at < 0) return false;
    writeIcmp6Header(memory.view, at, TYPE6[reason], CODE6[reason]!, parameter);
    memory.copy(at + ICMP6_HEADER_BYTES, quoteAt, quoteBytes);
    writeIcmp6Checksum(memory, at, bytes, sourceAt, destinationAt);
    link.end();
    return true;
  }
}
