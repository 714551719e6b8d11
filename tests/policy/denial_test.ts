/** Refusals as text. */
import { assertEquals } from "@std/assert";
import {
  type Denial,
  formatDenial,
  formatDestination,
  nameOrDestination,
  nameRule,
} from "../../lib/policy/denial.ts";
import { bytesOf } from "./rules.ts";

const DENIAL: Denial = {
  protocol: "tcp",
  name: "pypi.org",
  destination: "151.101.0.223:443",
  rule: "default-deny",
  origin: "gateway.yaml:4",
  reason: "default-deny",
  detail: "no rule names pypi.org",
  hint: 'policy: { allow: ["pypi.org:443/tcp"] }',
};

Deno.test("denial: what was refused, by which rule, why, and the way out", () => {
  assertEquals(formatDenial(DENIAL), [
    "DENY  tcp pypi.org:443  by default-deny (gateway.yaml:4): no rule names pypi.org",
    'allow it with  policy: { allow: ["pypi.org:443/tcp"] }',
  ]);
  assertEquals(formatDenial({ ...DENIAL, name: null, origin: "", hint: null }), [
    "DENY  tcp 151.101.0.223:443  by default-deny: no rule names pypi.org",
  ]);
});

Deno.test("denial: a destination is told by its name where it has one, with its port", () => {
  const cases: [name: string | null, destination: string, text: string][] = [
    [null, "192.0.2.1:443", "192.0.2.1:443"],
    [null, "[2001:db8::1]:443", "[2001:db8::1]:443"],
    [null, "2001:db8::1", "2001:db8::1"],
    ["pypi.org", "[2001:db8::1]:443", "pypi.org:443"],
    ["pypi.org", "192.0.2.1:80", "pypi.org:80"],
    ["pypi.org", "192.0.2.1", "pypi.org"],
    ["pypi.org", "", "pypi.org"],
  ];
  for (const [name, destination, text] of cases) {
    assertEquals(nameOrDestination({ ...DENIAL, name, destination }), text);
  }
});

// The last group of an IPv6 address behind its colon is no port.
Deno.test("denial: ICMP to an IPv6 address of a name is told by the name alone", () => {
  const denial = { ...DENIAL, protocol: "icmp", destination: "2606:4700::1111" } as const;
  assertEquals(nameOrDestination(denial), "pypi.org");
});

Deno.test("denial: a destination has a port where the protocol has one", () => {
  assertEquals(formatDestination(bytesOf("192.0.2.1"), 443, "tcp"), "192.0.2.1:443");
  assertEquals(formatDestination(bytesOf("2001:db8::1"), 53, "udp"), "[2001:db8::1]:53");
  assertEquals(formatDestination(bytesOf("2001:db8::1"), 0, "icmp"), "2001:db8::1");
});

Deno.test("denial: a rule about a name is about this name, or there is none", () => {
  const cases: [name: string, suffix: string, rule: string | null][] = [
    ["pypi.org", "", "pypi.org"],
    ["pypi.org", ":22", "pypi.org:22"],
    ["pypi.org", ":53/udp", "pypi.org:53/udp"],
    ["pypi.org", ":443/udp", null],
    ["pypi.org", ":0", null],
    ["loopback", ":22", "loopback.:22"],
    ["192.0.2.1", "", null],
    ["*.pypi.org", "", null],
    ["pypi.org:22", "", null],
    ["a\\.b", "", null],
    ["", "", null],
  ];
  for (const [name, suffix, rule] of cases) {
    assertEquals(nameRule(name, suffix), rule, name + suffix);
  }
});
