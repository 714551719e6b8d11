/** When pieces that come one by one are worth a run. */
import { assertEquals } from "@std/assert";
import { Gathering } from "../../lib/host/gathering.ts";
import { systemClock } from "../../lib/host/host_clock.ts";

/** A gathering whose event loop is turned by hand. */
class Rig {
  runs = 0;
  hasRoom = true;
  nowMs = 1_000;
  readonly gathering: Gathering;
  #due: (() => void)[] = [];

  constructor() {
    const soon = (task: () => void) => void this.#due.push(task);
    const clock = { ...systemClock, now: () => this.nowMs, soon };
    this.gathering = new Gathering(clock, () => this.runs++, () => this.hasRoom);
  }

  /** One pass of the event loop, which first brings so many pieces. */
  pass(pieces = 0): void {
    for (let i = 0; i < pieces; i++) this.gathering.add();
    for (const task of this.#due.splice(0)) task();
  }

  /** How many passes without a piece there are until the next run. */
  passesUntilRun(): number {
    const { runs } = this;
    for (let passes = 1; passes < 100; passes++) {
      this.pass();
      if (this.runs > runs) return passes;
    }
    return Infinity;
  }
}

Deno.test("a piece by itself has its run in the next pass, however many there are", () => {
  const rig = new Rig();
  for (let i = 1; i <= 10; i++) {
    rig.pass(1);
    assertEquals(rig.runs, i);
    rig.pass();
    assertEquals(rig.runs, i);
  }
});

Deno.test("where several have come together the next ones share a run", () => {
  const rig = new Rig();
  rig.pass(3);
  assertEquals(rig.runs, 1);
  for (const pieces of [1, 0, 2, 1, 0, 1]) rig.pass(pieces);
  assertEquals(rig.runs, 1);
  assertEquals(rig.passesUntilRun(), 2);
  assertEquals(rig.runs, 2);
});

Deno.test("each piece hears when the first one came that it shares its run with", () => {
  const rig = new Rig();
  const { gathering } = rig;
  assertEquals(gathering.add(), 1_000);
  rig.nowMs = 1_000.5;
  assertEquals(gathering.add(), 1_000);
  rig.pass();
  assertEquals(rig.runs, 1);
  assertEquals(gathering.add(), 1_000.5);
});

Deno.test("a flood has a run in every 40 passes", () => {
  const rig = new Rig();
  for (let i = 0; i < 1 + 40 * 5; i++) rig.pass(2);
  assertEquals(rig.runs, 6);
});

Deno.test("a flood whose passes take long has a run in a millisecond", () => {
  const rig = new Rig();
  rig.pass(2);
  rig.pass(2);
  rig.nowMs += 0.9;
  rig.pass(2);
  assertEquals(rig.runs, 1);
  rig.nowMs += 0.1;
  rig.pass(2);
  assertEquals(rig.runs, 2);
});

Deno.test("a flood that was a moment ago makes nothing wait", () => {
  const rig = new Rig();
  rig.pass(2);
  rig.nowMs += 11;
  rig.pass(1);
  assertEquals(rig.runs, 2);
});

Deno.test("nothing is awaited for which there is no room", () => {
  const rig = new Rig();
  rig.pass(2);
  rig.pass(1);
  assertEquals(rig.runs, 1);
  rig.hasRoom = false;
  rig.pass(1);
  assertEquals(rig.runs, 2);
});

Deno.test("one piece in a run, and nothing is awaited any more", () => {
  const rig = new Rig();
  rig.pass(2);
  rig.pass(1);
  rig.passesUntilRun();
  assertEquals(rig.runs, 2);
  rig.pass(1);
  assertEquals(rig.runs, 3);
});
