/** Policies for tests: by their rules as text. */
import type { EchMode, ProtectLevel } from "../../lib/config/options.ts";
import { policyRules } from "../../lib/config/policy_rules.ts";
import type { GuestPolicy } from "../../lib/host/guest_options.ts";
import { type NamedPlaces, NO_PLACES } from "../../lib/policy/named_places.ts";
import { Pins } from "../../lib/policy/pins.ts";
import { Policy } from "../../lib/policy/policy.ts";
import { RuleSet } from "../../lib/policy/rule_set.ts";

export interface PolicySpec {
  protect?: ProtectLevel;
  allow?: string[];
  deny?: string[];
  denyPage?: boolean;
  ech?: EchMode;
}

/** What a guest's network takes. */
export function guestPolicy(spec: PolicySpec = {}): GuestPolicy {
  const { protect = "metadata", denyPage = true, ech = "refuse" } = spec;
  return { protect, denyPage, ech, rules: new RuleSet(policyRules(spec)) };
}

/** A policy by itself, with pins of its own. */
export function policyOf(
  spec: PolicySpec = {},
  pins = new Pins(64),
  places: NamedPlaces = NO_PLACES,
): Policy {
  return new Policy({ ...guestPolicy(spec), pins, places });
}

/** A policy that lets every answer of a resolver through: for what is not about policy. */
export class OpenPolicy extends Policy {
  constructor() {
    super({ ...guestPolicy({ protect: "off" }), pins: new Pins(64) });
  }

  override keepsAddress(): boolean {
    return true;
  }
}
