/** How much of what is said is read. */
import { assertEquals } from "@std/assert";
import { ANNOUNCEMENT_MAX_BYTES } from "../../lib/fleet/announcement.ts";
import {
  GATEWAY_OCTETS_MAX,
  HearingBudget,
  OCTETS_MAX,
  PER_GATEWAY_MAX,
  SPEAKERS_MAX,
} from "../../lib/fleet/hearing_budget.ts";

Deno.test("a gateway is heard so often in a second, whatever others do", () => {
  const budget = new HearingBudget();
  const heard = (gateway: string, nowMs: number) =>
    Array.from({ length: 2 * PER_GATEWAY_MAX }, () => budget.admits(nowMs, gateway, 10))
      .filter((isHeard) => isHeard).length;
  assertEquals([heard("a", 0), heard("a", 999), heard("b", 999)], [8, 0, 8]);
  assertEquals(heard("a", 1_000), 8);
  assertEquals(budget.passedOver, 8 + 16 + 8 + 8);
});

Deno.test("all gateways are heard for so many octets in a second", () => {
  const budget = new HearingBudget();
  const { length } = Array.from(fill(budget, OCTETS_MAX - 1));
  assertEquals(length, Math.ceil(OCTETS_MAX / ANNOUNCEMENT_MAX_BYTES));
  assertEquals([budget.admits(0, "b", 2), budget.admits(0, "b", 1)], [false, true]);
  assertEquals(budget.admits(1_000, "b", 2), true);
});

/** Fills so many octets with announcements of gateways that each say one. */
function* fill(budget: HearingBudget, octets: number): Generator<string> {
  for (let at = 0; at < octets; at += ANNOUNCEMENT_MAX_BYTES) {
    const gateway = `g${at}`;
    assertEquals(budget.admits(0, gateway, Math.min(ANNOUNCEMENT_MAX_BYTES, octets - at)), true);
    yield gateway;
  }
}

Deno.test("a gateway that says too much is not heard, and the others are", () => {
  const budget = new HearingBudget();
  for (let at = 0; at < PER_GATEWAY_MAX; at++) {
    assertEquals(budget.admits(0, "mad", OCTETS_MAX / PER_GATEWAY_MAX), false);
  }
  assertEquals(budget.admits(0, "host-1", 500), true);
  const long = Array.from({ length: PER_GATEWAY_MAX }, () => {
    return budget.admits(0, "mad", ANNOUNCEMENT_MAX_BYTES);
  }).filter((isHeard) => isHeard).length;
  assertEquals(long, GATEWAY_OCTETS_MAX / ANNOUNCEMENT_MAX_BYTES);
});

Deno.test("so many gateways are counted, and no more", () => {
  const budget = new HearingBudget();
  for (let at = 0; at < SPEAKERS_MAX; at++) budget.admits(0, `g${at}`, 1);
  assertEquals([budget.admits(0, "one more", 1), budget.admits(0, "g0", 1)], [false, true]);
});
