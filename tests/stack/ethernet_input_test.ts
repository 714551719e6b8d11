import { assertEquals } from "@std/assert";
import { StackHarness } from "../support/stack_harness.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  GATEWAY_MAC,
  GUEST_MAC,
  icmp4,
  ip4,
  mac,
  pattern,
  u16,
} from "../support/packets.ts";
import { LENGTH_BYTES } from "../../lib/stack/queues.ts";
import { Polled } from "../../lib/stack/stack.ts";

const PING = ip4(icmp4(8, 0, [0, 1, 0, 1], pattern(8)), { protocol: 1 });

Deno.test("ethernet: runts are counted and the stream stays in step", () => {
  const h = new StackHarness();
  const lengths = Array.from({ length: 14 }, (_, i) => i);
  const runts = lengths.map((bytes) => concat([0, 0], u16(bytes), pattern(bytes)));
  const ping = ethernet(PING);
  const stream = concat(...runts, [0, 0], u16(ping.length), ping);
  const queue = h.queues.guestToHost;
  h.memory.bytes.set(stream, queue.fillAt);
  queue.filled(stream.length);
  assertEquals(h.stack.poll(10, h.nowMs), Polled.empty);
  assertEquals(h.counted(), { "drop.eth.short": 14, "icmp.echo": 1 });
  h.reply();
});

Deno.test("ethernet: a length above 65,550 ends the link, nothing behind it is read", () => {
  for (const length of [65_551, 0x7fff_ffff, 0xffff_ffff]) {
    const h = new StackHarness();
    const queue = h.queues.guestToHost;
    h.memory.view.setUint32(queue.fillAt, length);
    h.memory.bytes.set(ethernet(PING), queue.fillAt + LENGTH_BYTES);
    queue.filled(LENGTH_BYTES + 14 + PING.length);
    assertEquals(h.stack.poll(10, h.nowMs), Polled.broken);
    h.silent();
  }
});

Deno.test("ethernet: VLAN, 802.3, LLDP and unknown types are dropped", () => {
  const h = new StackHarness();
  for (const type of [0x8100, 0x88a8, 0x0026, 0x05dc, 0x88cc, 0x8863, 0x0000, 0xffff]) {
    h.drops(ethernet(PING, { type }), "drop.eth.type");
  }
  h.drops(ethernet(new Uint8Array(0), { type: 0x9000 }), "drop.eth.type");
});

Deno.test("ethernet: a link has one MAC, that of the guest's first frame", () => {
  const h = new StackHarness();
  for (const source of [GATEWAY_MAC, BROADCAST_MAC, "01:00:5e:00:00:01", "00:00:00:00:00:00"]) {
    h.drops(ethernet(PING, { source }), "drop.eth.src");
  }
  const first = "02:00:00:00:00:77";
  h.push(ethernet(PING, { source: first }));
  assertEquals(h.reply().destinationMac, first);
  h.drops(ethernet(PING, { source: GUEST_MAC }), "drop.eth.src");
  h.counted();
  for (let i = 0; i < 1000; i++) {
    const frame = ethernet(PING);
    frame.set(concat([0x02], mac(GUEST_MAC).slice(1, 4), u16(i)), 6);
    h.push(frame);
  }
  assertEquals(h.counted(), { "drop.eth.src": 1000 });
  h.push(ethernet(PING, { source: first }));
  assertEquals(h.reply().destinationMac, first);
});

Deno.test("ethernet: frames for another station are dropped", () => {
  const h = new StackHarness();
  h.drops(ethernet(PING, { destination: "02:00:00:00:00:99" }), "drop.eth.dst");
  h.drops(ethernet(PING, { destination: GUEST_MAC }), "drop.eth.dst");
});
