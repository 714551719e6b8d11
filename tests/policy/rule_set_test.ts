import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { AddressClass, classify } from "../../lib/policy/address_class.ts";
import type { Rule } from "../../lib/policy/rule.ts";
import { type AddressQuery, RuleSet } from "../../lib/policy/rule_set.ts";
import { queries, ruleLists } from "./arbitrary_rules.ts";
import { NaiveMatcher } from "./naive_matcher.ts";
import { bytesOf, outcomeOf, queryOf, ruleOf, rulesOf } from "./rules.ts";

function query(address: string, more: Partial<AddressQuery> = {}): AddressQuery {
  const bytes = bytesOf(address);
  return {
    address: bytes,
    addressClass: classify(bytes),
    port: 443,
    protocol: "tcp",
    isHost: () => false,
    ...more,
  };
}

Deno.test("rule set: what is told of rules as a whole", () => {
  const told = (text: string) => {
    const { hasAllow, hasDomainAllow, hasHostRules, allowsPublic } = new RuleSet(rulesOf(text));
    return [hasAllow, hasDomainAllow, hasHostRules, allowsPublic];
  };
  assertEquals(told(""), [false, false, false, false]);
  assertEquals(told("deny public; deny pypi.org"), [false, false, false, false]);
  assertEquals(told("allow 10.0.0.0/8"), [true, false, false, false]);
  assertEquals(told("allow *.pypi.org:22"), [true, true, false, false]);
  assertEquals(told("deny host:22"), [false, false, true, false]);
  assertEquals(told("allow host"), [true, false, true, false]);
  assertEquals(told("allow public:443/tcp"), [true, false, false, true]);
  assertEquals(told("allow 0.0.0.0/0"), [true, false, false, true]);
  assertEquals(told("allow ::/0/icmp"), [true, false, false, false]);
  assertEquals(told("allow [::/0]:53"), [true, false, false, true]);
  assertEquals(told("allow 0.0.0.0/1; allow 128.0.0.0/1"), [true, false, false, false]);
});

Deno.test("rule set: the answer is the rule that went in, with its place", () => {
  const rules = rulesOf("deny 10.0.0.0/8; allow pypi.org; allow public");
  const set = new RuleSet(rules);
  assertStrictEquals(set.rules, rules);
  assertStrictEquals(set.address("deny", query("10.0.0.1")), rules[0]!);
  assertStrictEquals(set.lookup("allow", "pypi.org"), rules[1]!);
  assertStrictEquals(set.name("allow", "pypi.org", 443, "tcp")?.rule, rules[1]!);
  assertStrictEquals(set.coversAddress("allow", bytesOf("8.8.8.8"), 0), rules[2]!);
});

Deno.test("rule set: the host's addresses are asked for where a rule of theirs decides, once", () => {
  let asked = 0;
  const isHost = () => ++asked > 0;
  const address = (text: string, action: Rule["action"], port = 22) =>
    new RuleSet(rulesOf(text)).address(action, query("192.168.1.5", { port, isHost }))?.text;
  assertEquals(address("deny private", "deny"), "private");
  assertEquals(address("deny host; deny 192.168.0.0/16", "deny"), "192.168.0.0/16");
  assertEquals(address("allow host; deny private", "deny"), "private");
  assertEquals(address("deny host:80", "deny"), undefined);
  assertEquals(asked, 0);
  assertEquals(address("deny private; deny host", "deny"), "host");
  assertEquals(asked, 1);
});

Deno.test("rule set: the class of a query is taken as it is told", () => {
  const set = new RuleSet(rulesOf("deny metadata"));
  const asked = query("8.8.8.8", { addressClass: AddressClass.metadata });
  assertEquals(set.address("deny", asked)?.text, "metadata");
});

Deno.test("rule set: ICMP is asked without a port", () => {
  const set = new RuleSet(
    rulesOf("allow 10.0.0.1/icmp; allow 10.0.0.2:1-65535; allow x.example/icmp"),
  );
  const icmp = { protocol: "icmp", port: 0 } as const;
  assertEquals(set.address("allow", query("10.0.0.1", icmp))?.text, "10.0.0.1/icmp");
  assertEquals(set.address("allow", query("10.0.0.2", icmp)), null);
  assertEquals(set.name("allow", "x.example", 0, "icmp")?.inspection, null);
});

Deno.test("rule set: a rule that no text says is a bug", () => {
  const rule: Rule = { ...ruleOf("deny 10.0.0.1"), protocol: "tls" };
  assertThrows(() => new RuleSet([rule]), Error, "/tls is for allowed names");
});

Deno.test("rule set: any rules say to any query what a scan of them says", () => {
  fc.assert(
    fc.property(ruleLists, fc.array(queries, { minLength: 10, maxLength: 40 }), (rules, asked) => {
      const compiled = new RuleSet(rules);
      const naive = new NaiveMatcher(rules);
      for (const each of asked) {
        assertEquals(outcomeOf(compiled, each), outcomeOf(naive, each), JSON.stringify(each));
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("rule set: for an allowed name the rule told is the very one that a scan tells", () => {
  fc.assert(
    fc.property(ruleLists, queries, (rules, { verb, port, name }) => {
      if (verb !== "tcp" && verb !== "udp" && verb !== "icmp") return;
      const compiled = new RuleSet(rules).name("allow", name, port, verb);
      const naive = new NaiveMatcher(rules).name("allow", name, port, verb);
      assertStrictEquals(compiled?.rule, naive?.rule);
      assertEquals(compiled?.inspection, naive?.inspection);
    }),
    { numRuns: 500 },
  );
});

Deno.test("rule set: an allowed name never passes UDP 443, nor TLS and HTTP without a look", () => {
  fc.assert(
    fc.property(ruleLists, queries, (rules, { name }) => {
      const set = new RuleSet(rules);
      assertEquals(set.name("allow", name, 443, "udp"), null);
      for (const port of [80, 443]) {
        const match = set.name("allow", name, port, "tcp");
        assert(match === null || match.inspection !== null, match?.rule.text);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("rule set: ten thousand rules that differ in their ports alone, on one target", () => {
  const rules = Array.from({ length: 10_000 }, (_, i) => {
    const first = 1 + (i * 7919) % 65_000;
    return ruleOf(`${i % 3 === 0 ? "deny" : "allow"} 10.0.0.1:${first}-${first + i % 40}`, i);
  });
  const compiled = new RuleSet(rules);
  const naive = new NaiveMatcher(rules);
  for (let port = 1; port <= 65_535; port += 1789) {
    const asked = queryOf(`tcp 10.0.0.1:${port}`);
    assertEquals(outcomeOf(compiled, asked), outcomeOf(naive, asked), `${port}`);
  }
});

Deno.test("rule set: ten thousand targets", () => {
  const rules = Array.from(
    { length: 10_000 },
    (_, i) =>
      ruleOf(
        [
          `deny 10.${i >> 8}.${i & 255}.0/24`,
          `allow *.n${i}.example`,
          `allow n${i}.example:22`,
          `deny [fd00:${i.toString(16)}::/32]:${1 + i}`,
        ][i % 4]!,
        i,
      ),
  );
  const compiled = new RuleSet(rules);
  const naive = new NaiveMatcher(rules);
  const asked = [
    ...["10.0.0.1", "10.1.1.255", "10.39.12.7", "10.255.0.1"].map((each) => `tcp ${each}:9`),
    ...["n1", "n2", "a.n1", "a.n2", "a.b.n9997", "n9998", "n10000"].flatMap((
      each,
    ) => [`lookup ${each}.example`, `tcp ${each}.example:22`, `tls ${each}.example:443`]),
    ...["tcp [fd00:3::1]:4", "tcp [fd00:3::1]:5", "tcp [fd00:270f::1]:10000"],
  ];
  for (const each of asked) {
    assertEquals(outcomeOf(compiled, queryOf(each)), outcomeOf(naive, queryOf(each)), each);
  }
});
