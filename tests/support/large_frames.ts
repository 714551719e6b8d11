/**
 * What a device makes of a frame with a virtio-net header: it sums what is left to be summed, and cuts
 * what is to be cut, as virtio 1.2 section 5.1.6 says. Written apart from `lib`, so that the two hold
 * each other to it; a header that says anything else than it may is a failure.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { formatIp } from "../../lib/wire/address.ts";
import { concat, onesSum, sealed, u16, u32 } from "./packets.ts";

const HEADER_BYTES = 12;
const ETHERNET_BYTES = 14;
const TCP = 6;
const FIN_AND_PUSH = 0x09;

/** A header as a device reads it. */
export interface VnetHeader {
  flags: number;
  gsoType: number;
  headersBytes: number;
  segmentBytes: number;
  checksumStart: number;
  checksumOffset: number;
  buffers: number;
}

/** The header of nothing that is left to do. */
export const PLAIN: Readonly<VnetHeader> = Object.freeze({
  flags: 0,
  gsoType: 0,
  headersBytes: 0,
  segmentBytes: 0,
  checksumStart: 0,
  checksumOffset: 0,
  buffers: 1,
});

/** The fields of a header's octets. */
export function readHeader(bytes: Uint8Array): VnetHeader {
  const word = (at: number) => bytes[at]! | bytes[at + 1]! << 8;
  return {
    flags: bytes[0]!,
    gsoType: bytes[1]!,
    headersBytes: word(2),
    segmentBytes: word(4),
    checksumStart: word(6),
    checksumOffset: word(8),
    buffers: word(10),
  };
}

/** A header's octets. */
export function headerOf(fields: Partial<VnetHeader> = {}): Uint8Array {
  const header = { ...PLAIN, ...fields };
  const low = (value: number) => [value & 0xff, value >> 8];
  return concat(
    [header.flags, header.gsoType],
    low(header.headersBytes),
    low(header.segmentBytes),
    low(header.checksumStart),
    low(header.checksumOffset),
    low(header.buffers),
  );
}

/** The frames that a card would put on a wire for one that has a header. */
export function delivered(bytes: Uint8Array): Uint8Array[] {
  const header = readHeader(bytes);
  const frame = bytes.subarray(HEADER_BYTES);
  assertEquals(header.buffers, 1, "buffers");
  if (header.gsoType === 0) {
    assertEquals(header, PLAIN, "a header of which nothing is left to do");
    return [frame];
  }
  return cut(frame, header);
}

function cut(frame: Uint8Array, header: VnetHeader): Uint8Array[] {
  const isSix = frame[12] === 0x86;
  const ipBytes = isSix ? 40 : (frame[ETHERNET_BYTES]! & 15) * 4;
  const tcpAt = ETHERNET_BYTES + ipBytes;
  const dataAt = tcpAt + (frame[tcpAt + 12]! >> 4) * 4;
  const { segmentBytes } = header;
  assertEquals(header, {
    flags: 1,
    gsoType: isSix ? 4 : 1,
    headersBytes: dataAt,
    segmentBytes,
    checksumStart: tcpAt,
    checksumOffset: 16,
    buffers: 1,
  });
  assert(frame.length - dataAt > segmentBytes && segmentBytes > 0, "it has to be cut");
  assert(frame.length <= 65_550, "the longest frame");
  const ip = frame.subarray(ETHERNET_BYTES, tcpAt);
  assertEquals(isSix ? frame[20] : frame[23], TCP);
  const lengthAt = isSix ? 4 : 2;
  const ownBytes = frame.length - ETHERNET_BYTES - (isSix ? ipBytes : 0);
  assertEquals([...ip.subarray(lengthAt, lengthAt + 2)], u16(ownBytes), "length in the IP header");
  if (!isSix) assertEquals(onesSum(ip), 0xffff, "sum of the IP header");
  const [source, destination] = isSix
    ? [formatIp(ip.subarray(8, 24)), formatIp(ip.subarray(24, 40))]
    : [formatIp(ip.subarray(12, 16)), formatIp(ip.subarray(16, 20))];
  const tcp = frame.subarray(tcpAt);
  assertEquals(
    [...tcp.subarray(16, 18)],
    partialSum(tcp, source, destination),
    "sum of the pseudo-header",
  );
  const sequence = new DataView(tcp.slice(4, 8).buffer).getUint32(0);
  const out: Uint8Array[] = [];
  for (let at = 0; dataAt + at < frame.length; at += segmentBytes) {
    const data = frame.subarray(dataAt + at, dataAt + at + segmentBytes);
    const isLast = dataAt + at + segmentBytes >= frame.length;
    const head = frame.slice(tcpAt, dataAt);
    head.set(u32((sequence + at) >>> 0), 4);
    if (!isLast) head[13]! &= ~FIN_AND_PUSH;
    const piece = sealed(concat(head, data), 16, source, destination, TCP);
    const pieceIp = ip.slice();
    pieceIp.set(u16(piece.length + (isSix ? 0 : ipBytes)), lengthAt);
    if (!isSix) {
      pieceIp.set([0, 0], 10);
      pieceIp.set(u16(~onesSum(pieceIp) & 0xffff), 10);
    }
    out.push(concat(frame.subarray(0, ETHERNET_BYTES), pieceIp, piece));
  }
  return out;
}

/** What the field holds where the sum is left to do: that of the pseudo-header. */
export function partialSum(segment: Uint8Array, source: string, destination: string): number[] {
  const pseudo = sealed(new Uint8Array(segment.length), 0, source, destination, TCP);
  return [~pseudo[0]! & 0xff, ~pseudo[1]! & 0xff];
}
