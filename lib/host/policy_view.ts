/**
 * A compiled policy for people and programs to look at, without a guest: as the configuration that
 * makes it, and what it says to a guest that has looked nothing up yet.
 *
 * @module
 */
import { ConfigError } from "../config/errors.ts";
import type { LanMember } from "../config/lan_member.ts";
import type { PolicyConfig } from "../config/options.ts";
import { explain, type ExplainWorld, type Explanation, parseTarget } from "../policy/explain.ts";
import { judgeNeighbor } from "../policy/neighbor_policy.ts";
import { Pins } from "../policy/pins.ts";
import { Policy } from "../policy/policy.ts";
import type { RuleAction } from "../policy/rule.ts";
import { formatIp } from "../wire/address.ts";
import type { GuestPolicy } from "./guest_options.ts";
import { hostSystem } from "./host_system.ts";
import { configuredAddresses, neighborName } from "./lan_judge.ts";

/** The configuration of a policy, whole, with its rules in canonical form. */
export function describePolicy(policy: GuestPolicy): Required<PolicyConfig> {
  const { protect, protectOrigin, denyPage, ech, rules } = policy;
  const those = (which: RuleAction) => rules.rules.filter(({ action }) => action === which);
  const allow = those("allow");
  const deny = those("deny");
  return {
    protect,
    allow: allow.map(({ text }) => text),
    deny: deny.map(({ text }) => text),
    denyPage,
    ech,
    origins: {
      allow: allow.map(({ origin }) => origin),
      deny: deny.map(({ origin }) => origin),
      ...(protectOrigin === undefined ? {} : { protect: protectOrigin }),
    },
  };
}

/**
 * Would a guest reach a target that it has not looked up yet.
 *
 * @param guestPolicy Its policy.
 * @param target What is asked about.
 * @param neighbors The other guests of its network.
 * @throws {ConfigError} Where the target is none.
 */
export function explainPolicy(
  guestPolicy: GuestPolicy,
  target: string,
  neighbors: readonly LanMember[] = [],
): Explanation {
  const parsed = parseTarget(target);
  if (typeof parsed === "string") throw new ConfigError([{ key: "", text: parsed }]);
  const policy = new Policy({ ...guestPolicy, pins: new Pins(1) });
  const nowMs = hostSystem.now();
  const named = neighbors.find((each) => neighborName(each) === parsed.name);
  const world: ExplainWorld = {
    isHost: (address) => hostSystem.canBind(formatIp(address)) ?? true,
    isOwnName: (name) => neighbors.some((each) => neighborName(each) === name),
    neighbor: (flow) => {
      const literal = formatIp(flow.address);
      const found = neighbors.find(({ ip4, ip6 }) => ip4 === literal || ip6 === literal);
      if (found === undefined) return null;
      return judgeNeighbor(policy, flow, neighborName(found), configuredAddresses(found), nowMs);
    },
  };
  const addresses = named === undefined ? parsed.addresses : configuredAddresses(named);
  return explain(policy, { ...parsed, addresses }, world, nowMs);
}
