/**
 * The IP packet at hand: positions and numbers that the IPv4 or IPv6 layer has checked, in one
 * object that is used again for every packet. Nobody keeps it beyond the call that got it.
 *
 * @module
 */

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
}
