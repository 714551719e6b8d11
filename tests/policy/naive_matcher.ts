/**
 * Rules by linear scan: each is asked, those that cover are sorted, the first is the answer. Shares
 * no table and no coverage with `lib/policy`; addresses are texts of bits, names lists of labels.
 *
 * @module
 */
import { ADDRESS_CLASS_NAMES, type AddressClass } from "../../lib/policy/address_class.ts";
import type { Rule, RuleTarget } from "../../lib/policy/rule.ts";
import type { AddressQuery, FlowProtocol } from "../../lib/policy/rule_set.ts";

type Action = Rule["action"];
type Kind = "tls" | "http";

/** A rule, how specific its target is for what was asked, and what it wants to see. */
interface Candidate {
  readonly rule: Rule;
  readonly specific: number;
  readonly kind: Kind | null;
}

/** Answers what a `RuleSet` answers. */
export class NaiveMatcher {
  readonly #rules: readonly Rule[];

  constructor(rules: readonly Rule[]) {
    this.#rules = rules;
  }

  address(action: Action, query: AddressQuery): Rule | null {
    const candidates = this.#ofAddress(action, query.address, query.addressClass, query.isHost());
    return best(candidates.filter(({ rule }) => {
      const { ports, protocol } = rule;
      if (protocol !== null && protocol !== query.protocol) return false;
      return ports === null || (query.protocol !== "icmp" && includes(ports, query.port));
    }))?.rule ?? null;
  }

  coversAddress(action: Action, address: Uint8Array, addressClass: AddressClass): Rule | null {
    const candidates = this.#ofAddress(action, address, addressClass, false);
    return best(candidates.filter(({ rule }) => action === "allow" || isWhole(rule)))?.rule ?? null;
  }

  name(action: Action, name: string, port: number, protocol: FlowProtocol) {
    const found = best(
      this.#ofName(action, name).flatMap(({ rule, specific }) => {
        const kind = demand(rule, port, protocol);
        return kind === undefined ? [] : [{ rule, specific, kind }];
      }),
    );
    return found === null ? null : { rule: found.rule, inspection: found.kind };
  }

  lookup(action: Action, name: string): Rule | null {
    const candidates = this.#ofName(action, name);
    return best(candidates.filter(({ rule }) => action === "allow" || isWhole(rule)))?.rule ?? null;
  }

  inspected(kind: Kind, name: string, port: number): Rule | null {
    const candidates = this.#ofName("allow", name).flatMap(({ rule, specific }) => {
      const wanted = demand(rule, port, "tcp");
      return wanted === null || wanted === kind ? [{ rule, specific, kind: wanted }] : [];
    });
    return best(candidates)?.rule ?? null;
  }

  #ofAddress(
    action: Action,
    address: Uint8Array,
    addressClass: AddressClass,
    isHost: boolean,
  ): Candidate[] {
    return this.#rules.filter((rule) => rule.action === action).flatMap((rule) => {
      const specific = addressRank(rule, address, addressClass, isHost);
      return specific === null ? [] : [{ rule, specific, kind: null }];
    });
  }

  #ofName(action: Action, name: string): Candidate[] {
    return this.#rules.filter((rule) => rule.action === action).flatMap((rule) => {
      const specific = nameRank(rule.target, name);
      return specific === null ? [] : [{ rule, specific, kind: null }];
    });
  }
}

/** No demand first, then the most specific; `sort` keeps the order of what is equal. */
function best(candidates: readonly Candidate[]): Candidate | null {
  const strictness = (each: Candidate) => each.kind === null ? 0 : 1;
  return [...candidates].sort((a, b) =>
    strictness(a) - strictness(b) || b.specific - a.specific
  )[0] ?? null;
}

function isWhole(rule: Rule): boolean {
  return rule.ports === null && rule.protocol === null;
}

function includes(ports: Rule["ports"], port: number): boolean {
  return ports !== null && ports.some((range) => port >= range.first && port <= range.last);
}

/** What a domain rule wants to see of a flow; `undefined` where it does not cover it. */
function demand(rule: Rule, port: number, protocol: FlowProtocol): Kind | null | undefined {
  const { ports, protocol: said } = rule;
  const listed = includes(ports, port);
  if (rule.action === "deny") {
    if (said !== null && said !== protocol) return undefined;
    return ports === null || (protocol !== "icmp" && listed) ? null : undefined;
  }
  if (protocol === "icmp") return said === "icmp" ? null : undefined;
  if (protocol === "udp") {
    if (port === 443 || !listed) return undefined;
    if (said === "udp") return null;
    return said === null && port !== 80 ? null : undefined;
  }
  if (said === "tls" || said === "http") {
    const usual = said === "tls" ? 443 : 80;
    return (ports === null ? port === usual : listed) ? said : undefined;
  }
  if (said === "udp" || said === "icmp") return undefined;
  if (ports !== null && !listed) return undefined;
  if (port === 443) return "tls";
  if (port === 80) return "http";
  return ports === null ? undefined : null;
}

function addressRank(
  { action, target }: Rule,
  address: Uint8Array,
  addressClass: AddressClass,
  isHost: boolean,
): number | null {
  if (target.kind === "domain") return null;
  if (target.kind === "class") {
    if (target.name === "host") return isHost ? 1 : null;
    return ADDRESS_CLASS_NAMES[addressClass] === target.name ? 0 : null;
  }
  const prefix = bitText(target.address).slice(0, target.bits);
  if (target.address.length === address.length) {
    return bitText(address).startsWith(prefix) ? 1000 + target.bits : null;
  }
  if (action === "allow" || address.length === 4) return null;
  const place = carriedBits(address).findIndex((bits) => bits.startsWith(prefix));
  return place < 0 ? null : (place === 0 ? 500 : 100) + target.bits;
}

function nameRank(target: RuleTarget, name: string): number | null {
  if (target.kind !== "domain") return null;
  if (!target.wildcard) return target.name === name ? 1000 : null;
  const ruleLabels = labels(target.name);
  const tail = labels(name).slice(-ruleLabels.length);
  return tail.join("\n") === ruleLabels.join("\n") ? ruleLabels.length : null;
}

/** Labels of a name whose text may have escaped dots. */
function labels(name: string): string[] {
  return name.match(/(?:\\.|[^.\\])+/gs) ?? [];
}

function bitText(address: Uint8Array): string {
  return Array.from(address, (octet) => octet.toString(2).padStart(8, "0")).join("");
}

/** The IPv4 addresses that stand in an IPv6 address, by RFC 4291, 2765, 6052, 3056 and 4380. */
function carriedBits(address: Uint8Array): string[] {
  const hex = Array.from(address, (octet) => octet.toString(16).padStart(2, "0")).join("");
  const at = (octet: number) => bitText(address.slice(octet, octet + 4));
  const flipped = (bits: string) => bits.replace(/./g, (bit) => bit === "0" ? "1" : "0");
  if (/^0{24}|^0{20}ffff|^0{16}ffff0000|^0064ff9b0{16}/.test(hex)) return [at(12)];
  if (hex.startsWith("2002")) return [at(2)];
  if (hex.startsWith("20010000")) return [at(4), flipped(at(12))];
  return [];
}
