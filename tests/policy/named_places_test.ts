/** Rules about names that stand for places: an address with a port and a protocol. */
import { assertEquals } from "@std/assert";
import type { NamedPlaces } from "../../lib/policy/named_places.ts";
import { PinKind, Pins } from "../../lib/policy/pins.ts";
import { Policy } from "../../lib/policy/policy.ts";
import type { ProtectLevel } from "../../lib/policy/protect.ts";
import { RuleSet } from "../../lib/policy/rule_set.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { denialText, flowOf, verdictText } from "./policy_world.ts";
import { bytesOf, rulesOf } from "./rules.ts";

/** `PROTOCOL ADDRESS PORT` → names; `here` in front of what the gateway publishes itself. */
const PLACES: Readonly<Record<string, string>> = {
  "tcp 10.0.0.5 8080": "web.db.fleet.internal",
  "tcp 10.0.0.5 9090": "metrics.db.fleet.internal",
  "udp 10.0.0.5 53": "dns.db.fleet.internal",
  "tcp 10.0.0.5 443": "tls.db.fleet.internal",
  "tcp 9.9.9.9 8080": "far.db.fleet.internal",
  "tcp 10.0.0.6 8080": "here mine.app.fleet.internal",
  "tcp 169.254.169.254 80": "evil.db.fleet.internal",
};

const places: NamedPlaces = {
  names(address, port, protocol) {
    const names = PLACES[`${protocol} ${formatIp(address)} ${port}`];
    return names === undefined ? [] : [names.replace("here ", "")];
  },
  isHere(address, port, protocol) {
    return PLACES[`${protocol} ${formatIp(address)} ${port}`]?.startsWith("here ") ?? false;
  },
};

const pins = new Pins(8);

function policy(rules: string, protect: ProtectLevel = "metadata"): Policy {
  return new Policy({ protect, rules: new RuleSet(rulesOf(rules)), pins, places });
}

function flow(rules: string, text: string, protect?: ProtectLevel): string {
  return verdictText(policy(rules, protect).judgeFlow(flowOf(text), 0));
}

Deno.test("a rule about a service's name opens its places, private ones too, and nothing beside", () => {
  const rules = "allow *.fleet.internal:1-65535";
  const say = (text: string) => flow(rules, text);
  const by = "allow *.fleet.internal:1-65535 for";
  assertEquals(say("tcp 10.0.0.5:8080"), `${by} web.db.fleet.internal`);
  assertEquals(say("tcp 9.9.9.9:8080"), `${by} far.db.fleet.internal`);
  assertEquals(say("udp 10.0.0.5:53"), `${by} dns.db.fleet.internal`);
  for (const other of ["tcp 10.0.0.5:22", "udp 10.0.0.5:8080", "icmp 10.0.0.5", "tcp 9.9.9.9:22"]) {
    assertEquals(say(other), "deny default-deny", other);
  }
  assertEquals(flow("allow web.db.fleet.internal:22", "tcp 10.0.0.5:8080"), "deny default-deny");
});

Deno.test("the way out of a refusal is the service's name, and leads out", () => {
  for (const text of ["tcp 10.0.0.5:8080", "udp 10.0.0.5:53", "tcp 10.0.0.5:443"]) {
    const verdict = policy("allow example.com").judgeFlow(flowOf(text), 0);
    if (verdict.kind !== "deny") throw new Error(`${text} is allowed`);
    const { hint } = verdict.denial;
    const rule = /^policy: \{ allow: \["(.*\.db\.fleet\.internal.*)"\] \}$/.exec(hint ?? "")?.[1];
    const again = flow(`allow ${rule}`, text);
    assertEquals(again.startsWith("deny"), false, `${text}: ${hint}: ${again}`);
  }
});

Deno.test("where a name must be shown, it is the service's", () => {
  const fenced = policy("allow tls.db.fleet.internal");
  const to = flowOf("tcp 10.0.0.5:443");
  assertEquals(verdictText(fenced.judgeFlow(to, 0)), "inspect");
  const shown = (name: string) => verdictText(fenced.judgeInspected(to, "tls", name, "", 0));
  const named = "tls.db.fleet.internal";
  assertEquals(shown(named), `allow ${named} by tls for ${named}`);
  assertEquals(shown("web.db.fleet.internal"), "deny wrong-name default-deny");
});

Deno.test("a deny of a service's name covers addresses that carry its own, an allow does not", () => {
  for (const carrying of ["[64:ff9b::909:909]", "[2002:909:909::1]"]) {
    const place = `tcp ${carrying}:8080`;
    assertEquals(flow("deny far.db.fleet.internal", place), "deny rule far.db.fleet.internal");
    assertEquals(flow("deny near.db.fleet.internal", place), "freely");
    assertEquals(flow("allow *.fleet.internal:8080", place), "deny default-deny");
  }
});

Deno.test("the protect level and denies stand above a service's name", () => {
  const rules = "allow *.fleet.internal:1-65535";
  assertEquals(flow(rules, "tcp 10.0.0.5:8080", "strict"), "deny protect protect strict");
  assertEquals(flow(rules, "tcp 169.254.169.254:80"), "deny protect protect metadata");
  assertEquals(flow(`${rules}; deny 10.0.0.0/8`, "tcp 10.0.0.5:8080"), "deny rule 10.0.0.0/8");
});

Deno.test("a deny of a service's name ends at its places, asked for or not", () => {
  const rules = "deny web.db.fleet.internal";
  assertEquals(flow(rules, "tcp 10.0.0.5:8080"), "deny rule web.db.fleet.internal");
  assertEquals(flow(rules, "tcp 10.0.0.5:9090"), "freely for metrics.db.fleet.internal");
  const before = policy("").judgeFlow(flowOf("tcp 10.0.0.5:8080"), 0);
  if (before.kind !== "allow") throw new Error("it was not allowed");
  const again = policy(rules).judgeAgain(flowOf("tcp 10.0.0.5:8080"), before.grounds, 0);
  assertEquals(again === null ? "goes on" : denialText(again), "deny rule web.db.fleet.internal");
});

Deno.test("the host itself opens by the name of a service that the gateway publishes", () => {
  const rules = "allow *.fleet.internal:1-65535; deny 10.0.0.9";
  const mine = "allow *.fleet.internal:1-65535 for mine.app.fleet.internal";
  assertEquals(flow(rules, "tcp 10.0.0.6:8080 at host"), mine);
  assertEquals(flow(rules, "tcp 10.0.0.6:22 at host"), "deny default-deny");
  const refused = "deny rebind default-deny";
  assertEquals(flow(rules, "tcp 10.0.0.5:8080 at host"), refused);
  assertEquals(flow(rules, "tcp 9.9.9.9:8080 at host"), refused);
  assertEquals(
    verdictText(
      policy("allow *.fleet.internal").judgeInspected(
        flowOf("tcp 10.0.0.5:443 at host"),
        "tls",
        "tls.db.fleet.internal",
        "",
        0,
      ),
    ),
    refused,
  );
  assertEquals(
    flow("allow host:8080", "tcp 10.0.0.5:8080 at host"),
    "allow host:8080 for web.db.fleet.internal",
  );
  assertEquals(
    flow("deny 1.1.1.1", "tcp 10.0.0.5:8080 at host"),
    "freely for web.db.fleet.internal",
  );
});

Deno.test("a flow under way goes on when its service is gone, as far as rules have its name", () => {
  const verdict = policy("allow web.db.fleet.internal:8080").judgeFlow(
    flowOf("tcp 10.0.0.5:8080"),
    0,
  );
  if (verdict.kind !== "allow") throw new Error("it was not allowed");
  const later = (rules: string) => {
    const gone = new Policy({ protect: "metadata", rules: new RuleSet(rulesOf(rules)), pins });
    const denial = gone.judgeAgain(flowOf("tcp 10.0.0.5:8080"), verdict.grounds, 0);
    return denial === null ? "goes on" : denialText(denial);
  };
  assertEquals(later("allow *.fleet.internal:8080"), "goes on");
  assertEquals(later("allow web.db.fleet.internal:9090"), "deny default-deny");
  assertEquals(later("deny web.db.fleet.internal"), "deny rule web.db.fleet.internal");
});

Deno.test("pins of other names at the address count as ever", () => {
  const own = new Pins(8);
  own.pin("db.corp", bytesOf("10.0.0.5"), 60, 0, PinKind.own);
  own.pin("evil.example", bytesOf("10.0.0.5"), 60, 0);
  const judged = (rules: string, text: string) => {
    const set = new RuleSet(rulesOf(rules));
    return verdictText(
      new Policy({ protect: "metadata", rules: set, pins: own, places }).judgeFlow(flowOf(text), 0),
    );
  };
  assertEquals(judged("allow db.corp:22", "tcp 10.0.0.5:22"), "allow db.corp:22 for db.corp");
  assertEquals(judged("allow db.corp:8080", "tcp 10.0.0.5:8080"), "allow db.corp:8080 for db.corp");
  assertEquals(judged("allow evil.example:8080", "tcp 10.0.0.5:8080"), "deny rebind default-deny");
});
