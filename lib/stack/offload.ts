/**
 * What a frame's virtio-net header leaves to the device (virtio 1.2 section 5.1.6.2), judged once for
 * each frame from the guest.
 *
 * A header that lies is the guest's fault and costs its frame: it points outside of the frame, names
 * a flag or a kind of segmentation that nobody has agreed to (UFO, UDP), or leaves out what that kind
 * asks for. Where it points to is compared with the L4 header itself once that is found, in
 * `checksum_check.ts`. `num_buffers` means nothing on this way: a tap leaves whatever stood there.
 *
 * @module
 */
import {
  vnetChecksumOffset,
  vnetChecksumStart,
  VnetFlag,
  vnetFlags,
  VnetGso,
  vnetGsoType,
  vnetHeadersBytes,
  vnetSegmentBytes,
} from "../wire/virtio_net.ts";
import { ETHERNET_HEADER_BYTES } from "../wire/ethernet.ts";

/** What is wrong with a header. */
export const OffloadFault = { none: 0, malformed: 1, unspoken: 2 } as const;
/** One of `OffloadFault`. */
export type OffloadFault = typeof OffloadFault[keyof typeof OffloadFault];

const KNOWN_FLAGS = VnetFlag.needsChecksum | VnetFlag.dataValid;
const CHECKSUM_BYTES = 2;

/** What is left to do with the frame at hand; without a header that is nothing. */
export class Offload {
  /** Where the L4 header begins whose sum is left to do, from the Ethernet header; -1 for none. */
  checksumStart = -1;
  /** Where its sum stands, from there. */
  checksumOffset = 0;
  /** How it is to be cut: `VnetGso` without the bit for ECN. */
  gsoType: number = VnetGso.none;

  /** Nothing is left to do. */
  clear(): void {
    this.checksumStart = -1;
    this.gsoType = VnetGso.none;
  }

  /** Reads the header at `at` of a frame of `frameBytes`; after a fault nothing is left to do. */
  read(view: DataView, at: number, frameBytes: number): OffloadFault {
    this.clear();
    const flags = vnetFlags(view, at);
    const type = vnetGsoType(view, at);
    if ((flags & ~KNOWN_FLAGS) !== 0) return OffloadFault.unspoken;
    if (type === VnetGso.none && flags === 0) return OffloadFault.none;
    const kind = type & ~VnetGso.ecn;
    if (kind !== VnetGso.none && kind !== VnetGso.tcp4 && kind !== VnetGso.tcp6) {
      return OffloadFault.unspoken;
    }
    const isCut = type !== VnetGso.none;
    const isSummed = (flags & VnetFlag.needsChecksum) !== 0;
    const isWhole = !isCut ||
      (isSummed && kind !== VnetGso.none && vnetSegmentBytes(view, at) > 0 &&
        vnetHeadersBytes(view, at) <= frameBytes);
    if (!isWhole) return OffloadFault.malformed;
    if (!isSummed) return OffloadFault.none;
    const start = vnetChecksumStart(view, at);
    const offset = vnetChecksumOffset(view, at);
    if (start < ETHERNET_HEADER_BYTES || start + offset + CHECKSUM_BYTES > frameBytes) {
      return OffloadFault.malformed;
    }
    this.checksumStart = start;
    this.checksumOffset = offset;
    this.gsoType = kind;
    return OffloadFault.none;
  }
}
