/** Any policy against one by its words, and each way out that a denial names taken. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Denial } from "../../lib/policy/denial.ts";
import { PinKind, Pins } from "../../lib/policy/pins.ts";
import { type FlowQuery, type FlowVerdict, Policy } from "../../lib/policy/policy.ts";
import type { ProtectLevel } from "../../lib/policy/protect.ts";
import type { Rule } from "../../lib/policy/rule.ts";
import { type FlowProtocol, RuleSet } from "../../lib/policy/rule_set.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { addresses, ports, queryNames, ruleLists as anyRules } from "./arbitrary_rules.ts";
import { NaiveJudge, type NaivePin } from "./naive_judge.ts";
import { hintOf } from "./policy_world.ts";
import { bytesOf, ruleOf } from "./rules.ts";

const levels = fc.constantFrom<ProtectLevel>("off", "off", "metadata", "metadata", "strict");
const protocols = fc.constantFrom<FlowProtocol>("tcp", "udp", "icmp");

/** Few rules that are mostly about few names, so that flows are inspected. */
const nameRules: fc.Arbitrary<Rule[]> = fc.array(
  fc.constantFrom(
    "allow a.a.",
    "allow *.a.",
    "allow b.a:443/tls",
    "allow *.a.:80,443,8000",
    "allow a.a:8000/http",
    "allow *.public.:22/udp",
    "deny b.a.",
    "deny b.a.:443",
    "deny 10.0.0.0/8:80",
    "allow 8.8.8.8:80",
    "allow private:22",
  ),
  { minLength: 1, maxLength: 4 },
).map((texts) => texts.map(ruleOf));
const ruleLists = fc.oneof(anyRules, nameRules);
const names = fc.oneof(queryNames, fc.constantFrom("a.a", "b.a", "a", "public"));

/** A flow, and the names that its address has; most have one. */
interface Case {
  readonly flow: FlowQuery;
  readonly pins: readonly NaivePin[];
}

const cases: fc.Arbitrary<Case> = fc.record({
  address: fc.oneof(addresses, fc.constantFrom("8.8.8.8", "10.0.0.1").map(bytesOf)),
  port: fc.oneof(ports, fc.constantFrom(0, 80, 443)),
  protocol: protocols,
  isHost: fc.boolean(),
  isOwn: fc.boolean(),
  ownNames: fc.uniqueArray(names, { maxLength: 3 }),
  others: fc.array(fc.tuple(names, addresses), { maxLength: 3 }),
}).map(({ address, port, protocol, isHost, isOwn, ownNames, others }) => {
  const own = ownNames.map((name) => ({ name, address, isOwn }));
  const foreign = others
    .map(([name, address]) => ({ name, address }))
    .filter((pin) => formatIp(pin.address) !== formatIp(address));
  const flow = { address, port: protocol === "icmp" ? 0 : port, protocol, isHost: () => isHost };
  return { flow, pins: [...own, ...foreign] };
});

const NOW_MS = 1_000;

function policyFrom(rules: readonly Rule[], protect: ProtectLevel, pins: readonly NaivePin[]) {
  const policy = new Policy({ protect, rules: new RuleSet(rules), pins: new Pins(64) });
  for (const { name, address, isOwn = false } of pins) {
    policy.pins.pin(name, address, 60, NOW_MS, isOwn ? PinKind.own : PinKind.asked);
  }
  return policy;
}

function textOf(verdict: FlowVerdict): string {
  return verdict.kind === "deny" ? `deny ${verdict.denial.reason}` : verdict.kind;
}

function lookupText(denial: Denial | null): string {
  return denial === null ? "allow" : `deny ${denial.reason}`;
}

Deno.test("policy: any policy says of any flow what its words say", () => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(ruleLists, levels, cases, (rules, protect, { flow, pins }) => {
      const said = textOf(policyFrom(rules, protect, pins).judgeFlow(flow, NOW_MS));
      assertEquals(said, new NaiveJudge(rules, protect, pins).flow(flow));
      seen.set(said, (seen.get(said) ?? 0) + 1);
    }),
    { numRuns: 10_000 },
  );
  const outcomes = [
    ...["allow", "deny default-deny", "deny protect", "deny rebind", "deny rule", "inspect"],
  ];
  for (const outcome of outcomes) assert((seen.get(outcome) ?? 0) > 5, `${outcome}: ${[...seen]}`);
});

Deno.test("policy: any policy says of any first bytes, lookup and address what its words say", () => {
  const kinds = fc.constantFrom("tls" as const, "http" as const, "other" as const);
  fc.assert(
    fc.property(
      ruleLists,
      levels,
      cases,
      kinds,
      fc.option(names, { freq: 4 }),
      fc.boolean(),
      (rules, protect, { flow, pins }, kind, other, isOwn) => {
        const policy = policyFrom(rules, protect, pins);
        const naive = new NaiveJudge(rules, protect, pins);
        for (const name of [other, pins[0]?.name ?? other]) {
          const said = policy.judgeInspected(flow, kind, name, "none", NOW_MS);
          assertEquals(textOf(said), naive.shown(flow, kind, name));
          if (name === null) continue;
          const lookup = policy.judgeLookup(name, isOwn);
          assertEquals(lookupText(lookup), naive.lookup(name, isOwn), name);
        }
        assertEquals(policy.keepsAddress(flow.address, isOwn), naive.keeps(flow.address, isOwn));
      },
    ),
    { numRuns: 2_000 },
  );
});

Deno.test("policy: the same rules judge again what they have judged, and let it go on", () => {
  fc.assert(
    fc.property(ruleLists, levels, cases, (rules, protect, { flow, pins }) => {
      const policy = policyFrom(rules, protect, pins);
      const verdict = policy.judgeFlow(flow, NOW_MS);
      const later = [NOW_MS, NOW_MS + 3_600_000];
      if (verdict.kind === "allow") {
        for (const nowMs of later) {
          assertEquals(policy.judgeAgain(flow, verdict.grounds, nowMs), null);
        }
      }
      if (verdict.kind !== "inspect") return;
      for (const { name } of pins) {
        const shown = policy.judgeInspected(flow, "tls", name, "", NOW_MS);
        if (shown.kind !== "allow") continue;
        for (const nowMs of later) {
          assertEquals(policy.judgeAgain(flow, shown.grounds, nowMs), null, name);
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("policy: what rules allow they still allow with a deny fewer or, among allows, one more", () => {
  fc.assert(
    fc.property(ruleLists, levels, cases, fc.nat(), (rules, protect, { flow, pins }, at) => {
      const before = policyFrom(rules, protect, pins).judgeFlow(flow, NOW_MS).kind;
      const rule = rules[at % Math.max(1, rules.length)];
      if (rule === undefined) return;
      const less = policyFrom(rules.filter((each) => each !== rule), protect, pins)
        .judgeFlow(flow, NOW_MS).kind;
      const order = ["deny", "inspect", "allow"];
      if (rule.action === "deny") assert(order.indexOf(less) >= order.indexOf(before));
      else if (rules.filter(({ action }) => action === "allow").length > 1) {
        assert(order.indexOf(less) <= order.indexOf(before));
      }
    }),
    { numRuns: 1_000 },
  );
});

/** The policy with the way out of a denial taken. */
function mended(denial: Denial, rules: readonly Rule[], protect: ProtectLevel, pins: NaivePin[]) {
  const change = hintOf(denial.hint!);
  return "rule" in change
    ? policyFrom([...rules, change.rule], protect, pins)
    : policyFrom(rules, change.protect, pins);
}

Deno.test("policy: with the rule of its hint added, a flow that was refused by default is allowed", () => {
  let taken = 0;
  fc.assert(
    fc.property(ruleLists, levels, cases, (rules, protect, { flow, pins }) => {
      const verdict = policyFrom(rules, protect, pins).judgeFlow(flow, NOW_MS);
      if (verdict.kind !== "deny") return;
      const { denial } = verdict;
      if (denial.reason === "rule" || denial.hint === null) return;
      taken++;
      const better = mended(denial, rules, protect, [...pins]);
      const then = better.judgeFlow(flow, NOW_MS);
      if (denial.reason === "protect") {
        assert(then.kind !== "deny" || then.denial.reason !== "protect", denial.hint);
        return;
      }
      // Whether an address is the host's is not asked for what is refused anyway: that comes next.
      const isHome = then.kind === "deny" && ["rebind", "protect"].includes(then.denial.reason);
      if (isHome) return assert(flow.isHost());
      if (then.kind === "inspect") {
        const kind = flow.port === 80 ? "http" : "tls";
        const shown = better.judgeInspected(flow, kind, denial.name, "", NOW_MS);
        assertEquals(shown.kind, "allow", denial.hint);
        return;
      }
      assertEquals(then.kind, "allow", denial.hint);
    }),
    { numRuns: 3_000 },
  );
  assert(taken > 300, `${taken} hints`);
});

Deno.test("policy: with the rule of its hint added, first bytes that were refused are allowed", () => {
  let taken = 0;
  const kinds = fc.constantFrom("tls" as const, "http" as const, "other" as const);
  fc.assert(
    fc.property(
      ruleLists,
      cases,
      kinds,
      queryNames,
      (rules, { flow: { address, port, isHost }, pins }, kind, name) => {
        const flow: FlowQuery = { address, port, protocol: "tcp", isHost };
        const verdict = policyFrom(rules, "off", pins).judgeFlow(flow, NOW_MS);
        if (verdict.kind !== "inspect") return;
        const shown = policyFrom(rules, "off", pins)
          .judgeInspected(flow, kind, name, "none", NOW_MS);
        if (shown.kind !== "deny" || shown.denial.hint === null) return;
        if (shown.denial.reason === "rule") return;
        taken++;
        // A name has to be looked up, too.
        const looked = { name, address: flow.address, isOwn: pins.some((pin) => pin.isOwn) };
        const better = mended(shown.denial, rules, "off", [...pins, looked]);
        const then = better.judgeFlow(flow, NOW_MS);
        if (
          then.kind === "allow" || (then.kind === "deny" && then.denial.reason === "rule")
        ) return;
        const again = better.judgeInspected(flow, kind, name, "none", NOW_MS);
        assertEquals(again.kind, "allow", shown.denial.hint);
      },
    ),
    { numRuns: 10_000 },
  );
  assert(taken > 5, `${taken} hints`);
});

Deno.test("policy: with the rule of its hint added, a name that was refused is looked up", () => {
  fc.assert(
    fc.property(ruleLists, names, (rules, name) => {
      const denial = policyFrom(rules, "metadata", []).judgeLookup(name, false);
      if (denial === null || denial.reason === "rule" || denial.hint === null) return;
      const better = mended(denial, rules, "metadata", []);
      assertEquals(better.judgeLookup(name, false), null, denial.hint);
      const change = hintOf(denial.hint);
      assert("rule" in change && change.rule.target.kind === "domain", denial.hint);
    }),
    { numRuns: 1_000 },
  );
});
