/**
 * What a listening socket does after `accept` has failed.
 *
 * A client that resets its connection before it was accepted fails that one step: the next client is
 * there already, and whoever does so again and again must not hold the others up. A lack of
 * descriptors, or a fault that does not end, is waited out.
 *
 * @module
 */
import { isNoDescriptors } from "./no_descriptors.ts";

/** So many failures in a row are no clients that have gone. */
const IN_A_ROW_MAX = 64;

/** Failures of one socket's `accept`. */
export class AcceptFaults {
  #inARow = 0;

  /** It has succeeded. */
  accepted(): void {
    this.#inARow = 0;
  }

  /** It has failed: whether to wait before the next step. */
  isToBeWaitedOut(error: unknown): boolean {
    this.#inARow++;
    return isNoDescriptors(error) || this.#inARow > IN_A_ROW_MAX;
  }
}
