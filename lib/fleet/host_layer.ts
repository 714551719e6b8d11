/**
 * What a host says of its guest's policy, beneath the documents of the fleet. Who reads the policy in
 * force, changes a word and puts it back sends the fleet's rules along, at their places: those do not
 * become the host's own, else they would stay when the fleet takes them back. What the host has said
 * itself stays its own, where the fleet says the same.
 *
 * Pure.
 *
 * @module
 */
import type { PolicyConfig } from "../config/options.ts";
import { parseRule } from "../policy/rule.ts";
import { isClosed } from "./merge.ts";

/**
 * A host's policy without what it only echoes of the fleet's: the same rules at the same places.
 *
 * @param policy What is said.
 * @param fleet What the fleet says, with nothing of the host.
 * @param before What the host has said so far.
 */
export function withoutFleet(
  policy: PolicyConfig,
  fleet: PolicyConfig,
  before: PolicyConfig,
): PolicyConfig {
  const { protect: place, ...origins } = policy.origins ?? {};
  const layer: PolicyConfig = { ...policy, origins };
  for (const name of ["allow", "deny"] as const) {
    const theirs = new Set(placed(fleet, name).map(({ rule, place }) => `${rule} ${place}`));
    const isEcho = ({ rule, place }: PlacedRule) => theirs.has(`${rule} ${place}`);
    const had = placed(before, name);
    const said = placed(policy, name);
    const own = said.filter((each) => !isEcho(each));
    const echoed = new Set(said.filter(isEcho).map(({ rule }) => rule));
    // Where all is closed the host's rules are not shown, and so nobody can mean to leave them out.
    const isHidden = echoed.size > 0 && isClosed(fleet);
    const kept = [...had.filter(({ rule }) => isHidden || echoed.has(rule)), ...own];
    layer[name] = kept.map(({ rule }) => rule);
    origins[name] = kept.map(({ place }) => place);
  }
  const isEcho = place !== undefined && place === fleet.origins?.protect;
  if (!isEcho) {
    return place === undefined ? layer : { ...layer, origins: { ...origins, protect: place } };
  }
  const { protect: _, ...rest } = layer;
  return before.protect === undefined ? rest : { ...rest, protect: before.protect };
}

interface PlacedRule {
  readonly rule: string;
  readonly place: string;
}

/** Rules in canonical form, each with its place. */
function placed(policy: PolicyConfig, name: "allow" | "deny"): PlacedRule[] {
  const places = policy.origins?.[name] ?? [];
  return (policy[name] ?? []).map((text, i) => {
    const rule = parseRule(text, name);
    const place = places[i] ?? `policy.${name}[${i}]`;
    return { rule: typeof rule === "string" ? text : rule.text, place };
  });
}
