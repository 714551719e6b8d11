/**
 * One hashed timing wheel for all timers: scheduling, moving and cancelling cost the same however
 * many there are, and allocate nothing (the links are fields of the entries).
 *
 *     slot:   now/slotMs ─▶ [ ][e e][ ][e] … round the wheel, `slots` × `slotMs` ahead
 *
 * An entry stands in the slot of its deadline, or in an earlier one: a deadline beyond the wheel
 * stands in its last slot, and one that is put off stays where it is. Whoever is met too early is
 * put on again by the wheel itself, so that a timer which moves with each segment costs one store.
 *
 * The deadline is exact, not rounded to slots. Each slot knows a lower bound of its deadlines,
 * which is exact again after every walk: a wake-up at `nextMs` either fires or moves something.
 * One `advance` sees each entry at most once and at most one round of slots, however far the clock
 * has jumped; what an entry schedules while it fires is for the next `advance`. A clock that goes
 * backwards fires nothing early.
 *
 * @module
 */
import { assert } from "@std/assert";

/** What the wheel keeps in each entry; set `wheelSlot` to -1, the links to `null` at first. */
export interface WheelEntry {
  /** When it is due; the wheel's own while the entry is in it. */
  deadlineMs: number;
  /** The list that it stands in; -1 when it is not in the wheel. */
  wheelSlot: number;
  /** Its neighbours in that list. */
  wheelPrevious: WheelEntry | null;
  /** Its neighbours in that list. */
  wheelNext: WheelEntry | null;
}

/** Timers of entries of one kind. */
export class TimingWheel<T extends WheelEntry> {
  readonly #slotMs: number;
  readonly #slots: number;
  /** First and last entry of each slot's list; one more list holds what `advance` has yet to see. */
  readonly #first: (WheelEntry | null)[];
  readonly #last: (WheelEntry | null)[];
  /** A lower bound of the times at which each slot has work. */
  readonly #boundMs: Float64Array;
  /** One bit for each slot that has entries. */
  readonly #used: Uint32Array;
  /** The slot number, not yet taken round the wheel, that `advance` came to last. */
  #tick: number;
  #size = 0;

  /** Begins at `nowMs`. `slots` is a power of two from 32. */
  constructor(nowMs: number, slotMs: number = 4, slots: number = 1024) {
    assert(slots >= 32 && (slots & (slots - 1)) === 0, "slots are a power of two");
    assert(slotMs > 0, "slots take time");
    this.#slotMs = slotMs;
    this.#slots = slots;
    this.#first = new Array(slots + 1).fill(null);
    this.#last = new Array(slots + 1).fill(null);
    this.#boundMs = new Float64Array(slots + 1).fill(Infinity);
    this.#used = new Uint32Array(slots / 32);
    this.#tick = Math.floor(nowMs / slotMs);
  }

  /** Entries in the wheel. */
  get size(): number {
    return this.#size;
  }

  /** Makes the entry due at `deadlineMs`, whether it is in the wheel or not; `Infinity` cancels. */
  schedule(entry: T, deadlineMs: number): void {
    assert(!Number.isNaN(deadlineMs), "a deadline is a time");
    if (deadlineMs === Infinity) {
      this.cancel(entry);
      return;
    }
    const slot = entry.wheelSlot;
    if (slot < 0) {
      entry.deadlineMs = deadlineMs;
      this.#size++;
      this.#insert(entry);
      return;
    }
    // What is in the list of `advance` is seen before any slot.
    const distance = slot === this.#slots ? 0 : this.#distanceOf(slot);
    const stays = slot === this.#slots || this.#distance(deadlineMs) >= distance;
    entry.deadlineMs = deadlineMs;
    if (stays) {
      if (deadlineMs < this.#boundMs[slot]!) this.#boundMs[slot] = deadlineMs;
      return;
    }
    this.#unlink(entry);
    this.#insert(entry);
  }

  /** Takes the entry out, if it is in the wheel. */
  cancel(entry: T): void {
    if (entry.wheelSlot < 0) return;
    this.#unlink(entry);
    this.#size--;
  }

  /** Calls `fire` for each entry that is due, after taking it out. */
  advance(nowMs: number, fire: (entry: T) => void): void {
    this.#collect(nowMs);
    const due = this.#slots;
    let entry = this.#firstOf(due);
    for (; entry !== null; entry = this.#firstOf(due)) {
      this.#unlink(entry);
      if (entry.deadlineMs > nowMs) {
        this.#insert(entry);
        continue;
      }
      this.#size--;
      fire(entry as T);
    }
  }

  /** A time before which nothing is due; `Infinity` when the wheel is empty. */
  nextMs(): number {
    if (this.#size === 0) return Infinity;
    // Left over where `fire` threw.
    if (this.#firstOf(this.#slots) !== null) return this.#boundMs[this.#slots]!;
    const slot = this.#nextUsed(this.#tick & (this.#slots - 1));
    return this.#boundMs[slot]!;
  }

  /** Moves all slots that may have work by `nowMs` to the list that `advance` works off. */
  #collect(nowMs: number): void {
    const mask = this.#slots - 1;
    const from = this.#tick;
    const to = Math.max(from, Math.floor(nowMs / this.#slotMs));
    this.#tick = to;
    if (this.#size === 0) return;
    const steps = Math.min(to - from, mask);
    for (let i = 0; i <= steps; i++) {
      const slot = (from + i) & mask;
      // A slot that is passed is emptied, the present one only when something in it may be due.
      if (from + i < to || this.#boundMs[slot]! <= nowMs) this.#moveAll(slot);
    }
  }

  #moveAll(slot: number): void {
    let entry = this.#firstOf(slot);
    for (; entry !== null; entry = this.#firstOf(slot)) {
      this.#unlink(entry);
      this.#append(entry, this.#slots, -Infinity);
    }
  }

  #firstOf(slot: number): WheelEntry | null {
    return this.#first[slot] ?? null;
  }

  /** Slots from the present one to the one of a deadline, at most to the end of the wheel. */
  #distance(deadlineMs: number): number {
    const distance = Math.floor(deadlineMs / this.#slotMs) - this.#tick;
    return Math.max(0, Math.min(distance, this.#slots - 1));
  }

  /** Slots from the present one to another. */
  #distanceOf(slot: number): number {
    return (slot - this.#tick) & (this.#slots - 1);
  }

  #insert(entry: WheelEntry): void {
    const tick = this.#tick + this.#distance(entry.deadlineMs);
    // Beyond the wheel: looked at again when its end comes round.
    const boundMs = Math.min(entry.deadlineMs, (tick + 1) * this.#slotMs);
    this.#append(entry, tick & (this.#slots - 1), boundMs);
  }

  #append(entry: WheelEntry, slot: number, boundMs: number): void {
    const last = this.#last[slot] ?? null;
    entry.wheelSlot = slot;
    entry.wheelPrevious = last;
    entry.wheelNext = null;
    this.#last[slot] = entry;
    if (last === null) {
      this.#first[slot] = entry;
      if (slot < this.#slots) this.#used[slot >> 5]! |= 1 << (slot & 31);
    } else {
      last.wheelNext = entry;
    }
    if (boundMs < this.#boundMs[slot]!) this.#boundMs[slot] = boundMs;
  }

  #unlink(entry: WheelEntry): void {
    const slot = entry.wheelSlot;
    const { wheelPrevious, wheelNext } = entry;
    if (wheelPrevious === null) this.#first[slot] = wheelNext;
    else wheelPrevious.wheelNext = wheelNext;
    if (wheelNext === null) this.#last[slot] = wheelPrevious;
    else wheelNext.wheelPrevious = wheelPrevious;
    if (wheelPrevious === null && wheelNext === null) {
      this.#boundMs[slot] = Infinity;
      if (slot < this.#slots) this.#used[slot >> 5]! &= ~(1 << (slot & 31));
    }
    entry.wheelSlot = -1;
    entry.wheelPrevious = null;
    entry.wheelNext = null;
  }

  /** The first slot with entries from `slot` on, round the wheel. There is one. */
  #nextUsed(slot: number): number {
    const used = this.#used;
    const words = used.length;
    let word = slot >> 5;
    let bits = used[word]! & (-1 << (slot & 31));
    for (let i = 0; bits === 0 && i < words; i++) {
      word = (word + 1) & (words - 1);
      bits = used[word]!;
    }
    return (word << 5) + 31 - Math.clz32(bits & -bits);
  }
}
