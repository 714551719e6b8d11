/**
 * A strict reader of pcapng, made from the draft and apart from the writer: every length, padding
 * and order is held, and what it does not know is an error.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

/** An option of a block. */
export interface ReadOption {
  readonly code: number;
  readonly value: Uint8Array;
}

/** A packet. */
export interface ReadPacket {
  /** Nanoseconds since 1970. */
  readonly time: bigint;
  readonly data: Uint8Array;
  readonly originalBytes: number;
  readonly direction: "in" | "out" | "unknown";
  readonly comment: string | null;
  /** Packets that were lost in front of it. */
  readonly lost: number;
}

/** A name. */
export interface ReadName {
  /** The octets, with dots between them. */
  readonly address: string;
  readonly names: readonly string[];
}

/** A file. */
export interface ReadFile {
  readonly application: string;
  readonly interface: { name: string; description: string; snapLength: number; filter: string };
  readonly packets: ReadPacket[];
  readonly names: ReadName[];
  /** `seen`, `accepted`, `lost` of each block of statistics. */
  readonly statistics: { seen: number; accepted: number; lost: number }[];
  /** Types of all blocks in their order. */
  readonly types: number[];
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Reads a whole file. */
export function readPcapng(bytes: Uint8Array): ReadFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const file = {
    application: "",
    interface: { name: "", description: "", snapLength: -1, filter: "" },
    packets: [] as ReadPacket[],
    names: [] as ReadName[],
    statistics: [] as { seen: number; accepted: number; lost: number }[],
    types: [] as number[],
  };
  for (let at = 0; at < bytes.length;) {
    assert(at + 12 <= bytes.length, "a block's frame is all there");
    const type = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    assert(length >= 12 && length % 4 === 0, `length ${length}`);
    assert(at + length <= bytes.length, "a block is all there");
    assertEquals(view.getUint32(at + length - 4, true), length, "both lengths");
    const body = bytes.subarray(at + 8, at + length - 4);
    readBlock(file, type, body);
    file.types.push(type);
    at += length;
  }
  assertEquals(file.types.slice(0, 2), [0x0a0d0d0a, 1], "section and interface come first");
  return file;
}

type Writable = { -readonly [key in keyof ReadFile]: ReadFile[key] };

function readBlock(file: Writable, type: number, body: Uint8Array): void {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  switch (type) {
    case 0x0a0d0d0a: {
      assertEquals(view.getUint32(0, true), 0x1a2b3c4d);
      assertEquals([view.getUint16(4, true), view.getUint16(6, true)], [1, 0]);
      assertEquals(view.getBigUint64(8, true), 0xffffffffffffffffn);
      file.application = text(only(readOptions(body, 16), [4]), 4) ?? "";
      return;
    }
    case 1: {
      assertEquals([view.getUint16(0, true), view.getUint16(2, true)], [1, 0]);
      const options = only(readOptions(body, 8), [2, 3, 9, 11]);
      assertEquals([...find(options, 9)!], [9]);
      const filter = find(options, 11);
      if (filter !== undefined) assertEquals(filter[0], 0);
      file.interface = {
        name: text(options, 2)!,
        description: text(options, 3)!,
        snapLength: view.getUint32(4, true),
        filter: filter === undefined ? "" : decoder.decode(filter.subarray(1)),
      };
      return;
    }
    case 4:
      file.names.push(...readNames(body));
      return;
    case 5: {
      assertEquals(view.getUint32(0, true), 0);
      const options = only(readOptions(body, 12), [4, 5, 6]);
      file.statistics.push({
        seen: number(find(options, 4)!),
        lost: number(find(options, 5)!),
        accepted: number(find(options, 6)!),
      });
      return;
    }
    case 6:
      file.packets.push(readPacket(body, view));
      return;
    default:
      throw new Error(`A block of type ${type}`);
  }
}

function readPacket(body: Uint8Array, view: DataView): ReadPacket {
  assertEquals(view.getUint32(0, true), 0, "interface");
  const captured = view.getUint32(12, true);
  const padded = (captured + 3) & ~3;
  const originalBytes = view.getUint32(16, true);
  assert(captured <= originalBytes);
  assertEquals([...body.subarray(20 + captured, 20 + padded)].every((octet) => octet === 0), true);
  const options = only(readOptions(body, 20 + padded), [1, 2, 4]);
  const flags = find(options, 2)!;
  assertEquals(flags.length, 4);
  const lost = find(options, 4);
  if (lost !== undefined) assertEquals(lost.length, 8);
  return {
    time: (BigInt(view.getUint32(4, true)) << 32n) + BigInt(view.getUint32(8, true)),
    data: body.slice(20, 20 + captured),
    originalBytes,
    direction: (["unknown", "in", "out"] as const)[flags[0]! & 3]!,
    comment: text(options, 1) ?? null,
    lost: lost === undefined ? 0 : number(lost),
  };
}

function readNames(body: Uint8Array): ReadName[] {
  const names: ReadName[] = [];
  const options = readOptions(body, 0);
  for (const { code, value } of options) {
    const addressBytes = code === 1 ? 4 : code === 2 ? 16 : NaN;
    assert(value.length > addressBytes, `a record of type ${code}`);
    const texts = decoder.decode(value.subarray(addressBytes)).split("\0");
    assertEquals(texts.pop(), "", "each name ends in a zero");
    names.push({ address: [...value.subarray(0, addressBytes)].join("."), names: texts });
  }
  return names;
}

/** Options or records: code, length, value, padding of zeros; an end that is the end. */
function readOptions(body: Uint8Array, from: number): ReadOption[] {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const options: ReadOption[] = [];
  for (let at = from;;) {
    assert(at + 4 <= body.length, "options have an end");
    const code = view.getUint16(at, true);
    const length = view.getUint16(at + 2, true);
    if (code === 0) {
      assertEquals([length, at + 4], [0, body.length], "the end is the end");
      return options;
    }
    const end = at + 4 + ((length + 3) & ~3);
    assert(end <= body.length, "an option is all there");
    assert(body.subarray(at + 4 + length, end).every((octet) => octet === 0), "padding");
    options.push({ code, value: body.slice(at + 4, at + 4 + length) });
    at = end;
  }
}

function only(options: ReadOption[], codes: readonly number[]): ReadOption[] {
  const seen = options.map(({ code }) => code);
  assert(seen.every((code) => codes.includes(code)), `options ${seen}`);
  assertEquals(new Set(seen).size, seen.length, "each once");
  return options;
}

function find(options: readonly ReadOption[], code: number): Uint8Array | undefined {
  return options.find((option) => option.code === code)?.value;
}

function text(options: readonly ReadOption[], code: number): string | undefined {
  const value = find(options, code);
  return value === undefined ? undefined : decoder.decode(value);
}

function number(value: Uint8Array): number {
  return Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0, true));
}
