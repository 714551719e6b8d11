/** Would a target be reached, by which rule, and what to write to change that. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import {
  explain,
  type ExplainTarget,
  type Explanation,
  formatFinding,
  parseTarget,
} from "../../lib/policy/explain.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { addresses, ports, ruleLists } from "./arbitrary_rules.ts";
import { hintOf, PolicyWorld, type PolicyWorldOptions } from "./policy_world.ts";
import { bytesOf } from "./rules.ts";

function targetOf(text: string): ExplainTarget {
  const target = parseTarget(text);
  assert(typeof target !== "string", String(target));
  return target;
}

function textOf({ name, addresses, port, protocol }: ExplainTarget): string {
  return [name ?? addresses.map(formatIp).join(), port ?? "-", protocol].join(" ");
}

Deno.test("explain: targets as people write them", () => {
  const cases: Record<string, string> = {
    "pypi.org": "pypi.org - tcp",
    "PyPI.org.": "pypi.org - tcp",
    "pypi.org:443": "pypi.org 443 tcp",
    "pypi.org:53/udp": "pypi.org 53 udp",
    "pypi.org/icmp": "pypi.org - icmp",
    "10.0.0.5": "10.0.0.5 - tcp",
    "10.0.0.5:5432": "10.0.0.5 5432 tcp",
    "10.0.0.5:5432/tcp": "10.0.0.5 5432 tcp",
    "10.0.0.5/udp": "10.0.0.5 - udp",
    "2001:db8::1": "2001:db8::1 - tcp",
    "[2001:db8::1]": "2001:db8::1 - tcp",
    "[2001:DB8:0::1]:443": "2001:db8::1 443 tcp",
    "[2001:db8::1]/icmp": "2001:db8::1 - icmp",
    "https://pypi.org/simple/": "pypi.org 443 tcp",
    "HTTPS://PyPI.org": "pypi.org 443 tcp",
    "http://pypi.org:8080/?x=https://evil.com": "pypi.org 8080 tcp",
    "https://user:password@pypi.org/": "pypi.org 443 tcp",
    "ssh://git@github.com/x": "github.com 22 tcp",
    "wss://pypi.org": "pypi.org 443 tcp",
    "ws://pypi.org": "pypi.org 80 tcp",
    "postgres://db.internal:5432/x": "db.internal 5432 tcp",
    "https://[2001:db8::1]:8443/": "2001:db8::1 8443 tcp",
    "http://2130706433/": "127.0.0.1 80 tcp",
    "bücher.example": "xn--bcher-kva.example - tcp",
    "bücher.example:8080": "xn--bcher-kva.example 8080 tcp",
    "https://bücher.example/": "xn--bcher-kva.example 443 tcp",
    "_dmarc.pypi.org": "_dmarc.pypi.org - tcp",
  };
  for (const [text, said] of Object.entries(cases)) {
    assertEquals(textOf(targetOf(text)), said, text);
  }
});

Deno.test("explain: what is no target is told with how one is written", () => {
  const wrong = [
    "",
    " ",
    "pypi.org:",
    "pypi.org:x",
    "pypi.org:0",
    "pypi.org:65536",
    "pypi.org:443/sctp",
    "pypi.org:443/",
    "a b",
    "pypi..org",
    ".pypi.org",
    "[::1",
    "[pypi.org]x",
    "2001:db8::1:443x",
    "https://",
    "https://pypi.org:99999/",
    "mailto://",
    "\0",
    "ü".repeat(300),
    "x".repeat(600),
    "*.pypi.org",
  ];
  for (const text of wrong) {
    const said = parseTarget(text);
    assert(typeof said === "string", `${text}: ${JSON.stringify(said)}`);
    assert(said.length > 10 && said.length < 900, said);
  }
});

Deno.test("explain: any text is a target or a sentence", () => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.webUrl(), fc.ipV6(), fc.domain()), (text) => {
    const target = parseTarget(text);
    assert(typeof target === "string" ? target.length > 0 : target.addresses.length <= 1);
  }));
});

/** The answer, a line for each finding. */
function explained(rules: string, text: string, options: PolicyWorldOptions = {}): string[] {
  const world = new PolicyWorld(rules, options);
  const target = targetOf(text);
  return linesOf(explainIn(world, target));
}

/** As `GuestNetwork` does it: with the addresses that the name is known to lead to. */
function explainIn({ policy, nowMs }: { policy: Policy; nowMs: number }, target: ExplainTarget) {
  const pinned = [...policy.pins.list(nowMs)].filter(({ name }) => name === target.name);
  const addresses = [...target.addresses, ...pinned.map(({ address }) => bytesOf(address))];
  return explain(policy, { ...target, addresses }, { isHost: () => false }, nowMs);
}

function linesOf({ allowed, findings }: Explanation): string[] {
  return [allowed ? "yes" : "no", ...findings.flatMap(formatFinding)];
}

const PINS = { pins: "pypi.org=8.8.8.8" };

Deno.test("explain: an address, port by port", () => {
  assertEquals(explained("", "8.8.8.8"), [
    "yes",
    "ALLOW tcp 8.8.8.8:443: nothing forbids it",
    "ALLOW tcp 8.8.8.8:80: nothing forbids it",
  ]);
  assertEquals(explained("allow 8.8.8.8:80", "8.8.8.8"), [
    "yes",
    "DENY  tcp 8.8.8.8:443  by default-deny (rule 1): no rule allows this address, and no allowed " +
    "name leads to it",
    '      allow it with  policy: { allow: ["8.8.8.8:443/tcp"] }',
    "ALLOW tcp 8.8.8.8:80  by 8.8.8.8:80 (rule 1): the rule covers it",
  ]);
  assertEquals(explained("deny private", "10.0.0.5:5432/tcp"), [
    "no",
    "DENY  tcp 10.0.0.5:5432  by private (rule 1): a rule denies it",
    '      allow it with  policy: { deny: [] } without "private" (rule 1)',
  ]);
  assertEquals(explained("", "169.254.169.254:80"), [
    "no",
    "DENY  tcp 169.254.169.254:80  by protect metadata: no rule opens metadata addresses",
    "      allow it with  policy: { protect: off }",
  ]);
  assertEquals(explained("", "127.0.0.1:80"), [
    "no",
    "DENY  tcp 127.0.0.1:80  by protect metadata: no rule opens loopback addresses",
  ]);
  assertEquals(explained("", "[2606:4700::1]/icmp"), [
    "yes",
    "ALLOW icmp 2606:4700::1: nothing forbids it, where the gateway may run ping",
  ]);
  assertEquals(explained("allow 10.0.0.0/8:443", "10.0.0.5/icmp"), [
    "no",
    "DENY  icmp 10.0.0.5  by default-deny (rule 1): no rule allows this address, and no allowed name leads to it",
    '      allow it with  policy: { allow: ["10.0.0.5/icmp"] }',
  ]);
  assertEquals(explained("allow pypi.org/icmp", "pypi.org/icmp"), [
    "yes",
    "ALLOW dns pypi.org  by pypi.org/icmp (rule 1): the name may be looked up",
    "ALLOW icmp pypi.org  by pypi.org/icmp (rule 1): once the guest has looked the name up",
  ]);
  assertEquals(explained("allow pypi.org", "pypi.org/icmp"), [
    "no",
    "ALLOW dns pypi.org  by pypi.org (rule 1): the name may be looked up",
    "DENY  icmp pypi.org  by default-deny (rule 1): no rule names pypi.org for it, unless one allows its address",
    '      allow it with  policy: { allow: ["pypi.org/icmp"] }',
  ]);
});

Deno.test("explain: a name that nobody has looked up is judged as far as it goes", () => {
  assertEquals(explained("allow pypi.org", "pypi.org"), [
    "yes",
    "ALLOW dns pypi.org  by pypi.org (rule 1): the name may be looked up",
    "ALLOW tcp pypi.org:443  by pypi.org (rule 1): TLS with this name, once the guest has looked it up",
    "ALLOW tcp pypi.org:80  by pypi.org (rule 1): HTTP with this name, once the guest has looked it up",
  ]);
  assertEquals(explained("allow pypi.org", "npmjs.com:443"), [
    "no",
    "DENY  dns npmjs.com  by default-deny (rule 1): no rule names npmjs.com",
    '      allow it with  policy: { allow: ["npmjs.com"] }',
    "DENY  tcp npmjs.com:443  by default-deny (rule 1): no rule names npmjs.com for it, unless one " +
    "allows its address",
    '      allow it with  policy: { allow: ["npmjs.com"] }',
  ]);
  assertEquals(explained("allow *.pypi.org:22", "git.pypi.org:22"), [
    "yes",
    "ALLOW dns git.pypi.org  by *.pypi.org:22 (rule 1): the name may be looked up",
    "ALLOW tcp git.pypi.org:22  by *.pypi.org:22 (rule 1): once the guest has looked the name up",
  ]);
  assertEquals(explained("deny evil.com", "evil.com:80")[0], "no");
  assertEquals(explained("deny evil.com:25", "evil.com:25"), [
    "no",
    "ALLOW dns evil.com: the name may be looked up",
    "DENY  tcp evil.com:25  by evil.com:25 (rule 1): a rule denies it",
    '      allow it with  policy: { deny: [] } without "evil.com:25" (rule 1)',
  ]);
  assertEquals(explained("", "pypi.org:22"), [
    "yes",
    "ALLOW dns pypi.org: the name may be looked up",
    "ALLOW tcp pypi.org:22: as far as the name goes; its address is judged when it is dialled",
  ]);
});

Deno.test("explain: a name that was looked up is judged at its addresses", () => {
  assertEquals(explained("allow pypi.org", "pypi.org:443", PINS), [
    "yes",
    "ALLOW dns pypi.org  by pypi.org (rule 1): the name may be looked up",
    "ALLOW tcp pypi.org at 8.8.8.8:443  by pypi.org (rule 1): TLS with this name, once the guest " +
    "has looked it up",
  ]);
  const flowLine = (rules: string) => explained(rules, "pypi.org:443", PINS)[2];
  assertEquals(
    flowLine("deny 8.8.8.8; allow pypi.org"),
    "DENY  tcp pypi.org at 8.8.8.8:443  by 8.8.8.8 (rule 1): a rule denies it",
  );
  assertEquals(
    flowLine("allow 8.8.8.8; allow *.org:1"),
    "ALLOW tcp pypi.org at 8.8.8.8:443  by 8.8.8.8 (rule 1): the rule covers it",
  );
});

Deno.test("explain: another name at the same address does not allow this one", () => {
  const options = { pins: "pypi.org=8.8.8.8 npmjs.com=8.8.8.8" };
  const lines = explained("allow pypi.org; allow public:1", "npmjs.com:443", options);
  assertEquals(lines, [
    "no",
    "ALLOW dns npmjs.com: the name may be looked up",
    "DENY  tcp npmjs.com at 8.8.8.8:443  by default-deny: another name leads to this address, and " +
    "no rule names npmjs.com",
    '      allow it with  policy: { allow: ["npmjs.com"] }',
  ]);
});

Deno.test("explain: QUIC to a name is refused, with TLS as the way out", () => {
  const lines = explained("allow pypi.org", "pypi.org:443/udp", PINS);
  assertEquals(lines[0], "no");
  assertMatch(
    lines[2]!,
    /^DENY {2}udp pypi.org at 8.8.8.8:443 {2}by default-deny \(rule 1\): QUIC/,
  );
  // Also where no address is known: no rule about a name could say it.
  const [, , unknown, hint] = explained("allow pypi.org", "pypi.org:443/udp");
  assertMatch(unknown!, /^DENY {2}udp pypi.org:443 /);
  assertEquals(hint, undefined);
});

Deno.test("explain: of an address it says what becomes of the flow, and its hints help", () => {
  const protocols = fc.constantFrom("tcp" as const, "udp" as const);
  fc.assert(
    fc.property(ruleLists, addresses, ports, protocols, (rules, address, port, protocol) => {
      const world = new PolicyWorld(rules);
      const target = { name: null, addresses: [address], port, protocol };
      const { allowed, findings } = explainIn(world, target);
      const flow = { address, port, protocol, isHost: () => false };
      const verdict = world.policy.judgeFlow(flow, world.nowMs);
      assertEquals([allowed, findings.length], [verdict.kind !== "deny", 1]);
      const [finding] = findings;
      assertEquals(finding!.hint === null || !allowed, true);
      if (finding!.hint === null || finding!.hint.includes("deny: []")) return;
      const change = hintOf(finding!.hint);
      const better = "rule" in change
        ? world.changed([...rules, change.rule])
        : world.changed(rules, change.protect);
      const then = explainIn({ policy: better, nowMs: world.nowMs }, target);
      // A level that lets the address pass leaves it to the rules.
      const isHelped = "rule" in change
        ? then.allowed
        : !then.findings[0]!.rule.startsWith("protect");
      assert(isHelped, finding!.hint);
    }),
    { numRuns: 500 },
  );
});
