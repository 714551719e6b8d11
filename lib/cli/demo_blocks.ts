/**
 * The bulk data of the demo: 100 blocks of a million bytes, no two alike, and their digest.
 *
 * The digest is SHA-256 over the blocks' own SHA-256 digests, in order: the runtime hashes blocks
 * on another thread while the next ones come, which one running hash could not.
 *
 * @module
 */

/** Octets of a block. */
export const BLOCK_BYTES = 1_000_000;
/** Blocks of a transfer. */
export const BLOCK_COUNT = 100;

/** Each block begins this much further in the random bytes. */
const SHIFT_BYTES = 4_096;
/** What the system gives at once. */
const RANDOM_BYTES = 65_536;
/** Digests under way at once. */
const PENDING_MAX = 8;

/** Random blocks and what their digest must be. */
export class Blocks {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #expected: Uint8Array<ArrayBuffer>;

  private constructor(bytes: Uint8Array<ArrayBuffer>, expected: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes;
    this.#expected = expected;
  }

  /** Makes random blocks. */
  static async make(): Promise<Blocks> {
    const bytes = new Uint8Array(BLOCK_BYTES + BLOCK_COUNT * SHIFT_BYTES);
    for (let at = 0; at < bytes.length; at += RANDOM_BYTES) {
      crypto.getRandomValues(bytes.subarray(at, at + RANDOM_BYTES));
    }
    const digest = new BlockDigest();
    for (let i = 0; i < BLOCK_COUNT; i++) await digest.add(blockOf(bytes, i));
    return new Blocks(bytes, await digest.finish());
  }

  /** How many blocks there are. */
  get count(): number {
    return BLOCK_COUNT;
  }

  /** Octets of all blocks. */
  get totalBytes(): number {
    return BLOCK_COUNT * BLOCK_BYTES;
  }

  /** The digest of all blocks. */
  get expected(): Uint8Array<ArrayBuffer> {
    return this.#expected;
  }

  /** One block. */
  block(index: number): Uint8Array<ArrayBuffer> {
    return blockOf(this.#bytes, index);
  }

  /** A digest to hold against `expected`. */
  digest(): BlockDigest {
    return new BlockDigest();
  }
}

/** The digest of a stream of blocks. */
export class BlockDigest {
  readonly #block = new Uint8Array(BLOCK_BYTES);
  readonly #digests: Promise<ArrayBuffer>[] = [];
  #filled = 0;
  #total = 0;

  /** Octets so far. */
  get totalBytes(): number {
    return this.#total;
  }

  /** Reads once into the block at hand: the count, or `null` at the end. */
  async fill(read: (into: Uint8Array) => Promise<number | null>): Promise<number | null> {
    const count = await read(this.#block.subarray(this.#filled));
    if (count === null) return null;
    this.#filled += count;
    this.#total += count;
    if (this.#filled === BLOCK_BYTES) {
      await this.add(this.#block);
      this.#filled = 0;
    }
    return count;
  }

  /** Takes a whole block. */
  async add(block: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#digests.push(crypto.subtle.digest("SHA-256", block));
    if (this.#digests.length > PENDING_MAX) {
      await this.#digests[this.#digests.length - PENDING_MAX - 1];
    }
  }

  /** The digest of everything, with the part of a block that is left. */
  async finish(): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#filled > 0) await this.add(this.#block.slice(0, this.#filled));
    const digests = await Promise.all(this.#digests);
    const list = new Uint8Array(await new Blob(digests).arrayBuffer());
    return new Uint8Array(await crypto.subtle.digest("SHA-256", list));
  }
}

function blockOf(bytes: Uint8Array<ArrayBuffer>, index: number): Uint8Array<ArrayBuffer> {
  return bytes.subarray(index * SHIFT_BYTES, index * SHIFT_BYTES + BLOCK_BYTES);
}
