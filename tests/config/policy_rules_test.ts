import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { policyRules, RULE_SEPARATOR } from "../../lib/config/policy_rules.ts";
import { resolveConfig } from "../../lib/config/resolve.ts";

Deno.test("each rule knows where it stands", () => {
  const text = "policy:\n  allow: [pypi.org]\n";
  const { policy } = resolveConfig({
    file: { name: "gateway.yaml", text },
    flags: { deny: ["10.0.0.0/8"] },
  }).settings.network;
  const places = policyRules(policy).map(({ action, text, origin }) => [action, text, origin]);
  assertEquals(places, [
    ["allow", "pypi.org", "gateway.yaml:2:11"],
    ["deny", "10.0.0.0/8", "--deny"],
  ]);
});

Deno.test("a program's rules stand in its lists, unless it says where", () => {
  const rules = policyRules({
    allow: ["a.test", "b.test"],
    deny: ["c.test"],
    origins: { allow: ["mine"] },
  });
  assertEquals(rules.map(({ origin }) => origin), ["mine", "policy.allow[1]", "policy.deny[0]"]);
  assertEquals(policyRules({}), []);
  assertThrows(() => policyRules({ deny: ["a.test", "1.2.3"] }), ConfigError, "policy.deny[1]: ");
});

Deno.test("of very many wrong rules the first are told, as the reader of a file does", () => {
  const error = assertThrows(
    () => policyRules({ allow: Array(50).fill("a b"), deny: ["a b"] }),
    ConfigError,
  ) as ConfigError;
  assertEquals(error.problems.length, 22);
  const { key, text } = error.problems[20]!;
  assertEquals([key, text], ["policy.allow", "30 more rules are wrong"]);
});

Deno.test("a comma parts rules, not the ports of one", () => {
  const parts = (text: string) => text.split(RULE_SEPARATOR).map((part) => part.trim());
  assertEquals(parts("a.test,b.test"), ["a.test", "b.test"]);
  assertEquals(parts("a.test:80,443,b.test"), ["a.test:80,443", "b.test"]);
  assertEquals(parts("a.test:80, 443/tcp, 10.0.0.1:1"), ["a.test:80, 443/tcp", "10.0.0.1:1"]);
  assertEquals(parts("a.test:80,90-99,1.2.3.4,4.test"), ["a.test:80,90-99", "1.2.3.4", "4.test"]);
});
