/**
 * One Ctrl-C that comes as two signals: a terminal signals a task runner and its program both, and
 * the runner passes it on.
 *
 * @module
 */

/** What comes so soon after a signal of the same name is that signal again. */
const ECHO_MS = 100;

/** Tells a signal from its echo. */
export class SignalEcho {
  #name = "";
  #atMs = -Infinity;

  /**
   * Whether a signal is the last one over again; if not, it is the one that may have an echo.
   *
   * @param name The signal.
   * @param nowMs When it came, in milliseconds of a clock that never goes back.
   */
  isEcho(name: Deno.Signal, nowMs: number): boolean {
    if (name === this.#name && nowMs - this.#atMs < ECHO_MS) return true;
    this.#name = name;
    this.#atMs = nowMs;
    return false;
  }
}
