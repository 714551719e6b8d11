/**
 * The isolate's one frame memory and the pool over it, made with the first guest and shared by all.
 *
 * Pages that were never touched cost nothing, so the size is that of the worst case: the buffers
 * of all flows plus an arena for each guest.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import { type BufferPool, BufferPool as Pool, MAX_BLOCK_BYTES } from "../stack/buffer_pool.ts";
import { FrameMemory } from "../wire/memory.ts";

/** Guests that one isolate has room for beside full buffers. */
const GUESTS = 16;
const BLOCKS_PER_GUEST = 3;

let shared: { readonly memory: FrameMemory; readonly pool: BufferPool } | null = null;

/** The pool of this isolate; the first caller's `bufferBytes` sets its size. */
export function sharedPool(bufferBytes: number): BufferPool {
  if (shared === null) {
    const wanted = bufferBytes + GUESTS * BLOCKS_PER_GUEST * MAX_BLOCK_BYTES;
    const sizeBytes = Math.ceil(wanted / MAX_BLOCK_BYTES) * MAX_BLOCK_BYTES;
    const memory = new FrameMemory(sizeBytes);
    shared = { memory, pool: new Pool(memory, 0, sizeBytes) };
  }
  return shared.pool;
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
