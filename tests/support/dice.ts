/**
 * Dice that fall the same way for the same seed: a counter, scrambled (splitmix32).
 *
 * @module
 */

/** A stream of numbers from one seed. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** 32 bits. */
  word(): number {
    this.#state = (this.#state + 0x9e37_79b9) | 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 16), 0x21f0_aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a_2d97);
    return (x ^ (x >>> 15)) >>> 0;
  }

  /** A number from 0 up to 1. */
  share(): number {
    return this.word() / 0x1_0000_0000;
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor(this.share() * limit);
  }

  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True in that share of the throws. */
  chance(share: number): boolean {
    return this.share() < share;
  }

  /** One of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** Other dice, which these ones' later throws do not change. */
  fork(): Dice {
    return new Dice(this.word());
  }
}
