/**
 * What happens, to whoever listens: each listener has a bounded queue of its own, and one that falls
 * behind loses the oldest events and is told how many: first of those that come in floods.
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

type Next<T> = IteratorResult<Heard<T>, undefined>;

const END = Object.freeze({ done: true, value: undefined } as const);

class Listener<T> {
  /** How many were lost since it listens. */
  dropped = 0;
  readonly #queue: T[] = [];
  /** How many of the queue come in floods. */
  #minor = 0;
  #lost = 0;
  #ended = false;
  /** Calls of `next` for which nothing has come yet, the earliest first. */
  readonly #waits: ((next: Next<T>) => void)[] = [];
  readonly #isMinor: (event: T) => boolean;

  constructor(isMinor: (event: T) => boolean) {
    this.#isMinor = isMinor;
  }

  push(event: T): void {
    const wait = this.#waits.shift();
    if (wait !== undefined) return wait({ done: false, value: { event, lost: 0 } });
    const isMinor = this.#isMinor(event);
    if (this.#queue.length >= QUEUE_MAX && !this.#makesRoom(isMinor)) return;
    this.#queue.push(event);
    if (isMinor) this.#minor++;
  }

  /** Drops one event for another one; false where that is the one to be dropped. */
  #makesRoom(isMinor: boolean): boolean {
    this.#lost++;
    this.dropped++;
    if (this.#minor === 0) {
      if (!isMinor) this.#queue.shift();
      return !isMinor;
    }
    this.#queue.splice(this.#queue.findIndex(this.#isMinor), 1);
    this.#minor--;
    return true;
  }

  /** Nothing more comes; what waits is still given. */
  end(): void {
    this.#ended = true;
    for (const wait of this.#waits.splice(0)) wait(END);
  }

  /** Nothing more is given. */
  leave(): void {
    this.#queue.length = 0;
    this.#minor = 0;
    this.#lost = 0;
    this.end();
  }

  next(): Promise<Next<T>> {
    const heard = this.#take();
    if (heard !== null) return Promise.resolve({ done: false, value: heard });
    if (this.#ended) return Promise.resolve(END);
    return new Promise((resolve) => this.#waits.push(resolve));
  }

  #take(): Heard<T> | null {
    if (this.#lost > 0) {
      const lost = this.#lost;
      this.#lost = 0;
      return { event: null, lost };
    }
    if (this.#queue.length === 0) return null;
    const event = this.#queue.shift()!;
    if (this.#isMinor(event)) this.#minor--;
    return { event, lost: 0 };
  }
}

/** What one listener hears. */
export interface HeardStream<T> extends AsyncIterableIterator<Heard<T>> {
  /** How many events it has lost. */
  readonly dropped: number;
}

/** Publishes events of one kind. */
export class EventHub<T> {
  /** Who listens, and what ends that. */
  readonly #listeners = new Map<Listener<T>, () => void>();
  readonly #isMinor: (event: T) => boolean;
  #closed = false;

  /** `isMinor` tells events that come in floods, and make way for others. */
  constructor(isMinor: (event: T) => boolean = () => false) {
    this.#isMinor = isMinor;
  }

  /** How many listen. */
  get size(): number {
    return this.#listeners.size;
  }

  /** Tells all listeners. */
  publish(event: T): void {
    for (const listener of this.#listeners.keys()) listener.push(event);
  }

  /** Ends all iterations, each after what waits for it. */
  close(): void {
    this.#closed = true;
    for (const end of [...this.#listeners.values()]) end();
  }

  /**
   * Listens from this call on, until the iteration is left, the signal fires or the hub closes.
   *
   * @param signal Ends the iteration, after what waits for it.
   */
  listen(signal?: AbortSignal): HeardStream<T> {
    const listener = new Listener<T>(this.#isMinor);
    const end = (): void => {
      this.#listeners.delete(listener);
      signal?.removeEventListener("abort", end);
      listener.end();
    };
    if (this.#closed || signal?.aborted) {
      listener.end();
    } else {
      this.#listeners.set(listener, end);
      signal?.addEventListener("abort", end);
    }
    return {
      get dropped() {
        return listener.dropped;
      },
      next: () => listener.next(),
      // Also where `next` was never called: the place among the listeners is given up.
      return: () => {
        end();
        listener.leave();
        return Promise.resolve(END);
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }
}
