/**
 * The flows of one guest by what their packets carry: tag, two addresses and two ports.
 *
 * A chained hash table in typed-array columns. A flow's handle is its row, which stays while others
 * come and go. The hash is keyed (`siphash.ts`), so that a guest can't choose its ports into one
 * chain. Packets of one flow come in trains and a few flows alternate, so the rows found last are
 * remembered by a cheap mix of the ports and tried first; that costs a guest who defeats it nothing
 * but its own hashing.
 *
 * A lookup writes the key into the table's own words first (`key4`, `key6`), then calls `find`,
 * `insert`: no allocation. The table holds `capacity` flows and never grows; the key column takes
 * 40 octets a flow, of which untouched pages cost nothing.
 *
 * @module
 */
import { assert } from "@std/assert";
import { KeyedHash } from "./siphash.ts";

/** Words of a key: guest address, peer address, ports, tag with the family. */
const KEY_WORDS = 10;
const PORTS = 8;
const TAG = 9;
/** Rows that are tried before the hash. */
const RECENT = 256;

/** Flows by key; `T` is what stands for a flow. */
export class FlowTable<T extends NonNullable<unknown>> {
  /** Most flows that it holds. */
  readonly capacity: number;
  readonly #hash: KeyedHash;
  /** The key of the next call. */
  readonly #key: Uint32Array = new Uint32Array(KEY_WORDS);
  /** Whether the key's addresses fill all their words. */
  #isWide = false;
  #bucket = -1;
  /** By row: key, bucket, next row of the bucket or of the free rows, flow. */
  readonly #keys: Uint32Array;
  readonly #buckets: Int32Array;
  readonly #next: Int32Array;
  readonly #values: (T | undefined)[] = [];
  /** By bucket: its first row, or -1. */
  readonly #first: Int32Array;
  readonly #recent: Int32Array = new Int32Array(RECENT).fill(-1);
  #firstFree = -1;
  #size = 0;

  /** `seed` is 128 random bits: four words. */
  constructor(capacity: number, seed: Uint32Array) {
    assert(capacity >= 1 && capacity <= 2 ** 24, "the capacity is in bounds");
    this.capacity = capacity;
    this.#hash = new KeyedHash(seed);
    this.#keys = new Uint32Array(capacity * KEY_WORDS);
    this.#buckets = new Int32Array(capacity);
    this.#next = new Int32Array(capacity);
    this.#first = new Int32Array(2 ** Math.ceil(Math.log2(capacity))).fill(-1);
  }

  /** Flows in the table. */
  get size(): number {
    return this.#size;
  }

  /**
   * Sets the key of the next calls, for IPv4.
   *
   * @param view Where the addresses are, 4 octets each.
   * @param tag Tells apart what else must differ, such as the protocol: 0 to 2^31 - 1.
   */
  key4(
    view: DataView,
    tag: number,
    guestAt: number,
    peerAt: number,
    guestPort: number,
    peerPort: number,
  ): void {
    const key = this.#key;
    if (this.#isWide) key.fill(0, 0, PORTS);
    this.#isWide = false;
    key[0] = view.getUint32(guestAt);
    key[4] = view.getUint32(peerAt);
    key[PORTS] = (guestPort << 16) | peerPort;
    key[TAG] = tag << 1;
    this.#bucket = -1;
  }

  /** As `key4`, for IPv6: the addresses have 16 octets each. */
  key6(
    view: DataView,
    tag: number,
    guestAt: number,
    peerAt: number,
    guestPort: number,
    peerPort: number,
  ): void {
    const key = this.#key;
    this.#isWide = true;
    for (let i = 0; i < 4; i++) {
      key[i] = view.getUint32(guestAt + 4 * i);
      key[4 + i] = view.getUint32(peerAt + 4 * i);
    }
    key[PORTS] = (guestPort << 16) | peerPort;
    key[TAG] = (tag << 1) | 1;
    this.#bucket = -1;
  }

  /** The flow of the key. */
  find(): T | undefined {
    const recent = this.#recentOf();
    const tried = this.#recent[recent]!;
    if (tried >= 0 && this.#values[tried] !== undefined && this.#matches(tried)) {
      return this.#values[tried];
    }
    const row = this.#search();
    if (row < 0) return undefined;
    this.#recent[recent] = row;
    return this.#values[row];
  }

  /**
   * Adds a flow under the key.
   *
   * @returns Its handle; -1 where the table is full.
   * @throws {Error} Where the key has a flow already.
   */
  insert(value: T): number {
    if (this.#search() >= 0) throw new Error("Cannot insert a flow: its key is in use");
    if (this.#size === this.capacity) return -1;
    let row = this.#firstFree;
    if (row >= 0) this.#firstFree = this.#next[row]!;
    else row = this.#values.length;
    const bucket = this.#bucket;
    this.#keys.set(this.#key, row * KEY_WORDS);
    this.#values[row] = value;
    this.#buckets[row] = bucket;
    this.#next[row] = this.#first[bucket]!;
    this.#first[bucket] = row;
    this.#recent[this.#recentOf()] = row;
    this.#size++;
    return row;
  }

  /** Removes the flow of a handle, whose number may then be given to another. */
  remove(handle: number): void {
    assert(this.#values[handle] !== undefined, "the handle is in use");
    const next = this.#next;
    const bucket = this.#buckets[handle]!;
    const after = next[handle]!;
    if (this.#first[bucket] === handle) {
      this.#first[bucket] = after;
    } else {
      let row = this.#first[bucket]!;
      while (next[row] !== handle) row = next[row]!;
      next[row] = after;
    }
    this.#values[handle] = undefined;
    next[handle] = this.#firstFree;
    this.#firstFree = handle;
    this.#size--;
  }

  /** All flows, by handle. Flows may be removed on the way. */
  *values(): Generator<T> {
    for (let row = 0; row < this.#values.length; row++) {
      const value = this.#values[row];
      if (value !== undefined) yield value;
    }
  }

  /** The row of the key, or -1; leaves the key's bucket behind. */
  #search(): number {
    if (this.#bucket < 0) {
      this.#bucket = this.#hash.hash(this.#key, KEY_WORDS) & (this.#first.length - 1);
    }
    let row = this.#first[this.#bucket]!;
    while (row >= 0 && !this.#matches(row)) row = this.#next[row]!;
    return row;
  }

  #recentOf(): number {
    const ports = this.#key[PORTS]!;
    return (ports ^ (ports >>> 16) ^ (ports >>> 8)) & (RECENT - 1);
  }

  #matches(row: number): boolean {
    const key = this.#key;
    const keys = this.#keys;
    const at = row * KEY_WORDS;
    for (let i = KEY_WORDS - 1; i >= 0; i--) if (keys[at + i] !== key[i]) return false;
    return true;
  }
}
