import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { FlowQueue, type Waiting } from "../../../lib/stack/tcp/flow_queue.ts";

class Entry implements Waiting<Entry> {
  waitPrevious: Entry | null = null;
  waitNext: Entry | null = null;
}

/** The queue from its first entry on, by the links. */
function contents(queue: FlowQueue<Entry>): Entry[] {
  const out: Entry[] = [];
  for (let entry = queue.first; entry !== null; entry = entry.waitNext) {
    assertEquals(entry.waitPrevious === (out.at(-1) ?? null), true, "the links agree");
    out.push(entry);
  }
  return out;
}

Deno.test("the queue holds those that have entered and not left, oldest first", () => {
  fc.assert(fc.property(fc.array(fc.nat(9)), (steps) => {
    const queue = new FlowQueue<Entry>();
    const entries = Array.from({ length: 10 }, () => new Entry());
    let model: Entry[] = [];
    for (const i of steps) {
      const entry = entries[i]!;
      if (model.includes(entry)) {
        queue.remove(entry);
        model = model.filter((other) => other !== entry);
        queue.remove(entry); // whoever is not in it is not missed
      } else {
        queue.push(entry);
        model.push(entry);
      }
      const found = contents(queue);
      assertEquals(found.length, model.length);
      assertEquals(found.every((other, k) => other === model[k]), true);
    }
  }));
});
