/** Events of several guests as one stream. */
import { assertEquals, assertRejects } from "@std/assert";
import { MergedEvents } from "../../lib/guests/merged_events.ts";
import { EventHub } from "../../lib/host/event_hub.ts";
import { type GatewayEvent, gatewayEvents } from "../../lib/host/gateway_event.ts";

const changed = (rules: number): GatewayEvent => ({ type: "policy-changed", timeMs: 0, rules });

function rig(names: readonly string[]) {
  const hubs = new Map(names.map((name) => [name, new EventHub<GatewayEvent>()]));
  const merged = new MergedEvents(
    new Map([...hubs].map(([name, hub]) => [name, gatewayEvents(hub)])),
  );
  const say = (name: string, rules: number) => hubs.get(name)!.publish(changed(rules));
  const next = async () => {
    const { done, value } = await merged.next();
    return done ? null : `${value.guest} ${(value as { rules: number }).rules}`;
  };
  return { hubs, merged, say, next };
}

Deno.test("what was there before the first step is not missed, and guests take turns", async () => {
  const { say, next } = rig(["a", "b"]);
  for (const n of [1, 2, 3]) say("a", n);
  say("b", 1);
  const seen = [await next(), await next(), await next(), await next()];
  assertEquals(seen.indexOf("b 1") < 2, true, String(seen));
  assertEquals(seen.filter((event) => event!.startsWith("a")), ["a 1", "a 2", "a 3"]);
});

Deno.test("it waits for whoever comes, and ends with the last guest", async () => {
  const { hubs, say, next } = rig(["a", "b"]);
  const waiting = next();
  say("b", 7);
  assertEquals(await waiting, "b 7");
  hubs.get("a")!.close();
  say("b", 8);
  assertEquals(await next(), "b 8");
  const end = next();
  hubs.get("b")!.close();
  assertEquals(await end, null);
  assertEquals(await next(), null);
});

Deno.test("a guest that floods loses its own events, and is told of as many", async () => {
  const { merged, say, next } = rig(["a", "b"]);
  const first = next();
  for (let n = 0; n < 1_000; n++) say("a", n);
  say("b", 1);
  await first;
  const seen = [await next(), await next(), await next()];
  assertEquals(seen.includes("b 1"), true, String(seen));
  assertEquals(merged.dropped > 0, true);
});

Deno.test("who leaves it leaves all guests, a step that waits among them", async () => {
  const { hubs, merged, next } = rig(["a", "b"]);
  const waiting = next();
  await merged.return();
  assertEquals(await waiting, null);
  assertEquals([...hubs.values()].map(({ size }) => size), [0, 0]);
});

Deno.test("a stream that fails is heard of", async () => {
  const broken = {
    ...gatewayEvents(new EventHub()),
    next: () => Promise.reject(new Error("lost")),
  };
  await assertRejects(() => new MergedEvents(new Map([["a", broken]])).next(), Error, "lost");
});
