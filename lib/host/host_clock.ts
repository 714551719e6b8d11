/**
 * Time on the host: a clock that never goes backwards, and its timers.
 *
 * Nothing in a guest's network asks the runtime for the time by itself, so a test or a simulation
 * that hands in another clock has all of it in its hands.
 *
 * @module
 */
import { setImmediate } from "node:timers";

/** A timer that runs. */
export type Timer = ReturnType<typeof setTimeout>;

/** A clock and its timers. */
export interface HostClock {
  /** Milliseconds that never go backwards, whatever becomes of the time of day. */
  now(): number;
  /** Runs `task` once after `delayMs`. */
  setTimer(task: () => void, delayMs: number): Timer;
  /** Stops a timer; one that is over, or none, is no error. */
  clearTimer(timer: Timer | undefined): void;
  /** Runs `task` once the event loop has looked at everything else. */
  soon(task: () => void): void;
}

/** The process's own clock. */
export const systemClock: HostClock = {
  now: () => performance.now(),
  setTimer: (task, delayMs) => setTimeout(task, delayMs),
  clearTimer: (timer) => clearTimeout(timer),
  soon: (task) => void setImmediate(task),
};

/** Resolves after `delayMs`, or at the signal. */
export function pause(clock: HostClock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clock.clearTimer(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = clock.setTimer(done, delayMs);
    signal?.addEventListener("abort", done);
    if (signal?.aborted) done();
  });
}
