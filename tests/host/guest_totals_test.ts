import { assertEquals } from "@std/assert";
import { noDnsCounts } from "../../lib/host/dns_counts.ts";
import {
  type CountedGuest,
  GuestTally,
  OTHER_RULES,
  RULES_MAX,
} from "../../lib/host/guest_totals.ts";
import { COUNTER_NAMES } from "../../lib/stack/counters.ts";

function guestWith(frames: number, rules: Record<string, number> = {}): CountedGuest {
  return {
    counters: () => ({ "rx.frames": frames }),
    dnsCounts: () => ({ ...noDnsCounts(), questions: frames }),
    denialsByRule: () => new Map(Object.entries(rules)),
  };
}

Deno.test("totals are of all guests, those that have left too", () => {
  const tally = new GuestTally();
  assertEquals(Object.keys(tally.totals(null).counters), [...COUNTER_NAMES]);
  assertEquals([tally.totals(null).guests, tally.totals(null).counters["rx.frames"]], [0, 0]);
  tally.attached();
  const first = guestWith(5, { "default-deny": 2 });
  assertEquals(tally.totals(first).counters["rx.frames"], 5);
  tally.left(first);
  tally.attached();
  const { guests, counters, dns, denialsByRule } = tally.totals(
    guestWith(3, { "default-deny": 1, "10.0.0.1": 4 }),
  );
  assertEquals([guests, counters["rx.frames"], dns.questions], [2, 8, 8]);
  assertEquals([...denialsByRule], [["default-deny", 3], ["10.0.0.1", 4]]);
  assertEquals(tally.totals(null).counters["rx.frames"], 5);
});

Deno.test("a guest that forgets its counts by rule, as the rules change, takes none away", () => {
  const tally = new GuestTally();
  tally.attached();
  tally.rulesChange(guestWith(0, { a: 7 }));
  assertEquals([...tally.totals(guestWith(0)).denialsByRule], [["a", 7]]);
  assertEquals([...tally.totals(guestWith(0, { b: 1, a: 1 })).denialsByRule], [["a", 8], ["b", 1]]);
});

Deno.test("rules beyond the first hundred are counted together, and no count ever shrinks", () => {
  const tally = new GuestTally();
  const rules: Record<string, number> = {};
  const before = new Map<string, number>();
  for (let i = 0; i < 3 * RULES_MAX; i++) {
    rules[`10.0.${i >> 8}.${i & 255}`] = 1 + i % 3;
    const { denialsByRule } = tally.totals(guestWith(0, rules));
    for (const [rule, count] of before) {
      assertEquals(denialsByRule.get(rule)! >= count, true, rule);
    }
    for (const [rule, count] of denialsByRule) before.set(rule, count);
    assertEquals(denialsByRule.size, Math.min(i + 1, RULES_MAX + 1));
  }
  tally.left(guestWith(0, rules));
  const { denialsByRule } = tally.totals(guestWith(0, { new: 1, "10.0.0.0": 1 }));
  assertEquals(denialsByRule.size, RULES_MAX + 1);
  assertEquals(denialsByRule.get("10.0.0.0"), 2);
  const all = Object.values(rules).reduce((sum, count) => sum + count, 0) + 2;
  assertEquals([...denialsByRule.values()].reduce((sum, count) => sum + count, 0), all);
  assertEquals(denialsByRule.has(OTHER_RULES), true);
});
