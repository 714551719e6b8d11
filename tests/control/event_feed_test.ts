import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  EventFeed,
  type EventReader,
  KEPT_EVENTS,
  READERS_MAX,
} from "../../lib/control/event_feed.ts";
import type { GatewayEvent } from "../../lib/host/gateway_event.ts";

const event = (timeMs: number): GatewayEvent => ({ type: "guest-attached", timeMs });

async function next(reader: EventReader): Promise<string | null> {
  const bytes = await reader.next();
  return bytes === null ? null : new TextDecoder().decode(bytes);
}

function written(id: string, timeMs: number): string {
  return `id: ${id}\nevent: guest-attached\ndata: {"type":"guest-attached","timeMs":${timeMs}}\n\n`;
}

Deno.test("a reader hears from now on, in order, and several at once", async () => {
  const feed = new EventFeed("m");
  feed.push(event(1));
  const reader = feed.open(undefined)!;
  assertEquals(await next(reader), "retry: 1000\nid: m-1\n\n");
  const waiting = next(reader);
  feed.push(event(2));
  assertEquals(await waiting, written("m-2", 2));
  feed.push(event(3));
  feed.push(event(4));
  assertEquals(await next(reader), written("m-3", 3) + written("m-4", 4));
  feed.close();
  assertEquals(await next(reader), null);
  reader.close();
  assertEquals(feed.readers, 0);
});

Deno.test("an event is written once for all readers", async () => {
  const feed = new EventFeed("m");
  const readers = [feed.open(undefined)!, feed.open(undefined)!];
  for (const reader of readers) await reader.next();
  let writings = 0;
  feed.push({ type: "guest-attached", timeMs: 1, toJSON: () => ++writings } as GatewayEvent);
  const [first, second] = await Promise.all(readers.map((reader) => reader.next()));
  assertEquals(writings, 1);
  assert(first === second, "the same octets");
  for (const reader of readers) reader.close();
});

Deno.test("who comes back goes on behind what was seen", async () => {
  const feed = new EventFeed("m");
  for (let i = 1; i <= 5; i++) feed.push(event(i));
  const read = async (id: string) => {
    const reader = feed.open(id)!;
    const said = [await next(reader), await next(reader)];
    reader.close();
    return said;
  };
  assertEquals(await read("m-3"), [
    "retry: 1000\nid: m-3\n\n",
    written("m-4", 4) + written("m-5", 5),
  ]);
  const all = [1, 2, 3, 4, 5].map((i) => written(`m-${i}`, i)).join("");
  for (const other of ["other-4", "4", "nonsense", "m-", "m-1\n"]) {
    assertEquals(await read(other), ["retry: 1000\nid: m-0\n\n", all], other);
  }
  const ahead = feed.open("m-99")!;
  assertEquals(await next(ahead), "retry: 1000\nid: m-5\n\n");
  ahead.close();
});

Deno.test("the last 1,024 are kept; who missed more is told how many", async () => {
  const feed = new EventFeed("m");
  for (let i = 1; i <= KEPT_EVENTS + 10; i++) feed.push(event(i));
  assertEquals(feed.first, 11);
  const reader = feed.open("m-4")!;
  assertEquals(
    await next(reader),
    `retry: 1000\nid: m-10\n\nevent: events-lost\ndata: {"type":"events-lost","count":6}\n\n`,
  );
  let text = "";
  while (!text.includes(`id: m-${KEPT_EVENTS + 10}\n`)) text += await next(reader);
  const ids = [...text.matchAll(/^id: m-(\d+)$/gm)].map(([, id]) => Number(id));
  assertEquals(ids, Array.from({ length: KEPT_EVENTS }, (_, i) => i + 11));
  reader.close();
});

Deno.test("a reader that falls behind what is kept is shed", async () => {
  const feed = new EventFeed("m");
  const reader = feed.open(undefined)!;
  await reader.next();
  for (let i = 1; i <= KEPT_EVENTS; i++) feed.push(event(i));
  assert(await next(reader) !== null, "as far behind as can be");
  const slow = feed.open("m-0")!;
  await slow.next();
  feed.push(event(0));
  assertEquals(await next(slow), null);
  slow.close();
  reader.close();
});

Deno.test("there are only so many readers, and one that leaves makes room", () => {
  const feed = new EventFeed("m");
  const readers = Array.from({ length: READERS_MAX }, () => feed.open(undefined)!);
  assertEquals(feed.open(undefined), null);
  readers[7]!.close();
  readers[7]!.close();
  assertEquals(feed.readers, READERS_MAX - 1);
  readers[7] = feed.open(undefined)!;
  assertEquals(feed.open(undefined), null);
  for (const reader of readers) reader.close();
  assertEquals(feed.readers, 0);
});

Deno.test("a reader of one guest passes over others, and goes on behind an event of any", async () => {
  const feed = new EventFeed("m");
  const of = (timeMs: number, guest?: string): GatewayEvent => {
    return { ...event(timeMs), ...(guest === undefined ? {} : { guest }) };
  };
  const reader = feed.open(undefined, "db")!;
  assertEquals(await next(reader), "retry: 1000\nid: m-0\n\n");
  const waiting = next(reader);
  feed.push(of(1, "web"));
  await Promise.resolve();
  feed.push(of(2, "db"));
  assertStringIncludes((await waiting)!, `id: m-2\n`);
  // Others' events move its place on while it waits, so that it is never shed for them.
  const silent = next(reader);
  for (let i = 0; i < 3 * KEPT_EVENTS; i++) {
    feed.push(of(i, "web"));
    if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve));
  }
  feed.push(of(9)); // of no guest: for all
  assertStringIncludes((await silent)!, `"timeMs":9}`);
  const again = feed.open("m-2", "db")!;
  assert(!(await next(again))!.includes("events-lost"), "none of its own");
  assertStringIncludes((await next(again))!, `"timeMs":9}`);
  reader.close();
  again.close();
});

Deno.test("a flood at one guest costs others none of their events", async () => {
  const feed = new EventFeed("m");
  const push = (timeMs: number, guest?: string): void => {
    feed.push({ ...event(timeMs), ...(guest === undefined ? {} : { guest }) });
  };
  push(1, "db");
  push(2);
  const slow = feed.open("m-0", "db")!;
  const all = feed.open("m-0")!;
  const opening = "retry: 1000\nid: m-0\n\n";
  assertEquals([await next(slow), await next(all)], [opening, opening]);
  for (let i = 0; i < 5 * KEPT_EVENTS; i++) push(i, "web");
  push(3, "db");
  assertEquals(await next(all), null, "who reads all has missed some");
  const said = (await next(slow))!;
  assertEquals([...said.matchAll(/"timeMs":(\d+)/g)].map(([, ms]) => ms), ["1", "2", "3"]);
  slow.close();
  // Of all 5 × 1,024 + 3 as many are kept as may be, and those that are not are the flood's.
  const lost = 4 * KEPT_EVENTS + 3;
  const read = async (guest: string | null) => {
    const reader = feed.open("m-0", guest)!;
    const text = (await next(reader))!;
    reader.close();
    return text.match(/"count":(\d+)/)?.[1];
  };
  assertEquals([await read(null), await read("web"), await read("db"), await read("new")], [
    String(lost),
    String(lost),
    undefined,
    undefined,
  ]);
});

Deno.test("what is kept is shared evenly among guests that have many events", async () => {
  const feed = new EventFeed("m");
  for (let i = 0; i < 10 * KEPT_EVENTS; i++) {
    feed.push({ ...event(i), guest: i < 5 * KEPT_EVENTS ? "a" : i % 3 === 0 ? "b" : "c" });
  }
  const counts = new Map<string, number>();
  let last = 0;
  const reader = feed.open("other")!;
  for (await reader.next(); last < 10 * KEPT_EVENTS;) {
    for (
      const [, id, guest] of (await next(reader))!.matchAll(/id: m-(\d+)\n.*\n.*"guest":"(.)"/g)
    ) {
      assert(Number(id) > last, "in order");
      last = Number(id);
      counts.set(guest!, (counts.get(guest!) ?? 0) + 1);
    }
  }
  reader.close();
  assertEquals([...counts.values()].toSorted(), [341, 341, 342]);
  assertEquals([...counts.keys()].toSorted(), ["a", "b", "c"]);
});
