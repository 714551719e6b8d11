/** `SequenceRanges` against a set of single numbers. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { SequenceRanges } from "../../../lib/stack/tcp/ranges.ts";
import { seqAdd, seqDiff } from "../../../lib/stack/tcp/sequence.ts";

const BASE = 0xffffff80;

/** Ranges as pairs of distances from the base. */
function contents(ranges: SequenceRanges): [number, number][] {
  return Array.from({ length: ranges.count }, (_, i) => [
    seqDiff(ranges.start(i), BASE),
    seqDiff(ranges.end(i), BASE),
  ]);
}

/** The maximal ranges of a set. */
function rangesOf(held: Set<number>): [number, number][] {
  const out: [number, number][] = [];
  for (const n of [...held].sort((a, b) => a - b)) {
    const last = out.at(-1);
    if (last !== undefined && last[1] === n) last[1] = n + 1;
    else out.push([n, n + 1]);
  }
  return out;
}

const action = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.nat(250), fc.integer({ min: 1, max: 20 })) },
  { weight: 1, arbitrary: fc.constant("shift" as const) },
);

Deno.test("ranges hold what was added, sorted, joined where they touch, within the bound", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 12 }), fc.array(action), (limit, actions) => {
    const ranges = new SequenceRanges(limit);
    const held = new Set<number>();
    for (const step of actions) {
      if (step === "shift") {
        if (ranges.count === 0) continue;
        const [start, end] = contents(ranges)[0]!;
        for (let n = start; n < end; n++) held.delete(n);
        ranges.shift();
      } else {
        const [start, bytes] = step;
        const before = rangesOf(held);
        const touches = before.some(([a, b]) => a <= start + bytes && start <= b);
        const index = ranges.add(seqAdd(BASE, start), seqAdd(BASE, start + bytes));
        if (!touches && before.length === limit) assertEquals(index, -1);
        else {
          for (let n = start; n < start + bytes; n++) held.add(n);
          const [from, to] = contents(ranges)[index]!;
          assert(from <= start && start + bytes <= to, "the index is of the range that was added");
        }
      }
      assertEquals(contents(ranges), rangesOf(held));
    }
    for (let n = -1; n < 280; n++) {
      const index = rangesOf(held).findIndex(([, end]) => end >= n);
      assertEquals(ranges.find(seqAdd(BASE, n)), index < 0 ? ranges.count : index);
    }
    ranges.clear();
    assertEquals([ranges.count, ranges.find(BASE)], [0, 0]);
  }));
});
