/**
 * Values by prefix: all prefixes that cover an address, the longest first.
 *
 * Prefixes either contain each other or are apart. In ascending order, shorter ones first where they
 * begin alike, the last one that begins at or before an address is the longest that covers it, or
 * lies inside it. So a binary search finds that one, and from it a chain of enclosing prefixes leads
 * outwards: at most one for each length, 33 for IPv4 and 129 for IPv6.
 *
 * Addresses stand in one array, octets in network order.
 *
 * @module
 */

/** An address whose first `bits` bits count, and what it leads to. */
export interface PrefixEntry<T> {
  /** As many octets as the table's; zero behind the prefix. */
  readonly address: Uint8Array;
  /** How many bits count. */
  readonly bits: number;
  /** What a look-up gives. */
  readonly value: T;
}

/** Values by prefix. */
export class PrefixTable<T> {
  readonly #addressBytes: number;
  readonly #addresses: Uint8Array;
  readonly #bits: Uint8Array;
  readonly #values: T[];
  /** The next prefix outwards of each, or -1. */
  readonly #outer: Int32Array;

  /**
   * Makes a table.
   *
   * @param addressBytes 4 or 16.
   * @param entries Prefixes, none twice.
   */
  constructor(addressBytes: 4 | 16, entries: readonly PrefixEntry<T>[]) {
    const sorted = [...entries].sort((a, b) =>
      compareOctets(a.address, 0, b.address, addressBytes) || a.bits - b.bits
    );
    this.#addressBytes = addressBytes;
    this.#addresses = new Uint8Array(sorted.length * addressBytes);
    sorted.forEach(({ address }, i) => this.#addresses.set(address, i * addressBytes));
    this.#bits = Uint8Array.from(sorted, ({ bits }) => bits);
    this.#values = sorted.map(({ value }) => value);
    this.#outer = new Int32Array(sorted.length);
    sorted.forEach(({ address }, i) => this.#outer[i] = this.#covering(i - 1, address));
  }

  /** What all prefixes lead to that cover the address, the longest first. */
  covering(address: Uint8Array): T[] {
    const found: T[] = [];
    let at = this.#covering(this.#lastBefore(address), address);
    for (; at >= 0; at = this.#outer[at]!) found.push(this.#values[at]!);
    return found;
  }

  /** From a prefix outwards the first that covers the address, or -1. */
  #covering(from: number, address: Uint8Array): number {
    let at = from;
    while (at >= 0 && !this.#covers(at, address)) at = this.#outer[at]!;
    return at;
  }

  /** The last prefix that begins at or before the address, or -1. */
  #lastBefore(address: Uint8Array): number {
    const bytes = this.#addressBytes;
    let low = -1;
    let high = this.#values.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (compareOctets(this.#addresses, middle * bytes, address, bytes) <= 0) low = middle;
      else high = middle;
    }
    return low;
  }

  #covers(at: number, address: Uint8Array): boolean {
    const from = at * this.#addressBytes;
    const bits = this.#bits[at]!;
    const whole = bits >> 3;
    for (let i = 0; i < whole; i++) if (this.#addresses[from + i] !== address[i]) return false;
    const rest = bits & 7;
    return rest === 0 || ((this.#addresses[from + whole]! ^ address[whole]!) >> (8 - rest)) === 0;
  }
}

function compareOctets(a: Uint8Array, from: number, b: Uint8Array, count: number): number {
  for (let i = 0; i < count; i++) {
    const difference = a[from + i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}
