/**
 * How many operations of host sockets still work on rings, which outlive their relays.
 *
 * @module
 */

/** Counts them, and tells when there are none. */
export class Operations {
  #count = 0;
  #onIdle: (() => void) | null = null;

  /** One has begun. */
  begin(): void {
    this.#count++;
  }

  /** One has settled. */
  end(): void {
    if (--this.#count === 0) this.#onIdle?.();
  }

  /** Resolves once none is left. */
  idle(): Promise<void> {
    return new Promise((resolve) => this.#count === 0 ? resolve() : this.#onIdle = resolve);
  }
}
