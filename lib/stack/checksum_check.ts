/**
 * The checksum of what the guest sent, over L4 header and payload (RFC 9293 MUST-3, RFC 768,
 * RFC 792, RFC 8200 section 8.1).
 *
 * A guest with checksum offload leaves the pseudo-header's sum in the field for its network card
 * to finish, and some VMMs drop the flag that says so. Unless the link verifies, exactly that sum
 * passes too and counts as `csum.partial`; anything else is `drop.csum`. UDP over IPv4 may go
 * without (0), over IPv6 it may not.
 *
 * Where the flag came along, in a virtio-net header, the sum is that of the pseudo-header whatever
 * the link is set to: nothing has been on a wire yet. The header has to point at just this checksum
 * and, where it has the segment cut, to name its family; else it lies (`drop.vnet.hdr`).
 *
 * A payload too short for its header is dropped under that protocol's counter, and so is a UDP
 * length that lies, so the fields may be read afterwards. The TCP data offset is not looked at.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import { combineSums, pseudoHeaderSum4, pseudoHeaderSum6 } from "../wire/checksum.ts";
import { ICMP4_HEADER_BYTES, icmp4ChecksumIsRight } from "../wire/icmp4.ts";
import { ICMP6_HEADER_BYTES, icmp6Checksum } from "../wire/icmp6.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { TCP_CHECKSUM_OFFSET, TCP_HEADER_BYTES, tcpChecksum } from "../wire/tcp.ts";
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES, udpChecksum, udpLengthBytes } from "../wire/udp.ts";
import { VnetGso } from "../wire/virtio_net.ts";

const DROP = Counter["drop.csum"];
const PARTIAL = Counter["csum.partial"];
const DROP_TCP = Counter["drop.tcp.hdr"];
const DROP_UDP = Counter["drop.udp.len"];
const DROP_ICMP = Counter["drop.icmp"];
const DROP_OFFLOAD = Counter["drop.vnet.hdr"];

/** Whether the packet's L4 checksum passes; if not, the drop was counted. */
export function checkL4(link: Link, packet: Packet): boolean {
  const { payloadAt: at, payloadBytes: bytes } = packet;
  const { view } = link.memory;
  const { device } = link;
  const isLeft = device.hasHeaders && device.offload.checksumStart >= 0;
  if (isLeft && !isAsked(link, packet)) return drop(link, DROP_OFFLOAD);
  switch (packet.protocol) {
    case IpProtocol.tcp:
      if (bytes < TCP_HEADER_BYTES) return drop(link, DROP_TCP);
      return judge(link, packet, bytes, tcpChecksum(view, at), isLeft);
    case IpProtocol.udp: {
      if (bytes < UDP_HEADER_BYTES) return drop(link, DROP_UDP);
      const length = udpLengthBytes(view, at);
      if (length < UDP_HEADER_BYTES || length > bytes) return drop(link, DROP_UDP);
      const checksum = udpChecksum(view, at);
      if (checksum === 0) return packet.family === 4 || drop(link, DROP);
      return judge(link, packet, length, checksum, isLeft);
    }
    case IpProtocol.icmp6:
      if (bytes < ICMP6_HEADER_BYTES) return drop(link, DROP_ICMP);
      return judge(link, packet, bytes, icmp6Checksum(view, at), isLeft);
    default:
      return checkIcmp4(link, packet);
  }
}

/** Whether a header of virtio-net says that this packet's own checksum is left to do. */
export function isSumLeft(link: Link, packet: Packet): boolean {
  const { device } = link;
  return device.hasHeaders && device.offload.checksumStart >= 0 && isAsked(link, packet);
}

/** Whether what the frame's header leaves to do is this packet's own checksum. */
function isAsked(link: Link, packet: Packet): boolean {
  const { frameAt, offload } = link.device;
  const { checksumStart, checksumOffset, gsoType } = offload;
  if (packet.reassembled || frameAt + checksumStart !== packet.payloadAt) return false;
  if (packet.protocol === IpProtocol.udp) {
    return checksumOffset === UDP_CHECKSUM_OFFSET && gsoType === VnetGso.none;
  }
  if (packet.protocol !== IpProtocol.tcp || checksumOffset !== TCP_CHECKSUM_OFFSET) return false;
  return gsoType === VnetGso.none || (gsoType === VnetGso.tcp4) === (packet.family === 4);
}

/** ICMP has no pseudo-header: nothing a guest could leave there for its card. */
function checkIcmp4(link: Link, packet: Packet): boolean {
  const { payloadAt: at, payloadBytes: bytes } = packet;
  if (bytes < ICMP4_HEADER_BYTES) return drop(link, DROP_ICMP);
  return icmp4ChecksumIsRight(link.memory, at, bytes) || drop(link, DROP);
}

/** `isLeft`: the frame's header says that the sum is left to do. */
function judge(
  link: Link,
  packet: Packet,
  bytes: number,
  field: number,
  isLeft: boolean,
): boolean {
  const { memory } = link;
  const { sourceAt, destinationAt, protocol } = packet;
  const pseudo = packet.family === 4
    ? pseudoHeaderSum4(memory.view, sourceAt, destinationAt, protocol, bytes)
    : pseudoHeaderSum6(memory.view, sourceAt, destinationAt, protocol, bytes);
  if (!isLeft) {
    if (combineSums(pseudo, memory.sum(packet.payloadAt, bytes)) === 0xffff) return true;
    if (link.config.verifyChecksums) return drop(link, DROP);
  }
  if (field !== pseudo) return drop(link, DROP);
  link.counters.values[PARTIAL]!++;
  return true;
}

function drop(link: Link, counter: number): false {
  link.counters.values[counter]!++;
  return false;
}
