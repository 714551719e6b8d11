/**
 * The UDP header (RFC 768): ports, length, checksum. A checksum of 0 means "none" over IPv4 and is
 * wrong over IPv6 (RFC 8200 section 8.1), so a computed 0 is sent as 0xffff.
 *
 * Every function expects that the caller has checked 8 octets.
 *
 * @module
 */
import { checksumOf, transportSum4, transportSum6 } from "./checksum.ts";
import { IpProtocol } from "./ipv4.ts";
import type { FrameMemory } from "./memory.ts";

/** Octets of a UDP header. */
export const UDP_HEADER_BYTES = 8;

/** Where the checksum stands in the header. */
export const UDP_CHECKSUM_OFFSET = 6;

/** The sender's port. */
export function udpSourcePort(view: DataView, at: number): number {
  return view.getUint16(at);
}

/** The receiver's port. */
export function udpDestinationPort(view: DataView, at: number): number {
  return view.getUint16(at + 2);
}

/** Octets of header and payload, as the header says. */
export function udpLengthBytes(view: DataView, at: number): number {
  return view.getUint16(at + 4);
}

/** The checksum as it stands there. */
export function udpChecksum(view: DataView, at: number): number {
  return view.getUint16(at + 6);
}

/** Writes a header with its checksum still 0; `lengthBytes` counts header and payload. */
export function writeUdpHeader(
  view: DataView,
  at: number,
  sourcePort: number,
  destinationPort: number,
  lengthBytes: number,
): void {
  view.setUint16(at, sourcePort);
  view.setUint16(at + 2, destinationPort);
  view.setUint16(at + 4, lengthBytes);
  view.setUint16(at + 6, 0);
}

/** Sets the checksum from a folded sum over pseudo-header, header (its field 0) and payload. */
export function setUdpChecksumFromSum(view: DataView, at: number, sum: number): void {
  const checksum = checksumOf(sum);
  view.setUint16(at + 6, checksum === 0 ? 0xffff : checksum);
}

/** Writes the checksum of a whole datagram over IPv4 that is in place. */
export function writeUdpChecksum4(
  memory: FrameMemory,
  at: number,
  lengthBytes: number,
  sourceAt: number,
  destinationAt: number,
): void {
  memory.view.setUint16(at + 6, 0);
  const sum = transportSum4(memory, sourceAt, destinationAt, IpProtocol.udp, at, lengthBytes);
  setUdpChecksumFromSum(memory.view, at, sum);
}

/** Writes the checksum of a whole datagram over IPv6 that is in place. */
export function writeUdpChecksum6(
  memory: FrameMemory,
  at: number,
  lengthBytes: number,
  sourceAt: number,
  destinationAt: number,
): void {
  memory.view.setUint16(at + 6, 0);
  const sum = transportSum6(memory, sourceAt, destinationAt, IpProtocol.udp, at, lengthBytes);
  setUdpChecksumFromSum(memory.view, at, sum);
}
