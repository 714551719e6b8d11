/**
 * The Internet checksum (RFC 1071) as sums that can be taken apart and put together.
 *
 * A sum here is the ones'-complement sum of big-endian 16-bit words, folded to 0…0xffff and not
 * complemented; an odd last octet counts as the high half of a word. It is 0 only if every octet
 * was 0. So sums of parts add up (`combineSums`), a range with its right checksum in it sums to
 * 0xffff, and what goes into a header is `checksumOf(sum)`.
 *
 * `sumBytes` and `copySumBytes` are the plain form of the kernel in `checksum_kernel.wat`; they
 * serve where WebAssembly does not, and the tests hold the two equal.
 *
 * @module
 */
import type { FrameMemory } from "./memory.ts";

/** Folds a uint32 into 16 bits with end-around carry. */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** The sum over two ranges, the first of which has an even length. */
export function combineSums(a: number, b: number): number {
  const sum = a + b;
  return (sum & 0xffff) + (sum >>> 16);
}

/** What a folded sum becomes when its range stands behind an odd number of octets. */
export function swapSum(sum: number): number {
  return ((sum & 0xff) << 8) | (sum >>> 8);
}

/** The header field for a folded sum that was taken with the field at 0. */
export function checksumOf(sum: number): number {
  return ~sum & 0xffff;
}

/** The sum of the pseudo-header of RFC 9293 section 3.1: two IPv4 addresses, protocol, length. */
export function pseudoHeaderSum4(
  view: DataView,
  sourceAt: number,
  destinationAt: number,
  protocol: number,
  lengthBytes: number,
): number {
  return fold(
    view.getUint16(sourceAt) + view.getUint16(sourceAt + 2) +
      view.getUint16(destinationAt) + view.getUint16(destinationAt + 2) +
      protocol + fold(lengthBytes),
  );
}

/** The sum of the pseudo-header of RFC 8200 section 8.1: two IPv6 addresses, length, protocol. */
export function pseudoHeaderSum6(
  view: DataView,
  sourceAt: number,
  destinationAt: number,
  protocol: number,
  lengthBytes: number,
): number {
  let sum = protocol + fold(lengthBytes);
  for (let i = 0; i < 16; i += 2) {
    sum += view.getUint16(sourceAt + i) + view.getUint16(destinationAt + i);
  }
  return fold(sum);
}

/**
 * The sum over pseudo-header and payload of an IPv4 packet: 0xffff where the checksum in it is
 * right, the input of `checksumOf` where that field is 0.
 */
export function transportSum4(
  memory: FrameMemory,
  sourceAt: number,
  destinationAt: number,
  protocol: number,
  at: number,
  lengthBytes: number,
): number {
  return combineSums(
    pseudoHeaderSum4(memory.view, sourceAt, destinationAt, protocol, lengthBytes),
    memory.sum(at, lengthBytes),
  );
}

/** As `transportSum4`, over IPv6. */
export function transportSum6(
  memory: FrameMemory,
  sourceAt: number,
  destinationAt: number,
  protocol: number,
  at: number,
  lengthBytes: number,
): number {
  return combineSums(
    pseudoHeaderSum6(memory.view, sourceAt, destinationAt, protocol, lengthBytes),
    memory.sum(at, lengthBytes),
  );
}

/** The sum of a range, in JavaScript. */
export function sumBytes(view: DataView, at: number, lengthBytes: number): number {
  const end = at + lengthBytes;
  const wordsEnd = at + (lengthBytes & ~3);
  let sum = 0;
  let i = at;
  for (; i < wordsEnd; i += 4) {
    const word = view.getUint32(i);
    sum += (word >>> 16) + (word & 0xffff);
  }
  return foldTail(view, sum, i, end);
}

/** Copies a range to another that does not overlap it and sums it, in JavaScript. */
export function copySumBytes(
  view: DataView,
  to: number,
  from: number,
  lengthBytes: number,
): number {
  const end = from + lengthBytes;
  const wordsEnd = from + (lengthBytes & ~3);
  const shift = to - from;
  let sum = 0;
  let i = from;
  for (; i < wordsEnd; i += 4) {
    const word = view.getUint32(i);
    view.setUint32(i + shift, word);
    sum += (word >>> 16) + (word & 0xffff);
  }
  for (let j = i; j < end; j++) view.setUint8(j + shift, view.getUint8(j));
  return foldTail(view, sum, i, end);
}

/** Adds the 0 to 3 octets from `at` to `end`, then folds; exact for any sum below 2^53. */
function foldTail(view: DataView, sum: number, at: number, end: number): number {
  let i = at;
  if (end - i >= 2) {
    sum += view.getUint16(i);
    i += 2;
  }
  if (i < end) sum += view.getUint8(i) << 8;
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}
