/**
 * A byte ring in pooled memory: the one copy of a flow's bytes that the gateway keeps.
 *
 *     ┌──────────┬───────────────┬─────────────────┬────────┐
 *     │   free   │    content    │ early │ … │early│  free  │   and round the end
 *     └──────────┴───────────────┴─────────────────┴────────┘
 *                ▲ head          ▲ head + lengthBytes        capacityBytes, a power of two
 *
 * Spans are handed out as positions, so that sockets read and write in place. Bytes that came too
 * early are put behind the content and join it with `commit`, once the gap before them is filled.
 *
 * The memory is taken with the first `ensure` and given back with `release` or `discard`. A block
 * that is lent to a pending operation goes back to the pool only with `giveBack`. While an
 * operation writes into it the ring neither moves nor grows; while one only reads, the content may
 * go to a larger block, since both places hold the same bytes. When nothing is left and nothing is
 * lent the head returns to the start, so that the same few pages are used again.
 *
 * Not checked against the bytes' meaning: whoever commits has written.
 *
 * @module
 */
import { assert } from "@std/assert";
import type { FrameMemory } from "../wire/memory.ts";
import type { BufferSource } from "./buffer_pool.ts";

/** A ring of bytes; empty and without memory at first. */
export class Ring {
  readonly #pool: BufferSource;
  /** Offset of the block; -1 while there is none. */
  at = -1;
  /** Size of the block; 0 while there is none. */
  capacityBytes = 0;
  /** Index of the first byte in the block. */
  head = 0;
  /** Bytes of content. */
  lengthBytes = 0;
  /** Distance from the head to the end of the content or of the last early byte. */
  #extentBytes = 0;
  /** The block that a pending operation works on, which may have been given up since; -1 for none. */
  #lentAt = -1;
  /** Whether the pending operation writes into the block. */
  #lentToWriter = false;

  constructor(pool: BufferSource) {
    this.#pool = pool;
  }

  /** Whether a pending operation works on the ring's memory. */
  get lent(): boolean {
    return this.#lentAt >= 0;
  }

  /**
   * Takes memory, or more of it; content and early bytes keep their order.
   *
   * @returns Whether the ring holds `capacityBytes`: false where the pool has no such block, or
   * where the ring would have to move while an operation writes into it.
   */
  ensure(capacityBytes: number): boolean {
    if (capacityBytes <= this.capacityBytes) return true;
    if (this.lent && this.#lentToWriter) return false;
    const rounded = powerOfTwo(capacityBytes);
    const at = this.#pool.allocate(rounded);
    if (at < 0) return false;
    if (this.at >= 0) {
      this.#copyTo(0, at, this.#extentBytes, this.#pool.memory);
      this.#pool.free(this.at, this.capacityBytes);
    }
    this.at = at;
    this.capacityBytes = rounded;
    this.head = 0;
    return true;
  }

  /** Position of the first byte of content. */
  get readSpanAt(): number {
    return this.at + this.head;
  }

  /** Contiguous bytes of content there. */
  get readSpanBytes(): number {
    return Math.min(this.lengthBytes, this.capacityBytes - this.head);
  }

  /** Position of the byte at `offset` from the head. */
  spanAt(offset: number): number {
    return this.at + ((this.head + offset) & (this.capacityBytes - 1));
  }

  /** Contiguous bytes of content from `offset` on. */
  spanBytes(offset: number): number {
    const index = (this.head + offset) & (this.capacityBytes - 1);
    return Math.max(0, Math.min(this.lengthBytes - offset, this.capacityBytes - index));
  }

  /** Position behind the content. */
  get writeSpanAt(): number {
    return this.spanAt(this.lengthBytes);
  }

  /** Contiguous bytes there that the content does not fill. */
  get writeSpanBytes(): number {
    const index = (this.head + this.lengthBytes) & (this.capacityBytes - 1);
    return Math.min(this.capacityBytes - this.lengthBytes, this.capacityBytes - index);
  }

  /** Makes `bytes` that stand behind the content part of it. */
  commit(bytes: number): void {
    assert(bytes >= 0 && this.lengthBytes + bytes <= this.capacityBytes, "the ring has room");
    this.lengthBytes += bytes;
    if (this.#extentBytes < this.lengthBytes) this.#extentBytes = this.lengthBytes;
  }

  /** Drops the first `bytes` of the content. */
  consume(bytes: number): void {
    assert(bytes >= 0 && bytes <= this.lengthBytes, "the ring holds what is consumed");
    this.lengthBytes -= bytes;
    this.#extentBytes -= bytes;
    if (this.#extentBytes === 0 && !this.lent) this.head = 0;
    else this.head = (this.head + bytes) & (this.capacityBytes - 1);
  }

  /**
   * Copies bytes to a place counted from the head, round the end where need be; they become
   * content with a later `commit`.
   *
   * @param offset Distance from the head.
   * @param fromAt Position of the bytes in `memory`.
   * @param bytes How many.
   * @param memory The memory that they are in.
   */
  writeAtOffset(offset: number, fromAt: number, bytes: number, memory: FrameMemory): void {
    const end = offset + bytes;
    assert(offset >= 0 && bytes >= 0 && end <= this.capacityBytes, "the bytes fit the ring");
    const index = (this.head + offset) & (this.capacityBytes - 1);
    const first = Math.min(bytes, this.capacityBytes - index);
    const own = this.#pool.memory;
    move(own, this.at + index, memory, fromAt, first);
    if (first < bytes) move(own, this.at, memory, fromAt + first, bytes - first);
    if (this.#extentBytes < end) this.#extentBytes = end;
  }

  /**
   * Copies content out.
   *
   * @param offset Distance from the head.
   * @param toAt Where the bytes go in `memory`.
   * @param bytes How many.
   * @param memory The memory that they go to.
   */
  copyOut(offset: number, toAt: number, bytes: number, memory: FrameMemory): void {
    assert(offset >= 0 && bytes >= 0 && offset + bytes <= this.lengthBytes, "it is content");
    this.#copyTo(offset, toAt, bytes, memory);
  }

  /** Notes that a pending operation reads from the ring. */
  lendToReader(): void {
    this.#lend(false);
  }

  /** Notes that a pending operation writes into the ring. */
  lendToWriter(): void {
    this.#lend(true);
  }

  /** The operation has settled; memory that was given up in between goes back to the pool. */
  giveBack(): void {
    assert(this.lent, "only a lent ring is given back");
    this.#pool.giveBack(this.#lentAt);
    this.#lentAt = -1;
  }

  /** Gives back the memory of an empty ring. */
  release(): void {
    assert(this.lengthBytes === 0, "only an empty ring is released");
    this.discard();
  }

  /** Gives back the memory and what is in it: the connection is gone. */
  discard(): void {
    if (this.at < 0) return;
    this.#pool.free(this.at, this.capacityBytes);
    this.at = -1;
    this.capacityBytes = 0;
    this.head = 0;
    this.lengthBytes = 0;
    this.#extentBytes = 0;
  }

  #lend(toWriter: boolean): void {
    assert(this.at >= 0 && !this.lent, "a ring has memory and is lent once");
    this.#pool.lend(this.at);
    this.#lentAt = this.at;
    this.#lentToWriter = toWriter;
  }

  #copyTo(offset: number, toAt: number, bytes: number, memory: FrameMemory): void {
    const index = (this.head + offset) & (this.capacityBytes - 1);
    const first = Math.min(bytes, this.capacityBytes - index);
    const own = this.#pool.memory;
    move(memory, toAt, own, this.at + index, first);
    if (first < bytes) move(memory, toAt + first, own, this.at, bytes - first);
  }
}

/** Copies between two positions, mostly of one memory. */
function move(
  to: FrameMemory,
  toAt: number,
  from: FrameMemory,
  fromAt: number,
  bytes: number,
): void {
  if (to === from) to.copy(toAt, fromAt, bytes);
  else to.bytes.set(from.bytes.subarray(fromAt, fromAt + bytes), toAt);
}

/** The smallest power of two that is not below `bytes`, which is at most 2^30. */
export function powerOfTwo(bytes: number): number {
  return bytes <= 1 ? 1 : 1 << (32 - Math.clz32(bytes - 1));
}
