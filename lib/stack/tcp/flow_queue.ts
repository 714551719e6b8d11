/**
 * Connections in the order in which they came into a state: those in TIME_WAIT, of which the oldest
 * makes way when the flow table is full, and those whose SYN-ACK has no answer yet. A connection is
 * in one queue at most.
 *
 * A list through the connections themselves: whoever ends leaves it at once, so it holds nothing
 * that is gone, however long its first one waits, and every operation takes the same time.
 *
 * @module
 */

/** What the queue keeps in each connection; both `null` at first. */
export interface Waiting<T> {
  /** Neighbours in the queue. */
  waitPrevious: T | null;
  waitNext: T | null;
}

/** A first-in first-out queue that anyone may leave. */
export class FlowQueue<T extends Waiting<T>> {
  #first: T | null = null;
  #last: T | null = null;

  /** Appends a connection that is in no queue. */
  push(connection: T): void {
    connection.waitPrevious = this.#last;
    if (this.#last === null) this.#first = connection;
    else this.#last.waitNext = connection;
    this.#last = connection;
  }

  /** The oldest one. */
  get first(): T | null {
    return this.#first;
  }

  /** Takes a connection out, if it is in this queue; it must not be in another one. */
  remove(connection: T): void {
    const { waitPrevious, waitNext } = connection;
    if (waitPrevious !== null) waitPrevious.waitNext = waitNext;
    else if (this.#first === connection) this.#first = waitNext;
    else return;
    if (waitNext !== null) waitNext.waitPrevious = waitPrevious;
    else this.#last = waitPrevious;
    connection.waitPrevious = null;
    connection.waitNext = null;
  }
}
