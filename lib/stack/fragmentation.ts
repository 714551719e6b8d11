/**
 * An L4 datagram of any size to the guest: one frame where it fits the MTU, else fragments
 * (RFC 791 section 2.3, RFC 8200 section 4.5).
 *
 * All or nothing: either every fragment finds room in the guest's queue or none is sent and the
 * datagram counts as one `drop.queue.full`. The L4 header and checksum are the caller's.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import type { Link } from "./link.ts";
import { ETHERNET_HEADER_BYTES } from "../wire/ethernet.ts";
import { IPV4_HEADER_BYTES, Ipv4Flag } from "../wire/ipv4.ts";
import { IPV6_HEADER_BYTES } from "../wire/ipv6.ts";
import { IPV6_FRAGMENT_HEADER_BYTES, Ipv6Extension } from "../wire/ipv6_extensions.ts";

const MAX_PACKET_BYTES = 65_535;
const DROP_FULL = Counter["drop.queue.full"];

/**
 * Sends the datagram that stands contiguous at `payloadAt`, its L4 header and checksum in place.
 *
 * @returns Whether it was queued whole.
 */
export function sendDatagram(
  link: Link,
  family: 4 | 6,
  sourceAt: number,
  destinationAt: number,
  protocol: number,
  payloadAt: number,
  payloadBytes: number,
): boolean {
  return family === 4
    ? send4(link, sourceAt, destinationAt, protocol, payloadAt, payloadBytes)
    : send6(link, sourceAt, destinationAt, protocol, payloadAt, payloadBytes);
}

function send4(
  link: Link,
  sourceAt: number,
  destinationAt: number,
  protocol: number,
  payloadAt: number,
  payloadBytes: number,
): boolean {
  if (IPV4_HEADER_BYTES + payloadBytes <= link.mtu) {
    const at = link.beginIpv4(sourceAt, destinationAt, protocol, payloadBytes);
    if (at < 0) return false;
    link.memory.copy(at, payloadAt, payloadBytes);
    link.end();
    return true;
  }
  if (IPV4_HEADER_BYTES + payloadBytes > MAX_PACKET_BYTES) return false;
  const pieceBytes = (link.mtu - IPV4_HEADER_BYTES) & ~7;
  if (!hasRoom(link, IPV4_HEADER_BYTES, pieceBytes, payloadBytes)) return false;
  const identification = link.nextIdentification();
  for (let offset = 0; offset < payloadBytes; offset += pieceBytes) {
    const bytes = Math.min(pieceBytes, payloadBytes - offset);
    const more = offset + bytes < payloadBytes ? Ipv4Flag.moreFragments : 0;
    const word = more | (offset >> 3);
    const at = link.beginIpv4(sourceAt, destinationAt, protocol, bytes, word, identification);
    if (at < 0) return false;
    link.memory.copy(at, payloadAt + offset, bytes);
    link.end();
  }
  return true;
}

function send6(
  link: Link,
  sourceAt: number,
  destinationAt: number,
  protocol: number,
  payloadAt: number,
  payloadBytes: number,
): boolean {
  if (IPV6_HEADER_BYTES + payloadBytes <= link.mtu) {
    const at = link.beginIpv6(sourceAt, destinationAt, protocol, payloadBytes);
    if (at < 0) return false;
    link.memory.copy(at, payloadAt, payloadBytes);
    link.end();
    return true;
  }
  if (payloadBytes > MAX_PACKET_BYTES) return false;
  const headersBytes = IPV6_HEADER_BYTES + IPV6_FRAGMENT_HEADER_BYTES;
  const pieceBytes = (link.mtu - headersBytes) & ~7;
  if (!hasRoom(link, headersBytes, pieceBytes, payloadBytes)) return false;
  const identification = link.nextIdentification();
  const { view } = link.memory;
  for (let offset = 0; offset < payloadBytes; offset += pieceBytes) {
    const bytes = Math.min(pieceBytes, payloadBytes - offset);
    const more = offset + bytes < payloadBytes ? 1 : 0;
    const at = link.beginIpv6(
      sourceAt,
      destinationAt,
      Ipv6Extension.fragment,
      IPV6_FRAGMENT_HEADER_BYTES + bytes,
    );
    if (at < 0) return false;
    view.setUint16(at, protocol << 8);
    view.setUint16(at + 2, offset | more);
    view.setUint32(at + 4, identification);
    link.memory.copy(at + IPV6_FRAGMENT_HEADER_BYTES, payloadAt + offset, bytes);
    link.end();
  }
  return true;
}

function hasRoom(
  link: Link,
  headersBytes: number,
  pieceBytes: number,
  payloadBytes: number,
): boolean {
  const pieces = Math.ceil(payloadBytes / pieceBytes);
  const pieceOverhead = link.device.prefixBytes + ETHERNET_HEADER_BYTES + headersBytes;
  if (link.device.hasRoom(pieces * pieceOverhead + payloadBytes)) return true;
  link.counters.values[DROP_FULL]!++;
  return false;
}
