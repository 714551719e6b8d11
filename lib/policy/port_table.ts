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
  /** First port of each stretch, in ascending order; a stretch ends where the next one begins. */
  readonly #firsts: number[] = [];
  readonly #values: (T | null)[] = [];

  /** Flattens intervals, those that win first. */
  constructor(intervals: readonly PortInterval<T>[]) {
    const edges = edgesOf(intervals);
    const values = new Array<T | null>(edges.length).fill(null);
    const bare = new BareSlots(edges.length);
    for (const { first, last, value } of intervals) {
      const end = slotOf(edges, last + 1);
      for (let slot = bare.from(slotOf(edges, first)); slot < end; slot = bare.from(slot)) {
        values[slot] = value;
        bare.paint(slot);
      }
    }
    values.forEach((value, slot) => {
      if (slot > 0 && value === this.#values.at(-1)) return;
      this.#firsts.push(edges[slot]!);
      this.#values.push(value);
    });
  }

  /** What a port leads to, or `null`. */
  find(port: number): T | null {
    return this.#values[slotOf(this.#firsts, port)]!;
  }
}

/** Port 0 and all ports at which an interval begins or has just ended, in ascending order. */
function edgesOf(intervals: readonly PortInterval<unknown>[]): Int32Array {
  const edges = new Int32Array(intervals.length * 2 + 1);
  intervals.forEach(({ first, last }, i) => {
    edges[2 * i] = first;
    edges[2 * i + 1] = last + 1;
  });
  edges.sort();
  let count = 1;
  for (const edge of edges) if (edge !== edges[count - 1]) edges[count++] = edge;
  return edges.subarray(0, count);
}

/** The slot that a port is in: the last edge at or before it. */
function slotOf(edges: ArrayLike<number>, port: number): number {
  let low = 0;
  let high = edges.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (edges[middle]! <= port) low = middle;
    else high = middle;
  }
  return low;
}

/** Which slots are not painted yet: each painted one leads to a later one. */
class BareSlots {
  readonly #next: Int32Array;

  constructor(count: number) {
    this.#next = new Int32Array(count + 1);
    for (let slot = 0; slot <= count; slot++) this.#next[slot] = slot;
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
