import { assert, assertEquals } from "@std/assert";
import { Deadlines } from "../../lib/host/dns_deadlines.ts";
import type { WheelEntry } from "../../lib/stack/timing_wheel.ts";
import { Dice } from "../support/dice.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

interface Entry extends WheelEntry {
  readonly name: number;
}

function entry(name: number): Entry {
  return { name, deadlineMs: 0, wheelSlot: -1, wheelPrevious: null, wheelNext: null };
}

Deno.test("Deadlines: each entry comes at its time, all with one timer", async () => {
  const clock = new VirtualClock();
  const startMs = clock.now();
  const due: [name: number, afterMs: number][] = [];
  const deadlines = new Deadlines<Entry>(
    clock,
    ({ name }) => due.push([name, clock.now() - startMs]),
  );
  const entries = [700, 200, 20_000, 201, 5_000, 0].map((afterMs, name) => {
    const made = entry(name);
    deadlines.schedule(made, startMs + afterMs);
    return made;
  });
  assertEquals(clock.timers, 1);
  deadlines.schedule(entries[3]!, startMs + 900);
  deadlines.cancel(entries[4]!);
  await clock.run(30_000);
  assertEquals(due, [[5, 0], [1, 200], [0, 700], [3, 900], [2, 20_000]]);
  assertEquals(clock.timers, 0);
});

Deno.test("Deadlines: what is answered in time costs no timer of its own", async () => {
  const clock = new VirtualClock();
  let due = 0;
  const deadlines = new Deadlines<Entry>(clock, () => due++);
  const one = entry(0);
  const before = clock.steps;
  for (let i = 0; i < 1_000; i++) {
    deadlines.schedule(one, clock.now() + 1_667);
    await clock.run(1);
    deadlines.cancel(one);
  }
  assert(clock.timers <= 1);
  assertEquals(due, 0);
  await clock.run(60_000);
  assertEquals(clock.timers, 0);
  assert(clock.steps - before < 2_100, `${clock.steps - before} steps`);
});

Deno.test("Deadlines: who is due may be put on again, and nothing comes after the close", async () => {
  const clock = new VirtualClock();
  const dice = new Dice(5);
  const due: number[] = [];
  const deadlines = new Deadlines<Entry>(clock, (one) => {
    assert(clock.now() >= one.deadlineMs);
    due.push(one.name);
    if (due.length < 500) deadlines.schedule(one, clock.now() + dice.below(300));
  });
  for (let name = 0; name < 20; name++) deadlines.schedule(entry(name), clock.now() + name);
  await clock.run(60_000);
  assertEquals(due.length, 500 + 19);
  deadlines.schedule(entry(99), clock.now() + 10);
  deadlines.close();
  deadlines.schedule(entry(98), clock.now() + 10);
  assertEquals(clock.timers, 0);
  await clock.run(1_000);
  assertEquals(due.length, 500 + 19);
});
