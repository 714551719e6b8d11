/**
 * When the questions in flight are due, all with one timer of the host's: a question that is
 * answered in time, as nearly all are, costs two list operations and no timer.
 *
 * The timer is set to the earliest deadline that was known when it was set. It is not moved when
 * that one is cancelled, so a wake-up may find nothing due, at most one for each time that it is set.
 *
 * @module
 */
import { TimingWheel, type WheelEntry } from "../stack/timing_wheel.ts";
import type { HostClock, Timer } from "./host_clock.ts";

/** Slots of 32 ms for 8 s: longer deadlines are met when the wheel has gone round. */
const SLOT_MS = 32;
const SLOTS = 256;

/** Calls back for each entry whose time has come. */
export class Deadlines<T extends WheelEntry> {
  readonly #clock: HostClock;
  readonly #onDue: (entry: T) => void;
  readonly #wheel: TimingWheel<T>;
  #timer: Timer | undefined;
  /** When the timer comes; -Infinity while it is not to be set. */
  #timerMs = Infinity;

  /** `onDue` may schedule, also the entry that is due. */
  constructor(clock: HostClock, onDue: (entry: T) => void) {
    this.#clock = clock;
    this.#onDue = onDue;
    this.#wheel = new TimingWheel(clock.now(), SLOT_MS, SLOTS);
  }

  /** Makes an entry due at a time, instead of any other. */
  schedule(entry: T, atMs: number): void {
    this.#wheel.schedule(entry, atMs);
    if (atMs < this.#timerMs) this.#arm(atMs);
  }

  /** Takes an entry out, if it is in. */
  cancel(entry: T): void {
    this.#wheel.cancel(entry);
  }

  /** From here on nothing comes due. */
  close(): void {
    this.#clock.clearTimer(this.#timer);
    this.#timer = undefined;
    this.#timerMs = -Infinity;
  }

  #arm(atMs: number): void {
    this.#clock.clearTimer(this.#timer);
    this.#timerMs = atMs;
    const delayMs = Math.max(0, Math.ceil(atMs - this.#clock.now()));
    this.#timer = this.#clock.setTimer(() => this.#wake(), delayMs);
  }

  #wake(): void {
    this.#timer = undefined;
    this.#timerMs = -Infinity;
    this.#wheel.advance(this.#clock.now(), this.#onDue);
    const nextMs = this.#wheel.nextMs();
    this.#timerMs = Infinity;
    if (nextMs < Infinity) this.#arm(nextMs);
  }
}
