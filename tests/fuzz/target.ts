/**
 * What can be fuzzed.
 *
 * @module
 */
import type { Input, InputForm } from "./input.ts";
import type { Mutator } from "./mutate.ts";
import type { Signal } from "./signal.ts";

/** Something that takes inputs and must not break. */
export interface FuzzTarget {
  readonly name: string;
  /** What is fed with what, in one line. */
  readonly about: string;
  readonly form: InputForm;
  /** Inputs from which the corpus was begun, each with its name. */
  seeds(): Iterable<readonly [string, Input]>;
  /** Another input, made from one. */
  mutate(input: Input, mutator: Mutator): Input;
  /** Makes checksums right where a smaller input has lost them. */
  repair?(input: Input): Input;
  /** Takes an input; throws where anything is wrong. The same input always does the same. */
  run(input: Input, signal: Signal): void | Promise<void>;
}
