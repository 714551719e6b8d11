/**
 * Makes a failing input small: leaves out records, then octets, by halves first, then turns what
 * is left into zeros. Whatever still fails the same way replaces the input.
 *
 * Bounded by a number of tries, not by time, so the same failure always gives the same small input.
 *
 * @module
 */
import { type Input, inputBytes } from "./input.ts";
import { splice } from "./mutate.ts";

/** Most tries. */
export const TRIES_MAX = 4000;

/** What a search may do beyond leaving out. */
export interface MinimiseOptions {
  /** Makes checksums right; tried where an input without that does not fail. */
  readonly repair?: ((input: Input) => Input) | undefined;
  readonly triesMax?: number;
}

/** The smallest input found for which `fails` is true; `input` itself fails. */
export async function minimise(
  input: Input,
  fails: (input: Input) => Promise<boolean>,
  { repair, triesMax = TRIES_MAX }: MinimiseOptions = {},
): Promise<Input> {
  const search = new Search(input, fails, triesMax, repair);
  for (let size = Infinity; search.sizeNow < size && search.left > 0;) {
    size = search.sizeNow;
    await search.dropRecords();
    await search.cutRecords();
  }
  await search.clearOctets();
  return search.best;
}

class Search {
  best: Input;
  left: number;
  readonly #fails: (input: Input) => Promise<boolean>;
  readonly #repair: ((input: Input) => Input) | undefined;

  constructor(
    input: Input,
    fails: (input: Input) => Promise<boolean>,
    triesMax: number,
    repair: ((input: Input) => Input) | undefined,
  ) {
    this.best = input;
    this.left = triesMax;
    this.#fails = fails;
    this.#repair = repair;
  }

  get sizeNow(): number {
    return inputBytes(this.best) + this.best.length;
  }

  async #take(candidate: Input): Promise<boolean> {
    if (await this.#try(candidate)) return true;
    return this.#repair !== undefined &&
      await this.#try(this.#repair(candidate));
  }

  async #try(candidate: Input): Promise<boolean> {
    if (this.left <= 0) return false;
    this.left--;
    if (!await this.#fails(candidate)) return false;
    this.best = candidate;
    return true;
  }

  async dropRecords(): Promise<void> {
    for (let size = this.best.length; size >= 1; size >>= 1) {
      for (let at = 0; at < this.best.length;) {
        const { best } = this;
        if (
          !await this.#take([...best.slice(0, at), ...best.slice(at + size)])
        ) at += size;
      }
    }
  }

  async cutRecords(): Promise<void> {
    for (let which = 0; which < this.best.length; which++) {
      for (let size = this.best[which]!.length; size >= 1; size >>= 1) {
        for (let at = 0; at < this.best[which]!.length;) {
          const record = this.best[which]!;
          const cut = splice(record, at, size, new Uint8Array(0));
          if (!await this.#take(this.best.with(which, cut))) at += size;
        }
      }
    }
  }

  async clearOctets(): Promise<void> {
    for (let which = 0; which < this.best.length; which++) {
      for (let at = 0; at < this.best[which]!.length; at++) {
        if (this.best[which]![at] === 0) continue;
        const record = this.best[which]!.slice();
        record[at] = 0;
        await this.#take(this.best.with(which, record));
      }
    }
  }
}

/** What makes two failures the same: the kind and the message, without its numbers. */
export function failureOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [message = ""] = error.message.split("\n", 1);
  const text = message.replace(/0x[0-9a-f]+|[0-9]+/gi, "#").slice(0, 200);
  return `${error.name}: ${text}`;
}
