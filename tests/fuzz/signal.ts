/**
 * What an input reached, as a map of 65,536 bits: an input that sets a bit that no other did is
 * worth keeping. Nothing is instrumented; targets say what they have seen, and the counters of the
 * stack are most of it.
 *
 * @module
 */

const BITS = 65_536;

/** Everything that was reached since the start. */
export class Signal {
  readonly #seen = new Uint8Array(BITS);
  /** Bits that were set since `begin`. */
  fresh = 0;
  /** All bits that are set. */
  total = 0;

  /** An input begins. */
  begin(): void {
    this.fresh = 0;
  }

  /** Something happened that these numbers tell apart from other things. */
  note(kind: number, a = 0, b = 0): void {
    let hash = Math.imul(kind + 1, 0x9e3779b1) ^
      Math.imul(a + 0x7f4a7c15, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15) ^ b, 0xc2b2ae35);
    const bit = (hash ^ (hash >>> 16)) & (BITS - 1);
    if (this.#seen[bit] === 1) return;
    this.#seen[bit] = 1;
    this.fresh++;
    this.total++;
  }

  /** A text that tells what happened, such as an error without its numbers. */
  noteText(kind: number, text: string): void {
    let hash = 0x811c9dc5;
    for (let i = 0; i < text.length; i++) {
      hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    }
    this.note(kind, hash & TEXTS_MASK);
  }
}

const KIND_COUNT = 1;
const KIND_STEP = 2;
const KIND_PAIR = 3;
/** Texts hold what an input says, and so are many. */
const TEXTS_MASK = 0x3ff;
/** Pairs are many: in so many kinds of them. */
const PAIRS_MASK = 0x7ff;

/** Turns an array of counts into signal: which grew in a step, after which others, and how far. */
export class CountTrace {
  readonly #signal: Signal;
  readonly #values: ArrayLike<number>;
  readonly #before: Float64Array;
  #last = 0;

  constructor(signal: Signal, values: ArrayLike<number>) {
    this.#signal = signal;
    this.#values = values;
    this.#before = Float64Array.from(values);
  }

  /** A step is over. */
  step(): void {
    let hash = 0;
    for (let i = 0; i < this.#before.length; i++) {
      const value = this.#values[i]!;
      if (value === this.#before[i]) continue;
      this.#before[i] = value;
      this.#signal.note(KIND_COUNT, i, 31 - Math.clz32(value));
      if (!VOLUME.has(i)) hash = Math.imul(hash ^ (i + 1), 0x01000193);
    }
    this.#signal.note(KIND_STEP, hash);
    this.#signal.note(KIND_PAIR, (this.#last ^ Math.imul(hash, 31)) & PAIRS_MASK);
    this.#last = hash;
  }
}

/** Counters that grow with every frame tell steps apart by nothing: the first four of the list. */
const VOLUME: ReadonlySet<number> = new Set([0, 1, 2, 3]);
