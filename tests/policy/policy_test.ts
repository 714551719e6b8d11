/** What a policy says of flows, of first bytes, of lookups and of addresses in answers. */
import { assert, assertEquals } from "@std/assert";
import { policyOf } from "../support/policy.ts";
import { POLICY_CASES } from "./policy_cases.ts";
import { flowOf, PolicyWorld } from "./policy_world.ts";
import { bytesOf } from "./rules.ts";

for (const table of POLICY_CASES) {
  Deno.test(`policy: ${table.title}`, () => {
    const world = new PolicyWorld(table.rules, table);
    const { flows = {}, shown = {}, lookups = {}, keeps = [], strips = [] } = table;
    for (const [text, said] of Object.entries(flows)) assertEquals(world.flow(text), said, text);
    for (const [text, said] of Object.entries(shown)) assertEquals(world.shown(text), said, text);
    for (const [text, said] of Object.entries(lookups)) {
      assertEquals(world.lookup(text), said, `lookup ${text}`);
    }
    for (const text of keeps) assert(world.keeps(text), `${text} is kept`);
    for (const text of strips) assert(!world.keeps(text), `${text} is taken out`);
  });
}

Deno.test("policy: the host's addresses are looked for only where they matter", () => {
  let asked = 0;
  const flow = { ...flowOf("tcp 192.168.1.5:80"), isHost: () => ++asked > 0 };
  for (const rules of ["", "deny private", "allow private", "deny host:81", "allow x.example"]) {
    new PolicyWorld(rules).policy.judgeFlow(flow, 0);
    assertEquals(asked, 0, rules);
  }
  new PolicyWorld("deny host").policy.judgeFlow(flow, 0);
  assertEquals(asked, 1);
  new PolicyWorld("", { protect: "strict" }).policy.judgeFlow(
    { ...flow, address: bytesOf("8.8.8.8") },
    0,
  );
  assertEquals(asked, 2);
});

Deno.test("policy: a pin that is over allows nothing, and denies nothing", () => {
  const world = new PolicyWorld("allow good.example:22; deny evil.com:22; allow 8.8.4.4");
  world.pin("good.example", "8.8.8.8", 60).pin("evil.com", "8.8.4.4", 120);
  assertEquals(world.flow("tcp 8.8.8.8:22"), "allow good.example:22 for good.example");
  assertEquals(world.flow("tcp 8.8.4.4:22"), "deny rule evil.com:22");
  world.nowMs += 59_999;
  assertEquals(world.flow("tcp 8.8.8.8:22"), "allow good.example:22 for good.example");
  world.nowMs += 1;
  assertEquals(world.flow("tcp 8.8.8.8:22"), "deny default-deny");
  assertEquals(world.flow("tcp 8.8.4.4:22"), "deny rule evil.com:22");
  world.nowMs += 60_000;
  assertEquals(world.flow("tcp 8.8.4.4:22"), "allow 8.8.4.4");
});

Deno.test("policy: hints go where a name is fenced, names are kept where there are rules", () => {
  const says = (rules: string) => {
    const { fencesNames, usesNames } = new PolicyWorld(rules).policy;
    return [fencesNames, usesNames];
  };
  assertEquals(says(""), [false, false]);
  assertEquals(says("deny evil.com"), [false, true]);
  assertEquals(says("allow public"), [false, true]);
  assertEquals(says("allow public; allow pypi.org"), [true, true]);
});

Deno.test("policy: a denial says what, by which rule, where that stands, why, and the way out", () => {
  const origins = { allow: ["gateway.yaml:4:12"], deny: ["--deny"] };
  const spec = { allow: ["pypi.org"], deny: ["evil.com"], origins };
  const policy = policyOf(spec);
  policy.pins.pin("pypi.org", bytesOf("8.8.8.8"), 60, 0);
  policy.pins.pin("evil.com", bytesOf("9.9.9.9"), 60, 0);
  const denialOf = (text: string) => {
    const verdict = policy.judgeFlow(flowOf(text), 0);
    assert(verdict.kind === "deny");
    return verdict.denial;
  };
  assertEquals(denialOf("tcp 8.8.8.8:22"), {
    protocol: "tcp",
    name: "pypi.org",
    destination: "8.8.8.8:22",
    rule: "default-deny",
    origin: "gateway.yaml:4:12",
    reason: "default-deny",
    detail: "the rules for pypi.org do not name tcp port 22",
    hint: 'policy: { allow: ["pypi.org:22"] }',
  });
  assertEquals(denialOf("udp [2606:4700::1]:53"), {
    protocol: "udp",
    name: null,
    destination: "[2606:4700::1]:53",
    rule: "default-deny",
    origin: "gateway.yaml:4:12",
    reason: "default-deny",
    detail: "no rule allows this address, and no allowed name leads to it",
    hint: 'policy: { allow: ["[2606:4700::1]:53/udp"] }',
  });
  assertEquals(denialOf("udp 8.8.8.8:443"), {
    protocol: "udp",
    name: "pypi.org",
    destination: "8.8.8.8:443",
    rule: "default-deny",
    origin: "gateway.yaml:4:12",
    reason: "quic",
    detail: "QUIC hides the name that a rule about a domain needs; TLS does not",
    hint: 'policy: { allow: ["8.8.8.8:443/udp"] }',
  });
  assertEquals(denialOf("tcp 9.9.9.9:443"), {
    protocol: "tcp",
    name: "evil.com",
    destination: "9.9.9.9:443",
    rule: "evil.com",
    origin: "--deny",
    reason: "rule",
    detail: "a rule denies it",
    hint: 'policy: { deny: [] } without "evil.com" (--deny)',
  });
  assertEquals(denialOf("tcp 169.254.169.254:80"), {
    protocol: "tcp",
    name: null,
    destination: "169.254.169.254:80",
    rule: "protect metadata",
    origin: "",
    reason: "protect",
    detail: "no rule opens metadata addresses",
    hint: "policy: { protect: off }",
  });
  assertEquals(denialOf("tcp 127.0.0.1:80").hint, null);
  assertEquals(policy.judgeLookup("evil.com", false), {
    protocol: "dns",
    name: "evil.com",
    destination: "",
    rule: "evil.com",
    origin: "--deny",
    reason: "rule",
    detail: "a rule denies the name",
    hint: 'policy: { deny: [] } without "evil.com" (--deny)',
  });
  assertEquals(policy.judgeLookup("npmjs.com", false), {
    protocol: "dns",
    name: "npmjs.com",
    destination: "",
    rule: "default-deny",
    origin: "gateway.yaml:4:12",
    reason: "default-deny",
    detail: "no rule names npmjs.com",
    hint: 'policy: { allow: ["npmjs.com"] }',
  });
});

Deno.test("policy: a denial by first bytes says what they lack", () => {
  const world = new PolicyWorld("allow pypi.org", { pins: "pypi.org=8.8.8.8" });
  const said = (text: string) => {
    const verdict = world.shownVerdict(text);
    assert(verdict.kind === "deny");
    const { name, detail, hint } = verdict.denial;
    return [name, detail, hint];
  };
  assertEquals(said("other 8.8.8.8:443"), [
    "pypi.org",
    "only a name allows it, and its first bytes have none: it has none",
    'policy: { allow: ["8.8.8.8:443/tcp"] }',
  ]);
  assertEquals(said("tls 8.8.8.8:443 npmjs.com"), [
    "npmjs.com",
    "no rule allows npmjs.com by TLS on port 443",
    'policy: { allow: ["npmjs.com"] }',
  ]);
  assertEquals(said("http 8.8.8.8:443 pypi.org"), [
    "pypi.org",
    "no rule allows pypi.org by HTTP on port 443",
    'policy: { allow: ["pypi.org:443/http"] }',
  ]);
  assertEquals(said("tls 8.8.4.4:443 pypi.org"), [
    "pypi.org",
    "pypi.org was not looked up here, or does not lead to this address",
    null,
  ]);
});

Deno.test("policy: an answer that leads to a refused address says which", () => {
  const world = new PolicyWorld("allow rebind.example");
  assertEquals(world.policy.rebindDenial("rebind.example", bytesOf("127.0.0.1")), {
    protocol: "dns",
    name: "rebind.example",
    destination: "",
    rule: "protect metadata",
    origin: "",
    reason: "rebind",
    detail: "its answer leads to 127.0.0.1, a loopback address",
    hint: null,
  });
  const said = (rules: string, address: string) => {
    const { policy } = new PolicyWorld(rules);
    const { rule, origin, detail } = policy.rebindDenial("rebind.example", bytesOf(address));
    return [rule, origin, detail];
  };
  assertEquals(said("deny evil.com; allow rebind.example", "10.0.0.1"), [
    "default-deny",
    "rule 2",
    "its answer leads to 10.0.0.1, a private address",
  ]);
  assertEquals(said("deny 8.8.8.0/24", "8.8.8.8"), [
    "8.8.8.0/24",
    "rule 1",
    "its answer leads to 8.8.8.8, a public address",
  ]);
});

// A person copies a hint into a configuration, and the name in it may be the guest's.
Deno.test("policy: a hint holds a rule about this name or none at all, whatever the name is", () => {
  const names: [name: string, rule: string | null][] = [
    ["pypi.org", "pypi.org"],
    ["_dmarc.pypi.org", "_dmarc.pypi.org"],
    ["public", "public."],
    ["host", "host."],
    ["10.0.0.1", null],
    ["", null],
    ['x"],protect:off,deny:["', null],
    ["a\\.b.example", null],
    ["x\\010.example", null],
    ["*.example", null],
    ["a.example:22", null],
    ["a.example/tcp", null],
  ];
  for (const [name, rule] of names) {
    const world = new PolicyWorld("allow npmjs.com:22");
    const hint = rule === null ? null : `policy: { allow: ["${rule}"] }`;
    assertEquals(world.policy.judgeLookup(name, false)?.hint, hint, name);
    world.policy.pins.pin(name, bytesOf("8.8.8.8"), 60, world.nowMs);
    const verdict = world.verdict("tcp 8.8.8.8:443");
    assert(verdict.kind === "deny");
    const literal = 'policy: { allow: ["8.8.8.8:443/tcp"] }';
    assertEquals(verdict.denial.hint, hint ?? literal, name);
  }
});

/** What becomes of a flow that began under the first rules when the others come. */
const CHANGES: readonly [flow: string, before: string, after: string, outcome: string][] = [
  // Free flows.
  ["tcp 8.8.8.8:443", "", "", "goes on"],
  ["tcp 8.8.8.8:443", "", "deny 8.8.8.8", "deny rule 8.8.8.8"],
  ["tcp 8.8.8.8:443", "", "deny 8.8.8.8:80", "goes on"],
  ["tcp 8.8.8.8:443", "", "deny pypi.org", "deny rule pypi.org"],
  ["tcp 8.8.8.8:443", "", "allow public:443", "goes on"],
  ["tcp 8.8.8.8:443", "", "allow private", "deny default-deny"],
  // Nobody has seen a name in them.
  ["tcp 8.8.8.8:443", "", "allow pypi.org", "deny no-name default-deny"],
  ["tcp 8.8.8.8:22", "", "allow pypi.org:22", "goes on"],
  // Flows by an address rule.
  ["tcp 8.8.8.8:443", "allow 8.8.8.0/24", "allow 8.8.8.8:443/tcp", "goes on"],
  ["tcp 8.8.8.8:443", "allow 8.8.8.0/24", "allow 8.8.8.8:80/tcp", "deny default-deny"],
  ["tcp 8.8.8.8:443", "allow 8.8.8.0/24", "", "goes on"],
  // Flows by a pinned name.
  ["tcp 8.8.8.8:22", "allow pypi.org:22", "allow *.pypi.org:20-30", "goes on"],
  ["tcp 8.8.8.8:22", "allow pypi.org:22", "allow pypi.org", "deny default-deny"],
  ["tcp 8.8.8.8:22", "allow pypi.org:22", "allow npmjs.com:22", "deny default-deny"],
  ["tcp 8.8.8.8:22", "allow pypi.org:22", "allow pypi.org:22; deny public", "deny rule public"],
  ["udp 8.8.8.8:123", "allow pypi.org:123/udp", "allow pypi.org:123/udp", "goes on"],
  ["udp 8.8.8.8:123", "allow pypi.org:123/udp", "allow pypi.org:123/tcp", "deny default-deny"],
  // Flows by the name in their first bytes.
  ["tls 8.8.8.8:443 pypi.org", "allow pypi.org", "allow *.pypi.org", "goes on"],
  ["tls 8.8.8.8:443 pypi.org", "allow pypi.org", "allow pypi.org:443", "goes on"],
  ["tls 8.8.8.8:443 pypi.org", "allow pypi.org", "allow pypi.org:443/http", "deny default-deny"],
  ["tls 8.8.8.8:443 pypi.org", "allow pypi.org", "allow npmjs.com", "deny default-deny"],
  ["tls 8.8.8.8:443 pypi.org", "allow pypi.org", "allow 8.8.8.8", "goes on"],
  ["tls 8.8.8.8:443 pypi.org", "allow pypi.org", "", "goes on"],
  ["tls 8.8.8.8:443 pypi.org", "allow pypi.org", "deny pypi.org:443", "deny rule pypi.org:443"],
  [
    "tls 8.8.8.8:443 pypi.org",
    "allow pypi.org",
    "allow pypi.org; deny pypi.org",
    "deny rule pypi.org",
  ],
];

for (const isOver of [false, true]) {
  const when = isOver ? "whose pins are over" : "whose pins live on";
  Deno.test(`policy: flows under way ${when} are judged again when the rules change`, () => {
    for (const [text, before, after, outcome] of CHANGES) {
      const world = new PolicyWorld(before, { pins: "pypi.org=8.8.8.8" });
      const grounds = world.grounds(text);
      if (isOver) world.nowMs += 3_600_000;
      const flow = text.replace(/^(tls|http) /, "tcp ").replace(/ pypi\.org$/, "");
      assertEquals(world.again(flow, grounds, after), outcome, `${text}: ${before} -> ${after}`);
    }
  });
}

Deno.test("policy: a flow under way ends when protection is raised, whatever its grounds", () => {
  const world = new PolicyWorld("allow 10.0.0.0/8; allow db.example:5432", {
    pins: "db.example=10.0.0.5",
  });
  for (const text of ["tcp 10.0.0.9:22", "tcp 10.0.0.5:5432"]) {
    const strict = world.changed(world.policy.rules.rules, "strict");
    const denial = strict.judgeAgain(flowOf(text), world.grounds(text), world.nowMs);
    assertEquals([denial?.reason, denial?.rule], ["protect", "protect strict"]);
  }
});

Deno.test("policy: a flow of a denied name ends even where its pin is over and all else is allowed", () => {
  const world = new PolicyWorld("allow *.example", { pins: "evil.example=8.8.8.8" });
  const grounds = world.grounds("tls 8.8.8.8:443 evil.example");
  world.nowMs += 3_600_000;
  for (const rest of ["", "; allow public", "; allow 8.8.8.8:443"]) {
    const again = world.again("tcp 8.8.8.8:443", grounds, `deny evil.example${rest}`);
    assertEquals(again, "deny rule evil.example", rest);
  }
});
