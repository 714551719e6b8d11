/**
 * What happens, to whoever listens: each listener has a bounded queue of its own, and one that falls
 * behind loses the oldest events and is told how many.
 *
 * Nobody who publishes ever waits, and a listener that has gone costs nothing.
 *
 * @module
 */

/** How many events wait for one listener. */
const QUEUE_MAX = 256;

/** An event, or how many were lost before the next one. */
export type Heard<T> = { readonly event: T; readonly lost: 0 } | {
  readonly event: null;
  readonly lost: number;
};

class Listener<T> {
  readonly #queue: T[] = [];
  #lost = 0;
  #wake: (() => void) | null = null;
  ended = false;

  push(event: T): void {
    if (this.#queue.length >= QUEUE_MAX) {
      this.#queue.shift();
      this.#lost++;
    }
    this.#queue.push(event);
    this.#stir();
  }

  end(): void {
    this.ended = true;
    this.#stir();
  }

  take(): Heard<T> | null {
    if (this.#lost > 0) {
      const lost = this.#lost;
      this.#lost = 0;
      return { event: null, lost };
    }
    const event = this.#queue.shift();
    return event === undefined ? null : { event, lost: 0 };
  }

  waits(): Promise<void> {
    return new Promise((resolve) => this.#wake = resolve);
  }

  #stir(): void {
    this.#wake?.();
    this.#wake = null;
  }
}

/** Publishes events of one kind. */
export class EventHub<T> {
  readonly #listeners = new Set<Listener<T>>();
  #closed = false;

  /** How many listen. */
  get size(): number {
    return this.#listeners.size;
  }

  /** Tells all listeners. */
  publish(event: T): void {
    for (const listener of this.#listeners) listener.push(event);
  }

  /** Ends all iterations, each after what waits for it. */
  close(): void {
    this.#closed = true;
    for (const listener of this.#listeners) listener.end();
  }

  /**
   * Listens from this call on, until the iteration is left, the signal fires or the hub closes.
   *
   * @param signal Ends the iteration.
   */
  listen(signal?: AbortSignal): AsyncIterableIterator<Heard<T>> {
    const listener = new Listener<T>();
    if (this.#closed || signal?.aborted) listener.ended = true;
    else this.#listeners.add(listener);
    const onAbort = () => listener.end();
    signal?.addEventListener("abort", onAbort);
    const leave = () => {
      this.#listeners.delete(listener);
      signal?.removeEventListener("abort", onAbort);
    };
    const leaveWith = (): IteratorResult<Heard<T>> => {
      leave();
      listener.end();
      return { done: true, value: undefined };
    };
    return {
      async next() {
        for (;;) {
          const heard = listener.take();
          if (heard !== null) return { done: false, value: heard };
          if (listener.ended) return leaveWith();
          await listener.waits();
        }
      },
      // Also where `next` was never called: the place among the listeners is given up.
      return: () => Promise.resolve(leaveWith()),
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }
}
