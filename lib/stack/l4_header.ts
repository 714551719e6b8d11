/**
 * Whether a first fragment holds the L4 header (RFC 1858, RFC 7112): the judge and the relays must
 * never see a datagram whose ports came in a later piece.
 *
 * @module
 */
import { ICMP4_HEADER_BYTES } from "../wire/icmp4.ts";
import { ICMP6_HEADER_BYTES } from "../wire/icmp6.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { TCP_HEADER_BYTES, tcpHeaderBytes } from "../wire/tcp.ts";
import { UDP_HEADER_BYTES } from "../wire/udp.ts";

/** Whether `bytes` octets at `at` hold the whole header of `protocol`. */
export function hasL4Header(view: DataView, protocol: number, at: number, bytes: number): boolean {
  switch (protocol) {
    case IpProtocol.tcp:
      return bytes >= TCP_HEADER_BYTES && bytes >= tcpHeaderBytes(view, at);
    case IpProtocol.udp:
      return bytes >= UDP_HEADER_BYTES;
    case IpProtocol.icmp:
      return bytes >= ICMP4_HEADER_BYTES;
    case IpProtocol.icmp6:
      return bytes >= ICMP6_HEADER_BYTES;
    default:
      return bytes > 0;
  }
}
