/**
 * The refusals of one guest, kept for a person who asks what was refused: alike ones together, the
 * latest first, and a count for each rule.
 *
 * Bounds: so many groups, the one that was seen longest ago makes way; as many counts as there are
 * rules and kinds of refusal that are built in.
 *
 * @module
 */
import { type Denial, nameOrDestination } from "./denial.ts";

/**
 * Refusals that are alike: the same protocol, name or destination, rule and reason. As
 * {@linkcode VirtioNetworkServer.denials} and {@linkcode GatewayClient.denials} yield them.
 */
export interface DenialGroup {
  /** The latest of them. */
  readonly denial: Denial;
  /** How often. */
  readonly count: number;
  /** When first, on the clock of whoever noted it. */
  readonly firstMs: number;
  /** When last. */
  readonly lastMs: number;
}

/** After this long without its like, a refusal is news again. */
const NEWS_MS = 60_000;

/** Groups and counts of refusals. */
export class DenialLog {
  readonly #groupsMax: number;
  /** The one that was seen longest ago first. */
  readonly #groups = new Map<string, DenialGroup>();
  readonly #byRule = new Map<string, number>();
  #total = 0;

  /** Keeps at most so many groups. */
  constructor(groupsMax: number) {
    this.#groupsMax = groupsMax;
  }

  /** All refusals since the start. */
  get total(): number {
    return this.#total;
  }

  /**
   * Notes a refusal.
   *
   * @returns Whether it is news: none like it was noted in the last minute.
   */
  note(denial: Denial, nowMs: number): boolean {
    this.#total++;
    this.#byRule.set(denial.rule, (this.#byRule.get(denial.rule) ?? 0) + 1);
    const key = keyOf(denial);
    const known = this.#groups.get(key);
    const firstMs = known?.firstMs ?? nowMs;
    if (known !== undefined) this.#groups.delete(key);
    else if (this.#groups.size >= this.#groupsMax) this.#dropOldest();
    this.#groups.set(key, { denial, count: (known?.count ?? 0) + 1, firstMs, lastMs: nowMs });
    return known === undefined || nowMs - known.lastMs >= NEWS_MS;
  }

  /** The groups, the latest first. */
  groups(): DenialGroup[] {
    return [...this.#groups.values()].reverse();
  }

  /** How often each rule refused; `default-deny` and `protect LEVEL` are rules too. */
  countsByRule(): ReadonlyMap<string, number> {
    return this.#byRule;
  }

  /** Forgets the counts of rules that are no more; the groups stay. */
  rulesChanged(): void {
    this.#byRule.clear();
  }

  #dropOldest(): void {
    for (const oldest of this.#groups.keys()) {
      this.#groups.delete(oldest);
      return;
    }
  }
}

function keyOf(denial: Denial): string {
  return `${denial.protocol} ${nameOrDestination(denial)} ${denial.reason} ${denial.rule}`;
}
