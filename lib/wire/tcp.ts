/**
 * The TCP header (RFC 9293 section 3.1). Options are in `tcp_options.ts`.
 *
 * Sequence numbers are uint32; comparing them is not done here. Every function expects that the
 * caller has checked 20 octets.
 *
 * @module
 */

/** Octets of a TCP header without options. */
export const TCP_HEADER_BYTES = 20;
/** The longest TCP header. */
export const TCP_MAX_HEADER_BYTES = 60;

/** Control bits. */
export const TcpFlag = {
  fin: 0x01,
  syn: 0x02,
  rst: 0x04,
  psh: 0x08,
  ack: 0x10,
  urg: 0x20,
  ece: 0x40,
  cwr: 0x80,
} as const;

/** The sender's port. */
export function tcpSourcePort(view: DataView, at: number): number {
  return view.getUint16(at);
}

/** The receiver's port. */
export function tcpDestinationPort(view: DataView, at: number): number {
  return view.getUint16(at + 2);
}

/** SEG.SEQ. */
export function tcpSequence(view: DataView, at: number): number {
  return view.getUint32(at + 4);
}

/** SEG.ACK. */
export function tcpAcknowledgment(view: DataView, at: number): number {
  return view.getUint32(at + 8);
}

/** Octets of the header with its options: data offset times 4, so 0 to 60. */
export function tcpHeaderBytes(view: DataView, at: number): number {
  return (view.getUint8(at + 12) >> 4) << 2;
}

/** The control bits, see `TcpFlag`. */
export function tcpFlags(view: DataView, at: number): number {
  return view.getUint8(at + 13);
}

/** SEG.WND as it stands there, not scaled. */
export function tcpWindow(view: DataView, at: number): number {
  return view.getUint16(at + 14);
}

/** Where the checksum stands in the header. */
export const TCP_CHECKSUM_OFFSET = 16;

/** The checksum as it stands there. */
export function tcpChecksum(view: DataView, at: number): number {
  return view.getUint16(at + 16);
}

/** SEG.UP. */
export function tcpUrgentPointer(view: DataView, at: number): number {
  return view.getUint16(at + 18);
}

/** Sets the checksum. */
export function setTcpChecksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + 16, value);
}

/** Writes the fixed header: `headerBytes` counts the options; checksum and urgent pointer are 0. */
export function writeTcpHeader(
  view: DataView,
  at: number,
  sourcePort: number,
  destinationPort: number,
  sequence: number,
  acknowledgment: number,
  headerBytes: number,
  flags: number,
  window: number,
): void {
  view.setUint16(at, sourcePort);
  view.setUint16(at + 2, destinationPort);
  view.setUint32(at + 4, sequence);
  view.setUint32(at + 8, acknowledgment);
  view.setUint16(at + 12, ((headerBytes >> 2) << 12) | flags);
  view.setUint16(at + 14, window);
  view.setUint32(at + 16, 0);
}
