/**
 * The refusals of one guest on their way to people: counted, kept, logged and published.
 *
 * Each is counted and kept; a refusal is logged where none like it was in the last minute, and no
 * more than ten of them a second, so that a guest can't fill a disk by being refused. Who listens
 * hears of each.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import { type Denial, nameOrDestination } from "../policy/denial.ts";
import { DenialLog } from "../policy/denial_log.ts";
import { Counter, type Counters } from "../stack/counters.ts";
import { TokenBucket } from "../stack/token_bucket.ts";

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
const LINES_PER_SECOND = 10;

/** Where all refusals of one guest go. */
export class Denials {
  /** What was refused, for a person who asks. */
  readonly log: DenialLog;
  readonly #options: DenialsOptions;
  readonly #lines = new TokenBucket(LINES_PER_SECOND, LINES_PER_SECOND);

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
    if (!isNews || !this.#lines.take(nowMs)) return;
    const { protocol, rule, origin, detail, hint } = denial;
    const what = `${protocol} ${nameOrDestination(denial)}`;
    logger.warn(`denied ${what}: ${detail}`, {
      rule,
      ...(origin === "" ? {} : { origin }),
      ...(hint === null ? {} : { allow: hint }),
    });
  }
}
