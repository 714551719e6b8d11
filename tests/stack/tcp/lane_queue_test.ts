import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type AwaitsLane, LaneQueue } from "../../../lib/stack/tcp/lane_queue.ts";

Deno.test("turns come in the order in which they were asked for, and nobody has two", () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.nat(199)), { size: "large", maxLength: 2_000 }), (steps) => {
      const queue = new LaneQueue<AwaitsLane>();
      const entries = Array.from({ length: 200 }, () => ({ awaitsLane: false }));
      const model: AwaitsLane[] = [];
      for (const i of steps) {
        if (i !== null) {
          const entry = entries[i]!;
          if (!model.includes(entry)) model.push(entry);
          queue.push(entry);
        } else if (model.length > 0) {
          assertEquals(queue.first === model[0], true);
          queue.shift();
          model.shift();
        }
        assertEquals(queue.isEmpty, model.length === 0);
        assertEquals(entries.filter((entry) => entry.awaitsLane).length, model.length);
      }
    }),
  );
});

Deno.test("the front is given up, whoever stays keeps the order", () => {
  const queue = new LaneQueue<AwaitsLane & { id: number }>();
  for (let id = 0; id < 200; id++) queue.push({ id, awaitsLane: false });
  for (let id = 0; id < 10_000; id++) {
    assertEquals(queue.first.id, id);
    queue.shift();
    queue.push({ id: id + 200, awaitsLane: false });
  }
});
