/**
 * Segments as a line of text, the way RFCs and traces write them, and as frames.
 *
 *     S 0:0 win 64240 <mss 1460,sackOK,TS 1 0,wscale 7>
 *     P. 1:1001 ack 1 win 502 <sack 3001:4001>
 *
 * Flags are letters (`F S R P U E W`, `.` for ACK, `-` for none), `start:end` counts the data only,
 * numbers are relative to the initial sequence numbers of their side. `fill 7` gives data of one
 * octet instead of the stream's own, `urg 5` an urgent pointer, `sum 1` a checksum that is off by
 * that bit. The own octets of a stream depend
 * on their place in it, so a reader knows what must stand where.
 *
 * @module
 */
import { assert } from "@std/assert";
import { u16, u32 } from "./packets.ts";

/** A segment with relative numbers. */
export interface SegmentText {
  /** Letters in the order `FSRPUEW.`. */
  flags: string;
  seq: number;
  dataBytes: number;
  ack?: number | undefined;
  win?: number | undefined;
  urg?: number | undefined;
  fill?: number | undefined;
  sum?: number | undefined;
  /** The options in the order that they were written; `undefined` where no `<…>` was given. */
  options?: Option[] | undefined;
}

/** One option. */
export type Option =
  | { kind: "mss"; value: number }
  | { kind: "wscale"; value: number }
  | { kind: "sackOK" }
  | { kind: "TS"; value: number; echo: number }
  | { kind: "sack"; blocks: [number, number][] }
  | { kind: "nop" }
  | { kind: "eol" }
  | { kind: "raw"; octets: number[] };

const LETTERS = "FSRPUEW.";
const BITS = [1, 2, 4, 8, 0x20, 0x40, 0x80, 0x10];

/** The octet at `offset` of a stream. */
export function octet(offset: number, stream: number): number {
  return (offset * 31 + (offset >> 8) * 7 + (offset >> 16) + stream * 101) & 0xff;
}

/** `count` octets of a stream from `offset` on. */
export function octets(offset: number, count: number, stream: number): Uint8Array {
  const out = new Uint8Array(count);
  for (let i = 0; i < count; i++) out[i] = octet(offset + i, stream);
  return out;
}

/** Reads a line. */
export function parseSegment(line: string): SegmentText {
  const [, head, options] = /^([^<]*?)\s*(?:<(.*)>)?$/.exec(line.trim())!;
  const words = head!.split(/\s+/);
  const flags = sortFlags(words.shift()!);
  const out: SegmentText = { flags, seq: 0, dataBytes: 0 };
  const range = /^(-?\d+)(?::(-?\d+))?$/.exec(words[0] ?? "");
  if (range) {
    words.shift();
    out.seq = Number(range[1]);
    out.dataBytes = range[2] === undefined ? 0 : Number(range[2]) - out.seq;
  }
  for (let i = 0; i < words.length; i += 2) {
    const name = words[i]!;
    const value = Number(words[i + 1]);
    assert(isWord(name) && !Number.isNaN(value), `"${line}"`);
    out[name] = value;
  }
  assert(out.dataBytes >= 0 && flags.includes(".") === (out.ack !== undefined), `"${line}"`);
  if (options !== undefined) out.options = options.split(",").filter(Boolean).map(parseOption);
  return out;
}

const WORDS = ["ack", "win", "urg", "fill", "sum"] as const;

function isWord(name: string): name is typeof WORDS[number] {
  return (WORDS as readonly string[]).includes(name);
}

function sortFlags(text: string): string {
  if (text === "-") return "";
  for (const letter of text) assert(LETTERS.includes(letter), `flags "${text}"`);
  return [...LETTERS].filter((letter) => text.includes(letter)).join("");
}

function parseOption(text: string): Option {
  const [kind, ...rest] = text.trim().split(/\s+/);
  switch (kind) {
    case "mss":
    case "wscale":
      return { kind, value: Number(rest[0]) };
    case "sackOK":
    case "nop":
    case "eol":
      return { kind };
    case "TS":
      return { kind, value: Number(rest[0]), echo: Number(rest[1]) };
    case "sack":
      return {
        kind,
        blocks: rest.map((pair) => pair.split(":").map(Number) as [number, number]),
      };
    case "raw":
      return { kind, octets: rest.map((byte) => parseInt(byte, 16)) };
    default:
      throw new Error(`unknown option "${text}"`);
  }
}

/** Writes a line. */
export function formatSegment(segment: SegmentText): string {
  const { flags, seq, dataBytes, ack, win, options } = segment;
  let text = `${flags === "" ? "-" : flags} ${seq}:${seq + dataBytes}`;
  if (ack !== undefined) text += ` ack ${ack}`;
  if (win !== undefined) text += ` win ${win}`;
  if (options !== undefined && options.length > 0) {
    text += ` <${options.map(formatOption).join(",")}>`;
  }
  return text;
}

function formatOption(option: Option): string {
  switch (option.kind) {
    case "mss":
    case "wscale":
      return `${option.kind} ${option.value}`;
    case "TS":
      return `TS ${option.value} ${option.echo}`;
    case "sack":
      return `sack ${option.blocks.map((block) => block.join(":")).join(" ")}`;
    case "raw":
      return `raw ${option.octets.map((value) => value.toString(16)).join(" ")}`;
    default:
      return option.kind;
  }
}

/** The control bits of a line's flags. */
export function flagBits(flags: string): number {
  return [...flags].reduce((bits, letter) => bits | BITS[LETTERS.indexOf(letter)]!, 0);
}

/** The letters of control bits. */
export function flagLetters(bits: number): string {
  return [...LETTERS].filter((_, i) => (bits & BITS[i]!) !== 0).join("");
}

/** Options as they stand in a header, padded; SACK edges and the echo get their bases added. */
export function optionBytes(
  options: readonly Option[],
  sackBase: number,
  tsBase: number,
): number[] {
  const out: number[] = [];
  for (const option of options) {
    switch (option.kind) {
      case "mss":
        out.push(2, 4, ...u16(option.value));
        break;
      case "wscale":
        out.push(3, 3, option.value);
        break;
      case "sackOK":
        out.push(4, 2);
        break;
      case "TS":
        out.push(8, 10, ...u32(option.value), ...u32((option.echo + tsBase) >>> 0));
        break;
      case "sack":
        out.push(5, 2 + 8 * option.blocks.length);
        for (const edge of option.blocks.flat()) out.push(...u32((edge + sackBase) >>> 0));
        break;
      case "nop":
        out.push(1);
        break;
      case "eol":
        out.push(0);
        break;
      case "raw":
        out.push(...option.octets);
    }
  }
  while (out.length % 4 !== 0) out.push(1);
  return out;
}

/** Takes options apart, without the padding. */
export function readOptions(bytes: Uint8Array, sackBase: number, tsBase: number): Option[] {
  const out: Option[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let i = 0; i < bytes.length;) {
    const kind = bytes[i]!;
    if (kind === 1) {
      i++;
      continue;
    }
    const length = bytes[i + 1] ?? 0;
    assert(length >= 2 && i + length <= bytes.length, "the gateway's options hold together");
    if (kind === 2) out.push({ kind: "mss", value: view.getUint16(i + 2) });
    else if (kind === 3) out.push({ kind: "wscale", value: bytes[i + 2]! });
    else if (kind === 4) out.push({ kind: "sackOK" });
    else if (kind === 8) {
      const value = (view.getUint32(i + 2) - tsBase) | 0;
      out.push({ kind: "TS", value, echo: view.getUint32(i + 6) });
    } else if (kind === 5) {
      const blocks: [number, number][] = [];
      for (let at = i + 2; at < i + length; at += 8) {
        blocks.push([(view.getUint32(at) - sackBase) | 0, (view.getUint32(at + 4) - sackBase) | 0]);
      }
      out.push({ kind: "sack", blocks });
    } else assert(false, `the gateway sent option ${kind}`);
    i += length;
  }
  return out;
}
