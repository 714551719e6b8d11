/** How long names lead to addresses, how many, and which of an address's names is meant. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { PIN_MAX_SECONDS, PIN_MIN_SECONDS, Pins } from "../../lib/policy/pins.ts";
import { policyOf } from "../support/policy.ts";
import { bytesOf } from "./rules.ts";

const SHARED = bytesOf("151.101.2.5");

Deno.test("pins: the names of an address, the one that was answered last first", () => {
  const pins = new Pins(4);
  for (const name of ["one.test", "two.test", "one.test", "three.test"]) {
    pins.pin(name, SHARED, 60, 0);
  }
  assertEquals(pins.names(SHARED, 0), ["three.test", "one.test", "two.test"]);
});

Deno.test("pins: a refusal at a shared address names what the guest has looked up last", () => {
  const policy = policyOf({ allow: ["one.test", "two.test"] });
  policy.pins.pin("one.test", SHARED, 60, 0);
  policy.pins.pin("two.test", SHARED, 60, 0);
  const flow = { address: SHARED, port: 22, protocol: "tcp", isHost: () => false } as const;
  const verdict = policy.judgeFlow(flow, 0);
  assertEquals(
    verdict.kind === "deny" && verdict.denial.hint,
    'policy: { allow: ["two.test:22"] }',
  );
});

const HERE = bytesOf("192.0.2.1");

Deno.test("pins: one lives as long as its answer, but no less than a minute and no more than an hour", () => {
  const cases: [ttlSeconds: number, seconds: number][] = [
    [0, PIN_MIN_SECONDS],
    [59, PIN_MIN_SECONDS],
    [61, 61],
    [3_599, 3_599],
    [3_601, PIN_MAX_SECONDS],
    [0x7fff_ffff, PIN_MAX_SECONDS],
  ];
  for (const [ttlSeconds, seconds] of cases) {
    const pins = new Pins(4);
    pins.pin("a.test", HERE, ttlSeconds, 5_000);
    const endMs = 5_000 + seconds * 1_000;
    assertEquals([...pins.list(endMs - 1)], [
      { name: "a.test", address: "192.0.2.1", untilMs: endMs },
    ]);
    assert(pins.has("a.test", HERE, endMs - 1));
    assert(!pins.has("a.test", HERE, endMs));
    assertEquals(pins.names(HERE, endMs - 1), ["a.test"]);
    assertEquals([pins.names(HERE, endMs), [...pins.list(endMs)]], [[], []]);
    // Who asks about a moment ago hears what was so then, for a minute.
    assertEquals([pins.names(HERE, endMs + 59_999), pins.names(HERE, endMs - 1)], [[], ["a.test"]]);
    assertEquals([pins.names(HERE, endMs + 60_000), pins.size], [[], 0]);
  }
});

Deno.test("pins: another answer makes one live longer, never shorter", () => {
  const pins = new Pins(4);
  pins.pin("a.test", HERE, 600, 0);
  pins.pin("a.test", HERE, 0, 1_000);
  assert(pins.has("a.test", HERE, 599_999));
  pins.pin("a.test", HERE, 600, 1_000);
  assert(pins.has("a.test", HERE, 600_999));
});

Deno.test("pins: an address is its octets, and a copy of them", () => {
  const pins = new Pins(8);
  const octets = bytesOf("10.0.0.1").slice();
  pins.pin("a.test", octets, 60, 0);
  octets.fill(0);
  assertEquals(pins.names(bytesOf("10.0.0.1"), 0), ["a.test"]);
  for (const other of ["10.0.0.2", "::ffff:10.0.0.1", "64:ff9b::a00:1", "::10.0.0.1"]) {
    assertEquals(pins.names(bytesOf(other), 0), [], other);
  }
  assertEquals([...pins.list(0)].map(({ address }) => address), ["10.0.0.1"]);
});

Deno.test("pins: of more addresses than there may be those that were answered longest ago make way", () => {
  const pins = new Pins(3);
  const address = (i: number) => bytesOf(`10.0.0.${i}`);
  for (const i of [1, 2, 3]) pins.pin("a.test", address(i), 60, i);
  pins.pin("b.test", address(1), 60, 4);
  pins.pin("a.test", address(4), 60, 5);
  const known = [1, 2, 3, 4].filter((i) => pins.names(address(i), 6).length > 0);
  assertEquals([known, pins.size], [[1, 3, 4], 3]);
  // A guest that makes up names for one address pushes out no other address.
  for (let i = 0; i < 1_000; i++) pins.pin(`n${i}.test`, address(4), 60, 7);
  assertEquals([pins.size, pins.names(address(3), 8), pins.names(address(4), 8).length], [
    3,
    ["a.test"],
    64,
  ]);
  assertEquals(pins.names(address(4), 8)[0], "n999.test");
});

Deno.test("pins: those that were marked are forgotten, unless they were answered again", () => {
  const pins = new Pins(3);
  const [one, two] = [bytesOf("10.0.0.1"), bytesOf("10.0.0.2")];
  pins.pin("a.test", one, 60, 0);
  pins.pin("b.test", one, 60, 0);
  pins.pin("c.test", two, 60, 0);
  pins.markAll();
  pins.pin("a.test", one, 60, 1);
  pins.clearMarked();
  assertEquals([pins.size, pins.names(one, 2), pins.names(two, 2)], [1, ["a.test"], []]);
  pins.clearMarked();
  assertEquals(pins.size, 1);
});

Deno.test("pins: all can be forgotten", () => {
  const pins = new Pins(3);
  pins.pin("a.test", HERE, 60, 0);
  pins.clear();
  assertEquals([pins.size, [...pins.list(0)], pins.names(HERE, 0)], [0, [], []]);
});

Deno.test("pins: any answers in any order are remembered as a list would", () => {
  const step = fc.record({
    name: fc.constantFrom("a", "b", "c"),
    address: fc.integer({ min: 1, max: 4 }),
    ttl: fc.constantFrom(0, 60, 100, 4_000),
    afterMs: fc.constantFrom(0, 1, 30_000, 60_000, 3_600_000),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const pins = new Pins(8);
      const ends = new Map<string, number>();
      let nowMs = 0;
      for (const { name, address, ttl, afterMs } of steps) {
        nowMs += afterMs;
        pins.pin(name, bytesOf(`10.0.0.${address}`), ttl, nowMs);
        const key = `${name} 10.0.0.${address}`;
        const endMs = nowMs + Math.min(3_600, Math.max(60, ttl)) * 1_000;
        ends.set(key, Math.max(endMs, ends.get(key) ?? 0));
        const alive = [...ends].filter(([, endMs]) => endMs > nowMs).map(([key]) => key).toSorted();
        const said = [...pins.list(nowMs)].map((pin) => `${pin.name} ${pin.address}`).toSorted();
        assertEquals(said, alive);
        for (const each of [1, 2, 3, 4]) {
          const names = pins.names(bytesOf(`10.0.0.${each}`), nowMs);
          const right = alive.filter((key) => key.endsWith(`.${each}`)).map((key) =>
            key.split(" ")[0]
          );
          assertEquals(names.toSorted(), right.toSorted());
        }
      }
    }),
    { numRuns: 200 },
  );
});
