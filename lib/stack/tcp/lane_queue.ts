/**
 * The connections whose data waits for room in the lane of streams, in the order of their turns.
 *
 * An array of which the front is given up now and then: no allocation in the long run. Whoever is in
 * it says so itself (`awaitsLane`), so that nobody is in it twice; one that has closed meanwhile is
 * met, and found to have nothing to say, when its turn comes.
 *
 * @module
 */

/** What the queue keeps in each connection. */
export interface AwaitsLane {
  /** Whether it is in the queue. */
  awaitsLane: boolean;
}

const COMPACT_ENTRIES = 64;

/** A first-in first-out queue. */
export class LaneQueue<T extends AwaitsLane> {
  readonly #entries: T[] = [];
  #head = 0;

  /** Whether nobody waits. */
  get isEmpty(): boolean {
    return this.#head === this.#entries.length;
  }

  /** Who is next; only where somebody waits. */
  get first(): T {
    return this.#entries[this.#head]!;
  }

  /** Appends a connection, if it is not in the queue. */
  push(connection: T): void {
    if (connection.awaitsLane) return;
    connection.awaitsLane = true;
    this.#entries.push(connection);
  }

  /** Takes out the one that is next. */
  shift(): void {
    this.first.awaitsLane = false;
    this.#head++;
    if (this.isEmpty) {
      this.#entries.length = 0;
      this.#head = 0;
    } else if (this.#head >= COMPACT_ENTRIES && this.#head * 2 >= this.#entries.length) {
      this.#entries.copyWithin(0, this.#head);
      this.#entries.length -= this.#head;
      this.#head = 0;
    }
  }
}
