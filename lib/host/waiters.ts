/**
 * Those who wait for something to happen, each until then or until a signal of its own.
 *
 * Who has stopped waiting leaves nothing behind, as it would on a promise that is raced against time:
 * what is waited for may be days away, and be waited for by whoever connects.
 *
 * @module
 */

/** Who waits for something. */
export class Waiters {
  readonly #waits = new Set<() => void>();

  /** How many wait. */
  get size(): number {
    return this.#waits.size;
  }

  /** Resolves at the next `wake`, or at the signal. */
  wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = (): void => {
        this.#waits.delete(done);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      this.#waits.add(done);
      signal?.addEventListener("abort", done);
    });
  }

  /** What they wait for has happened. */
  wake(): void {
    for (const done of [...this.#waits]) done();
  }
}
