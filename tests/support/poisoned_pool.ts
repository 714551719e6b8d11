/**
 * A buffer pool that leaves nothing of a block behind: what comes back is overwritten with poison,
 * and what is handed out must still be full of it. So bytes of an aborted flow can't be seen in
 * another, and a write into memory that was given back shows.
 *
 * Blocks of the largest size are an arena's; they are poisoned, but not looked through.
 *
 * @module
 */
import { BufferPool, MAX_BLOCK_BYTES } from "../../lib/stack/buffer_pool.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";

/** The octet that free memory is full of. */
export const POISON = 0xdb;
const POISON_WORD = 0xdbdb_dbdb | 0;

/** A pool whose free blocks hold nothing but poison. */
export class PoisonedPool extends BufferPool {
  /** Blocks that were freed while an operation worked on them, and came back with its end. */
  lateReturns = 0;
  readonly #words: Int32Array;
  /** Pages, as large as the smallest block, that were part of a checked block. */
  readonly #seen = new Set<number>();
  readonly #pageBytes: number;

  constructor(memory: FrameMemory, at: number, sizeBytes: number) {
    super(memory, at, sizeBytes);
    this.#words = new Int32Array(memory.bytes.buffer);
    this.#pageBytes = this.blockBytes(1);
  }

  override allocate(bytes: number): number {
    const at = super.allocate(bytes);
    if (at < 0) return at;
    const blockBytes = this.blockBytes(bytes);
    if (blockBytes < MAX_BLOCK_BYTES) this.#check(at, blockBytes);
    else this.memory.bytes.fill(POISON, at, at + blockBytes);
    return at;
  }

  override free(at: number, bytes: number): void {
    const before = this.usedBytes;
    super.free(at, bytes);
    this.#poison(at, before - this.usedBytes);
  }

  override giveBack(at: number): number {
    const bytes = super.giveBack(at);
    if (bytes > 0) this.lateReturns++;
    this.#poison(at, bytes);
    return bytes;
  }

  #poison(at: number, bytes: number): void {
    if (bytes > 0) this.memory.bytes.fill(POISON, at, at + bytes);
  }

  /** A page that was never handed out holds zeros; it becomes poison here. */
  #check(at: number, bytes: number): void {
    for (let page = at; page < at + bytes; page += this.#pageBytes) {
      const isFresh = !this.#seen.has(page) && this.#words[page >> 2] === 0;
      this.#checkPage(page, isFresh ? 0 : POISON_WORD);
      if (!this.#seen.has(page)) this.#seen.add(page);
      if (isFresh) this.memory.bytes.fill(POISON, page, page + this.#pageBytes);
    }
  }

  #checkPage(page: number, wanted: number): void {
    const words = this.#words;
    const end = (page + this.#pageBytes) >> 2;
    for (let i = page >> 2; i < end; i++) {
      if (words[i] === wanted) continue;
      const found = (words[i]! >>> 0).toString(16).padStart(8, "0");
      throw new Error(`Free memory was written to: ${found} at ${4 * i}`);
    }
  }
}

const MEMORY_BYTES = 512 * 1024 * 1024;
let shared: PoisonedPool | null = null;

/** One such pool for all of a process's tests: memory that was touched never goes back. */
export function poisonedPool(): PoisonedPool {
  shared ??= new PoisonedPool(new FrameMemory(MEMORY_BYTES), 0, MEMORY_BYTES);
  return shared;
}
