import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type AwaitsLane, LaneQueue } from "../../../lib/stack/tcp/lane_queue.ts";

class Entry implements AwaitsLane<Entry> {
  awaitsLane = false;
  lanePrevious: Entry | null = null;
  laneNext: Entry | null = null;
}

Deno.test("turns come in the order in which they were asked for, nobody has two, and anyone may leave", () => {
  const step = fc.record({ entry: fc.nat(19), leaves: fc.boolean() });
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const queue = new LaneQueue<Entry>();
    const entries = Array.from({ length: 20 }, () => new Entry());
    let model: Entry[] = [];
    for (const { entry: i, leaves } of steps) {
      const entry = entries[i]!;
      if (leaves) {
        queue.remove(entry);
        model = model.filter((other) => other !== entry);
      } else {
        queue.push(entry);
        if (!model.includes(entry)) model.push(entry);
      }
      const found: Entry[] = [];
      for (let at = queue.first; at !== null; at = at.laneNext) {
        assertEquals(at.lanePrevious === (found.at(-1) ?? null), true, "the links agree");
        found.push(at);
      }
      assertEquals(found.length, model.length);
      assertEquals(found.every((other, k) => other === model[k]), true);
      assertEquals(entries.filter(({ awaitsLane }) => awaitsLane).length, model.length);
    }
  }));
});
