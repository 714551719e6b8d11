/** `Transmissions` against a model that keeps state and time for each number. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { seqAdd, seqDiff } from "../../../lib/stack/tcp/sequence.ts";
import { RunFlag, Transmissions } from "../../../lib/stack/tcp/transmissions.ts";

const BASE = 0xffffff80;
const LIMIT = 256;

interface Octet {
  flags: number;
  sentMs: number;
}

/** What each octet in flight is, and the sums over them. */
class Model {
  una = 0;
  octets: Octet[] = [];

  get nxt(): number {
    return this.una + this.octets.length;
  }

  at(n: number): Octet {
    return this.octets[n - this.una]!;
  }

  count(flag: number): number {
    return this.octets.filter(({ flags }) => (flags & flag) !== 0).length;
  }
}

function offset(seq: number): number {
  return seqDiff(seq, BASE);
}

/** The runs cover the flight without a gap, and say of every octet what the model does. */
function compare(runs: Transmissions, model: Model): void {
  let next = model.una;
  let retransmitted = 0;
  for (let i = 0; i < runs.count; i++) {
    assertEquals(offset(runs.start(i)), next, "runs have no gap");
    assert(runs.length(i) > 0, "no run is empty");
    next = offset(runs.end(i));
    for (let n = offset(runs.start(i)); n < next; n++) {
      assertEquals({ flags: runs.flags(i), sentMs: runs.sentMs(i) }, model.at(n), `octet ${n}`);
    }
    if (runs.has(i, RunFlag.retransmitted)) retransmitted++;
  }
  assertEquals(next, model.nxt);
  assertEquals(runs.sackedBytes, model.count(RunFlag.sacked));
  assertEquals(runs.lostBytes, model.count(RunFlag.lost));
  assertEquals(runs.retransmittedRuns, retransmitted);
  assert(runs.count <= LIMIT);
}

const step = fc.record({
  what: fc.constantFrom("send", "send", "ack", "sack", "lose", "resend"),
  a: fc.nat(1000),
  b: fc.integer({ min: 1, max: 12 }),
  waitMs: fc.nat(2),
});

/** Makes [from, to) one or more whole runs; false where the bound forbids it. */
function carve(runs: Transmissions, from: number, to: number): [number, number] | null {
  let i = runs.find(seqAdd(BASE, from));
  if (offset(runs.start(i)) < from) {
    if (!runs.split(i, seqAdd(BASE, from))) return null;
    i++;
  }
  let j = i;
  while (offset(runs.end(j)) < to) j++;
  if (offset(runs.end(j)) > to && !runs.split(j, seqAdd(BASE, to))) return null;
  return [i, j];
}

Deno.test("runs say of every octet in flight when it was sent and what became of it", () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
    const runs = new Transmissions();
    const model = new Model();
    let nowMs = 0;
    for (const { what, a, b, waitMs } of steps) {
      nowMs += waitMs;
      const flight = model.octets.length;
      if (what === "send" || flight === 0) {
        runs.append(seqAdd(BASE, model.nxt), seqAdd(BASE, model.nxt + b), nowMs);
        for (let n = 0; n < b; n++) model.octets.push({ flags: 0, sentMs: nowMs });
      } else if (what === "ack") {
        const to = model.una + Math.min(flight, b);
        while (runs.count > 0 && offset(runs.start(0)) < to) runs.trimFirst(seqAdd(BASE, to));
        model.octets.splice(0, to - model.una);
        model.una = to;
      } else {
        const from = model.una + a % flight;
        const to = Math.min(model.nxt, from + b);
        const [i, j] = carve(runs, from, to)!;
        for (let k = j; k >= i; k--) { // downwards, as a run may join the one below
          if (what === "sack") runs.mark(k, RunFlag.sacked, RunFlag.lost);
          else if (what === "lose") runs.mark(k, RunFlag.lost, 0);
          else runs.resent(k, nowMs);
        }
        for (let n = from; n < to; n++) {
          const octet = model.at(n);
          if (what === "sack") octet.flags = octet.flags & ~RunFlag.lost | RunFlag.sacked;
          else if (what === "lose") octet.flags |= RunFlag.lost;
          else {Object.assign(octet, {
              flags: octet.flags & ~RunFlag.lost | RunFlag.retransmitted,
              sentMs: nowMs,
            });}
        }
      }
      compare(runs, model);
      for (const n of [model.una, model.nxt - 1]) {
        const i = runs.find(seqAdd(BASE, n));
        if (model.octets.length > 0) {
          assert(offset(runs.start(i)) <= n && n < offset(runs.end(i)), "find finds the run");
        }
      }
      assertEquals(runs.find(seqAdd(BASE, model.nxt)), runs.count);
    }
    runs.clear();
    assertEquals([runs.count, runs.sackedBytes, runs.lostBytes, runs.retransmittedRuns], [
      0,
      0,
      0,
      0,
    ]);
  }));
});

Deno.test("what is sent in one turn is one run", () => {
  const runs = new Transmissions();
  for (let n = 0; n < 100; n++) runs.append(n, n + 1, 5);
  runs.append(100, 101, 6);
  assertEquals([runs.count, runs.length(0), runs.sentMs(1)], [2, 100, 6]);
});

Deno.test("neighbours that were sacked are joined, and nothing else is", () => {
  const runs = new Transmissions();
  for (let n = 0; n < 6; n++) runs.append(10 * n, 10 * n + 10, n);
  runs.resent(2, 9);
  for (const i of [1, 2, 3, 5]) runs.mark(i, RunFlag.sacked, 0);
  runs.joinSacked(1);
  const list = Array.from(
    { length: runs.count },
    (_, i) => [runs.start(i), runs.end(i), runs.flags(i)],
  );
  assertEquals(list, [[0, 10, 0], [10, 40, 1], [40, 50, 0], [50, 60, 1]]);
  assertEquals([runs.sackedBytes, runs.retransmittedRuns], [40, 0]);
});

Deno.test("at the bound splits are refused and what is sent joins the last run", () => {
  const runs = new Transmissions();
  for (let n = 0; n < LIMIT; n++) runs.append(10 * n, 10 * n + 10, n);
  assertEquals([runs.count, runs.split(5, 55)], [LIMIT, false]);
  runs.append(2560, 2570, 1000);
  assertEquals([runs.count, runs.end(255), runs.sentMs(255)], [LIMIT, 2570, 1000]);
  runs.mark(255, RunFlag.sacked, 0);
  runs.append(2570, 2580, 1001);
  assertEquals([runs.sackedBytes, runs.flags(255), runs.end(255)], [0, 0, 2580]);
  runs.trimFirst(10);
  assertEquals(runs.split(5, 65), true);
});

Deno.test("pieces of a run that are sent again together are one run again", () => {
  const runs = new Transmissions();
  runs.append(BASE, seqAdd(BASE, 100_000), 1);
  runs.mark(0, RunFlag.lost, 0);
  while (runs.lostBytes > 0) {
    const lost = runs.count - 1;
    if (runs.length(lost) > 500) runs.split(lost, seqAdd(runs.start(lost), 500));
    runs.resent(lost, 7);
  }
  assertEquals([runs.count, runs.retransmittedRuns, runs.length(0)], [1, 1, 100_000]);
});
