/** Layers of a policy merged: by examples, and any layers against each of them alone. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { EchMode, PolicyConfig, ProtectLevel } from "../../lib/config/options.ts";
import { resolveLimits } from "../../lib/config/limits.ts";
import { closedPolicy, mergePolicies } from "../../lib/fleet/merge.ts";
import { parsePolicyDocument, type PolicyDocument } from "../../lib/fleet/policy_document.ts";
import { Pins } from "../../lib/policy/pins.ts";
import { type FlowQuery, Policy } from "../../lib/policy/policy.ts";
import type { FlowProtocol } from "../../lib/policy/rule_set.ts";
import { compilePolicy } from "../../lib/host/guest_policy.ts";
import { addresses, ports, queryNames, ruleLists } from "../policy/arbitrary_rules.ts";
import { bytesOf } from "../policy/rules.ts";

const LIMITS = resolveLimits({});

function compiled(policy: PolicyConfig): Policy {
  return new Policy({ ...compilePolicy(policy, LIMITS), pins: new Pins(16) });
}

function documents(...texts: [key: string, text: string][]): PolicyDocument[] {
  return texts.map(([key, text]) => parsePolicyDocument(text, key));
}

Deno.test("merge: rules of all layers, each once, at the place where it stands first", () => {
  const merged = mergePolicies(
    documents(
      ["fleet", "deny: [metadata, 10.0.0.0/8]"],
      ["group.ci", "allow: [pypi.org]\ndeny: [10.0.0.0/8]"],
      ["guest.vm1", "{}"],
    ),
    {
      allow: ["github.com", "PyPI.org"],
      deny: ["9.9.9.9"],
      origins: { allow: ["--allow", "--allow"], deny: ["gateway.yaml:3:4"] },
    },
  );
  assertEquals(merged, {
    protect: "metadata",
    allow: ["pypi.org", "github.com"],
    deny: ["metadata", "10.0.0.0/8", "9.9.9.9"],
    denyPage: true,
    ech: "refuse",
    origins: {
      allow: ["group.ci.allow[0]", "--allow"],
      deny: ["fleet.deny[0]", "fleet.deny[1]", "gateway.yaml:3:4"],
    },
  });
});

Deno.test("merge: without documents it is what the host says", () => {
  assertEquals(mergePolicies([], { allow: ["pypi.org"] }), {
    protect: "metadata",
    allow: ["pypi.org"],
    deny: [],
    denyPage: true,
    ech: "refuse",
    origins: { allow: ["policy.allow[0]"], deny: [] },
  });
});

Deno.test("merge: the strictest word wins, and what is not said is the host's", () => {
  const levels: [fleet: string, host: ProtectLevel | undefined, merged: ProtectLevel][] = [
    ["protect: strict", "off", "strict"],
    ["protect: strict", undefined, "strict"],
    ["protect: off", "strict", "strict"],
    ["protect: off", undefined, "metadata"], // the host's default is a word too
    ["protect: off", "off", "off"],
    ["{}", "off", "off"],
  ];
  for (const [text, protect, expected] of levels) {
    const host = protect === undefined ? {} : { protect };
    assertEquals(mergePolicies(documents(["fleet", text]), host).protect, expected, text);
  }
  const ech: [fleet: string, host: EchMode | undefined, merged: EchMode][] = [
    ["ech: outer", undefined, "refuse"],
    ["ech: outer", "outer", "outer"],
    ["ech: refuse", "outer", "refuse"],
    ["{}", "outer", "outer"],
  ];
  for (const [text, mode, expected] of ech) {
    const host = mode === undefined ? {} : { ech: mode };
    assertEquals(mergePolicies(documents(["fleet", text]), host).ech, expected, text);
  }
  assertEquals(mergePolicies(documents(["fleet", "denyPage: false"]), {}).denyPage, false);
  assertEquals(
    mergePolicies(documents(["fleet", "denyPage: true"]), { denyPage: false }).denyPage,
    false,
  );
  const placed = mergePolicies(
    documents(["fleet", "protect: off"], ["group.a", "protect: strict"]),
    {},
  );
  assertEquals(placed.origins?.protect, "group.a.protect");
});

Deno.test("merge: closed anywhere closes everything but the gateway's own names", () => {
  const merged = mergePolicies(
    documents(["fleet", "allow: [public]"], ["guest.vm1", "closed: true\nallow: [pypi.org]"]),
    { protect: "off", allow: ["private"] },
  );
  assertEquals(merged, closedPolicy("guest.vm1.closed"));
  const policy = compiled(merged);
  for (const literal of ["8.8.8.8", "10.0.0.1", "100.96.0.1", "2606:4700::1", "fd00::1"]) {
    for (const protocol of ["tcp", "udp", "icmp"] as const) {
      const flow = {
        address: bytesOf(literal),
        port: protocol === "icmp" ? 0 : 443,
        protocol,
        isHost: () => false,
      };
      const verdict = policy.judgeFlow(flow, 0);
      if (verdict.kind !== "deny") throw new Error(`${protocol} ${literal} passed`);
      assertEquals(verdict.denial.hint, "no closed: true in the fleet's document guest.vm1");
    }
  }
  const lookup = policy.judgeLookup("pypi.org", false);
  assertEquals(lookup?.origin, "guest.vm1.closed");
  assertEquals(lookup?.hint, "no closed: true in the fleet's document guest.vm1");
  assertEquals(policy.judgeLookup("gateway.internal", true), null);
});

Deno.test("merge: nobody reaches the engine, and nothing local is offered as the way out", () => {
  const merged = mergePolicies([], { allow: ["public", "private"] }, [
    { address: "10.0.0.9", port: 4222 },
    { address: "2001:db8::9", port: 4222 },
    { address: "127.0.0.1", port: 4223 },
    { address: "no literal", port: 4222 },
  ]);
  assertEquals(merged.deny, [
    "10.0.0.9:4222/tcp",
    "[2001:db8::9]:4222/tcp",
    "127.0.0.1:4223/tcp",
    "host:4223/tcp",
  ]);
  const flow = {
    address: bytesOf("10.0.0.9"),
    port: 4222,
    protocol: "tcp",
    isHost: () => false,
  } as const;
  const verdict = compiled(merged).judgeFlow(flow, 0);
  if (verdict.kind !== "deny") throw new Error("the engine was reached");
  assertEquals(verdict.denial.origin, "fleet: the engine");
  assertEquals(verdict.denial.hint, null);
  assertEquals(compiled(merged).judgeFlow({ ...flow, port: 4221 }, 0).kind, "allow");
  // By the host's other addresses neither.
  const host = { ...flow, address: bytesOf("10.7.7.7"), port: 4223, isHost: () => true };
  assertEquals(compiled(merged).judgeFlow(host, 0).kind, "deny");
});

// ---- Any layers ---------------------------------------------------------------------------------

const levels = fc.option(fc.constantFrom<ProtectLevel>("off", "metadata", "strict"), {
  nil: undefined,
});
const layers: fc.Arbitrary<PolicyConfig> = fc.tuple(ruleLists, levels).map(([rules, protect]) => ({
  allow: rules.filter(({ action }) => action === "allow").map(({ text }) => text),
  deny: rules.filter(({ action }) => action === "deny").map(({ text }) => text),
  ...(protect === undefined ? {} : { protect }),
}));
const flows: fc.Arbitrary<FlowQuery> = fc.record({
  address: addresses,
  port: ports,
  protocol: fc.constantFrom<FlowProtocol>("tcp", "udp", "icmp"),
  isHost: fc.boolean(),
}).map(({ address, port, protocol, isHost }) => {
  return { address, port: protocol === "icmp" ? 0 : port, protocol, isHost: () => isHost };
});

function documentOf(key: string, policy: PolicyConfig): PolicyDocument {
  return { key, revision: 1, policy, closed: false };
}

Deno.test("merge: what any layer denies is denied, and nothing is allowed that none allows", () => {
  const seen = { deny: 0, allow: 0 };
  fc.assert(
    fc.property(fc.array(layers, { maxLength: 3 }), layers, flows, (fleet, host, flow) => {
      const merged = compiled(
        mergePolicies(fleet.map((policy, i) => documentOf(`group.g${i}`, policy)), host),
      );
      const verdict = merged.judgeFlow(flow, 0);
      const all = [...fleet, host];
      for (const layer of all) {
        // A layer's deny and protect, with the whole world allowed beside it.
        const alone = compiled({ ...layer, allow: [], protect: layer.protect ?? "off" });
        if (alone.judgeFlow(flow, 0).kind === "deny") assertEquals(verdict.kind, "deny");
      }
      if (verdict.kind === "deny") seen.deny++;
      else {
        seen.allow++;
        if (all.every(({ allow = [] }) => allow.length === 0)) return;
        assert(all.some((layer) => {
          if ((layer.allow ?? []).length === 0) return false;
          return compiled({ allow: layer.allow!, protect: "off" }).judgeFlow(flow, 0).kind ===
            verdict.kind;
        }));
      }
    }),
    { numRuns: 3_000 },
  );
  assert(seen.deny > 100 && seen.allow > 100, JSON.stringify(seen));
});

Deno.test("merge: no order of the layers, and no layer twice, makes a difference", () => {
  fc.assert(
    fc.property(layers, layers, flows, queryNames, (a, b, flow, name) => {
      const judge = (...fleet: PolicyConfig[]): string => {
        const policy = compiled(
          mergePolicies(fleet.map((each, i) => documentOf(`group.g${i}`, each)), {
            protect: "off",
          }),
        );
        const lookup = policy.judgeLookup(name, false);
        return `${policy.judgeFlow(flow, 0).kind} ${lookup?.reason ?? "allow"}`;
      };
      assertEquals(judge(a, b), judge(b, a));
      assertEquals(judge(a, b, a), judge(a, b));
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("merge: closed anywhere denies any flow and any look-up", () => {
  fc.assert(
    fc.property(layers, layers, flows, queryNames, (fleet, host, flow, name) => {
      const policy = compiled(mergePolicies(
        [documentOf("fleet", fleet), { ...documentOf("guest.a", {}), closed: true }],
        host,
      ));
      assertEquals(policy.judgeFlow(flow, 0).kind, "deny");
      assert(policy.judgeLookup(name, false) !== null);
    }),
    { numRuns: 500 },
  );
});
