/** Refusals that are kept: alike ones together, the latest first, within bounds. */
import { assert, assertEquals } from "@std/assert";
import type { Denial } from "../../lib/policy/denial.ts";
import { DenialLog } from "../../lib/policy/denial_log.ts";

function denial(change: Partial<Denial> = {}): Denial {
  return {
    protocol: "tcp",
    name: null,
    destination: "192.0.2.1:443",
    rule: "default-deny",
    origin: "",
    reason: "default-deny",
    detail: "",
    hint: null,
    ...change,
  };
}

function shown(log: DenialLog): string[] {
  return log.groups().map(({ denial: { name, destination }, count, firstMs, lastMs }) =>
    `${name ?? destination} ${count} ${firstMs}-${lastMs}`
  );
}

Deno.test("denial log: alike refusals are one group, which is news once a minute", () => {
  const log = new DenialLog(8);
  assertEquals(log.note(denial(), 0), true);
  assertEquals(log.note(denial(), 1), false);
  assertEquals(log.note(denial(), 60_000), false);
  assertEquals(log.note(denial(), 120_000), true, "none like it for a whole minute");
  assertEquals([log.total, shown(log)], [4, ["192.0.2.1:443 4 0-120000"]]);
});

Deno.test("denial log: what differs in protocol, name, place, reason or rule is another group", () => {
  const log = new DenialLog(16);
  const changes: Partial<Denial>[] = [
    {},
    { protocol: "udp" },
    { name: "pypi.org" },
    { name: "pypi.org", destination: "192.0.2.1:80" },
    { destination: "192.0.2.2:443" },
    { reason: "quic" },
    { rule: "public" },
  ];
  for (const change of changes) assert(log.note(denial(change), 0), JSON.stringify(change));
  assertEquals(log.groups().length, changes.length);
  // A name is the same wherever it leads, and whatever is said about it.
  assert(!log.note(denial({ name: "pypi.org", destination: "192.0.2.9:443", detail: "x" }), 1));
  const [latest] = log.groups();
  assertEquals([latest!.denial.destination, latest!.count], ["192.0.2.9:443", 2]);
});

Deno.test("denial log: of too many groups the one that was seen longest ago makes way", () => {
  const log = new DenialLog(3);
  for (const [i, name] of ["a", "b", "c", "a", "d"].entries()) log.note(denial({ name }), i);
  assertEquals(shown(log), ["d 1 4-4", "a 2 0-3", "c 1 2-2"]);
  for (let i = 0; i < 100_000; i++) log.note(denial({ name: `n${i}` }), i);
  assertEquals([log.groups().length, log.total], [3, 100_005]);
});

Deno.test("denial log: each rule has a count of its own until the rules change", () => {
  const log = new DenialLog(2);
  for (let i = 0; i < 3; i++) log.note(denial({ name: `n${i}`, rule: "*.evil.com" }), 0);
  log.note(denial(), 0);
  log.note(denial({ rule: "protect metadata" }), 0);
  assertEquals([...log.countsByRule()], [
    ["*.evil.com", 3],
    ["default-deny", 1],
    ["protect metadata", 1],
  ]);
  log.rulesChanged();
  assertEquals([[...log.countsByRule()], log.total, log.groups().length], [[], 5, 2]);
});
