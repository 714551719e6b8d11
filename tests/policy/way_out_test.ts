/** Ways out of a refusal, local ones and those in a fleet's documents. */
import { assertEquals } from "@std/assert";
import { Pins } from "../../lib/policy/pins.ts";
import { Policy } from "../../lib/policy/policy.ts";
import { RuleSet } from "../../lib/policy/rule_set.ts";
import { allowHint, denyHint, protectHint } from "../../lib/policy/way_out.ts";
import { bytesOf, ruleOf } from "./rules.ts";

Deno.test("way out: hints are lines of a configuration", () => {
  assertEquals(allowHint("pypi.org:443/tcp"), 'policy: { allow: ["pypi.org:443/tcp"] }');
  assertEquals(allowHint("pypi.org", "fleet.allow[0]"), 'policy: { allow: ["pypi.org"] }');
  assertEquals(allowHint(null), null);
  const rule = { ...ruleOf("deny *.evil.com"), origin: "--deny" };
  assertEquals(denyHint(rule), 'policy: { deny: [] } without "*.evil.com" (--deny)');
  assertEquals(protectHint("metadata", ""), "policy: { protect: metadata }");
  assertEquals(protectHint(null, ""), null);
});

Deno.test("way out: a rule of a fleet's document is changed there, and nowhere else", () => {
  const cases: [origin: string, hint: string | null][] = [
    ["fleet.deny[0]", 'deny: [] without "9.9.9.9" in the fleet\'s document fleet (fleet.deny[0])'],
    [
      "group.ci.deny[12]",
      'deny: [] without "9.9.9.9" in the fleet\'s document group.ci (group.ci.deny[12])',
    ],
    ["guest.vm1.closed", "no closed: true in the fleet's document guest.vm1"],
    ["fleet: the engine", null],
    ["fleet: no policy has come yet", null],
    // Files of the gateway's own that only begin alike.
    ["fleet.yaml:3:5", 'policy: { deny: [] } without "9.9.9.9" (fleet.yaml:3:5)'],
    ["group.ci.yaml:3:5", 'policy: { deny: [] } without "9.9.9.9" (group.ci.yaml:3:5)'],
  ];
  for (const [origin, hint] of cases) assertEquals(denyHint({ text: "9.9.9.9", origin }), hint);
  assertEquals(
    protectHint("metadata", "fleet.protect"),
    "protect: metadata in the fleet's document fleet (fleet.protect)",
  );
  assertEquals(
    allowHint("pypi.org", "fleet.closed"),
    "no closed: true in the fleet's document fleet",
  );
  assertEquals(allowHint("pypi.org", "fleet: no policy has come yet"), null);
});

Deno.test("way out: a protect level of a document is told by its place", () => {
  const policy = new Policy({
    protect: "strict",
    protectOrigin: "group.ci.protect",
    rules: new RuleSet([]),
    pins: new Pins(4),
  });
  const flow = {
    address: bytesOf("10.0.0.1"),
    port: 5432,
    protocol: "tcp",
    isHost: () => false,
  } as const;
  const verdict = policy.judgeFlow(flow, 0);
  if (verdict.kind !== "deny") throw new Error("a private address passed strict");
  assertEquals(verdict.denial.origin, "group.ci.protect");
  assertEquals(
    verdict.denial.hint,
    "protect: metadata in the fleet's document group.ci (group.ci.protect)",
  );
});
