/**
 * Whether a frame of the gateway's is one that it may send: addresses of the link, lengths that are
 * exact, checksums that are right, options that hold together. Written apart from `lib/wire`.
 *
 * @module
 */
import { fold, sum, word } from "./seal.ts";

/** What is known of the link on which the frame is seen. */
export interface LinkFacts {
  /** Who sends. */
  readonly sourceMac: Uint8Array;
  readonly mtu: number;
}

/** What a frame is, as far as it says so. */
export interface Shape {
  /** EtherType. */
  type: number;
  /** Protocol behind IP and extension headers; -1 where there is none. */
  protocol: number;
  /** Where its header is; the frame's end is that of the payload. */
  payloadAt: number;
  /** Whether it is a piece of a datagram. */
  fragment: boolean;
}

const ETHERNET_BYTES = 14;
const ARP_BYTES = 28;
const shape: Shape = { type: 0, protocol: -1, payloadAt: 0, fragment: false };

/** Throws where the frame is wrong; the result is used again by the next call. */
export function checkFrame(frame: Uint8Array, link: LinkFacts): Shape {
  must(frame.length >= ETHERNET_BYTES, "a frame has a header");
  must(frame.length <= link.mtu + ETHERNET_BYTES, "a frame fits the MTU");
  for (let i = 0; i < 6; i++) {
    must(frame[6 + i] === link.sourceMac[i], "the source is our MAC");
  }
  must((frame[0]! & 1) === 0 || isGroup(frame), "the destination is the peer or a group");
  shape.type = word(frame, 12);
  shape.protocol = -1;
  shape.payloadAt = ETHERNET_BYTES;
  shape.fragment = false;
  switch (shape.type) {
    case 0x0806:
      must(frame.length === ETHERNET_BYTES + ARP_BYTES, "an ARP message has 28 octets");
      must(word(frame, 14) === 1 && word(frame, 16) === 0x0800, "ARP is about IPv4 on Ethernet");
      break;
    case 0x0800:
      check4(frame);
      break;
    case 0x86dd:
      check6(frame);
      break;
    default:
      must(false, "the type is one that we speak");
  }
  return shape;
}

function isGroup(frame: Uint8Array): boolean {
  const broadcast = frame.subarray(0, 6).every((octet) => octet === 0xff);
  return broadcast || (frame[0] === 0x33 && frame[1] === 0x33);
}

function check4(frame: Uint8Array): void {
  const at = ETHERNET_BYTES;
  must(frame[at] === 0x45, "an IPv4 header without options");
  must(word(frame, at + 2) === frame.length - at, "the IPv4 length is the frame's");
  must(fold(sum(frame, at, at + 20)) === 0xffff, "the IPv4 header checksum");
  must(frame[at + 8]! > 0, "a TTL");
  const flags = word(frame, at + 6);
  shape.fragment = (flags & 0x3fff) !== 0;
  must((flags & 0x2000) === 0 || (frame.length - at - 20) % 8 === 0, "pieces are whole units");
  shape.protocol = frame[at + 9]!;
  shape.payloadAt = at + 20;
  if (!shape.fragment) checkL4(frame, sum(frame, at + 12, at + 20));
}

function check6(frame: Uint8Array): void {
  const at = ETHERNET_BYTES;
  must((frame[at]! >> 4) === 6, "the IPv6 version");
  must(word(frame, at + 4) === frame.length - at - 40, "the IPv6 length is the frame's");
  must(frame[at + 7]! > 0, "a hop limit");
  shape.protocol = frame[at + 6]!;
  shape.payloadAt = at + 40;
  if (shape.protocol === 44) {
    must(frame.length >= at + 48, "a whole fragment header");
    const more = (frame[at + 43]! & 1) !== 0;
    must(!more || (frame.length - at - 48) % 8 === 0, "pieces are whole units");
    shape.fragment = true;
    shape.protocol = frame[at + 40]!;
    shape.payloadAt = at + 48;
    return;
  }
  checkL4(frame, sum(frame, at + 8, at + 40));
}

function checkL4(frame: Uint8Array, addresses: number): void {
  const { protocol, payloadAt: at } = shape;
  const bytes = frame.length - at;
  const pseudo = protocol === 1 ? 0 : addresses + protocol + bytes;
  must(fold(pseudo + sum(frame, at, frame.length)) === 0xffff, "the L4 checksum");
  switch (protocol) {
    case 6:
      return checkTcp(frame, at, bytes);
    case 17:
      must(bytes >= 8 && word(frame, at + 4) === bytes, "the UDP length is the packet's");
      must(word(frame, at + 6) !== 0, "UDP has a checksum");
      return;
    case 1:
    case 58:
      must(bytes >= 8, "an ICMP message has a header");
      return;
    default:
      must(false, "the protocol is one that we speak");
  }
}

function checkTcp(frame: Uint8Array, at: number, bytes: number): void {
  const headerBytes = (frame[at + 12]! >> 4) * 4;
  must(bytes >= 20 && headerBytes >= 20 && headerBytes <= bytes, "the TCP header's length");
  must((frame[at + 12]! & 0x0f) === 0, "reserved bits of TCP are clear");
  const end = at + headerBytes;
  for (let i = at + 20; i < end;) {
    const kind = frame[i]!;
    if (kind === 0) break;
    if (kind === 1) {
      i++;
      continue;
    }
    const length = frame[i + 1] ?? 0;
    must(length >= 2 && i + length <= end, "TCP options hold together");
    i += length;
  }
}

function must(right: boolean, what: string): void {
  if (!right) throw new MalformedFrame(what);
}

/** A frame that must not be sent. */
export class MalformedFrame extends Error {
  override readonly name = "MalformedFrame";

  constructor(what: string) {
    super(`a frame was sent that is wrong: ${what}`);
  }
}
