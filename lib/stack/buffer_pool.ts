/**
 * Buffer memory for all flows: a buddy allocator over one region of frame memory.
 *
 * Blocks are powers of two, from `minBlockBytes` to 8 MiB. Of the free places that fit, the one
 * with the lowest offset is taken, because a page that was touched once never goes back to the
 * system. A complete binary tree of octets, one node per block of each size, holds the largest
 * free block below each node, so that taking and freeing climb the tree once: O(log n), with no
 * allocation.
 *
 * A block can be lent to a pending operation of the runtime, which may write into it until its
 * promise has settled. A lent block that is freed goes back only with `giveBack`. Freeing twice,
 * a wrong size, and lending what is not in use are bugs of ours and assert.
 *
 * A quota bounds what one guest takes from the pool that all guests share.
 *
 * @module
 */
import { assert } from "@std/assert";
import type { FrameMemory } from "../wire/memory.ts";

/** The largest block. */
export const MAX_BLOCK_BYTES: number = 8 * 1024 * 1024;

/** The part of a block's state that says its size: the order plus one; 0 where no block begins. */
const ORDER = 0x1f;
/** The block belongs to a pending operation. */
const LENT = 0x40;
/** The block was freed while it was lent. */
const FREED = 0x80;

/** Where buffers come from: the whole pool, or one guest's part of it. */
export interface BufferSource {
  /** The memory that offsets are positions in. */
  readonly memory: FrameMemory;
  /** The offset of a block of at least `bytes`; -1 where there is none to be had. */
  allocate(bytes: number): number;
  /** Gives back a block that was allocated with `bytes`. */
  free(at: number, bytes: number): void;
  /** Notes that a pending operation works on the block. */
  lend(at: number): void;
  /** The operation has settled: the bytes that went back with it, if the block was freed before. */
  giveBack(at: number): number;
}

/** A buddy allocator over the region [`at`, `at + sizeBytes`) of a memory. */
export class BufferPool implements BufferSource {
  /** The memory that offsets are positions in. */
  readonly memory: FrameMemory;
  readonly #at: number;
  readonly #minBlockBytes: number;
  readonly #maxOrder: number;
  /** Order of the root: the tree has 2^rootOrder leaves. */
  readonly #rootOrder: number;
  /** Order plus one of the largest free block below each node, root at 1; 0 for none. */
  readonly #largest: Uint8Array;
  /** By leaf: `ORDER`, `LENT` and `FREED` of the block that begins there. */
  readonly #blocks: Uint8Array;
  #usedBytes = 0;
  #lentBlocks = 0;

  /** Takes the region; a rest smaller than a block of `minBlockBytes` (a power of two) is unused. */
  constructor(memory: FrameMemory, at: number, sizeBytes: number, minBlockBytes: number = 1024) {
    assert(at >= 0 && at + sizeBytes <= memory.sizeBytes, "the pool's region is in the memory");
    assert(minBlockBytes > 0 && (minBlockBytes & (minBlockBytes - 1)) === 0, "a power of two");
    assert(minBlockBytes <= MAX_BLOCK_BYTES, "the smallest block is not above the largest");
    this.memory = memory;
    this.#at = at;
    this.#minBlockBytes = minBlockBytes;
    this.#maxOrder = log2(MAX_BLOCK_BYTES / minBlockBytes);
    const leaves = Math.floor(sizeBytes / minBlockBytes);
    this.#rootOrder = leaves <= 1 ? 0 : log2(leaves - 1) + 1;
    this.#largest = new Uint8Array(2 << this.#rootOrder);
    this.#blocks = new Uint8Array(1 << this.#rootOrder);
    this.#largest.fill(1, 1 << this.#rootOrder, (1 << this.#rootOrder) + leaves);
    for (let order = 1; order <= this.#rootOrder; order++) {
      // All of these nodes are alike but the one that the region's end may cut.
      const first = 1 << (this.#rootOrder - order);
      const whole = leaves >> order;
      this.#largest.fill(Math.min(order, this.#maxOrder) + 1, first, first + whole);
      if (whole < first) this.#join(first + whole, order);
    }
  }

  /** Bytes of all blocks that are not free, lent ones that were freed included. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Blocks that belong to a pending operation. */
  get lentBlocks(): number {
    return this.#lentBlocks;
  }

  /** The size of the block that `bytes` would take. */
  blockBytes(bytes: number): number {
    return this.#minBlockBytes << this.#orderOf(bytes);
  }

  /** The lowest offset where a block of at least `bytes` is free; -1 where there is none. */
  allocate(bytes: number): number {
    const order = this.#orderOf(bytes);
    const largest = this.#largest;
    if (order > this.#maxOrder || largest[1]! <= order) return -1;
    let node = 1;
    for (let level = this.#rootOrder; level > order; level--) {
      node *= 2;
      if (largest[node]! <= order) node++;
    }
    const leaf = (node << order) - (1 << this.#rootOrder);
    largest[node] = 0;
    this.#climb(node, order);
    this.#blocks[leaf] = order + 1;
    this.#usedBytes += this.#minBlockBytes << order;
    return this.#at + leaf * this.#minBlockBytes;
  }

  /** Gives back a block that was allocated with `bytes`; a lent one follows with `giveBack`. */
  free(at: number, bytes: number): void {
    const leaf = this.#leafOf(at);
    const state = this.#blocks[leaf]!;
    assert((state & FREED) === 0, "a block is freed once");
    assert((state & ORDER) === this.#orderOf(bytes) + 1, "a block is freed with its size");
    if ((state & LENT) !== 0) this.#blocks[leaf] = state | FREED;
    else this.#release(leaf);
  }

  /** Notes that a pending operation works on the block at `at`. */
  lend(at: number): void {
    const leaf = this.#leafOf(at);
    const state = this.#blocks[leaf]!;
    assert((state & (LENT | FREED)) === 0, "a block is lent once");
    this.#blocks[leaf] = state | LENT;
    this.#lentBlocks++;
  }

  /** The operation has settled: the bytes that went back with it, if the block was freed before. */
  giveBack(at: number): number {
    const leaf = this.#leafOf(at);
    const state = this.#blocks[leaf]!;
    assert((state & LENT) !== 0, "only a lent block is given back");
    this.#blocks[leaf] = state & ~LENT;
    this.#lentBlocks--;
    return (state & FREED) !== 0 ? this.#release(leaf) : 0;
  }

  /** A part of the pool for one guest, of at most `bytes`; parts may add up to more than the pool. */
  quota(bytes: number): BufferQuota {
    return new BufferQuota(this, bytes);
  }

  /** The order of the smallest block that holds `bytes`; above `#maxOrder` where none does. */
  #orderOf(bytes: number): number {
    if (bytes > MAX_BLOCK_BYTES) return this.#maxOrder + 1;
    const blocks = Math.ceil(bytes / this.#minBlockBytes);
    return blocks <= 1 ? 0 : log2(blocks - 1) + 1;
  }

  /** The leaf of a block in use. */
  #leafOf(at: number): number {
    const leaf = (at - this.#at) / this.#minBlockBytes;
    assert(((this.#blocks[leaf] ?? 0) & ORDER) !== 0, "a block in use begins here");
    return leaf;
  }

  #release(leaf: number): number {
    const order = (this.#blocks[leaf]! & ORDER) - 1;
    this.#blocks[leaf] = 0;
    const node = ((1 << this.#rootOrder) + leaf) >> order;
    this.#largest[node] = order + 1;
    this.#climb(node, order);
    const bytes = this.#minBlockBytes << order;
    this.#usedBytes -= bytes;
    return bytes;
  }

  /** Brings the nodes above one that changed up to date. */
  #climb(node: number, order: number): void {
    for (let parent = node >> 1, level = order + 1; parent > 0; parent >>= 1, level++) {
      this.#join(parent, level);
    }
  }

  /** Sets a node from its two halves, which make one block where both are free. */
  #join(node: number, order: number): void {
    const largest = this.#largest;
    const left = largest[2 * node]!;
    const right = largest[2 * node + 1]!;
    const whole = left === order && right === order && order <= this.#maxOrder;
    largest[node] = whole ? order + 1 : left > right ? left : right;
  }
}

const SMALL_BYTES = 64 * 1024;
const MEDIUM_BYTES = 256 * 1024;
const LARGE_BYTES = 1024 * 1024;

/** One guest's part of a pool: the same calls, with a bound of its own. */
export class BufferQuota implements BufferSource {
  readonly #pool: BufferPool;
  /** The bound. */
  readonly limitBytes: number;
  #usedBytes = 0;

  /** See `BufferPool.quota`. */
  constructor(pool: BufferPool, limitBytes: number) {
    this.#pool = pool;
    this.limitBytes = limitBytes;
  }

  /** The memory that offsets are positions in. */
  get memory(): FrameMemory {
    return this.#pool.memory;
  }

  /** Bytes of all blocks of this guest, lent ones that were freed included. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /**
   * Whether a flow may aim for a buffer of `bytes`: the fuller the quota, the smaller the buffers,
   * so that flows which hold a lot of memory leave some for those that come later.
   */
  mayGrowTo(bytes: number): boolean {
    const share = bytes <= SMALL_BYTES
      ? 0.875
      : bytes <= MEDIUM_BYTES
      ? 0.75
      : bytes <= LARGE_BYTES
      ? 0.5
      : 0.25;
    return this.#usedBytes + bytes <= share * this.limitBytes;
  }

  /** As `BufferPool.allocate`; -1 also where the bound would be passed. */
  allocate(bytes: number): number {
    const blockBytes = this.#pool.blockBytes(bytes);
    if (this.#usedBytes + blockBytes > this.limitBytes) return -1;
    const at = this.#pool.allocate(bytes);
    if (at >= 0) this.#usedBytes += blockBytes;
    return at;
  }

  /** As `BufferPool.free`. */
  free(at: number, bytes: number): void {
    const before = this.#pool.usedBytes;
    this.#pool.free(at, bytes);
    this.#returned(before - this.#pool.usedBytes);
  }

  /** As `BufferPool.lend`. */
  lend(at: number): void {
    this.#pool.lend(at);
  }

  /** As `BufferPool.giveBack`. */
  giveBack(at: number): number {
    const bytes = this.#pool.giveBack(at);
    this.#returned(bytes);
    return bytes;
  }

  #returned(bytes: number): void {
    this.#usedBytes -= bytes;
    assert(this.#usedBytes >= 0, "a guest gives back its own blocks only");
  }
}

/** The binary logarithm of a whole number from 1, rounded down. */
function log2(value: number): number {
  return 31 - Math.clz32(value);
}
