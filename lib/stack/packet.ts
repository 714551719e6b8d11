/**
 * The IP packet at hand: positions and numbers that the IPv4 or IPv6 layer has checked, in one
 * object that is used again for every packet. Nobody keeps it beyond the call that got it.
 *
 * @module
 */
import {
  ipv4DestinationAt,
  ipv4HeaderBytes,
  ipv4Protocol,
  ipv4SourceAt,
  ipv4TotalBytes,
  ipv4Ttl,
} from "../wire/ipv4.ts";
import { ipv6DestinationAt, ipv6HopLimit, ipv6SourceAt } from "../wire/ipv6.ts";
import type { Ipv6Extensions } from "../wire/ipv6_extensions.ts";

/** Octets from the beginning of an IPv4 header to the one that names the protocol. */
const IPV4_PROTOCOL_OFFSET = 9;

/** What the layers above IP may rely on. All positions are offsets in the frame memory. */
export class Packet {
  /** 4 or 6. */
  family: 4 | 6 = 4;
  /** Position of the IP header. */
  headerAt = 0;
  /** Octets of IP header and extension headers in front of the payload, as far as contiguous. */
  headerBytes = 0;
  /** Position of the source address (4 or 16 octets). */
  sourceAt = 0;
  /** Position of the destination address (4 or 16 octets). */
  destinationAt = 0;
  /** Protocol of the payload. */
  protocol = 0;
  /** Position of the octet that names the protocol, in the IP or in the last extension header. */
  protocolAt = 0;
  /** Position of the payload (L4 header). */
  payloadAt = 0;
  /** Octets of the payload. */
  payloadBytes = 0;
  /** TTL or hop limit. */
  ttl = 0;
  /** Whether the frame was sent to a group address. */
  linkMulticast = false;
  /** Whether this was put together from fragments. */
  reassembled = false;

  /** Takes note of an IPv4 header whose lengths were checked, and of its payload. */
  takeIpv4(view: DataView, at: number): void {
    const headerBytes = ipv4HeaderBytes(view, at);
    this.family = 4;
    this.headerAt = at;
    this.headerBytes = headerBytes;
    this.sourceAt = ipv4SourceAt(at);
    this.destinationAt = ipv4DestinationAt(at);
    this.protocol = ipv4Protocol(view, at);
    this.protocolAt = at + IPV4_PROTOCOL_OFFSET;
    this.payloadAt = at + headerBytes;
    this.payloadBytes = ipv4TotalBytes(view, at) - headerBytes;
    this.ttl = ipv4Ttl(view, at);
    this.reassembled = false;
  }

  /** Takes note of an IPv6 header that is there; `takePayload6` says what is behind it. */
  takeIpv6(view: DataView, at: number): void {
    this.family = 6;
    this.headerAt = at;
    this.sourceAt = ipv6SourceAt(at);
    this.destinationAt = ipv6DestinationAt(at);
    this.ttl = ipv6HopLimit(view, at);
    this.reassembled = false;
  }

  /** Takes note of the payload behind extension headers that were walked; it ends at `end`. */
  takePayload6({ protocol, protocolAt, payloadAt }: Ipv6Extensions, end: number): void {
    this.protocol = protocol;
    this.protocolAt = protocolAt;
    this.payloadAt = payloadAt;
    this.headerBytes = payloadAt - this.headerAt;
    this.payloadBytes = end - payloadAt;
  }
}
