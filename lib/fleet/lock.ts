/**
 * Whether a policy leaves a guest anything at all. One that does not and never says `closed` is taken
 * for a mistake: a prefix too short, a deny of what alone is allowed.
 *
 * Between the first and the last address of a stretch nothing changes, neither its class nor which
 * rules cover it, and so it is with ports; so the first ones of all stretches stand for all that there
 * are. The first flow that passes ends the search, which is the usual case.
 *
 * What is open on one host alone, such as a service of its loopback, does not count. Pure. Limits: a
 * policy that is not known to lock everything after `QUESTIONS_MAX` questions counts as one that
 * does not.
 *
 * @module
 */
import { policyRules } from "../config/policy_rules.ts";
import type { PolicyConfig } from "../config/options.ts";
import { AddressClass, classEdges, classify, prefixEdges } from "../policy/address_class.ts";
import { coverageOf, type FlowProtocol } from "../policy/coverage.ts";
import { refusesClass } from "../policy/protect.ts";
import type { Rule } from "../policy/rule.ts";
import { RuleSet } from "../policy/rule_set.ts";

const QUESTIONS_MAX = 200_000;
/** What is open in most policies, and so asked first. */
const USUAL_PORTS: readonly number[] = [443, 80, 22, 53, 1];

interface Flow {
  readonly address: Uint8Array;
  readonly addressClass: AddressClass;
  readonly protocol: FlowProtocol;
  readonly port: number;
}

/**
 * Whether nothing is left that a guest could reach.
 *
 * @param policy The policy; its rules are right.
 */
export function locksEverything(policy: PolicyConfig): boolean {
  const rules = policyRules(policy);
  const set = new RuleSet(rules);
  let questions = 0;
  for (const flow of flows(rules, policy)) {
    if (++questions > QUESTIONS_MAX) return false;
    if (denies(set, flow)) continue;
    if (!set.hasAllow || set.address("allow", { ...flow, isHost: () => false }) !== null) {
      return false;
    }
    if (flow.addressClass !== AddressClass.public) continue;
    for (const name of names(rules)) {
      if (++questions > QUESTIONS_MAX) return false;
      if (reachesByName(set, name, flow)) return false;
    }
  }
  return true;
}

/** One flow of each stretch of addresses and ports, what is usual first. */
function* flows(rules: readonly Rule[], { protect = "metadata" }: PolicyConfig): Generator<Flow> {
  const ports = portEdges(rules);
  const kinds: readonly (readonly [FlowProtocol, readonly number[]])[] = [
    ["tcp", ports],
    ["udp", ports],
    ["icmp", [0]],
  ];
  for (const address of addressEdges(rules)) {
    const addressClass = classify(address);
    if (refusesClass(protect, addressClass)) continue;
    for (const [protocol, list] of kinds) {
      for (const port of list) yield { address, addressClass, protocol, port };
    }
  }
}

function denies(set: RuleSet, flow: Flow): boolean {
  return set.address("deny", { ...flow, isHost: () => false }) !== null;
}

/** Whether a name that may be looked up leads to where a flow goes. */
function reachesByName(set: RuleSet, name: string, { port, protocol }: Flow): boolean {
  if (set.lookup("deny", name) !== null) return false;
  if (set.name("deny", name, port, protocol) !== null) return false;
  return set.name("allow", name, port, protocol) !== null;
}

/** Names that stand for all that are allowed. */
function names(rules: readonly Rule[]): string[] {
  return rules.flatMap(({ action, target }) => {
    if (action !== "allow" || target.kind !== "domain") return [];
    return target.wildcard ? [target.name, `${SOME_LABEL}.${target.name}`] : [target.name];
  });
}

/** A label that no rule has. */
const SOME_LABEL = "_some-name-below";

function addressEdges(rules: readonly Rule[]): Uint8Array[] {
  const edges = ([4, 16] as const).flatMap((length) => classEdges(length));
  for (const { target } of rules) {
    if (target.kind === "prefix") edges.push(...prefixEdges(target.address, target.bits));
  }
  return [...edges, ...carriedEdges(rules)];
}

/** Of addresses that carry others, and are allowed as such, the class is that of what they carry. */
function carriedEdges(rules: readonly Rule[]): Uint8Array[] {
  const allowed = rules.flatMap(({ action, target }) => {
    return action === "allow" && target.kind === "prefix" && target.address.length === 16
      ? target
      : [];
  });
  if (allowed.length === 0) return [];
  const carriers = classEdges(4).flatMap((ipv4) => CARRIERS.map((form) => form(ipv4)));
  return carriers.filter((address) => {
    return allowed.some((prefix) => isWithin(address, prefix.address, prefix.bits));
  });
}

/** The forms of addresses that carry an IPv4 address; Teredo's with a server that is public. */
const CARRIERS: readonly ((ipv4: Uint8Array) => Uint8Array)[] = [
  (ipv4) => Uint8Array.of(...ZEROS.slice(0, 12), ...ipv4),
  (ipv4) => Uint8Array.of(...ZEROS.slice(0, 10), 0xff, 0xff, ...ipv4),
  (ipv4) => Uint8Array.of(...ZEROS.slice(0, 8), 0xff, 0xff, 0, 0, ...ipv4),
  (ipv4) => Uint8Array.of(0, 0x64, 0xff, 0x9b, ...ZEROS.slice(0, 8), ...ipv4),
  (ipv4) => Uint8Array.of(0x20, 0x02, ...ipv4, ...ZEROS.slice(0, 10)),
  (ipv4) => Uint8Array.of(0x20, 0x01, 0, 0, 8, 8, 8, 8, 0, 0, 0, 0, ...ipv4.map((x) => x ^ 0xff)),
];
const ZEROS = new Uint8Array(16);

function isWithin(address: Uint8Array, prefix: Uint8Array, bits: number): boolean {
  for (let at = 0; at < bits; at++) {
    const bit = 0x80 >> (at & 7);
    if ((address[at >> 3]! & bit) !== (prefix[at >> 3]! & bit)) return false;
  }
  return true;
}

function portEdges(rules: readonly Rule[]): number[] {
  const edges = new Set(USUAL_PORTS);
  for (const rule of rules) {
    for (const { first, last } of coverageOf(rule)) {
      if (first > 0) edges.add(first);
      if (last < 65_535) edges.add(last + 1);
    }
  }
  return [...edges];
}
