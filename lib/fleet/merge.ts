/**
 * One guest's policy out of several layers: the documents of the fleet, of its group and of itself,
 * and the configuration of its own host. What is the rule for each word:
 *
 *     deny       all rules of all layers: a deny anywhere wins
 *     allow      all rules of all layers; any, anywhere, makes the default a no
 *     protect    the strictest: strict, metadata, off
 *     ech        the strictest: refuse, outer
 *     denyPage   false anywhere
 *     closed     anywhere: everything is closed, whatever else is said
 *
 * A layer that is silent on a word leaves it to the others. So no layer takes away what another one
 * denies, and the place of a rule is where it is said first. Nobody reaches the engine itself.
 *
 * Pure.
 *
 * @module
 */
import type { EchMode, PolicyConfig, ProtectLevel } from "../config/options.ts";
import { parseRule } from "../policy/rule.ts";
import { AddressClass, classify } from "../policy/address_class.ts";
import { parseIp } from "../wire/address.ts";
import type { EngineAddress } from "./engine.ts";
import type { PolicyDocument } from "./policy_document.ts";

/** Where the rules stand that keep guests from the engine. */
export const ENGINE_ORIGIN = "fleet: the engine";

/** Why everything is closed before a fleet's policy is known. */
export const NO_POLICY_ORIGIN = "fleet: no policy has come yet";

const PROTECT: readonly ProtectLevel[] = ["off", "metadata", "strict"];
const ECH: readonly EchMode[] = ["outer", "refuse"];

/** An address that no guest reaches at any level: to allow it alone makes the default a no. */
const NOWHERE = "0.0.0.0";
const EVERYWHERE: readonly string[] = ["0.0.0.0/0", "::/0"];

/**
 * Merges the layers of a guest.
 *
 * @param documents Those of the fleet, of its group, of itself, in this order, as far as there are any.
 * @param host What its own host says; checked already.
 * @param engine Where the engine listens.
 */
export function mergePolicies(
  documents: readonly PolicyDocument[],
  host: PolicyConfig,
  engine: readonly EngineAddress[] = [],
): PolicyConfig {
  const closing = documents.find(({ closed }) => closed);
  if (closing !== undefined) return closedPolicy(`${closing.key}.closed`);
  const { protect: hostProtect = "metadata", ech: hostEch = "refuse" } = host;
  const layers: readonly PolicyConfig[] = [
    ...documents.map(({ policy }) => policy),
    { ...host, protect: hostProtect, ech: hostEch },
  ];
  const allow = new RuleList();
  const deny = new RuleList();
  for (const layer of layers) {
    allow.addAll(layer.allow, layer.origins?.allow, "allow");
    deny.addAll(layer.deny, layer.origins?.deny, "deny");
  }
  for (const rule of engine.flatMap(engineRules)) deny.add(rule, ENGINE_ORIGIN);
  const protect = strictest(PROTECT, layers.map((layer) => layer.protect), hostProtect);
  const place = layers.find((layer) => layer.protect === protect)?.origins?.protect;
  return {
    protect,
    allow: allow.rules,
    deny: deny.rules,
    denyPage: layers.every(({ denyPage = true }) => denyPage),
    ech: strictest(ECH, layers.map((layer) => layer.ech), hostEch),
    origins: {
      allow: allow.origins,
      deny: deny.origins,
      ...(place === undefined ? {} : { protect: place }),
    },
  };
}

/**
 * A policy by which a guest reaches nothing and looks up nothing but the gateway's own names.
 *
 * @param origin Where that is said.
 */
export function closedPolicy(origin: string): PolicyConfig {
  return {
    protect: "strict",
    allow: [NOWHERE],
    deny: [...EVERYWHERE],
    denyPage: true,
    ech: "refuse",
    origins: { allow: [origin], deny: EVERYWHERE.map(() => origin), protect: origin },
  };
}

/** Whether a policy is one of {@linkcode closedPolicy}. */
export function isClosed({ allow = [], deny = [] }: PolicyConfig): boolean {
  return allow.join() === NOWHERE && deny.join() === EVERYWHERE.join();
}

/** Rules in canonical form, each once, at the place where it was said first. */
class RuleList {
  readonly rules: string[] = [];
  readonly origins: string[] = [];
  readonly #known = new Set<string>();

  add(rule: string, origin: string): void {
    if (this.#known.has(rule)) return;
    this.#known.add(rule);
    this.rules.push(rule);
    this.origins.push(origin);
  }

  addAll(rules: readonly string[] = [], origins: readonly string[] = [], name: "allow" | "deny") {
    rules.forEach((text, i) => {
      const rule = parseRule(text, name);
      // What is no rule stays as it is: who compiles the policy says so.
      this.add(typeof rule === "string" ? text : rule.text, origins[i] ?? `policy.${name}[${i}]`);
    });
  }
}

/** One that the host itself listens on is reached at all of the host's addresses. */
function engineRules({ address, port }: EngineAddress): string[] {
  const octets = parseIp(address);
  if (octets === null) return [];
  const place = octets.length === 16 ? `[${address}]` : address;
  const rules = [`${place}:${port}/tcp`];
  if (classify(octets) === AddressClass.loopback) rules.push(`host:${port}/tcp`);
  return rules.flatMap((text) => {
    const rule = parseRule(text, "deny");
    return typeof rule === "string" ? [] : [rule.text];
  });
}

/** The last of an order that is named. */
function strictest<T>(order: readonly T[], named: readonly (T | undefined)[], host: T): T {
  return order.findLast((each) => named.includes(each)) ?? host;
}
