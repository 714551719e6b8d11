/**
 * All rules of a guest, compiled once, and the questions that are put to them.
 *
 * No question scans the rules: rules with the same target are put together, targets are found by
 * prefix, by name and by class, ports within them by binary search (`prefix_table.ts`,
 * `domain_table.ts`, `target_rules.ts`). Of several rules that cover the same thing the one with the
 * most specific target is the answer, then the first in order: a longer prefix before a shorter, an
 * address as it stands before an IPv4 address that it carries, a prefix before a class, `host` before
 * the other classes; a name alone before a wildcard, a longer wildcard before a shorter. For an
 * allowed name what asks for no inspection comes before what does.
 *
 * A deny of an IPv4 prefix covers the IPv6 addresses too that carry one of its addresses (see
 * `address_class.ts`); an allow must cover the address as it stands.
 *
 * Says what rules say, not what becomes of a flow: a deny wins over an allow, and protection over
 * both, by who asks.
 *
 * @module
 */
import { ADDRESS_CLASS_NAMES, type AddressClass, embeddedIpv4 } from "./address_class.ts";
import type { FlowProtocol, Inspection } from "./coverage.ts";
import { DomainTable } from "./domain_table.ts";
import { PrefixTable } from "./prefix_table.ts";
import type { Rule, RuleAction, RuleTarget } from "./rule.ts";
import { formatTarget } from "./rule_target.ts";
import { type RuleMatch, TargetRules } from "./target_rules.ts";

export type { FlowProtocol, Inspection } from "./coverage.ts";

/** A rule that covers a name, and what the flow's first bytes must be for it. */
export type NameMatch = RuleMatch;

/** A destination that is asked about. */
export interface AddressQuery {
  /** 4 or 16 octets. */
  readonly address: Uint8Array;
  /** Its class. */
  readonly addressClass: AddressClass;
  /** Whether it is the host's own; asked only where a rule of the class `host` would decide. */
  isHost(): boolean;
  /** The port; 0 for ICMP. */
  readonly port: number;
  /** The protocol. */
  readonly protocol: FlowProtocol;
}

/** All rules of a guest. */
export class RuleSet {
  /** The rules, in their order. */
  readonly rules: readonly Rule[];
  /** Whether something is allowed by rule, and so everything else is denied. */
  readonly hasAllow: boolean;
  /** Whether a name is allowed. */
  readonly hasDomainAllow: boolean;
  /** Whether a rule is about the host's addresses. */
  readonly hasHostRules: boolean;
  /** Whether an allow has the whole Internet of one IP version as its target, on whatever ports. */
  readonly allowsPublic: boolean;
  readonly #targets: Readonly<Record<RuleAction, Targets>>;

  /** Compiles rules, those that come first in order first. */
  constructor(rules: readonly Rule[]) {
    const allows = rules.filter(({ action }) => action === "allow");
    this.rules = rules;
    this.hasAllow = allows.length > 0;
    this.hasDomainAllow = allows.some(({ target }) => target.kind === "domain");
    this.hasHostRules = rules.some(({ target }) => isClass(target, "host"));
    this.allowsPublic = allows.some(({ target, protocol }) =>
      protocol !== "icmp" &&
      (isClass(target, "public") || (target.kind === "prefix" && target.bits === 0))
    );
    const denies = rules.filter(({ action }) => action === "deny");
    this.#targets = { allow: new Targets(allows), deny: new Targets(denies) };
  }

  /** The prefix or class rule that covers a destination. */
  address(action: RuleAction, query: AddressQuery): Rule | null {
    const { address, addressClass, port, protocol } = query;
    const targets = this.#targets[action];
    for (const rules of targets.ofAddress(address, action === "deny")) {
      const match = rules.find(protocol, port);
      if (match !== null) return match.rule;
    }
    const host = targets.ofClass("host")?.find(protocol, port) ?? null;
    if (host !== null && query.isHost()) return host.rule;
    const match = targets.ofClass(ADDRESS_CLASS_NAMES[addressClass]!)?.find(protocol, port);
    return match?.rule ?? null;
  }

  /**
   * The rule that covers an address whatever port and protocol come with it. Rules of the class
   * `host` don't count: whether an address is the host's is known when it is dialled.
   *
   * @returns Of allow rules any that covers the address with some port; of deny rules one that names
   * neither ports nor protocol.
   */
  coversAddress(action: RuleAction, address: Uint8Array, addressClass: AddressClass): Rule | null {
    const targets = this.#targets[action];
    const ofClass = targets.ofClass(ADDRESS_CLASS_NAMES[addressClass]!);
    const found = targets.ofAddress(address, action === "deny");
    if (ofClass !== undefined) found.push(ofClass);
    return firstOf(action, found);
  }

  /** The domain rule that covers a flow to a name, the least strict first. */
  name(action: RuleAction, name: string, port: number, protocol: FlowProtocol): NameMatch | null {
    return leastStrict(this.#targets[action].ofName(name), (rules) => rules.find(protocol, port));
  }

  /**
   * The domain rule that covers the look-up of a name.
   *
   * @returns Of allow rules any that covers the name; of deny rules one that names neither ports nor
   * protocol.
   */
  lookup(action: RuleAction, name: string): Rule | null {
    return firstOf(action, this.#targets[action].ofName(name));
  }

  /** The allow rule that TCP traffic satisfies which is TLS or HTTP and names this name. */
  inspected(kind: Inspection, name: string, port: number): Rule | null {
    const found = this.#targets.allow.ofName(name);
    return leastStrict(found, (rules) => rules.findInspected(kind, port))?.rule ?? null;
  }
}

/** Rules of one action by their targets. */
class Targets {
  readonly #ipv4: PrefixTable<TargetRules>;
  readonly #ipv6: PrefixTable<TargetRules>;
  readonly #names: DomainTable<TargetRules>;
  readonly #classes = new Map<string, TargetRules>();

  constructor(rules: readonly Rule[]) {
    const prefixes = { 4: [] as PrefixValue[], 16: [] as PrefixValue[] };
    const names: NameValue[] = [];
    for (const group of byTarget(rules)) {
      const { target } = group[0];
      const value = new TargetRules(group);
      switch (target.kind) {
        case "prefix":
          prefixes[target.address.length as 4 | 16].push({ ...target, value });
          break;
        case "domain":
          names.push({ ...target, value });
          break;
        case "class":
          this.#classes.set(target.name, value);
          break;
      }
    }
    this.#ipv4 = new PrefixTable(4, prefixes[4]);
    this.#ipv6 = new PrefixTable(16, prefixes[16]);
    this.#names = new DomainTable(names);
  }

  /** By the prefixes that cover an address, the most specific first. */
  ofAddress(address: Uint8Array, withCarried: boolean): TargetRules[] {
    if (address.length === 4) return this.#ipv4.covering(address);
    const found = this.#ipv6.covering(address);
    if (withCarried) {
      for (const carried of embeddedIpv4(address)) found.push(...this.#ipv4.covering(carried));
    }
    return found;
  }

  /** By names that cover a name, the most specific first. */
  ofName(name: string): TargetRules[] {
    return this.#names.covering(name);
  }

  ofClass(name: string): TargetRules | undefined {
    return this.#classes.get(name);
  }
}

type Group = [Rule, ...Rule[]];
type PrefixValue = { address: Uint8Array; bits: number; value: TargetRules };
type NameValue = { name: string; wildcard: boolean; value: TargetRules };

/** Rules with the same target, in their order. */
function byTarget(rules: readonly Rule[]): Iterable<Group> {
  const groups = new Map<string, Group>();
  for (const rule of rules) {
    const text = formatTarget(rule.target);
    const group = groups.get(text);
    if (group === undefined) groups.set(text, [rule]);
    else group.push(rule);
  }
  return groups.values();
}

function isClass(target: RuleTarget, name: string): boolean {
  return target.kind === "class" && target.name === name;
}

/** The first rule of what covers something as a whole: any allow, a deny of all of it. */
function firstOf(action: RuleAction, covering: readonly TargetRules[]): Rule | null {
  for (const rules of covering) {
    const rule = action === "allow" ? rules.first : rules.whole;
    if (rule !== null) return rule;
  }
  return null;
}

function leastStrict(
  covering: readonly TargetRules[],
  find: (rules: TargetRules) => RuleMatch | null,
): RuleMatch | null {
  let best: RuleMatch | null = null;
  for (const rules of covering) {
    const match = find(rules);
    if (match !== null && match.inspection === null) return match;
    best ??= match;
  }
  return best;
}
