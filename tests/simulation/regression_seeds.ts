/**
 * Seeds that failed once, and what they had found. They run with every test; a plan that changes
 * what a seed stands for makes some of them ordinary ones.
 *
 * @module
 */

/** Seeds by what they found. */
export const REGRESSION_SEEDS: Readonly<Record<string, readonly number[]>> = {
  "fragment sets that outlived their guest": [29, 58, 73, 96],
  "an end that the embedded guest saw although a reset had taken bytes before it": [60, 90],
};
