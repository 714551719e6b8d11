/**
 * The IPv4 header (RFC 791): fields, the options' verdict, and a writer for headers without
 * options. Addresses are positions, and readable as uint32.
 *
 * Every reader expects that the caller has checked 20 octets; options are looked at only after
 * `ipv4HeaderBytes` was checked too.
 *
 * @module
 */
import { checksumOf, fold } from "./checksum.ts";
import type { FrameMemory } from "./memory.ts";

/** Octets of an IPv4 header without options. */
export const IPV4_HEADER_BYTES = 20;

/** Protocol numbers (IPv4) and next header values (IPv6) that the gateway speaks. */
export const IpProtocol = { icmp: 1, tcp: 6, udp: 17, icmp6: 58 } as const;
/** One of `IpProtocol`. */
export type IpProtocol = typeof IpProtocol[keyof typeof IpProtocol];

/** First word of a header without options: version 4, five 32-bit words, no DSCP, no ECN. */
const VERSION_5_WORDS = 0x4500;

/** Bits of the word that holds flags and fragment offset. */
export const Ipv4Flag = { dontFragment: 0x4000, moreFragments: 0x2000 } as const;

/** The version, 4 in honest packets. */
export function ipv4Version(view: DataView, at: number): number {
  return view.getUint8(at) >> 4;
}

/** Octets of the header with its options: IHL times 4, so 0 to 60. */
export function ipv4HeaderBytes(view: DataView, at: number): number {
  return (view.getUint8(at) & 0xf) << 2;
}

/** Octets of header and payload. */
export function ipv4TotalBytes(view: DataView, at: number): number {
  return view.getUint16(at + 2);
}

/** The identification that a datagram's fragments share. */
export function ipv4Identification(view: DataView, at: number): number {
  return view.getUint16(at + 4);
}

/** The word of flags and fragment offset; 0 or `Ipv4Flag.dontFragment` means a whole datagram. */
export function ipv4FragmentWord(view: DataView, at: number): number {
  return view.getUint16(at + 6);
}

/** Whether the packet is a piece of a datagram: more to follow, or not the first. */
export function ipv4IsFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + 6) & 0x3fff) !== 0;
}

/** Offset of this fragment's payload in the datagram, in bytes: 0 to 65,528. */
export function ipv4FragmentOffsetBytes(view: DataView, at: number): number {
  return (view.getUint16(at + 6) & 0x1fff) << 3;
}

/** Whether fragments follow this one. */
export function ipv4MoreFragments(view: DataView, at: number): boolean {
  return (view.getUint16(at + 6) & Ipv4Flag.moreFragments) !== 0;
}

/** Whether nobody on the way may cut the packet. */
export function ipv4DontFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + 6) & Ipv4Flag.dontFragment) !== 0;
}

/** The time to live. */
export function ipv4Ttl(view: DataView, at: number): number {
  return view.getUint8(at + 8);
}

/** The payload's protocol. */
export function ipv4Protocol(view: DataView, at: number): number {
  return view.getUint8(at + 9);
}

/** The header checksum as it stands there. */
export function ipv4Checksum(view: DataView, at: number): number {
  return view.getUint16(at + 10);
}

/** Position of the source address. */
export function ipv4SourceAt(at: number): number {
  return at + 12;
}

/** Position of the destination address. */
export function ipv4DestinationAt(at: number): number {
  return at + 16;
}

/** The source address as uint32. */
export function ipv4Source(view: DataView, at: number): number {
  return view.getUint32(at + 12);
}

/** The destination address as uint32. */
export function ipv4Destination(view: DataView, at: number): number {
  return view.getUint32(at + 16);
}

/** Whether the header's checksum is right. */
export function ipv4ChecksumIsRight(memory: FrameMemory, at: number, headerBytes: number): boolean {
  return memory.sum(at, headerBytes) === 0xffff;
}

/** Writes the checksum of a header whose other fields are in place. */
export function writeIpv4Checksum(memory: FrameMemory, at: number, headerBytes: number): void {
  memory.view.setUint16(at + 10, 0);
  memory.view.setUint16(at + 10, checksumOf(memory.sum(at, headerBytes)));
}

/**
 * Writes a whole header without options, its checksum included. `fragmentWord` is flags and offset
 * in units of 8 octets, e.g. `Ipv4Flag.dontFragment`.
 */
export function writeIpv4Header(
  memory: FrameMemory,
  at: number,
  totalBytes: number,
  identification: number,
  fragmentWord: number,
  ttl: number,
  protocol: number,
  sourceAt: number,
  destinationAt: number,
): void {
  const { view } = memory;
  const source = view.getUint32(sourceAt);
  const destination = view.getUint32(destinationAt);
  const lifetime = (ttl << 8) | protocol;
  const sum = VERSION_5_WORDS + totalBytes + identification + fragmentWord + lifetime +
    (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff);
  view.setUint16(at, VERSION_5_WORDS);
  view.setUint16(at + 2, totalBytes);
  view.setUint16(at + 4, identification);
  view.setUint16(at + 6, fragmentWord);
  view.setUint16(at + 8, lifetime);
  view.setUint16(at + 10, checksumOf(fold(sum)));
  view.setUint32(at + 12, source);
  view.setUint32(at + 16, destination);
}

/** What the options of a header come to. */
export const Ipv4Options = {
  /** None, or only such as may be skipped. */
  harmless: 0,
  /** A length of 0 or 1, or beyond the header. */
  malformed: 1,
  /** Loose or strict source routing, which is never followed (RFC 7126 sections 4.3, 4.4). */
  sourceRoute: 2,
} as const;
/** One of `Ipv4Options`. */
export type Ipv4Options = typeof Ipv4Options[keyof typeof Ipv4Options];

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_LSRR = 131;
const OPTION_SSRR = 137;

/** Judges the options between the fixed header and `headerBytes`; reads nothing beyond. */
export function judgeIpv4Options(view: DataView, at: number, headerBytes: number): Ipv4Options {
  const end = at + headerBytes;
  let i = at + IPV4_HEADER_BYTES;
  while (i < end) {
    const type = view.getUint8(i);
    if (type === OPTION_END) return Ipv4Options.harmless;
    if (type === OPTION_NOP) {
      i++;
      continue;
    }
    if (i + 2 > end) return Ipv4Options.malformed;
    const bytes = view.getUint8(i + 1);
    if (bytes < 2 || i + bytes > end) return Ipv4Options.malformed;
    if (type === OPTION_LSRR || type === OPTION_SSRR) return Ipv4Options.sourceRoute;
    i += bytes;
  }
  return Ipv4Options.harmless;
}
