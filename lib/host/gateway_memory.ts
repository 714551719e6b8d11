/**
 * The isolate's one frame memory and the pool over it, made with the first guest and shared by all.
 *
 * Pages that were never touched cost nothing, so the size is that of the worst case: the buffers
 * of all flows plus an arena for each guest.
 *
 * @module
 */
import { assert } from "@std/assert";
import { GatewayError } from "../config/errors.ts";
import { type BufferPool, BufferPool as Pool, MAX_BLOCK_BYTES } from "../stack/buffer_pool.ts";
import { FrameMemory } from "../wire/memory.ts";

/** Guests that an isolate has room for beside full buffers, where nobody says how many will come. */
const GUESTS = 16;
const BLOCKS_PER_GUEST = 3;
/** The most that positions of 31 bits reach: what a small integer is for the engine. */
const MEMORY_MAX_BYTES = 2 * 1024 * 1024 * 1024;

/** Most guests of one isolate: each has one block for its buffers then. */
export const GUESTS_MAX = 64;

let shared: { readonly memory: FrameMemory; readonly pool: BufferPool } | null = null;

/** The pool of this isolate; the first caller's `bufferBytes` sets its size. */
export function sharedPool(bufferBytes: number): BufferPool {
  shared ??= makePool(bufferBytes, GUESTS);
  return shared.pool;
}

/**
 * Sets the size of this isolate's memory by the guests that it is to serve, unless it has served some:
 * then it stays as it is.
 *
 * @param limits What each of them may hold at the most.
 * @returns How much buffer memory each of them gets, in bytes: their limits, or what an equal share
 * leaves where all of it together is more than there can be. None of them can take another's.
 */
export function reserveGuests(limits: readonly { readonly bufferBytes: number }[]): number[] {
  if (shared !== null) return limits.map(({ bufferBytes }) => bufferBytes);
  const arenas = limits.length * BLOCKS_PER_GUEST * MAX_BLOCK_BYTES;
  const blocks = Math.floor((MEMORY_MAX_BYTES - arenas) / limits.length / MAX_BLOCK_BYTES);
  assert(blocks >= 1, "no isolate is given more guests than it has room for");
  const shares = limits.map(({ bufferBytes }) => Math.min(bufferBytes, blocks * MAX_BLOCK_BYTES));
  shared = makePool(shares.reduce((sum, bytes) => sum + roundUp(bytes), 0), limits.length);
  return shares;
}

function makePool(bufferBytes: number, guests: number): NonNullable<typeof shared> {
  const sizeBytes = roundUp(bufferBytes + guests * BLOCKS_PER_GUEST * MAX_BLOCK_BYTES);
  const memory = new FrameMemory(sizeBytes);
  return { memory, pool: new Pool(memory, 0, sizeBytes) };
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / MAX_BLOCK_BYTES) * MAX_BLOCK_BYTES;
}

/** Regions that a guest's parts are laid out in, one behind the other, in blocks of the pool. */
export class Arena implements Disposable {
  readonly #pool: BufferPool;
  readonly #blocks: number[] = [];
  #at = 0;
  #left = 0;

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /**
   * Takes `bytes` octets, at most 8 MiB, aligned to 64.
   *
   * @throws {GatewayError} Where the isolate has no memory for another guest.
   */
  take(bytes: number): number {
    const size = (bytes + 63) & ~63;
    if (size > this.#left) {
      const at = this.#pool.allocate(MAX_BLOCK_BYTES);
      if (at < 0 || size > MAX_BLOCK_BYTES) {
        if (at >= 0) this.#pool.free(at, MAX_BLOCK_BYTES);
        throw new GatewayError(
          "closed",
          "cannot serve another guest: the isolate's frame memory is full",
          {
            hint: "Serve fewer guests in one process, or lower limits.tcpFlows and limits.udpFlows",
          },
        );
      }
      this.#blocks.push(at);
      this.#at = at;
      this.#left = MAX_BLOCK_BYTES;
    }
    const at = this.#at;
    this.#at += size;
    this.#left -= size;
    return at;
  }

  /** Gives everything back. */
  [Symbol.dispose](): void {
    for (const at of this.#blocks) this.#pool.free(at, MAX_BLOCK_BYTES);
    this.#blocks.length = 0;
    this.#left = 0;
  }
}
