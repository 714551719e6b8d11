/**
 * What the wire tests share: a view that throws on a read outside its fence, octets from hex, and
 * a frame memory with octets in it.
 *
 * @module
 */
import { FrameMemory } from "../../lib/wire/memory.ts";

/** A DataView of which only `from` to `to` may be read. */
export class GuardedView extends DataView<ArrayBuffer> {
  readonly #from: number;
  readonly #to: number;

  constructor(buffer: ArrayBuffer, from: number, to: number) {
    super(buffer);
    this.#from = from;
    this.#to = to;
  }

  #check(at: number, bytes: number): void {
    if (at < this.#from || at + bytes > this.#to) {
      throw new RangeError(`Read of ${bytes} at ${at} outside ${this.#from}…${this.#to}`);
    }
  }

  override getUint8(at: number): number {
    this.#check(at, 1);
    return super.getUint8(at);
  }

  override getUint16(at: number): number {
    this.#check(at, 2);
    return super.getUint16(at);
  }

  override getUint32(at: number): number {
    this.#check(at, 4);
    return super.getUint32(at);
  }
}

/** Octets behind some others and before some others, all of which are fenced off. */
export function guarded(octets: Uint8Array, at = 5): GuardedView {
  const buffer = new ArrayBuffer(at + octets.length + 300);
  new Uint8Array(buffer).fill(0xff);
  new Uint8Array(buffer).set(octets, at);
  return new GuardedView(buffer, at, at + octets.length);
}

/** Octets from hex digits; spaces and line ends do not count. */
export function hex(text: string): Uint8Array<ArrayBuffer> {
  const digits = text.replace(/\s+/g, "");
  return Uint8Array.from(
    { length: digits.length / 2 },
    (_, i) => parseInt(digits.slice(2 * i, 2 * i + 2), 16),
  );
}

/** A memory full of 0xa5, so that an octet that a writer forgets shows. */
export function dirtyMemory(): FrameMemory {
  const memory = new FrameMemory(64 * 1024);
  memory.bytes.fill(0xa5);
  return memory;
}

/** A memory with octets at a position. */
export function memoryWith(octets: Uint8Array, at: number): FrameMemory {
  const memory = dirtyMemory();
  memory.bytes.set(octets, at);
  return memory;
}

/** The folded sum by definition: word by word, carry by carry. */
export function naiveSum(octets: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < octets.length; i += 2) {
    sum += (octets[i]! << 8) | (octets[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}
