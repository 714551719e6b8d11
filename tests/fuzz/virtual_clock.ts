/**
 * The host's clock, turned by hand: timers fire in the order of their time, and nothing is waited
 * for but promises that settle by themselves.
 *
 * @module
 */
import type { HostClock, Timer } from "../../lib/host/host_clock.ts";
import { hold } from "./rig.ts";

/** Turns of the microtask queue that settle whatever can settle. */
const SETTLE_TURNS = 64;
const STEPS_MAX = 10_000;

interface Entry {
  readonly atMs: number;
  readonly task: () => void;
}

/** The clock. */
export class VirtualClock implements HostClock {
  nowMs = 1_000_000;
  readonly #entries = new Map<number, Entry>();
  #next = 1;

  /** Timers that run. */
  get timers(): number {
    return this.#entries.size;
  }

  readonly now = (): number => this.nowMs;

  readonly setTimer = (task: () => void, delayMs: number): Timer => {
    const id = this.#next++;
    this.#entries.set(id, { atMs: this.nowMs + delayMs, task });
    return id as unknown as Timer;
  };

  readonly clearTimer = (timer: Timer | undefined): void => {
    this.#entries.delete(timer as unknown as number);
  };

  readonly soon = (task: () => void): void => void this.setTimer(task, 0);

  /** Lets time pass, with every timer that comes due on the way. */
  async wait(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    for (let steps = 0;; steps++) {
      hold(steps < STEPS_MAX, "timers come to an end");
      await settle();
      const due = this.#first(endMs);
      if (due === null) break;
      const [id, { atMs, task }] = due;
      this.#entries.delete(id);
      this.nowMs = Math.max(this.nowMs, atMs);
      task();
    }
    this.nowMs = endMs;
  }

  #first(endMs: number): [number, Entry] | null {
    let first: [number, Entry] | null = null;
    for (const each of this.#entries) {
      if (
        each[1].atMs <= endMs &&
        (first === null || each[1].atMs < first[1].atMs)
      ) first = each;
    }
    return first;
  }
}

/** Lets promises settle that wait for nothing else. */
export async function settle(): Promise<void> {
  for (let i = 0; i < SETTLE_TURNS; i++) await null;
}
