/**
 * The IP packet of a frame between guests: where its parts are, as far as they can be seen without
 * putting fragments together.
 *
 * Reads the frame where it stands, in the frame memory or in a ring. Once `parse` has said yes, no
 * reader of its parts can fail: the L4 header of a packet that is whole, or of a first fragment, is
 * all there (`hasL4Header`), and every length is inside of the frame.
 *
 * @module
 */
import { hasL4Header } from "./l4_header.ts";
import { Packet } from "./packet.ts";
import { ETHERNET_HEADER_BYTES, EtherType, etherType } from "../wire/ethernet.ts";
import {
  IPV4_HEADER_BYTES,
  ipv4FragmentOffsetBytes,
  ipv4HeaderBytes,
  ipv4IsFragment,
  Ipv4Options,
  ipv4TotalBytes,
  ipv4Version,
  judgeIpv4Options,
} from "../wire/ipv4.ts";
import { IPV6_HEADER_BYTES, ipv6PayloadBytes, ipv6Version } from "../wire/ipv6.ts";
import {
  Ipv6Extensions,
  Ipv6Walk,
  walkFragmentablePart,
  walkIpv6Extensions,
} from "../wire/ipv6_extensions.ts";

/** How much of a datagram a packet is. */
export const Piece = { whole: 0, first: 1, later: 2 } as const;
/** One of `Piece`. */
export type Piece = typeof Piece[keyof typeof Piece];

/** The frame at hand; one object is used again for every frame. */
export class LanFrame {
  /** The packet, as far as it is known. */
  readonly packet: Packet = new Packet();
  /** How much of a datagram it is. */
  piece: Piece = Piece.whole;
  /** Whether extension headers stand in front of the payload. */
  hasExtensions = false;
  readonly #extensions = new Ipv6Extensions();
  readonly #inner = new Ipv6Extensions();

  /**
   * Reads a frame with an IP packet.
   *
   * @returns Whether it can be believed; `false` also for what is no IP.
   */
  parse(view: DataView, at: number, bytes: number): boolean {
    const packetAt = at + ETHERNET_HEADER_BYTES;
    const packetBytes = bytes - ETHERNET_HEADER_BYTES;
    switch (etherType(view, at)) {
      case EtherType.ipv4:
        return this.#parse4(view, packetAt, packetBytes);
      case EtherType.ipv6:
        return this.#parse6(view, packetAt, packetBytes);
      default:
        return false;
    }
  }

  #parse4(view: DataView, at: number, bytes: number): boolean {
    if (bytes < IPV4_HEADER_BYTES || ipv4Version(view, at) !== 4) return false;
    const headerBytes = ipv4HeaderBytes(view, at);
    const totalBytes = ipv4TotalBytes(view, at);
    if (headerBytes < IPV4_HEADER_BYTES || totalBytes < headerBytes || totalBytes > bytes) {
      return false;
    }
    if (
      headerBytes > IPV4_HEADER_BYTES &&
      judgeIpv4Options(view, at, headerBytes) !== Ipv4Options.harmless
    ) {
      return false;
    }
    const { packet } = this;
    packet.takeIpv4(view, at);
    this.hasExtensions = false;
    this.piece = !ipv4IsFragment(view, at)
      ? Piece.whole
      : ipv4FragmentOffsetBytes(view, at) === 0
      ? Piece.first
      : Piece.later;
    return this.#hasL4(view);
  }

  #parse6(view: DataView, at: number, bytes: number): boolean {
    if (bytes < IPV6_HEADER_BYTES || ipv6Version(view, at) !== 6) return false;
    const payloadBytes = ipv6PayloadBytes(view, at);
    if (IPV6_HEADER_BYTES + payloadBytes > bytes) return false;
    const end = at + IPV6_HEADER_BYTES + payloadBytes;
    const { packet } = this;
    packet.takeIpv6(view, at);
    let extensions = this.#extensions;
    const walk = walkIpv6Extensions(view, at, end, extensions);
    this.hasExtensions = extensions.headers > 0;
    this.piece = Piece.whole;
    if (walk === Ipv6Walk.fragment) {
      this.piece = extensions.fragmentOffsetBytes === 0 ? Piece.first : Piece.later;
      if (this.piece === Piece.first) {
        const { protocol, protocolAt, payloadAt, headers } = extensions;
        extensions = this.#inner;
        const inner = walkFragmentablePart(
          view,
          protocol,
          protocolAt,
          payloadAt,
          end,
          headers,
          extensions,
        );
        if (inner !== Ipv6Walk.payload) return false;
      }
    } else if (walk !== Ipv6Walk.payload && walk !== Ipv6Walk.nothing) {
      return false;
    }
    packet.takePayload6(extensions, end);
    return walk === Ipv6Walk.nothing || this.#hasL4(view);
  }

  #hasL4(view: DataView): boolean {
    const { protocol, payloadAt, payloadBytes } = this.packet;
    return this.piece === Piece.later || hasL4Header(view, protocol, payloadAt, payloadBytes);
  }
}
