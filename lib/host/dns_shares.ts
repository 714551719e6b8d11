/**
 * Questions in flight by what they ask, so that equal ones share one query.
 *
 * Equal are messages of the same octets but for their id, over the same transport. They are found
 * by a hash that begins with two words of the host's dice; those that meet in it stand in a chain,
 * which is never longer than the questions in flight are many.
 *
 * @module
 */

/** What is kept of a question in flight. */
export interface Shareable {
  /** Its message. */
  readonly message: Uint8Array;
  /** Whether it came over TCP. */
  readonly isTcp: boolean;
  /** The table's own. */
  shareHash: number;
  /** The next one of the same hash, the table's own. */
  shareNext: this | null;
}

const FNV_PRIME = 0x01000193;

/** Finds questions in flight. */
export class Shares<T extends Shareable> {
  readonly #seed: number;
  /** The first one of each hash. */
  readonly #chains = new Map<number, T>();

  /** @param randomWord Sixteen bits that nobody can foretell. */
  constructor(randomWord: () => number) {
    this.#seed = (randomWord() << 16) | randomWord();
  }

  /** The hash of a question. */
  hash(message: Uint8Array, isTcp: boolean): number {
    let hash = isTcp ? ~this.#seed : this.#seed;
    for (let at = 2; at < message.length; at++) {
      hash = Math.imul(hash ^ message[at]!, FNV_PRIME);
    }
    // A number of 30 bits is one that needs no memory of its own.
    return (hash ^ (hash >>> 15)) & 0x3fffffff;
  }

  /** The question that is equal, or `null`. */
  find(hash: number, message: Uint8Array, isTcp: boolean): T | null {
    let entry = this.#chains.get(hash) ?? null;
    while (entry !== null) {
      if (entry.isTcp === isTcp && isEqual(entry.message, message)) return entry;
      entry = entry.shareNext;
    }
    return null;
  }

  /** Puts in a question of which there is no equal one. */
  add(entry: T, hash: number): void {
    entry.shareHash = hash;
    entry.shareNext = this.#chains.get(hash) ?? null;
    this.#chains.set(hash, entry);
  }

  /** Takes a question out that is in. */
  delete(entry: T): void {
    const first = this.#chains.get(entry.shareHash)!;
    if (first !== entry) {
      let before = first;
      while (before.shareNext !== entry) before = before.shareNext!;
      before.shareNext = entry.shareNext;
    } else if (entry.shareNext === null) {
      this.#chains.delete(entry.shareHash);
    } else {
      this.#chains.set(entry.shareHash, entry.shareNext);
    }
    entry.shareNext = null;
  }

  /** All questions. */
  *[Symbol.iterator](): Generator<T> {
    for (const first of [...this.#chains.values()]) {
      let entry: T | null = first;
      while (entry !== null) {
        const next: T | null = entry.shareNext;
        yield entry;
        entry = next;
      }
    }
  }
}

/** Whether two messages are equal but for their ids. */
function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 2; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}
