import { assertEquals } from "@std/assert";
import { Waiters } from "../../lib/host/waiters.ts";

Deno.test("waiters: all hear of it, and who has stopped waiting leaves nothing", async () => {
  const waiters = new Waiters();
  const heard: string[] = [];
  const stop = new AbortController();
  const waits = [
    waiters.wait().then(() => heard.push("patient")),
    waiters.wait(stop.signal).then(() => heard.push("in vain")),
    waiters.wait(AbortSignal.abort()).then(() => heard.push("late")),
  ];
  assertEquals(waiters.size, 2);
  stop.abort();
  assertEquals(waiters.size, 1);
  await waits[1];
  await waits[2];
  assertEquals(heard.toSorted(), ["in vain", "late"]);
  waiters.wake();
  assertEquals(waiters.size, 0);
  await waits[0];
  assertEquals(heard.at(-1), "patient");
  waiters.wake(); // nobody
});
