/**
 * Blocks of a pcapng file (draft-ietf-opsawg-pcapng), all numbers little-endian: a section header,
 * one interface, packets with nanoseconds, names of addresses, and the interface's statistics.
 *
 *     block:  type, length, body …, length again      option:  code, length, value, padding to 4
 *
 * Packets are written in place by one reused object, as there may be a million in a second; all else
 * is made as arrays. Texts are cut to what a block may carry. Knows nothing of what is in a frame.
 *
 * @module
 */

/** Types of blocks. */
export const BlockType = {
  section: 0x0a0d0d0a,
  interface: 1,
  names: 4,
  statistics: 5,
  packet: 6,
} as const;

/** Which way a packet went, as `epb_flags` has it. */
export const Direction = { inbound: 1, outbound: 2 } as const;
/** One of `Direction`. */
export type Direction = typeof Direction[keyof typeof Direction];

/** Fewest octets of a frame that a capture may be cut to: its Ethernet header. */
export const SNAP_MIN_BYTES = 14;

/** More octets than any frame has: nothing is cut. */
export const SNAP_MAX_BYTES = 262_144;

/** Longest text of an option, in bytes. */
export const TEXT_MAX_BYTES = 4_096;

/** Most names of one block. */
export const BLOCK_NAMES_MAX = 256;

const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const LINK_TYPE_ETHERNET = 1;
/** A power of ten: timestamps count nanoseconds. */
const NANOSECONDS = 9;

/** Codes of the options that are used here; what they mean depends on the block. */
const Option = {
  end: 0,
  comment: 1,
  sectionApplication: 4,
  interfaceName: 2,
  interfaceDescription: 3,
  interfaceResolution: 9,
  interfaceFilter: 11,
  packetFlags: 2,
  packetLost: 4,
  seen: 4,
  dropped: 5,
  accepted: 6,
} as const;

const NameRecord = { end: 0, ipv4: 1, ipv6: 2 } as const;

/** A filter in the words of libpcap, as `if_filter` tells its kinds apart. */
const FILTER_TEXT = 0;

/** Octets around the body of any block. */
const FRAME_BYTES = 12;
/** Octets of a packet's block in front of its data. */
const PACKET_HEAD_BYTES = 28;
const OPTION_HEAD_BYTES = 4;
const FLAGS_OPTION_BYTES = 8;
const LOST_OPTION_BYTES = 12;
const WORD = 2 ** 32;

const encoder = new TextEncoder();

/** An interface, as its block describes it. */
export interface CapturedInterface {
  /** Its name. */
  readonly name: string;
  /** What it is, in a few words. */
  readonly description: string;
  /** Octets that are kept of each frame. */
  readonly snapLength: number;
  /** The filter's text; empty for none. */
  readonly filter: string;
}

/** A name of an address. */
export interface NamedAddress {
  /** 4 or 16 octets. */
  readonly address: Uint8Array;
  /** The name, without zeros in it. */
  readonly name: string;
}

/** A moment in nanoseconds since 1970, in two words. */
export interface Timestamp {
  readonly high: number;
  readonly low: number;
}

/** What became of the frames that passed. */
export interface CaptureCounts {
  /** All frames that passed. */
  readonly seen: number;
  /** Those that the filter let through. */
  readonly accepted: number;
  /** Those of them for which there was no room. */
  readonly lost: number;
}

/** The block that a file begins with. */
export function sectionBlock(application: string): Uint8Array {
  return block(BlockType.section, [
    words(BYTE_ORDER_MAGIC),
    shorts(1, 0), // version 1.0
    words(WORD - 1, WORD - 1), // a length that is not known yet
    textOption(Option.sectionApplication, application),
    END,
  ]);
}

/** The block of the interface that all packets are of. */
export function interfaceBlock(described: CapturedInterface): Uint8Array {
  const { name, description, snapLength, filter } = described;
  return block(BlockType.interface, [
    shorts(LINK_TYPE_ETHERNET, 0),
    words(snapLength),
    textOption(Option.interfaceName, name),
    textOption(Option.interfaceDescription, description),
    option(Option.interfaceResolution, Uint8Array.of(NANOSECONDS)),
    ...(filter === ""
      ? []
      : [option(Option.interfaceFilter, Uint8Array.of(FILTER_TEXT, ...textBytes(filter)))]),
    END,
  ]);
}

/** A block of names, for the packets behind it; of more than `BLOCK_NAMES_MAX` the first count. */
export function namesBlock(names: readonly NamedAddress[]): Uint8Array {
  const records = names.slice(0, BLOCK_NAMES_MAX).map(({ address, name }) => {
    const text = textBytes(name);
    const value = new Uint8Array(address.length + text.length + 1);
    value.set(address);
    value.set(text, address.length);
    return option(address.length === 4 ? NameRecord.ipv4 : NameRecord.ipv6, value);
  });
  return block(BlockType.names, [...records, END]);
}

/** The block that says how much of what passed is there. */
export function statisticsBlock(time: Timestamp, counts: CaptureCounts): Uint8Array {
  const count = (code: number, value: number): Uint8Array =>
    option(code, words(value % WORD, Math.floor(value / WORD)));
  return block(BlockType.statistics, [
    words(0, time.high, time.low),
    count(Option.seen, counts.seen),
    count(Option.dropped, counts.lost),
    count(Option.accepted, counts.accepted),
    END,
  ]);
}

/** A packet's block, one object for all of them: set the fields, then `write`. */
export class PacketBlock {
  /** Octets of the frame that are kept. */
  capturedBytes = 0;
  /** Octets that the frame had. */
  originalBytes = 0;
  /** When it passed: the upper and the lower word of nanoseconds since 1970. */
  timeHigh = 0;
  timeLow = 0;
  /** Which way it went. */
  direction: Direction = Direction.inbound;
  /** Packets that were lost in front of this one. */
  lost = 0;
  /** What is to be said about it, see `commentBytes`; `null` for nothing. */
  comment: Uint8Array | null = null;

  /** How long the block will be. */
  get bytes(): number {
    const comment = this.comment === null ? 0 : OPTION_HEAD_BYTES + padded(this.comment.length);
    const lost = this.lost === 0 ? 0 : LOST_OPTION_BYTES;
    return PACKET_HEAD_BYTES + padded(this.capturedBytes) + comment + FLAGS_OPTION_BYTES + lost +
      OPTION_HEAD_BYTES + 4;
  }

  /**
   * Writes all of the block but its data.
   *
   * @param view Where to.
   * @param at Its position there; `bytes` octets from it have to be free.
   * @returns The position of the data, to which `capturedBytes` have to be copied.
   */
  write(view: DataView, at: number): number {
    const { bytes, capturedBytes } = this;
    view.setUint32(at, BlockType.packet, true);
    view.setUint32(at + 4, bytes, true);
    view.setUint32(at + 8, 0, true);
    view.setUint32(at + 12, this.timeHigh, true);
    view.setUint32(at + 16, this.timeLow, true);
    view.setUint32(at + 20, capturedBytes, true);
    view.setUint32(at + 24, this.originalBytes, true);
    const dataAt = at + PACKET_HEAD_BYTES;
    let next = dataAt + padded(capturedBytes);
    if (next !== dataAt + capturedBytes) view.setUint32(next - 4, 0, true);
    if (this.comment !== null) next = writeOption(view, next, Option.comment, this.comment);
    putOptionHead(view, next, Option.packetFlags, 4);
    view.setUint32(next + 4, this.direction, true);
    next += FLAGS_OPTION_BYTES;
    if (this.lost > 0) {
      putOptionHead(view, next, Option.packetLost, 8);
      view.setUint32(next + 4, this.lost % WORD, true);
      view.setUint32(next + 8, Math.floor(this.lost / WORD), true);
      next += LOST_OPTION_BYTES;
    }
    view.setUint32(next, Option.end, true);
    view.setUint32(next + 4, bytes, true);
    return dataAt;
  }
}

/** A comment as a packet's block takes it. */
export function commentBytes(text: string): Uint8Array {
  return textBytes(text);
}

/**
 * How many bytes of whole blocks fit.
 *
 * @param bytes Whole blocks, one behind the other.
 * @param from Where one of them begins.
 * @param roomBytes How much room there is.
 * @returns Their length; 0 where not even one fits.
 */
export function wholeBlocks(bytes: Uint8Array, from: number, roomBytes: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = Math.min(bytes.length, from + roomBytes);
  let at = from;
  while (at + FRAME_BYTES <= end) {
    const next = at + view.getUint32(at + 4, true);
    if (next > end) break;
    at = next;
  }
  return at - from;
}

/** Arrays one behind the other. */
export function joinBlocks(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A block around parts whose lengths are multiples of 4. */
function block(type: number, parts: readonly Uint8Array[]): Uint8Array {
  const bytes = FRAME_BYTES + parts.reduce((sum, { length }) => sum + length, 0);
  return joinBlocks([words(type, bytes), ...parts, words(bytes)]);
}

function option(code: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(OPTION_HEAD_BYTES + padded(value.length));
  writeOption(new DataView(bytes.buffer), 0, code, value);
  return bytes;
}

/** Writes an option with its padding; returns the position behind it. */
function writeOption(view: DataView, at: number, code: number, value: Uint8Array): number {
  putOptionHead(view, at, code, value.length);
  const valueAt = at + OPTION_HEAD_BYTES;
  const end = valueAt + padded(value.length);
  if (end !== valueAt + value.length) view.setUint32(end - 4, 0, true);
  new Uint8Array(view.buffer, view.byteOffset).set(value, valueAt);
  return end;
}

function putOptionHead(view: DataView, at: number, code: number, lengthBytes: number): void {
  view.setUint16(at, code, true);
  view.setUint16(at + 2, lengthBytes, true);
}

function textOption(code: number, text: string): Uint8Array {
  return option(code, textBytes(text));
}

/** A text in UTF-8, cut between two characters where it is too long. */
function textBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(TEXT_MAX_BYTES);
  const { written } = encoder.encodeInto(text, bytes);
  return bytes.slice(0, written);
}

function words(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => view.setUint32(4 * i, value, true));
  return bytes;
}

function shorts(low: number, high: number): Uint8Array {
  return words(low + 0x10000 * high);
}

function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}

const END = words(Option.end);
