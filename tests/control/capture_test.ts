/** The capture route and its client: what streams, how many, what is refused, and who leaves. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import { readPcapng } from "../capture/read_pcapng.ts";
import { until } from "../support/guest_rig.ts";
import { GATEWAY4 } from "../support/packets.ts";
import { ControlRig } from "./control_rig.ts";

Deno.test("control: a capture streams while it is read, and ends with its reader", async () => {
  await using rig = await ControlRig.open();
  const guest = await rig.attach();
  const stop = new AbortController();
  const blocks = rig.client.capture({ filter: "icmp", snapLength: 64, signal: stop.signal });
  const parts = [(await blocks.next()).value!];
  assertEquals(rig.gateway.captures, 1);
  await guest.ping(GATEWAY4);
  while (readPcapng(joined(parts)).packets.length < 2) parts.push((await blocks.next()).value!);
  const file = readPcapng(joined(parts));
  assertEquals(file.interface.filter, "icmp");
  assertEquals(file.packets.slice(0, 2).map(({ direction }) => direction), ["in", "out"]);
  assert(file.packets.every(({ data }) => data.length <= 64));
  stop.abort();
  assertEquals(await Array.fromAsync(blocks), []);
  await until("the capture has ended", () => rig.gateway.captures === 0);
});

Deno.test("control: a capture ends with the gateway, whole", async () => {
  const rig = await ControlRig.open();
  const guest = await rig.attach();
  const blocks = rig.client.capture();
  const parts = [(await blocks.next()).value!];
  await guest.ping(GATEWAY4);
  const rest = Array.fromAsync(blocks);
  await rig[Symbol.asyncDispose]();
  const file = readPcapng(joined([...parts, ...await rest]));
  assert(file.packets.length >= 2);
  assertEquals(file.statistics.length, 1);
});

Deno.test("control: what can't be captured is refused, with the way out", async () => {
  await using rig = await ControlRig.open();
  for (
    const [query, text] of [
      ["filter=tcp+port+http", "is not a port from 0 to 65535"],
      ["snap=9", "snap is not a whole number of octets from 14 to 262144"],
      ["snap=x", "snap is not a whole number of octets from 14 to 262144"],
    ] as const
  ) {
    const { status, text: body } = await rig.ask("GET", `/v1/capture?${query}`);
    assertEquals(status, 422, body);
    assertStringIncludes(body, text);
  }
  assertEquals((await rig.ask("GET", "/v1/capture?flter=tcp")).status, 400);
  assertEquals((await rig.ask("HEAD", "/v1/capture")).status, 405);
  const error = await assertRejects(() => rig.client.capture({ filter: "x" }).next(), GatewayError);
  assertEquals((error as GatewayError).code, "config");
  assertEquals(rig.gateway.captures, 0);
});

Deno.test("control: the fifth capture is told to wait, and finds a place once one has left", async () => {
  await using rig = await ControlRig.open();
  const captures = Array.from({ length: 4 }, () => rig.client.capture());
  for (const each of captures) await each.next();
  const { status, text } = await rig.ask("GET", "/v1/capture");
  assertEquals(status, 503);
  assertStringIncludes(text, "4 streams of captured frames are read already");
  await captures[0]!.return!();
  await until("a place is free", () => rig.gateway.captures === 3);
  const next = rig.client.capture();
  assertEquals((await next.next()).done, false);
  for (const each of [...captures, next]) await each.return!();
});

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}
