/**
 * The connections whose data waits for room in the lane of streams, in the order of their turns.
 *
 * A list through the connections themselves: whoever ends leaves it at once, so a guest that reads
 * slowly and opens many can't make it hold what is gone, and every operation takes the same time.
 *
 * @module
 */

/** What the queue keeps in each connection; `false` and `null` at first. */
export interface AwaitsLane<T> {
  /** Whether it is in the queue. */
  awaitsLane: boolean;
  /** Neighbours in the queue. */
  lanePrevious: T | null;
  laneNext: T | null;
}

/** A first-in first-out queue that anyone may leave. */
export class LaneQueue<T extends AwaitsLane<T>> {
  #first: T | null = null;
  #last: T | null = null;

  /** Who is next; `null` where nobody waits. */
  get first(): T | null {
    return this.#first;
  }

  /** Appends a connection, if it is not in the queue. */
  push(connection: T): void {
    if (connection.awaitsLane) return;
    connection.awaitsLane = true;
    connection.lanePrevious = this.#last;
    if (this.#last === null) this.#first = connection;
    else this.#last.laneNext = connection;
    this.#last = connection;
  }

  /** Takes a connection out, if it is in the queue. */
  remove(connection: T): void {
    if (!connection.awaitsLane) return;
    const { lanePrevious, laneNext } = connection;
    if (lanePrevious === null) this.#first = laneNext;
    else lanePrevious.laneNext = laneNext;
    if (laneNext === null) this.#last = lanePrevious;
    else laneNext.lanePrevious = lanePrevious;
    connection.awaitsLane = false;
    connection.lanePrevious = null;
    connection.laneNext = null;
  }
}
