/**
 * A policy in a small world, asked and answered in short texts.
 *
 *     const world = new PolicyWorld("allow pypi.org; deny 10.0.0.0/8", { pins: "pypi.org=8.8.8.8" });
 *     world.flow("tcp 8.8.8.8:443")            inspect
 *     world.flow("tcp 10.1.2.3:22")            deny rule 10.0.0.0/8
 *     world.shown("tls 8.8.8.8:443 pypi.org")  allow pypi.org for pypi.org
 *     world.lookup("evil.com")                 deny default-deny
 *
 * Rules and flows are written as in `rules.ts`; a flow `at host` leads to one of the host's own
 * addresses. What is refused is told by its reason and its rule, what is allowed by its rule, or
 * `freely` where no rule was needed, and by the name that was.
 *
 * @module
 */
import { assert } from "@std/assert";
import type { Denial } from "../../lib/policy/denial.ts";
import { Pins } from "../../lib/policy/pins.ts";
import { type FlowQuery, type FlowVerdict, type Grounds, Policy } from "../../lib/policy/policy.ts";
import type { ProtectLevel } from "../../lib/policy/protect.ts";
import { parseRule, type Rule } from "../../lib/policy/rule.ts";
import { RuleSet } from "../../lib/policy/rule_set.ts";
import { bytesOf, queryOf, rulesOf } from "./rules.ts";

/** What else there is in the world. */
export interface PolicyWorldOptions {
  readonly protect?: ProtectLevel;
  /** `NAME=ADDRESS` between spaces, each for a minute. */
  readonly pins?: string;
}

/** A policy and its clock. */
export class PolicyWorld {
  readonly policy: Policy;
  nowMs = 1_000;

  constructor(rules: string | readonly Rule[], options: PolicyWorldOptions = {}) {
    const { protect = "metadata", pins = "" } = options;
    const list = typeof rules === "string" ? rulesOf(rules) : rules;
    this.policy = new Policy({ protect, rules: new RuleSet(list), pins: new Pins(64) });
    for (const pin of pins.split(" ").filter(Boolean)) {
      const [name = "", address = ""] = pin.split("=");
      this.pin(name, address);
    }
  }

  /** Other rules over the same pins. */
  changed(rules: string | readonly Rule[], protect: ProtectLevel = this.policy.protect): Policy {
    const list = typeof rules === "string" ? rulesOf(rules) : rules;
    return new Policy({ protect, rules: new RuleSet(list), pins: this.policy.pins });
  }

  /** An answer has led a name to an address. */
  pin(name: string, address: string, ttlSeconds = 0): this {
    this.policy.pins.pin(name, bytesOf(address), ttlSeconds, this.nowMs);
    return this;
  }

  flow(text: string): string {
    return verdictText(this.verdict(text));
  }

  verdict(text: string): FlowVerdict {
    return this.policy.judgeFlow(flowOf(text), this.nowMs);
  }

  /** `tls 192.0.2.1:443 NAME`; without a name there is none, `other` is neither TLS nor HTTP. */
  shown(text: string): string {
    return verdictText(this.shownVerdict(text));
  }

  shownVerdict(text: string): FlowVerdict {
    const [kind = "", destination = "", name = null] = text.split(" ");
    assert(kind === "tls" || kind === "http" || kind === "other", text);
    const flow = flowOf(`tcp ${destination}`);
    return this.policy.judgeInspected(flow, kind, name, name ? "" : "it has none", this.nowMs);
  }

  /** A name of the gateway's own stands behind `own`. */
  lookup(text: string): string {
    const isOwn = text.startsWith("own ");
    const denial = this.policy.judgeLookup(isOwn ? text.slice(4) : text, isOwn);
    return denial === null ? "yes" : denialText(denial);
  }

  /** Whether an answer keeps an address; `own` in front as for `lookup`. */
  keeps(text: string): boolean {
    const isOwn = text.startsWith("own ");
    return this.policy.keepsAddress(bytesOf(isOwn ? text.slice(4) : text), isOwn);
  }

  /** What becomes of a flow with its grounds under other rules. */
  again(text: string, grounds: Grounds, rules: string | readonly Rule[]): string {
    const denial = this.changed(rules).judgeAgain(flowOf(text), grounds, this.nowMs);
    return denial === null ? "goes on" : denialText(denial);
  }

  /** The grounds of a flow, which must be allowed. */
  grounds(text: string): Grounds {
    const verdict = /^(tls|http) /.test(text) ? this.shownVerdict(text) : this.verdict(text);
    assert(verdict.kind === "allow", `${text}: ${verdictText(verdict)}`);
    return verdict.grounds;
  }
}

/** A flow that must be one: `tcp 192.0.2.1:443 at host`. */
export function flowOf(text: string): FlowQuery {
  const { verb, address, port, isHost } = queryOf(text);
  assert(verb === "tcp" || verb === "udp" || verb === "icmp", text);
  assert(address !== null, text);
  return { address, port, protocol: verb, isHost: () => isHost };
}

export function verdictText(verdict: FlowVerdict): string {
  switch (verdict.kind) {
    case "allow": {
      const { rule, name, inspected } = verdict.grounds;
      if (rule === null) return name === null ? "freely" : `freely for ${name}`;
      const target = `allow ${rule.text}`;
      if (name === null) return target;
      return `${target} ${inspected === null ? "for" : `by ${inspected} for`} ${name}`;
    }
    case "inspect":
      return "inspect";
    case "deny":
      return denialText(verdict.denial);
  }
}

export function denialText({ reason, rule }: Denial): string {
  return reason === rule ? `deny ${reason}` : `deny ${reason} ${rule}`;
}

/** The one change that a hint names: an allow rule, or a protect level. */
export function hintOf(hint: string): { rule: Rule } | { protect: ProtectLevel } {
  const [, level] = /^policy: \{ protect: (off|metadata|strict) \}$/.exec(hint) ?? [];
  if (level !== undefined) return { protect: level as ProtectLevel };
  const [, text = ""] = /^policy: \{ allow: \["([^"]*)"\] \}$/.exec(hint) ?? [];
  const body = parseRule(text, "allow");
  assert(typeof body !== "string", `the hint ${hint} is no rule: ${body}`);
  return { rule: { ...body, action: "allow", origin: "the hint" } };
}
