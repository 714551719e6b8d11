/**
 * Values by port: intervals that overlap, flattened once into disjoint ones in ascending order, so
 * that a look-up is a binary search however many there were.
 *
 * Where intervals overlap, the first in the list has the ports. Flattening is painting: the ports
 * where an interval begins or ends part all ports into slots, each interval paints those of its
 * slots that are still bare, and a slot that is painted is skipped from then on.
 *
 * @module
 */

/** Ports `first` to `last`, both included, and what they lead to. */
export interface PortInterval<T> {
  /** The lowest port, from 0. */
  readonly first: number;
  /** The highest port. */
  readonly last: number;
  /** What a look-up of one of them gives. */
  readonly value: T;
}

/** Values by port. */
export class PortTable<T> {
  /** First port of each slot, in ascending order; a slot ends where the next one begins. */
  readonly #firsts: number[] = [];
  readonly #values: (T | null)[] = [];

  /** Flattens intervals, those that win first. */
  constructor(intervals: readonly PortInterval<T>[]) {
    const edges = new Set<number>([0]);
    for (const { first, last } of intervals) edges.add(first).add(last + 1);
    const firsts = [...edges].sort((a, b) => a - b);
    const slotOf = new Map(firsts.map((first, slot) => [first, slot]));
    const values = new Array<T | null>(firsts.length).fill(null);
    const bare = new BareSlots(firsts.length);
    for (const { first, last, value } of intervals) {
      const end = slotOf.get(last + 1)!;
      for (let slot = bare.from(slotOf.get(first)!); slot < end; slot = bare.from(slot)) {
        values[slot] = value;
        bare.paint(slot);
      }
    }
    firsts.forEach((first, slot) => {
      if (slot > 0 && values[slot] === this.#values.at(-1)) return;
      this.#firsts.push(first);
      this.#values.push(values[slot]!);
    });
  }

  /** What a port leads to, or `null`. */
  find(port: number): T | null {
    let low = 0;
    let high = this.#firsts.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (this.#firsts[middle]! <= port) low = middle;
      else high = middle;
    }
    return this.#values[low]!;
  }
}

/** Which slots are not painted yet: each painted one leads to a later one. */
class BareSlots {
  readonly #next: Int32Array;

  constructor(count: number) {
    this.#next = Int32Array.from({ length: count + 1 }, (_, slot) => slot);
  }

  /** The first bare slot from here on; the count of slots where there is none. */
  from(slot: number): number {
    const next = this.#next;
    let found = slot;
    while (next[found] !== found) found = next[found]!;
    for (let each = slot; each !== found;) {
      const later = next[each]!;
      next[each] = found;
      each = later;
    }
    return found;
  }

  paint(slot: number): void {
    this.#next[slot] = slot + 1;
  }
}
