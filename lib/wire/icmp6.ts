/**
 * ICMPv6 (RFC 4443): as `icmp4.ts`, with a checksum over the IPv6 pseudo-header. What neighbor
 * discovery puts behind the first octets is in `ndp.ts`.
 *
 * Every function expects that the caller has checked 8 octets.
 *
 * @module
 */
import { checksumOf, transportSum6 } from "./checksum.ts";
import { IpProtocol } from "./ipv4.ts";
import type { FrameMemory } from "./memory.ts";

/** Octets of an ICMPv6 header with its four octets of rest. */
export const ICMP6_HEADER_BYTES = 8;

/** ICMPv6 types. */
export const Icmp6Type = {
  destinationUnreachable: 1,
  packetTooBig: 2,
  timeExceeded: 3,
  parameterProblem: 4,
  echo: 128,
  echoReply: 129,
  routerSolicitation: 133,
  routerAdvertisement: 134,
  neighborSolicitation: 135,
  neighborAdvertisement: 136,
  redirect: 137,
} as const;
/** One of `Icmp6Type`. */
export type Icmp6Type = typeof Icmp6Type[keyof typeof Icmp6Type];

/** Codes of `Icmp6Type.destinationUnreachable`. */
export const Icmp6Unreachable = {
  noRoute: 0,
  prohibited: 1,
  address: 3,
  port: 4,
} as const;
/** One of `Icmp6Unreachable`. */
export type Icmp6Unreachable = typeof Icmp6Unreachable[keyof typeof Icmp6Unreachable];

/** Codes of `Icmp6Type.parameterProblem`. */
export const Icmp6Problem = { header: 0, nextHeader: 1, option: 2 } as const;
/** One of `Icmp6Problem`. */
export type Icmp6Problem = typeof Icmp6Problem[keyof typeof Icmp6Problem];

/** The type. */
export function icmp6Type(view: DataView, at: number): number {
  return view.getUint8(at);
}

/** The code. */
export function icmp6Code(view: DataView, at: number): number {
  return view.getUint8(at + 1);
}

/** The checksum as it stands there. */
export function icmp6Checksum(view: DataView, at: number): number {
  return view.getUint16(at + 2);
}

/** The identifier of an echo or its reply. */
export function icmp6EchoIdentifier(view: DataView, at: number): number {
  return view.getUint16(at + 4);
}

/** The sequence number of an echo or its reply. */
export function icmp6EchoSequence(view: DataView, at: number): number {
  return view.getUint16(at + 6);
}

/** The MTU in "packet too big". */
export function icmp6Mtu(view: DataView, at: number): number {
  return view.getUint32(at + 4);
}

/** Whether the type is an error's: its high bit is clear; or a redirect (section 2.4 e). */
export function isIcmp6Error(type: number): boolean {
  return type < 128 || type === Icmp6Type.redirect;
}

/** Writes a header with its checksum still 0; `rest` are the last four octets. */
export function writeIcmp6Header(
  view: DataView,
  at: number,
  type: Icmp6Type,
  code: number,
  rest: number,
): void {
  view.setUint8(at, type);
  view.setUint8(at + 1, code);
  view.setUint16(at + 2, 0);
  view.setUint32(at + 4, rest);
}

/** Whether the checksum over pseudo-header and message is right. */
export function icmp6ChecksumIsRight(
  memory: FrameMemory,
  at: number,
  messageBytes: number,
  sourceAt: number,
  destinationAt: number,
): boolean {
  return transportSum6(memory, sourceAt, destinationAt, IpProtocol.icmp6, at, messageBytes) ===
    0xffff;
}

/** Writes the checksum of a whole message that is in place. */
export function writeIcmp6Checksum(
  memory: FrameMemory,
  at: number,
  messageBytes: number,
  sourceAt: number,
  destinationAt: number,
): void {
  memory.view.setUint16(at + 2, 0);
  const sum = transportSum6(memory, sourceAt, destinationAt, IpProtocol.icmp6, at, messageBytes);
  memory.view.setUint16(at + 2, checksumOf(sum));
}
