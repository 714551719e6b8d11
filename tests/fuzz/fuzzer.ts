/**
 * The search: the corpus first, then inputs made from it. An input that reaches something new is
 * kept and made more of. Everything follows from the corpus and one seed.
 *
 * @module
 */
import { type Input, inputBytes } from "./input.ts";
import { failureOf, minimise } from "./minimise.ts";
import { Mutator } from "./mutate.ts";
import { Random } from "./random.ts";
import { Signal } from "./signal.ts";
import type { FuzzTarget } from "./target.ts";

/** Most inputs that are kept, and octets of all of them. */
const KEPT_MAX = 4096;
const KEPT_BYTES_MAX = 16 * 1024 * 1024;
/** The latest of the kept are the ones that lead on. */
const RECENT = 24;
const STACKED_MAX = 6;

/** An input that breaks its target. */
export interface Finding {
  readonly input: Input;
  readonly error: unknown;
  /** Inputs that were run before it. */
  readonly after: number;
}

/** What a search looks on and may break off. */
export interface Watch {
  /** Called in front of every input. */
  before?(input: Input): void;
}

/** One search. */
export class Fuzzer {
  readonly signal = new Signal();
  /** Inputs that were run. */
  runs = 0;
  readonly #target: FuzzTarget;
  readonly #watch: Watch;
  readonly #random: Random;
  readonly #mutator: Mutator;
  readonly #kept: Input[];
  #keptBytes: number;
  #corpusAt = 0;
  readonly #corpusInputs: number;

  constructor(target: FuzzTarget, corpus: readonly Input[], seed: number, watch: Watch = {}) {
    this.#target = target;
    this.#watch = watch;
    this.#random = new Random(seed);
    this.#mutator = new Mutator(this.#random, () => this.#random.pick(this.#kept));
    this.#kept = [...corpus];
    if (this.#kept.length === 0) this.#kept.push([new Uint8Array(1)]);
    this.#corpusInputs = this.#kept.length;
    this.#keptBytes = this.#kept.reduce((sum, input) => sum + inputBytes(input), 0);
  }

  /** Inputs that are made more of. */
  get kept(): number {
    return this.#kept.length;
  }

  /** Runs one input; the finding where it breaks the target. */
  async step(): Promise<Finding | null> {
    const fromCorpus = this.#corpusAt < this.#corpusInputs;
    const input = fromCorpus ? this.#kept[this.#corpusAt++]! : this.#make();
    this.signal.begin();
    this.#watch.before?.(input);
    try {
      const running = this.#target.run(input, this.signal);
      if (running !== undefined) await running;
    } catch (error) {
      return { input, error, after: this.runs };
    }
    this.runs++;
    if (!fromCorpus && this.signal.fresh > 0) this.#keep(input);
    return null;
  }

  #make(): Input {
    const random = this.#random;
    const kept = this.#kept;
    // A quarter begins afresh, so that what few inputs lead to is not lost among what many do.
    let input = random.once(4) ? kept[random.below(this.#corpusInputs)]! : kept[
      kept.length - 1 -
      random.below(random.once(2) ? kept.length : this.#recent)
    ]!;
    const stacked = random.once(2) ? 1 : 1 + random.below(STACKED_MAX);
    for (let i = 0; i < stacked; i++) {
      input = this.#target.mutate(input, this.#mutator);
    }
    return input;
  }

  get #recent(): number {
    return Math.min(RECENT, this.#kept.length);
  }

  #keep(input: Input): void {
    const bytes = inputBytes(input);
    if (
      this.#kept.length >= KEPT_MAX || this.#keptBytes + bytes > KEPT_BYTES_MAX
    ) {
      const which = this.#corpusInputs +
        this.#random.below(this.#kept.length - this.#corpusInputs || 1);
      const [gone = []] = this.#kept.splice(which, 1);
      this.#keptBytes -= inputBytes(gone);
    }
    this.#kept.push(input);
    this.#keptBytes += bytes;
  }

  /** The finding with a small input that breaks the target in the same way. */
  async smaller(finding: Finding): Promise<Finding> {
    const failure = failureOf(finding.error);
    let { error } = finding;
    const input = await minimise(finding.input, async (candidate) => {
      this.#watch.before?.(candidate);
      try {
        await this.#target.run(candidate, new Signal());
        return false;
      } catch (found) {
        if (failureOf(found) !== failure) return false;
        error = found;
        return true;
      }
    }, { repair: this.#target.repair });
    return { ...finding, input, error };
  }
}
