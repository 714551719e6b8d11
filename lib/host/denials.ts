/**
 * The refusals of one guest on their way to people: counted, kept, logged and published.
 *
 * Each is counted and kept; a refusal is logged where none like it was in the last minute. A guest
 * that is refused ever other things does not fill a disk by it: see limited_log.ts. Who listens hears
 * of each.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import { type Denial, nameOrDestination } from "../policy/denial.ts";
import { DenialLog } from "../policy/denial_log.ts";
import { Counter, type Counters } from "../stack/counters.ts";

/** What refusals are noted with. */
export interface DenialsOptions {
  /** Groups of refusals that are kept. */
  readonly kept: number;
  readonly counters: Counters;
  readonly logger: GatewayLogger;
  /** The clock, in milliseconds. */
  now(): number;
  /** Hears of each refusal. */
  onDenial(denial: Denial, nowMs: number): void;
}

const REFUSED = Counter["policy.refused"];

/** Where all refusals of one guest go. */
export class Denials {
  /** What was refused, for a person who asks. */
  readonly log: DenialLog;
  readonly #options: DenialsOptions;

  constructor(options: DenialsOptions) {
    this.#options = options;
    this.log = new DenialLog(options.kept);
  }

  /** Notes a refusal. */
  note(denial: Denial): void {
    const { counters, logger, now, onDenial } = this.#options;
    const nowMs = now();
    counters.values[REFUSED]!++;
    const isNews = this.log.note(denial, nowMs);
    onDenial(denial, nowMs);
    if (!isNews) return;
    const { protocol, rule, origin, detail, hint } = denial;
    const what = `${protocol} ${nameOrDestination(denial)}`;
    logger.warn(`denied ${what}: ${detail}`, {
      rule,
      ...(origin === "" ? {} : { origin }),
      ...(hint === null ? {} : { allow: hint }),
    });
  }
}
