/**
 * Time that passes when a test says so.
 *
 * One step runs everything that is due at the earliest instant, in the order in which it was asked
 * for, and then lets every promise settle that can. Nothing waits for real time, so an hour is as
 * long as what happens in it, and the same tasks always run in the same order.
 *
 * Limits: `STEPS_MAX` steps in one run, `STEPS_AN_INSTANT` without the clock moving, and
 * `TIMERS_MAX` timers: code that never comes to rest is an error that names the time, not a test
 * that hangs.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type { HostClock, Timer } from "../../lib/host/host_clock.ts";

/** Where the clock begins. */
const START_MS = 1_000;
const STEPS_MAX = 5_000_000;
const STEPS_AN_INSTANT = 20_000;
const TIMERS_MAX = 200_000;

interface Entry {
  readonly dueMs: number;
  readonly order: number;
  /** `null` once the timer has been stopped. */
  task: (() => void) | null;
  /** Whether it counts as a timer of the code under test. */
  readonly counts: boolean;
}

/** A clock with its timers, driven by `run`. */
export class VirtualClock implements HostClock {
  #nowMs = START_MS;
  #order = 0;
  #timers = 0;
  #running = false;
  #soon: (() => void)[] = [];
  /** A binary heap, the earliest first. */
  readonly #heap: Entry[] = [];
  /** Called before each step, where it is set. */
  onStep: (() => void) | null = null;
  /** Steps so far. */
  steps = 0;

  readonly now = (): number => this.#nowMs;

  readonly setTimer = (task: () => void, delayMs: number): Timer => {
    this.#timers++;
    return this.#push(task, delayMs, true) as unknown as Timer;
  };

  readonly clearTimer = (timer: Timer | undefined): void => {
    const entry = timer as unknown as Entry | undefined;
    if (entry === undefined || entry.task === null) return;
    entry.task = null;
    if (entry.counts) this.#timers--;
  };

  readonly soon = (task: () => void): void => void this.#soon.push(task);

  /** Timers of the code under test that run. */
  get timers(): number {
    return this.#timers;
  }

  /** Runs `task` after `delayMs` for the world around; no timer of the code under test. */
  after(delayMs: number, task: () => void): void {
    this.#push(task, delayMs, false);
  }

  /** Lets `ms` pass. */
  run(ms: number): Promise<void> {
    return this.#run(this.#nowMs + ms, null).then(() => {});
  }

  /**
   * Lets time pass until `check` holds, which is asked after each step.
   *
   * @throws {Error} Naming `what`, where it does not hold within that time.
   */
  async until(what: string, check: () => boolean, withinMs: number): Promise<void> {
    if (await this.#run(this.#nowMs + withinMs, check)) return;
    throw new Error(`In vain for ${withinMs} ms: ${what}`);
  }

  async #run(endMs: number, check: (() => boolean) | null): Promise<boolean> {
    if (this.#running) throw new Error("The clock runs already: await the earlier run");
    this.#running = true;
    try {
      const lastStep = this.steps + STEPS_MAX;
      let instantStep = this.steps + STEPS_AN_INSTANT;
      for (;;) {
        await settled();
        if (check?.()) return true;
        this.onStep?.();
        this.steps++;
        if (this.#soon.length === 0) {
          const dueMs = this.#dueMs();
          if (dueMs > endMs) break;
          if (dueMs > this.#nowMs) {
            this.#nowMs = dueMs;
            instantStep = this.steps + STEPS_AN_INSTANT;
          }
        }
        this.#step();
        if (this.steps > lastStep) throw new Error(`No end after ${STEPS_MAX} steps`);
        if (this.steps > instantStep) {
          throw new Error(`The clock stands still at ${this.#nowMs} ms: ${STEPS_AN_INSTANT} steps`);
        }
      }
      if (endMs !== Infinity) this.#nowMs = Math.max(this.#nowMs, endMs);
      return false;
    } finally {
      this.#running = false;
    }
  }

  /** Runs what is due now. What that asks for is of the next step. */
  #step(): void {
    const soon = this.#soon;
    this.#soon = [];
    for (const task of soon) task();
    const lastOrder = this.#order;
    for (let top = this.#heap[0]; top !== undefined; top = this.#heap[0]) {
      if (top.task !== null && (top.dueMs > this.#nowMs || top.order > lastOrder)) break;
      this.#pop();
      const { task } = top;
      if (task === null) continue;
      top.task = null;
      if (top.counts) this.#timers--;
      task();
    }
  }

  /** When the next timer is due. */
  #dueMs(): number {
    while (this.#heap.length > 0 && this.#heap[0]!.task === null) this.#pop();
    return this.#heap[0]?.dueMs ?? Infinity;
  }

  #push(task: () => void, delayMs: number, counts: boolean): Entry {
    const dueMs = this.#nowMs + Math.max(0, delayMs);
    const entry: Entry = { dueMs, order: ++this.#order, task, counts };
    const heap = this.#heap;
    if (heap.length >= TIMERS_MAX) throw new Error(`${TIMERS_MAX} timers at ${this.#nowMs} ms`);
    let at = heap.length;
    for (; at > 0; at = (at - 1) >> 1) {
      const parent = heap[(at - 1) >> 1]!;
      if (isBefore(parent, entry)) break;
      heap[at] = parent;
    }
    heap[at] = entry;
    return entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (isBefore(last, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
}

/** Resolves when no promise is left that can settle by itself. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
