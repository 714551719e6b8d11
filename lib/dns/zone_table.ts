/**
 * Zones by name: which of them a name belongs to, the longest that ends it at a label's boundary.
 * One look-up for each label of the name, however many zones there are.
 *
 * @module
 */
import { normalizeName, parentName } from "./name.ts";

/** A zone and what is known of it. */
export interface Zone<T> {
  /** The zone's name as text, see name.ts. */
  readonly name: string;
  /** What belongs to it. */
  readonly value: T;
}

/** Zones, each with a value. */
export class ZoneTable<T> {
  readonly #zones = new Map<string, Zone<T>>();

  /**
   * @param zones Names of zones and their values; of two for one name the later counts.
   * @throws {RangeError} Where a name is none; a configuration was checked before.
   */
  constructor(zones: Iterable<readonly [string, T]>) {
    for (const [text, value] of zones) {
      const name = normalizeName(text);
      if (name === null) throw new RangeError(`Cannot make a zone of "${text}": not a host name`);
      this.#zones.set(name, { name, value });
    }
  }

  /** How many zones there are. */
  get size(): number {
    return this.#zones.size;
  }

  /**
   * The zone that a name is in.
   *
   * @param name The name as text, see name.ts.
   * @returns The zone of the longest name that `name` is or stands below; `null` without one.
   */
  find(name: string): Zone<T> | null {
    if (this.#zones.size === 0) return null;
    for (let at: string | null = name; at !== null; at = parentName(at)) {
      const zone = this.#zones.get(at);
      if (zone !== undefined) return zone;
    }
    return null;
  }
}
