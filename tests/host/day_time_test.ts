/** The time of day of moments: the same whenever it is asked for, until the clock is set. */
import { assertEquals } from "@std/assert";
import { DayTime } from "../../lib/host/day_time.ts";

const DAY_MS = 1_700_000_000_000;

Deno.test("day time: a moment has one time of day, whatever fractions the clocks have", () => {
  const time = new DayTime(100.25, DAY_MS + 100);
  const moment = 50.4;
  const said = new Set<number>();
  for (let passed = 0; passed < 100; passed += 0.37) {
    time.check(100.25 + passed, DAY_MS + Math.floor(100 + passed));
    said.add(time.of(moment));
  }
  assertEquals([...said], [DAY_MS + 50]);
});

Deno.test("day time: where the time of day was set or the machine slept, it is right again", () => {
  for (const movedMs of [3_600_000, -3_600_000]) {
    const time = new DayTime(0, DAY_MS);
    time.check(10, DAY_MS + movedMs + 10);
    assertEquals(time.of(20), DAY_MS + movedMs + 20);
  }
});
