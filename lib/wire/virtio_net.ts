/**
 * The header of virtio-net in front of a frame (virtio 1.2 section 5.1.6): what is left for the
 * device to do with a checksum, and where a large segment is to be cut.
 *
 *      0        1         2        4         6            8              10           12
 *      flags    gso_type  hdr_len  gso_size  csum_start   csum_offset    num_buffers
 *
 * All numbers are little-endian; `csum_start` counts from the Ethernet header. Every function expects
 * that the caller has checked 12 octets.
 *
 * @module
 */

/** Octets of the header, with `num_buffers`. */
export const VNET_HEADER_BYTES = 12;

/** Bits of `flags`. */
export const VnetFlag = { needsChecksum: 1, dataValid: 2 } as const;

/** Values of `gso_type`; `ecn` is a bit beside them. */
export const VnetGso = { none: 0, tcp4: 1, tcp6: 4, ecn: 0x80 } as const;

/** `flags`. */
export function vnetFlags(view: DataView, at: number): number {
  return view.getUint8(at);
}

/** `gso_type`. */
export function vnetGsoType(view: DataView, at: number): number {
  return view.getUint8(at + 1);
}

/** `hdr_len`: octets of the headers that each piece repeats, as a hint. */
export function vnetHeadersBytes(view: DataView, at: number): number {
  return view.getUint16(at + 2, true);
}

/** `gso_size`: octets of data in each piece. */
export function vnetSegmentBytes(view: DataView, at: number): number {
  return view.getUint16(at + 4, true);
}

/** `csum_start`: where the sum begins. */
export function vnetChecksumStart(view: DataView, at: number): number {
  return view.getUint16(at + 6, true);
}

/** `csum_offset`: where the sum is put, counted from there. */
export function vnetChecksumOffset(view: DataView, at: number): number {
  return view.getUint16(at + 8, true);
}

/** Writes the header of a frame of which nothing is left to do. */
export function writeVnetHeader(view: DataView, at: number): void {
  view.setUint32(at, 0);
  view.setUint32(at + 4, 0);
  view.setUint32(at + 8, 1 << 16, true); // one buffer
}

/** Writes the header of a frame that is to be cut, and whose pieces are to be summed. */
export function writeVnetSegmentation(
  view: DataView,
  at: number,
  gsoType: number,
  headersBytes: number,
  segmentBytes: number,
  checksumStart: number,
  checksumOffset: number,
): void {
  view.setUint8(at, VnetFlag.needsChecksum);
  view.setUint8(at + 1, gsoType);
  view.setUint16(at + 2, headersBytes, true);
  view.setUint16(at + 4, segmentBytes, true);
  view.setUint16(at + 6, checksumStart, true);
  view.setUint16(at + 8, checksumOffset, true);
  view.setUint16(at + 10, 1, true);
}
