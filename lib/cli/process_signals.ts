/**
 * SIGINT and SIGTERM as one person or service manager means them: a Ctrl-C that comes twice is one.
 * A terminal signals a task runner and its program both, and the runner passes it on.
 *
 * @module
 */

const STOPS: readonly Deno.Signal[] = ["SIGINT", "SIGTERM"];

/** What comes so soon after a signal of the same name is that signal again. */
const ECHO_MS = 100;

/** The process, as far as its signals go. */
export interface SignalHost {
  /** Calls the handler at each signal of that name, instead of what the system would do. */
  listen(name: Deno.Signal, handler: () => void): void;
  /** A clock that never goes back, in milliseconds. */
  now(): number;
  /** Ends the process at once. */
  exit(code: number): void;
}

/** This process. */
export const thisProcess: SignalHost = {
  listen: (name, handler) => Deno.addSignalListener(name, handler),
  now: () => performance.now(),
  exit: (code) => Deno.exit(code),
};

/**
 * Hears of SIGINT and SIGTERM until the process ends: a signal whose listener is gone would kill it
 * in the last moments of an end in order.
 *
 * @param onStop Called with each signal, but for echoes.
 * @param host The process.
 */
export function hearStops(onStop: (name: Deno.Signal) => void, host: SignalHost): void {
  let last: Deno.Signal | null = null;
  let lastMs = -Infinity;
  for (const name of STOPS) {
    host.listen(name, () => {
      const nowMs = host.now();
      if (name === last && nowMs - lastMs < ECHO_MS) return;
      last = name;
      lastMs = nowMs;
      onStop(name);
    });
  }
}
