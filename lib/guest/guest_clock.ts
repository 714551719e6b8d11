/**
 * What the embedded guest needs of time; a simulation hands in its own.
 *
 * @module
 */
import { setImmediate } from "node:timers";

/** A clock and its timers. */
export interface GuestClock {
  /** Milliseconds that never go backwards. */
  now(): number;
  /** Runs `task` after `delayMs`, as a macrotask; the function that is returned prevents it. */
  schedule(delayMs: number, task: () => void): () => void;
}

/** The process's own clock. */
export const systemClock: GuestClock = {
  now: () => performance.now(),
  schedule(delayMs, task) {
    if (delayMs <= 0) {
      let isWanted = true;
      setImmediate(() => {
        if (isWanted) task();
      });
      return () => isWanted = false;
    }
    const timer = setTimeout(task, delayMs);
    return () => clearTimeout(timer);
  },
};
