/** Which transfers read their hosts, and that each of them does in the end. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type HostReader, ReadTurns } from "../../lib/host/read_turns.ts";

/** A lane and an event loop that are turned by hand. */
class Rig {
  readonly lane = { laneWaiters: 0 };
  readonly reads: string[] = [];
  readonly turns: ReadTurns;
  #due: (() => void)[] = [];

  constructor() {
    this.turns = new ReadTurns(this.lane, { soon: (task) => void this.#due.push(task) });
  }

  /** A transfer; what it does when its turn has come is noted, and `onTurn`. */
  reader(name: string, onTurn: () => void = () => {}): HostReader {
    return {
      readHost: () => {
        this.reads.push(name);
        onTurn();
      },
    };
  }

  /** Transfers that wait, in this order. */
  queue(...names: string[]): HostReader[] {
    const { laneWaiters } = this.lane;
    this.lane.laneWaiters = 2;
    const readers = names.map((name) => this.reader(name));
    for (const reader of readers) assertEquals(this.turns.ask(reader), false);
    this.lane.laneWaiters = laneWaiters;
    return readers;
  }

  /** One pass of the event loop; whether it had something to do. */
  pass(): boolean {
    const due = this.#due.splice(0);
    for (const task of due) task();
    return due.length > 0;
  }
}

Deno.test("a transfer reads at once while fewer than two wait for the lane", () => {
  const rig = new Rig();
  for (const waiters of [0, 1, 0]) {
    rig.lane.laneWaiters = waiters;
    assertEquals(rig.turns.ask(rig.reader("a")), true);
  }
  rig.lane.laneWaiters = 2;
  assertEquals(rig.turns.ask(rig.reader("a")), false);
  assertEquals(rig.turns.waiting, 1);
});

Deno.test("who asks later stands behind those who wait, even if there is room", () => {
  const rig = new Rig();
  rig.queue("a");
  assertEquals(rig.turns.ask(rig.reader("b")), false);
  rig.turns.next();
  assertEquals(rig.reads, ["a", "b"]);
});

Deno.test("a turn lets as many read as the lane lacks, and none while it is full", () => {
  const rig = new Rig();
  rig.queue("a", "b", "c", "d");
  rig.lane.laneWaiters = 2;
  rig.turns.next();
  assertEquals(rig.reads, []);
  rig.lane.laneWaiters = 1;
  rig.turns.next();
  assertEquals(rig.reads, ["a"]);
  rig.lane.laneWaiters = 7;
  rig.turns.next();
  assertEquals(rig.reads, ["a"]);
  rig.lane.laneWaiters = 0;
  rig.turns.next();
  assertEquals(rig.reads, ["a", "b", "c"]);
});

Deno.test("hosts with nothing to read hold nobody up, though no turn comes", () => {
  const rig = new Rig();
  const names = Array.from({ length: 9 }, (_, i) => `${i}`);
  rig.queue(...names);
  rig.turns.next();
  while (rig.pass());
  assertEquals(rig.reads, names);
});

Deno.test("whoever asks while there is room has its turn without another word", () => {
  const rig = new Rig();
  rig.queue("a");
  rig.turns.ask(rig.reader("b")); // the lane has emptied since, and no turn has come
  while (rig.pass());
  assertEquals(rig.reads, ["a", "b"]);
});

Deno.test("no pass of the event loop is spent on a full lane", () => {
  const rig = new Rig();
  rig.lane.laneWaiters = 2;
  rig.turns.ask(rig.reader("a"));
  assertEquals(rig.pass(), false);
  rig.turns.next();
  assertEquals(rig.pass(), false);
});

Deno.test("who asks again in its own turn goes to the end", () => {
  const rig = new Rig();
  const greedy: HostReader = rig.reader("greedy", () => rig.turns.ask(greedy));
  rig.lane.laneWaiters = 2;
  rig.turns.ask(greedy);
  rig.lane.laneWaiters = 0;
  rig.turns.ask(rig.reader("a"));
  rig.turns.ask(rig.reader("b"));
  rig.turns.next();
  assertEquals(rig.reads, ["greedy", "a"]);
  rig.turns.next();
  assertEquals(rig.reads, ["greedy", "a", "b", "greedy"]);
});

Deno.test("in whatever order they ask and leave, none is forgotten and none called that has left", () => {
  const step = fc.record({ reader: fc.nat(9), what: fc.constantFrom("ask", "leave", "turn") });
  const waiters = fc.nat(3);
  fc.assert(fc.property(fc.array(fc.tuple(step, waiters), { maxLength: 100 }), (steps) => {
    const rig = new Rig();
    let model: string[] = [];
    const readers = Array.from({ length: 10 }, (_, i) => rig.reader(`${i}`));
    for (const [{ reader: i, what }, laneWaiters] of steps) {
      const reader = readers[i]!;
      const before = rig.reads.length;
      rig.lane.laneWaiters = laneWaiters;
      if (what === "leave") {
        rig.turns.leave(reader);
        model = model.filter((name) => name !== `${i}`);
      } else if (what === "ask") {
        if (!rig.turns.ask(reader) && !model.includes(`${i}`)) model.push(`${i}`);
      } else {
        rig.turns.next();
      }
      assertEquals(rig.reads.slice(before), model.splice(0, rig.reads.length - before));
      assertEquals(rig.turns.waiting, model.length);
    }
    rig.lane.laneWaiters = 0;
    rig.turns.next();
    while (rig.pass());
    assertEquals(rig.turns.waiting, 0);
  }));
});
