/**
 * What a capture has to know of a frame, to tell whether it is wanted and what to say about it:
 * protocol, addresses, ports. One object is used again for every frame.
 *
 * Nothing is believed: a header that is not all there leaves its fields unset, and a frame is never
 * refused. A fragment that is not the first has no ports. Addresses of ARP are those that it is
 * about.
 *
 * @module
 */
import { ETHERNET_HEADER_BYTES, EtherType, etherType } from "../wire/ethernet.ts";
import { icmp4Type, isIcmp4Error } from "../wire/icmp4.ts";
import { icmp6Type, isIcmp6Error } from "../wire/icmp6.ts";
import {
  IpProtocol,
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
  ipv6PayloadBytes,
  ipv6SourceAt,
  ipv6Version,
} from "../wire/ipv6.ts";
import { Ipv6Extensions, Ipv6Walk, walkIpv6Extensions } from "../wire/ipv6_extensions.ts";

const ARP_BYTES = 28;
const ARP_SENDER_AT = 14;
const ARP_TARGET_AT = 24;
const PORTS_BYTES = 4;
const ICMP_HEADER_BYTES = 8;

/** The fields of one frame; -1 stands for what it does not have. */
export class FrameFields {
  /** What the Ethernet header says. */
  type: number = -1;
  /** IP's protocol of the payload; ICMP of IPv6 is 58. */
  protocol: number = -1;
  /** Octets of each address: 4 or 16, or 0. */
  addressBytes: 0 | 4 | 16 = 0;
  /** Position of the source's address. */
  sourceAt: number = -1;
  /** Position of the destination's address. */
  destinationAt: number = -1;
  /** The source's port. */
  sourcePort: number = -1;
  /** The destination's port. */
  destinationPort: number = -1;
  /** Position of the payload of IP. */
  payloadAt: number = -1;
  /** Where the packet ends. */
  end: number = -1;
}

const extensions = new Ipv6Extensions();

/** Reads a frame of `bytes` octets at `at`. */
export function readFrame(view: DataView, at: number, bytes: number, into: FrameFields): void {
  clear(into);
  if (bytes < ETHERNET_HEADER_BYTES) return;
  const type = etherType(view, at);
  const packetAt = at + ETHERNET_HEADER_BYTES;
  const end = at + bytes;
  into.type = type;
  if (type === EtherType.ipv4) readIpv4(view, packetAt, end, into);
  else if (type === EtherType.ipv6) readIpv6(view, packetAt, end, into);
  else if (type === EtherType.arp && packetAt + ARP_BYTES <= end) {
    into.addressBytes = 4;
    into.sourceAt = packetAt + ARP_SENDER_AT;
    into.destinationAt = packetAt + ARP_TARGET_AT;
  }
}

/**
 * Reads the packet that an ICMP error is about.
 *
 * @param view Where the frame is.
 * @param error The frame's fields.
 * @param into Its fields.
 * @returns False where the frame is no ICMP error.
 */
export function readQuoted(view: DataView, error: FrameFields, into: FrameFields): boolean {
  const { protocol, payloadAt, end } = error;
  if (protocol !== IpProtocol.icmp && protocol !== IpProtocol.icmp6) return false;
  if (payloadAt < 0 || payloadAt + ICMP_HEADER_BYTES > end) return false;
  clear(into);
  into.type = error.type;
  if (protocol === IpProtocol.icmp) {
    if (!isIcmp4Error(icmp4Type(view, payloadAt))) return false;
    readIpv4(view, payloadAt + ICMP_HEADER_BYTES, end, into);
  } else {
    if (!isIcmp6Error(icmp6Type(view, payloadAt))) return false;
    readIpv6(view, payloadAt + ICMP_HEADER_BYTES, end, into);
  }
  return into.addressBytes !== 0;
}

/** Whether the octets at a position are an address. */
export function isAddressAt(view: DataView, at: number, address: Uint8Array): boolean {
  for (let i = 0; i < address.length; i++) {
    if (view.getUint8(at + i) !== address[i]) return false;
  }
  return true;
}

function clear(fields: FrameFields): void {
  fields.type = -1;
  fields.protocol = -1;
  fields.addressBytes = 0;
  fields.sourceAt = -1;
  fields.destinationAt = -1;
  fields.sourcePort = -1;
  fields.destinationPort = -1;
  fields.payloadAt = -1;
  fields.end = -1;
}

/** An ICMP error quotes less than the packet's length says, so what is there counts. */
function readIpv4(view: DataView, at: number, end: number, into: FrameFields): void {
  if (at + IPV4_HEADER_BYTES > end || ipv4Version(view, at) !== 4) return;
  into.addressBytes = 4;
  into.sourceAt = ipv4SourceAt(at);
  into.destinationAt = ipv4DestinationAt(at);
  into.protocol = ipv4Protocol(view, at);
  const headerBytes = ipv4HeaderBytes(view, at);
  const packetEnd = Math.min(end, at + ipv4TotalBytes(view, at));
  if (headerBytes < IPV4_HEADER_BYTES || at + headerBytes > packetEnd) return;
  if (ipv4FragmentOffsetBytes(view, at) !== 0) return;
  into.payloadAt = at + headerBytes;
  into.end = packetEnd;
  readPorts(view, into);
}

function readIpv6(view: DataView, at: number, end: number, into: FrameFields): void {
  if (at + IPV6_HEADER_BYTES > end || ipv6Version(view, at) !== 6) return;
  into.addressBytes = 16;
  into.sourceAt = ipv6SourceAt(at);
  into.destinationAt = ipv6DestinationAt(at);
  const packetEnd = Math.min(end, at + IPV6_HEADER_BYTES + ipv6PayloadBytes(view, at));
  const walked = walkIpv6Extensions(view, at, packetEnd, extensions);
  if (walked !== Ipv6Walk.payload && walked !== Ipv6Walk.fragment) return;
  into.protocol = extensions.protocol;
  if (extensions.fragmentOffsetBytes !== 0) return;
  into.payloadAt = extensions.payloadAt;
  into.end = packetEnd;
  readPorts(view, into);
}

function readPorts(view: DataView, into: FrameFields): void {
  const { protocol, payloadAt, end } = into;
  if (protocol !== IpProtocol.tcp && protocol !== IpProtocol.udp) return;
  if (payloadAt + PORTS_BYTES > end) return;
  into.sourcePort = view.getUint16(payloadAt);
  into.destinationPort = view.getUint16(payloadAt + 2);
}
