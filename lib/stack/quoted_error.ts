/**
 * ICMP errors of the guest about packets that the gateway sent it: what they quote, and what they
 * say about it.
 *
 * Such an error is easily forged by anything inside the guest, so it is only a hint. Here it must
 * quote a whole IP header, of a packet that the gateway can have sent to whom it says: its source
 * is the one that the error is addressed to. Whether a flow has such a packet in flight is for the
 * protocol above to check (RFC 5927 section 4).
 *
 * Sources: RFC 792, RFC 1191 section 7 (routers that do not say their MTU), RFC 4443 section 3.
 *
 * @module
 */
import type { FrameMemory } from "../wire/memory.ts";
import {
  ICMP4_HEADER_BYTES,
  icmp4Code,
  icmp4NextHopMtu,
  Icmp4Type,
  icmp4Type,
  Icmp4Unreachable,
} from "../wire/icmp4.ts";
import { ICMP6_HEADER_BYTES, icmp6Mtu, Icmp6Type, icmp6Type } from "../wire/icmp6.ts";
import {
  IPV4_HEADER_BYTES,
  ipv4DestinationAt,
  ipv4FragmentOffsetBytes,
  ipv4HeaderBytes,
  ipv4Protocol,
  ipv4SourceAt,
  ipv4TotalBytes,
  ipv4Version,
} from "../wire/ipv4.ts";
import {
  IPV6_HEADER_BYTES,
  ipv6DestinationAt,
  ipv6NextHeader,
  ipv6PayloadBytes,
  ipv6SourceAt,
  ipv6Version,
  sameIpv6,
} from "../wire/ipv6.ts";
import type { Packet } from "./packet.ts";

/** What an error says about the quoted packet. */
export const QuotedErrorKind = { tooBig: 0, unreachable: 1, other: 2 } as const;
/** One of `QuotedErrorKind`. */
export type QuotedErrorKind = typeof QuotedErrorKind[keyof typeof QuotedErrorKind];

/** Octets of the transport header that every error quotes (RFC 792). */
const QUOTED_L4_BYTES = 8;
/** RFC 1191 section 7.1: the sizes that links have, for routers that leave the field empty. */
const PLATEAUS = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 552] as const;

/** The error at hand, in one object that is used again; nobody keeps it beyond the call. */
export class QuotedError {
  kind: QuotedErrorKind = QuotedErrorKind.other;
  /** 4 or 6. */
  family: 4 | 6 = 4;
  /** Protocol of the quoted packet. */
  protocol = 0;
  /** Position of the quoted packet's source: the peer that the guest talks to. */
  peerAt = 0;
  /** Position of the quoted packet's destination: the guest. */
  guestAt = 0;
  /** Position of at least 8 quoted octets of the transport header. */
  l4At = 0;
  /** Octets that the quoted packet had, by its own header. */
  packetBytes = 0;
  /** The MTU that the error names, or that follows from it; only where it is `tooBig`. */
  mtuBytes = 0;

  /**
   * Reads the error in an ICMP message whose checksum is right.
   *
   * @returns Whether it is an error that quotes a packet of the gateway's.
   */
  parse(memory: FrameMemory, packet: Packet): boolean {
    this.family = packet.family;
    return packet.family === 4
      ? this.#parse4(memory.view, packet)
      : this.#parse6(memory.view, packet);
  }

  #parse4(view: DataView, packet: Packet): boolean {
    const at = packet.payloadAt;
    const quoteAt = at + ICMP4_HEADER_BYTES;
    const quoteBytes = packet.payloadBytes - ICMP4_HEADER_BYTES;
    if (quoteBytes < IPV4_HEADER_BYTES + QUOTED_L4_BYTES) return false;
    switch (icmp4Type(view, at)) {
      case Icmp4Type.destinationUnreachable:
        this.kind = icmp4Code(view, at) === Icmp4Unreachable.fragmentationNeeded
          ? QuotedErrorKind.tooBig
          : QuotedErrorKind.unreachable;
        break;
      case Icmp4Type.timeExceeded:
      case Icmp4Type.parameterProblem:
        this.kind = QuotedErrorKind.other;
        break;
      default:
        return false;
    }
    const headerBytes = ipv4HeaderBytes(view, quoteAt);
    if (ipv4Version(view, quoteAt) !== 4 || headerBytes < IPV4_HEADER_BYTES) return false;
    if (quoteBytes < headerBytes + QUOTED_L4_BYTES) return false;
    if (ipv4FragmentOffsetBytes(view, quoteAt) !== 0) return false;
    this.protocol = ipv4Protocol(view, quoteAt);
    this.peerAt = ipv4SourceAt(quoteAt);
    this.guestAt = ipv4DestinationAt(quoteAt);
    this.l4At = quoteAt + headerBytes;
    this.packetBytes = ipv4TotalBytes(view, quoteAt);
    const mtuBytes = icmp4NextHopMtu(view, at);
    this.mtuBytes = mtuBytes > 0 ? mtuBytes : plateauBelow(this.packetBytes);
    return view.getUint32(this.peerAt) === view.getUint32(packet.destinationAt);
  }

  #parse6(view: DataView, packet: Packet): boolean {
    const at = packet.payloadAt;
    const quoteAt = at + ICMP6_HEADER_BYTES;
    const quoteBytes = packet.payloadBytes - ICMP6_HEADER_BYTES;
    if (quoteBytes < IPV6_HEADER_BYTES + QUOTED_L4_BYTES) return false;
    switch (icmp6Type(view, at)) {
      case Icmp6Type.packetTooBig:
        this.kind = QuotedErrorKind.tooBig;
        break;
      case Icmp6Type.destinationUnreachable:
        this.kind = QuotedErrorKind.unreachable;
        break;
      case Icmp6Type.timeExceeded:
      case Icmp6Type.parameterProblem:
        this.kind = QuotedErrorKind.other;
        break;
      default:
        return false;
    }
    if (ipv6Version(view, quoteAt) !== 6) return false;
    this.protocol = ipv6NextHeader(view, quoteAt); // what the gateway sends has no extensions
    this.peerAt = ipv6SourceAt(quoteAt);
    this.guestAt = ipv6DestinationAt(quoteAt);
    this.l4At = quoteAt + IPV6_HEADER_BYTES;
    this.packetBytes = IPV6_HEADER_BYTES + ipv6PayloadBytes(view, quoteAt);
    this.mtuBytes = icmp6Mtu(view, at);
    return sameIpv6(view, this.peerAt, packet.destinationAt);
  }
}

/** The next size that a link may have below the packet's. */
function plateauBelow(packetBytes: number): number {
  return PLATEAUS.find((bytes) => bytes < packetBytes) ?? 0;
}
