/** Events on their way to listeners: bounded, in order, and nobody waits for anybody. */
import { assertEquals } from "@std/assert";
import { EventHub, type Heard } from "../../lib/host/event_hub.ts";
import { type GatewayEvent, gatewayEvents } from "../../lib/host/gateway_event.ts";
import { settled } from "../support/virtual_clock.ts";

const QUEUE_MAX = 256;

/** What a listener hears before it would have to wait. */
async function hears<T>(
  events: AsyncIterableIterator<Heard<T>>,
  most = Infinity,
): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < most) {
    let is: IteratorResult<Heard<T>> | null = null;
    events.next().then((result) => is = result);
    await settled();
    const result = is as IteratorResult<Heard<T>> | null;
    if (result === null) return [...texts, "waits"];
    if (result.done) return [...texts, "end"];
    const { event, lost } = result.value;
    texts.push(event === null ? `${lost} lost` : `${event}`);
  }
  return texts;
}

/** What a promise has come to. */
async function stateOf(promise: Promise<IteratorResult<Heard<number>>>): Promise<string> {
  let state = "waits";
  promise.then(({ done, value }) => state = done ? "end" : `${value.event}`);
  await settled();
  return state;
}

Deno.test("event hub: each listener hears all that happens from its start on, in order", async () => {
  const hub = new EventHub<number>();
  hub.publish(0);
  const first = hub.listen();
  hub.publish(1);
  const second = hub.listen();
  hub.publish(2);
  assertEquals(hub.size, 2);
  assertEquals(await hears(first, 2), ["1", "2"]);
  assertEquals(await hears(second, 1), ["2"]);
  hub.publish(3);
  assertEquals([await hears(first, 1), await hears(second, 1)], [["3"], ["3"]]);
  await first.return!();
  assertEquals(hub.size, 1);
});

Deno.test("event hub: a listener that waits is woken by the next event", async () => {
  const hub = new EventHub<number>();
  const events = hub.listen();
  const next = events.next();
  assertEquals(await stateOf(next), "waits");
  hub.publish(7);
  assertEquals(await stateOf(next), "7");
  await events.return!();
});

Deno.test("event hub: who falls behind loses the oldest, and is told how many, in their place", async () => {
  const hub = new EventHub<number>();
  const slow = hub.listen();
  const quick = hub.listen();
  for (let i = 0; i < QUEUE_MAX + 10; i++) {
    hub.publish(i);
    assertEquals(await hears(quick, 1), [`${i}`]);
  }
  assertEquals(await hears(slow, 3), ["10 lost", "10", "11"]);
  for (let i = 0; i < 5; i++) hub.publish(1_000 + i);
  assertEquals(await hears(slow, 2), ["3 lost", "15"]);
  const rest = await hears(slow, QUEUE_MAX - 1);
  assertEquals([rest[0], rest.at(-1)], ["16", "1004"]);
  for (let i = 0; i < 1_000_000; i++) hub.publish(i);
  assertEquals(await hears(slow, 2), [`${1_000_000 - QUEUE_MAX} lost`, `${1_000_000 - QUEUE_MAX}`]);
  await slow.return!();
  await quick.return!();
});

Deno.test("event hub: a flood of one kind costs only events of that kind", async () => {
  const hub = new EventHub<number>((event) => event >= 0);
  const slow = hub.listen();
  for (let i = 0; i < 10 * QUEUE_MAX; i++) {
    hub.publish(i);
    if (i % QUEUE_MAX === 0) hub.publish(-1 - i / QUEUE_MAX);
  }
  const [lost, ...rest] = await hears(slow, QUEUE_MAX + 1);
  assertEquals(lost, `${9 * QUEUE_MAX + 10} lost`);
  const others = rest.filter((text) => text.startsWith("-"));
  assertEquals(others, Array.from({ length: 10 }, (_, i) => `${-1 - i}`));
  assertEquals(rest.at(-1), `${10 * QUEUE_MAX - 1}`);
  for (let i = 0; i < QUEUE_MAX + 3; i++) hub.publish(-100 - i);
  hub.publish(5);
  assertEquals(
    await hears(slow, 2),
    ["4 lost", "-103"],
    "and the latest, where all others are not",
  );
  await slow.return!();
});

Deno.test("event hub: a listener that leaves is gone, whatever waits for it", async () => {
  const hub = new EventHub<number>();
  const events = hub.listen();
  hub.publish(1);
  assertEquals(await events.return!(), { done: true, value: undefined });
  assertEquals(hub.size, 0);
  hub.publish(2);
  assertEquals(await hears(events), ["end"], "nothing comes behind the end");
  // Leaving a loop is the same.
  const other = hub.listen();
  hub.publish(3);
  hub.publish(4);
  for await (const { event } of other) {
    assertEquals([event, hub.size], [3, 1]);
    break;
  }
  assertEquals(hub.size, 0);
  assertEquals(await hears(other), ["end"]);
  // So it is where the loop throws, or nobody ever asked.
  hub.listen().return!();
  assertEquals(hub.size, 0);
});

Deno.test("event hub: leaving ends a wait", async () => {
  const hub = new EventHub<number>();
  const events = hub.listen();
  const next = events.next();
  await events.return!();
  assertEquals(await stateOf(next), "end");
});

Deno.test("event hub: a signal ends the iteration, before it begins or while it waits", async () => {
  const hub = new EventHub<number>();
  assertEquals(await hears(hub.listen(AbortSignal.abort())), ["end"]);
  assertEquals(hub.size, 0);
  const controller = new AbortController();
  const events = hub.listen(controller.signal);
  const next = events.next();
  controller.abort();
  assertEquals([await stateOf(next), hub.size], ["end", 0]);
  // What was published before is still told, what comes later is not.
  const second = new AbortController();
  const last = hub.listen(second.signal);
  hub.publish(1);
  second.abort();
  assertEquals(hub.size, 0, "it costs nothing from then on");
  hub.publish(2);
  assertEquals(await hears(last), ["1", "end"]);
});

Deno.test("event hub: a close ends all iterations, each behind what waits for it", async () => {
  const hub = new EventHub<number>();
  const busy = hub.listen();
  const idle = hub.listen();
  const next = idle.next();
  hub.publish(1);
  assertEquals(await stateOf(next), "1");
  const waits = idle.next();
  hub.publish(2);
  assertEquals(await stateOf(waits), "2");
  hub.close();
  hub.publish(3);
  assertEquals(await hears(busy), ["1", "2", "end"]);
  assertEquals(await hears(idle), ["end"]);
  assertEquals(await hears(hub.listen()), ["end"]);
  assertEquals(hub.size, 0);
});

Deno.test("event hub: several waits of one listener are served in their order", async () => {
  const hub = new EventHub<number>();
  const events = hub.listen();
  const waits = [events.next(), events.next(), events.next()];
  hub.publish(1);
  hub.publish(2);
  assertEquals(await Promise.all(waits.map(stateOf)), ["1", "2", "waits"]);
  hub.close();
  assertEquals(await stateOf(waits[2]!), "end");
});

Deno.test("gateway events: what was lost is an event in its place", async () => {
  const hub = new EventHub<GatewayEvent>();
  const events = gatewayEvents(hub);
  for (let i = 0; i < QUEUE_MAX + 2; i++) {
    hub.publish({ type: "policy-changed", timeMs: i, rules: 0 });
  }
  assertEquals((await events.next()).value, { type: "events-lost", count: 2 });
  assertEquals((await events.next()).value, { type: "policy-changed", timeMs: 2, rules: 0 });
  await events.return!();
  assertEquals(await events.next(), { done: true, value: undefined });
  assertEquals(hub.size, 0);
});
