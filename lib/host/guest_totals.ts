/**
 * What all guests of a gateway have counted, those that have left too. A guest's own counts end with
 * it; who watches a gateway for weeks wants counts that only grow.
 *
 * Limits: `RULES_MAX` rules have a count of their own, in the order in which they first refused
 * something; what other rules refuse is counted together.
 *
 * @module
 */
import { COUNTER_NAMES, type CounterName } from "../stack/counters.ts";
import { type DnsCounts, noDnsCounts } from "./dns_counts.ts";

/** Most rules with a count of their own. */
export const RULES_MAX = 100;

/** Stands for all rules beyond those; no rule is written so. */
export const OTHER_RULES = "(other rules)";

/**
 * What all guests of a gateway have counted. As {@linkcode VirtioNetworkServer.totals} yields it.
 */
export interface GuestTotals {
  /** How many guests were attached so far. */
  readonly guests: number;
  /** What their stacks have counted. */
  readonly counters: Readonly<Record<CounterName, number>>;
  /** What became of their questions. */
  readonly dns: Readonly<DnsCounts>;
  /** How often each rule has refused something; at most 101 of them. */
  readonly denialsByRule: ReadonlyMap<string, number>;
}

/** One guest's counts. */
export interface CountedGuest {
  /** What its stack has counted; kinds that never happened are left out. */
  counters(): Partial<Record<CounterName, number>>;
  /** What became of its questions. */
  dnsCounts(): DnsCounts;
  /** How often each rule has refused something. */
  denialsByRule(): ReadonlyMap<string, number>;
}

/** Adds up the counts of guests. */
export class GuestTally {
  #guests = 0;
  readonly #counters = noCounts();
  readonly #dns = noDnsCounts();
  readonly #byRule = new Map<string, number>();

  /** A guest was attached. */
  attached(): void {
    this.#guests++;
  }

  /** A guest has left: keeps what it has counted. */
  left(guest: CountedGuest): void {
    addCounts(this.#counters, guest.counters());
    addCounts(this.#dns, guest.dnsCounts());
    addRules(this.#byRule, guest.denialsByRule());
  }

  /** The rules change, whose counts the guest then forgets: keeps them. */
  rulesChange(guest: CountedGuest): void {
    addRules(this.#byRule, guest.denialsByRule());
  }

  /** The counts of all guests, with those of the one that is attached. */
  totals(attached: CountedGuest | null): GuestTotals {
    const counters = { ...this.#counters };
    const dns = { ...this.#dns };
    const denialsByRule = new Map(this.#byRule);
    if (attached !== null) {
      addCounts(counters, attached.counters());
      addCounts(dns, attached.dnsCounts());
      addRules(denialsByRule, attached.denialsByRule());
    }
    return { guests: this.#guests, counters, dns, denialsByRule };
  }
}

function noCounts(): Record<CounterName, number> {
  return Object.fromEntries(COUNTER_NAMES.map((name) => [name, 0])) as Record<CounterName, number>;
}

function addCounts<K extends string>(
  sums: Record<K, number>,
  counts: Partial<Record<K, number>>,
): void {
  for (const name in counts) sums[name]! += counts[name]!;
}

/** Rules keep their places, so that a sum of others never shrinks in favour of one of them. */
function addRules(sums: Map<string, number>, counts: ReadonlyMap<string, number>): void {
  for (const [rule, count] of counts) {
    const hasPlace = sums.has(rule) || sums.size - Number(sums.has(OTHER_RULES)) < RULES_MAX;
    const name = hasPlace ? rule : OTHER_RULES;
    sums.set(name, (sums.get(name) ?? 0) + count);
  }
}
