/**
 * Seeds whose plans find bugs that were mended: with the bug planted again each of them fails. They
 * run with every test. Whoever changes the plans looks for such seeds anew (plant the bug, run
 * `deno task simulate`), since another plan makes them ordinary ones.
 *
 * @module
 */

/** Seeds by what they found. */
export const REGRESSION_SEEDS: Readonly<Record<string, readonly number[]>> = {
  "fragment sets that outlived their guest": [12, 20, 102],
  "an end that the embedded guest saw although a reset had taken bytes before it": [318, 427],
  "bytes that were acknowledged, dropped when the guest's kernel had forgotten the flow": [201_065],
  "bytes of a guest that has left, lost where none is waited for": [103, 297],
};
