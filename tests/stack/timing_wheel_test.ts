import { assert, assertEquals, assertLess, assertLessOrEqual, assertThrows } from "@std/assert";
import fc from "fast-check";
import { TimingWheel, type WheelEntry } from "../../lib/stack/timing_wheel.ts";

class Timer implements WheelEntry {
  deadlineMs = Infinity;
  wheelSlot = -1;
  wheelPrevious: WheelEntry | null = null;
  wheelNext: WheelEntry | null = null;
  constructor(readonly name: number) {}
}

function timers(count: number): Timer[] {
  return Array.from({ length: count }, (_, i) => new Timer(i));
}

/** The names that fire by `nowMs`, in order. */
function fired(wheel: TimingWheel<Timer>, nowMs: number): number[] {
  const names: number[] = [];
  wheel.advance(nowMs, (timer) => {
    assertEquals(timer.wheelSlot, -1, "it is out of the wheel when it fires");
    assertLessOrEqual(timer.deadlineMs, nowMs);
    names.push(timer.name);
  });
  return names;
}

/** Wakes at each `nextMs` until the wheel is empty: what fires when, and how many wake-ups. */
function run(wheel: TimingWheel<Timer>, fromMs: number) {
  const log: [atMs: number, name: number][] = [];
  let nowMs = fromMs;
  let wakes = 0;
  while (wheel.size > 0) {
    const next = wheel.nextMs();
    assert(next < Infinity);
    nowMs = Math.max(nowMs, next);
    wakes++;
    assertLess(wakes, 10_000, "each wake-up makes progress");
    for (const name of fired(wheel, nowMs)) log.push([nowMs, name]);
  }
  assertEquals(wheel.nextMs(), Infinity);
  return { log, wakes };
}

Deno.test("an empty wheel has no next time and fires nothing", () => {
  const wheel = new TimingWheel<Timer>(1000);
  assertEquals([wheel.size, wheel.nextMs(), fired(wheel, 5000)], [0, Infinity, []]);
});

Deno.test("a deadline is met to the fraction, not rounded to a slot", () => {
  const wheel = new TimingWheel<Timer>(1000);
  const [a, b, c] = timers(3) as [Timer, Timer, Timer];
  wheel.schedule(a, 1009.5);
  wheel.schedule(b, 1010);
  wheel.schedule(c, 1008);
  assertEquals(wheel.nextMs(), 1008);
  assertEquals(fired(wheel, 1007.9), []);
  assertEquals(fired(wheel, 1008), [2]);
  assertEquals(wheel.nextMs(), 1009.5);
  assertEquals(fired(wheel, 1009.5), [0]);
  assertEquals(fired(wheel, 1009.9), []);
  assertEquals(fired(wheel, 1010), [1]);
  assertEquals(wheel.size, 0);
});

Deno.test("deadlines far beyond the wheel are met, with few wake-ups on the way", () => {
  const wheel = new TimingWheel<Timer>(0, 4, 32);
  const [near, far] = timers(2) as [Timer, Timer];
  wheel.schedule(near, 3);
  wheel.schedule(far, 1000);
  const { log, wakes } = run(wheel, 0);
  assertEquals(log, [[3, 0], [1000, 1]]);
  assertLess(wakes, 15);
});

Deno.test("a timer that is put off stays where it is until its slot comes round", () => {
  const wheel = new TimingWheel<Timer>(0);
  const timer = new Timer(0);
  wheel.schedule(timer, 40);
  const slot = timer.wheelSlot;
  for (let at = 41; at < 3000; at++) wheel.schedule(timer, at);
  assertEquals([timer.wheelSlot, wheel.size], [slot, 1]);
  assertEquals(fired(wheel, 40), []);
  assertEquals(wheel.nextMs(), 2999);
  assertEquals(fired(wheel, 2999), [0]);
});

Deno.test("a timer that is brought forward moves", () => {
  const wheel = new TimingWheel<Timer>(0);
  const timer = new Timer(0);
  wheel.schedule(timer, 3000);
  wheel.schedule(timer, 17);
  assertEquals([wheel.nextMs(), wheel.size], [17, 1]);
  wheel.schedule(timer, 16.5);
  assertEquals(wheel.nextMs(), 16.5, "inside its slot too");
  assertEquals(fired(wheel, 16.5), [0]);
});

Deno.test("cancelled timers do not fire, and cancelling twice does nothing", () => {
  const wheel = new TimingWheel<Timer>(0);
  const [a, b, c] = timers(3) as [Timer, Timer, Timer];
  for (const timer of [a, b, c]) wheel.schedule(timer, 10);
  wheel.cancel(b);
  wheel.cancel(b);
  wheel.schedule(a, Infinity);
  assertEquals([wheel.size, a.wheelSlot, b.wheelSlot], [1, -1, -1]);
  assertEquals(fired(wheel, 10), [2]);
  wheel.schedule(b, Infinity);
  assertEquals(wheel.size, 0);
});

Deno.test("a deadline in the past fires with the next advance", () => {
  const wheel = new TimingWheel<Timer>(1000);
  const [a, b] = timers(2) as [Timer, Timer];
  wheel.schedule(a, 3);
  wheel.schedule(b, -Infinity);
  assertEquals(wheel.nextMs(), -Infinity);
  assertEquals(fired(wheel, 1000), [0, 1]);
});

Deno.test("what fires may schedule itself: due again is for the next advance", () => {
  const wheel = new TimingWheel<Timer>(0);
  const timer = new Timer(0);
  wheel.schedule(timer, 10);
  let calls = 0;
  const again = (t: Timer) => {
    calls++;
    wheel.schedule(t, 5);
  };
  wheel.advance(5000, again);
  assertEquals([calls, wheel.size], [1, 1]);
  wheel.advance(5000, again);
  assertEquals(calls, 2);
});

Deno.test("what fires may cancel, put off and bring forward others that are due with it", () => {
  const wheel = new TimingWheel<Timer>(0);
  const all = timers(6);
  const [first, cancelled, putOff, putFar, same, later] = all as [
    Timer,
    Timer,
    Timer,
    Timer,
    Timer,
    Timer,
  ];
  for (const timer of all) wheel.schedule(timer, timer === later ? 900 : 10);
  const names: number[] = [];
  wheel.advance(20, (timer) => {
    names.push(timer.name);
    if (timer !== first) return;
    wheel.cancel(cancelled);
    wheel.schedule(putOff, 30);
    wheel.schedule(putFar, 1e6);
    wheel.schedule(same, 11);
    wheel.schedule(later, 15);
  });
  assertEquals(names, [0, 4]);
  assertEquals(wheel.size, 3);
  assertEquals(fired(wheel, 20), [5]);
  assertEquals(fired(wheel, 30), [2]);
  assertEquals(fired(wheel, 999_999), []);
  assertEquals(fired(wheel, 1e6), [3]);
});

Deno.test("a clock that jumps ahead by 10 minutes fires each timer once", () => {
  const wheel = new TimingWheel<Timer>(0);
  const all = timers(2000);
  all.forEach((timer, i) => wheel.schedule(timer, i * 7));
  const periodMs = 1000;
  let calls = 0;
  const nowMs = 600_000;
  wheel.advance(nowMs, (timer) => {
    calls++;
    wheel.schedule(timer, nowMs + periodMs);
  });
  assertEquals([calls, wheel.size], [2000, 2000]);
  assertEquals(fired(wheel, nowMs + periodMs - 1), []);
  assertEquals(wheel.nextMs(), nowMs + periodMs);
});

Deno.test("a clock that jumps backwards fires nothing early and nothing never", () => {
  const wheel = new TimingWheel<Timer>(1_000_000);
  const [a, b] = timers(2) as [Timer, Timer];
  wheel.schedule(a, 1_000_100);
  assertEquals(fired(wheel, 10), []);
  wheel.schedule(b, 60);
  assertEquals(wheel.nextMs(), 60);
  assertEquals(fired(wheel, 59), []);
  assertEquals(fired(wheel, 60), [1]);
  assertEquals(fired(wheel, 1_000_100), [0]);
});

Deno.test("after a call that throws the rest is due at once", () => {
  const wheel = new TimingWheel<Timer>(0);
  for (const timer of timers(3)) wheel.schedule(timer, 10);
  assertThrows(
    () =>
      wheel.advance(10, () => {
        throw new Error("a flow failed");
      }),
    Error,
    "a flow failed",
  );
  assertEquals([wheel.size, wheel.nextMs()], [2, -Infinity]);
  assertEquals(fired(wheel, 10), [1, 2]);
});

Deno.test("slots of a length that no binary fraction hits lose nothing", () => {
  const wheel = new TimingWheel<Timer>(0, 0.3, 32);
  timers(300).forEach((timer, i) => wheel.schedule(timer, (i + 1) * 0.1));
  const { log } = run(wheel, 0);
  assertEquals(log.length, 300);
  for (const [atMs, name] of log) assertEquals(atMs, (name + 1) * 0.1);
});

Deno.test("misuse asserts", () => {
  assertThrows(() => new TimingWheel<Timer>(0, 4, 33));
  assertThrows(() => new TimingWheel<Timer>(0, 0));
  const wheel = new TimingWheel<Timer>(0);
  assertThrows(() => wheel.schedule(new Timer(0), NaN), Error, "a time");
});

type Step =
  | { kind: "schedule"; timer: number; inMs: number }
  | { kind: "cancel"; timer: number }
  | { kind: "advance"; byMs: number }
  | { kind: "wake" };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("schedule" as const),
    timer: fc.nat(9),
    inMs: fc.oneof(fc.integer({ min: -5, max: 40 }), fc.integer({ min: 0, max: 3000 })),
  }),
  fc.record({ kind: fc.constant("cancel" as const), timer: fc.nat(9) }),
  fc.record({
    kind: fc.constant("advance" as const),
    byMs: fc.oneof(fc.double({ min: 0, max: 9, noNaN: true }), fc.integer({ min: -20, max: 2000 })),
  }),
  fc.record({ kind: fc.constant("wake" as const) }),
);

Deno.test("any order of calls fires what a list of deadlines fires", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), fc.nat(10_000), (steps, startMs) => {
      const wheel = new TimingWheel<Timer>(startMs, 4, 32);
      const all = timers(10);
      const due = new Map<number, number>();
      let nowMs = startMs;
      for (const each of steps) {
        if (each.kind === "schedule") {
          wheel.schedule(all[each.timer]!, nowMs + each.inMs);
          due.set(each.timer, nowMs + each.inMs);
        } else if (each.kind === "cancel") {
          wheel.cancel(all[each.timer]!);
          due.delete(each.timer);
        } else {
          const next = wheel.nextMs();
          if (each.kind === "wake" && next < Infinity) nowMs = Math.max(nowMs, next);
          if (each.kind === "advance") nowMs += each.byMs;
          const expected = [...due].filter(([, at]) => at <= nowMs).map(([name]) => name);
          assertEquals(fired(wheel, nowMs).sort(), expected.sort());
          for (const name of expected) due.delete(name);
        }
        assertEquals(wheel.size, due.size);
        assertLessOrEqual(wheel.nextMs(), Math.min(Infinity, ...due.values()));
      }
      run(wheel, nowMs);
    }),
    { numRuns: 300 },
  );
});
