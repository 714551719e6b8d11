/**
 * Values by name: all entries that cover a name, the most specific first.
 *
 * An entry is a name alone, or a wildcard: the name and all below it. A look-up tries the name, then
 * the wildcards of the name and of each that it lies below, so it takes at most as many steps as the
 * name has labels, 127.
 *
 * Names are texts of `dns/name.ts`, where a dot inside a label is written `\.` and parts nothing.
 *
 * @module
 */

/** A name, and what it leads to. */
export interface DomainEntry<T> {
  /** The name; of a wildcard without its star. */
  readonly name: string;
  /** Whether all names below it are meant too. */
  readonly wildcard: boolean;
  /** What a look-up gives. */
  readonly value: T;
}

/** Values by name. */
export class DomainTable<T> {
  readonly #names = new Map<string, T>();
  readonly #wildcards = new Map<string, T>();

  /** Makes a table of names and wildcards, none twice. */
  constructor(entries: readonly DomainEntry<T>[]) {
    for (const { name, wildcard, value } of entries) {
      (wildcard ? this.#wildcards : this.#names).set(name, value);
    }
  }

  /** What all entries lead to that cover the name, the most specific first. */
  covering(name: string): T[] {
    const found: T[] = [];
    const own = this.#names.get(name);
    if (own !== undefined) found.push(own);
    if (this.#wildcards.size === 0) return found;
    for (let at = 0; at >= 0; at = labelAfter(name, at)) {
      const value = this.#wildcards.get(name.slice(at));
      if (value !== undefined) found.push(value);
    }
    return found;
  }
}

/** Where the label behind that at `from` begins, or -1. */
function labelAfter(name: string, from: number): number {
  for (let at = from; at < name.length; at++) {
    if (name[at] === "\\") at++;
    else if (name[at] === ".") return at + 1;
  }
  return -1;
}
