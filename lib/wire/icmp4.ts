/**
 * ICMP for IPv4 (RFC 792): 8 octets of header, of which the last four mean what type and code say.
 *
 * Every function expects that the caller has checked 8 octets.
 *
 * @module
 */
import { checksumOf } from "./checksum.ts";
import type { FrameMemory } from "./memory.ts";

/** Octets of an ICMP header. */
export const ICMP4_HEADER_BYTES = 8;

/** ICMP types. */
export const Icmp4Type = {
  echoReply: 0,
  destinationUnreachable: 3,
  sourceQuench: 4,
  redirect: 5,
  echo: 8,
  timeExceeded: 11,
  parameterProblem: 12,
} as const;
/** One of `Icmp4Type`. */
export type Icmp4Type = typeof Icmp4Type[keyof typeof Icmp4Type];

/** Codes of `Icmp4Type.destinationUnreachable` (RFC 792, RFC 1812 section 5.2.7.1). */
export const Icmp4Unreachable = {
  network: 0,
  host: 1,
  protocol: 2,
  port: 3,
  fragmentationNeeded: 4,
  prohibited: 13,
} as const;
/** One of `Icmp4Unreachable`. */
export type Icmp4Unreachable = typeof Icmp4Unreachable[keyof typeof Icmp4Unreachable];

/** The type. */
export function icmp4Type(view: DataView, at: number): number {
  return view.getUint8(at);
}

/** The code. */
export function icmp4Code(view: DataView, at: number): number {
  return view.getUint8(at + 1);
}

/** The checksum as it stands there. */
export function icmp4Checksum(view: DataView, at: number): number {
  return view.getUint16(at + 2);
}

/** The identifier of an echo or its reply. */
export function icmp4EchoIdentifier(view: DataView, at: number): number {
  return view.getUint16(at + 4);
}

/** The sequence number of an echo or its reply. */
export function icmp4EchoSequence(view: DataView, at: number): number {
  return view.getUint16(at + 6);
}

/** The MTU of the next hop in "fragmentation needed" (RFC 1191); 0 from old routers. */
export function icmp4NextHopMtu(view: DataView, at: number): number {
  return view.getUint16(at + 6);
}

/** Whether the type is an error's, about which no error is sent (RFC 1122 section 3.2.2). */
export function isIcmp4Error(type: number): boolean {
  return type === Icmp4Type.destinationUnreachable || type === Icmp4Type.timeExceeded ||
    type === Icmp4Type.parameterProblem || type === Icmp4Type.redirect ||
    type === Icmp4Type.sourceQuench;
}

/** Writes a header with its checksum still 0; `rest` are the last four octets. */
export function writeIcmp4Header(
  view: DataView,
  at: number,
  type: Icmp4Type,
  code: number,
  rest: number,
): void {
  view.setUint8(at, type);
  view.setUint8(at + 1, code);
  view.setUint16(at + 2, 0);
  view.setUint32(at + 4, rest);
}

/** Whether the checksum over the whole message is right. */
export function icmp4ChecksumIsRight(memory: FrameMemory, at: number, bytes: number): boolean {
  return memory.sum(at, bytes) === 0xffff;
}

/** Writes the checksum of a whole message that is in place. */
export function writeIcmp4Checksum(memory: FrameMemory, at: number, messageBytes: number): void {
  memory.view.setUint16(at + 2, 0);
  memory.view.setUint16(at + 2, checksumOf(memory.sum(at, messageBytes)));
}
