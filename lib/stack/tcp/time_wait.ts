/**
 * The connections in TIME_WAIT, in the order in which they came there: when the flow table is full
 * the oldest makes way.
 *
 * Those that have ended otherwise are passed over and forgotten at the next call, so the queue is
 * never longer than the table's waiting connections plus those that ended since the last call.
 *
 * @module
 */

/** What the queue needs to know of a connection. */
export interface Waiting {
  /** Whether it is still in TIME_WAIT. */
  readonly waiting: boolean;
}

const COMPACT_AT = 64;

/** A first-in first-out queue that forgets what no longer waits. */
export class TimeWaitQueue<T extends Waiting> {
  #queue: T[] = [];
  #head = 0;

  /** Appends a connection. */
  push(connection: T): void {
    this.#skip();
    this.#queue.push(connection);
  }

  /** Takes out the oldest one that still waits. */
  shift(): T | undefined {
    this.#skip();
    const connection = this.#queue[this.#head];
    if (connection !== undefined) this.#head++;
    return connection;
  }

  /** Forgets all. */
  clear(): void {
    this.#queue = [];
    this.#head = 0;
  }

  #skip(): void {
    while (this.#head < this.#queue.length && !this.#queue[this.#head]!.waiting) this.#head++;
    if (this.#head < COMPACT_AT || this.#head * 2 < this.#queue.length) return;
    this.#queue = this.#queue.slice(this.#head);
    this.#head = 0;
  }
}
