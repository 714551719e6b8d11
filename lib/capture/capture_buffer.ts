/**
 * Where the blocks of a capture wait for whoever takes them: two buffers of a fixed size, of which
 * one is filled while the other is being written somewhere.
 *
 * Nobody who fills it ever waits: a block for which there is no room is lost, and counted. What is
 * taken are whole blocks, in their order, and they stay as they are until the next are taken.
 *
 * @module
 */

/** Two buffers for blocks. */
export class CaptureBuffer {
  readonly #halves: readonly [Half, Half];
  #filling: Half;
  #filledBytes = 0;
  /** Blocks that found no room since the last one that did. */
  lost = 0;

  /** Makes two buffers of `halfBytes` each. */
  constructor(halfBytes: number) {
    this.#halves = [new Half(halfBytes), new Half(halfBytes)];
    this.#filling = this.#halves[0];
  }

  /** The octets of the buffer that is being filled. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#filling.bytes;
  }

  /** The same octets. */
  get view(): DataView<ArrayBuffer> {
    return this.#filling.view;
  }

  /** How many bytes wait to be taken. */
  get filledBytes(): number {
    return this.#filledBytes;
  }

  /** Where a block of so many bytes goes, in `bytes` and `view`; -1 where there is no room. */
  begin(blockBytes: number): number {
    const at = this.#filledBytes;
    if (at + blockBytes <= this.#filling.bytes.length) return at;
    this.lost++;
    return -1;
  }

  /** The block at `begin`'s position is written. */
  end(blockBytes: number): void {
    this.#filledBytes += blockBytes;
    this.lost = 0;
  }

  /** Takes a whole block, as an array; false where there is no room. */
  push(block: Uint8Array): boolean {
    const at = this.#filledBytes;
    if (at + block.length > this.#filling.bytes.length) return false;
    this.#filling.bytes.set(block, at);
    this.#filledBytes += block.length;
    return true;
  }

  /** What was filled; it is the taker's until the next call. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = this.#filling.bytes.subarray(0, this.#filledBytes);
    const [first, second] = this.#halves;
    this.#filling = this.#filling === first ? second : first;
    this.#filledBytes = 0;
    return taken;
  }
}

class Half {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.view = new DataView(this.bytes.buffer);
  }
}
