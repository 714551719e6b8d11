/**
 * Buffers of 64 KiB for datagrams, in memory of their own.
 *
 * A datagram that is longer than the buffer it is received into loses its end without a word, so
 * each socket needs a buffer for the longest. The memory is made in chunks of fixed
 * `WebAssembly.Memory`, whose pages cost nothing until touched: a slot with ordinary datagrams
 * takes one page. The lowest free slot is lent first, since touched pages never go back.
 *
 * Limits: `capacity` slots. A slot that is lent to a socket comes back only after the socket's
 * operation has settled; giving one back twice is a bug and throws.
 *
 * @module
 */
import { assert } from "@std/assert";

/** Octets of a slot, more than any datagram. */
export const DATAGRAM_SLOT_BYTES = 65_536;
/** Sends of one socket that may be under way: what one turn may bring. */
export const SENDS_A_SOCKET = 256;
const SLOTS_A_CHUNK = 1024;

/** One buffer. */
export class DatagramSlot {
  readonly index: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  lent = false;

  constructor(index: number, bytes: Uint8Array<ArrayBuffer>) {
    this.index = index;
    this.bytes = bytes;
  }
}

/** A fixed number of slots. */
export class DatagramSlots {
  readonly #capacity: number;
  readonly #chunks: ArrayBuffer[] = [];
  readonly #slots: DatagramSlot[] = [];
  /** One bit for each slot that was lent before and is free. */
  readonly #free: Uint32Array;
  /** No word before this one has a bit. */
  #lowestWord: number;
  #lent = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#free = new Uint32Array(Math.ceil(capacity / 32));
    this.#lowestWord = this.#free.length;
  }

  /** Slots that are lent. */
  get lent(): number {
    return this.#lent;
  }

  /** Lends a slot; `null` when all are lent or the system gives no memory. */
  take(): DatagramSlot | null {
    const slot = this.#takeFree() ?? this.#make();
    if (slot === null) return null;
    assert(!slot.lent, "a free slot is not lent");
    slot.lent = true;
    this.#lent++;
    return slot;
  }

  /** Takes a slot back. */
  give(slot: DatagramSlot): void {
    assert(slot.lent, "only a lent slot comes back");
    slot.lent = false;
    this.#lent--;
    const word = slot.index >> 5;
    this.#free[word]! |= 1 << (slot.index & 31);
    if (word < this.#lowestWord) this.#lowestWord = word;
  }

  #takeFree(): DatagramSlot | null {
    const free = this.#free;
    while (this.#lowestWord < free.length && free[this.#lowestWord] === 0) this.#lowestWord++;
    if (this.#lowestWord === free.length) return null;
    const bits = free[this.#lowestWord]!;
    const lowest = bits & -bits;
    free[this.#lowestWord]! &= ~lowest;
    return this.#slots[(this.#lowestWord << 5) + 31 - Math.clz32(lowest)]!;
  }

  #make(): DatagramSlot | null {
    const index = this.#slots.length;
    if (index === this.#capacity) return null;
    const place = index % SLOTS_A_CHUNK;
    if (place === 0) {
      const chunk = makeChunk(Math.min(SLOTS_A_CHUNK, this.#capacity - index));
      if (chunk === null) return null;
      this.#chunks.push(chunk);
    }
    const chunk = this.#chunks[this.#chunks.length - 1]!;
    const bytes = new Uint8Array(chunk, place * DATAGRAM_SLOT_BYTES, DATAGRAM_SLOT_BYTES);
    const slot = new DatagramSlot(index, bytes);
    this.#slots.push(slot);
    return slot;
  }
}

/** A page of WebAssembly is as long as a slot. */
function makeChunk(slots: number): ArrayBuffer | null {
  try {
    return new WebAssembly.Memory({ initial: slots, maximum: slots }).buffer as ArrayBuffer;
  } catch {
    return null;
  }
}
