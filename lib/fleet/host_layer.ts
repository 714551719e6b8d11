/**
 * What a host says of its guest's policy, beneath the documents of the fleet. Who reads the policy in
 * force, changes a word and puts it back sends the fleet's rules along, at their places: those do not
 * become the host's own, else they would stay when the fleet takes them back.
 *
 * Pure.
 *
 * @module
 */
import type { PolicyConfig } from "../config/options.ts";
import { parseRule } from "../policy/rule.ts";

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
  const own: PolicyConfig = { ...policy, origins };
  for (const name of ["allow", "deny"] as const) {
    const known = new Set(fleet[name]?.map((rule, i) => `${rule} ${fleet.origins?.[name]?.[i]}`));
    const places = policy.origins?.[name] ?? [];
    const kept = (policy[name] ?? []).map((text, i) => ({ text, place: places[i] }))
      .filter(({ text, place }) => {
        const rule = parseRule(text, name);
        return !known.has(`${typeof rule === "string" ? text : rule.text} ${place}`);
      });
    own[name] = kept.map(({ text }) => text);
    origins[name] = kept.map(({ place }, i) => place ?? `policy.${name}[${i}]`);
  }
  const isEcho = place !== undefined && place === fleet.origins?.protect;
  if (!isEcho) {
    return place === undefined ? own : { ...own, origins: { ...origins, protect: place } };
  }
  const { protect: _, ...rest } = own;
  return before.protect === undefined ? rest : { ...rest, protect: before.protect };
}
