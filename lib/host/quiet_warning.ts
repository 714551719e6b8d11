/**
 * A warning about what may happen many times a second: said once, then not again for a minute,
 * and the next time with how often it has happened meanwhile.
 *
 * @module
 */
import type { GatewayLogger, LogFields } from "../config/logger.ts";
import { systemClock } from "./host_clock.ts";

/** How long nothing is said. */
export const QUIET_MS = 60_000;

/** One kind of warning. */
export class QuietWarning {
  readonly #logger: GatewayLogger;
  readonly #now: () => number;
  #quietUntilMs = -Infinity;
  #unsaid = 0;

  /** `now` is a clock in milliseconds; the process's own when absent. */
  constructor(logger: GatewayLogger, now: () => number = systemClock.now) {
    this.#logger = logger;
    this.#now = now;
  }

  /** Says it, unless that was done a short while ago. */
  warn(message: string, fields: LogFields = {}): void {
    const nowMs = this.#now();
    if (nowMs < this.#quietUntilMs) {
      this.#unsaid++;
      return;
    }
    this.#quietUntilMs = nowMs + QUIET_MS;
    const unsaid = this.#unsaid;
    this.#unsaid = 0;
    this.#logger.warn(message, unsaid === 0 ? fields : { ...fields, unsaid });
  }
}
