/**
 * A guest's policy, out of its configuration.
 *
 * @module
 */
import type { Limits } from "../config/limits.ts";
import { checkedRules } from "../config/network_config.ts";
import type { PolicyConfig } from "../config/options.ts";
import { RuleSet } from "../policy/rule_set.ts";
import type { GuestPolicy } from "./guest_options.ts";

/**
 * Makes a policy out of its configuration.
 *
 * @throws {ConfigError} Where it is wrong.
 */
export function compilePolicy(policy: PolicyConfig = {}, limits: Limits): GuestPolicy {
  const rules = new RuleSet(checkedRules(policy, limits.policyRules));
  const { protect = "metadata", denyPage = true, ech = "refuse", origins } = policy;
  const place = origins?.protect === undefined ? {} : { protectOrigin: origins.protect };
  return { protect, ...place, denyPage, ech, rules };
}
