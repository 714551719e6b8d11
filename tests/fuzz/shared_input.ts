/**
 * An input in memory that two threads share: how many were written, how long the latest is, and its
 * records, each behind its length.
 *
 * @module
 */
import type { Input } from "./input.ts";

/** Room for the longest input that is told of; of a longer one as much as fits. */
export const SHARED_BYTES: number = 4 * 1024 * 1024;
const HEAD_BYTES = 8;

/** Writes an input. */
export function inputInto(shared: SharedArrayBuffer, input: Input): void {
  const words = new Int32Array(shared, 0, 2);
  const view = new DataView(shared);
  const bytes = new Uint8Array(shared);
  let at = HEAD_BYTES;
  for (const record of input) {
    if (at + 4 + record.length > shared.byteLength) break;
    view.setUint32(at, record.length);
    bytes.set(record, at + 4);
    at += 4 + record.length;
  }
  words[1] = at;
  Atomics.add(words, 0, 1);
}

/** How many inputs were written so far. */
export function inputsSoFar(shared: SharedArrayBuffer): number {
  return Atomics.load(new Int32Array(shared, 0, 2), 0);
}

/** The latest input. */
export function inputFrom(shared: SharedArrayBuffer): Input {
  const end = new Int32Array(shared, 0, 2)[1]!;
  const view = new DataView(shared);
  const input: Uint8Array[] = [];
  for (let at = HEAD_BYTES; at < end;) {
    const length = view.getUint32(at);
    input.push(new Uint8Array(shared).slice(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return input;
}
