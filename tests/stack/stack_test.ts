import { assertEquals } from "@std/assert";
import { LENGTH_BYTES } from "../../lib/stack/queues.ts";
import { Polled } from "../../lib/stack/stack.ts";
import { StackHarness } from "../support/stack_harness.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  GUEST4,
  GUEST6,
  icmp4,
  icmp6,
  ip4,
  ip6,
  pattern,
  read,
  tcp,
  u32,
  udp,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";

const PING = ethernet(ip4(icmp4(8, 0, [0, 1, 0, 1], pattern(8)), { protocol: 1 }));

function load(h: StackHarness, ...frames: Uint8Array[]): void {
  const queue = h.queues.guestToHost;
  const stream = concat(...frames.flatMap((frame) => [u32(frame.length), frame]));
  h.memory.bytes.set(stream, queue.fillAt);
  queue.filled(stream.length);
}

Deno.test("stack: a walk stops after as many frames as it may take, and goes on there", () => {
  const h = new StackHarness();
  load(h, PING, PING, PING, PING, PING);
  assertEquals(h.stack.poll(2, h.nowMs), Polled.more);
  assertEquals(h.sent().length, 2);
  assertEquals(h.stack.poll(2, h.nowMs), Polled.more);
  assertEquals(h.stack.poll(2, h.nowMs), Polled.empty);
  assertEquals(h.sent().length, 3);
  assertEquals(h.stack.poll(2, h.nowMs), Polled.empty);
  assertEquals(h.counters.snapshot()["rx.frames"], 5);
});

Deno.test("stack: what stands before a broken length is still answered", () => {
  const h = new StackHarness();
  load(h, PING);
  h.memory.view.setUint32(h.queues.guestToHost.fillAt, 65_551);
  h.queues.guestToHost.filled(LENGTH_BYTES);
  assertEquals(h.stack.poll(8, h.nowMs), Polled.broken);
  h.reply();
  assertEquals(h.stack.poll(8, h.nowMs), Polled.broken);
  h.silent();
});

Deno.test("stack: TCP and UDP of both families go to their protocols", () => {
  const h = new StackHarness();
  for (const data of [0, 1, 1000]) {
    const bytes = pattern(data);
    const packets = [
      ip4(tcp(GUEST4, WORLD4, bytes), { protocol: 6, destination: WORLD4 }),
      ip6(tcp(GUEST6, WORLD6, bytes), { next: 6, destination: WORLD6 }),
      ip4(udp(GUEST4, 1, WORLD4, 2, bytes), { protocol: 17, destination: WORLD4 }),
      ip6(udp(GUEST6, 1, WORLD6, 2, bytes), { next: 17, destination: WORLD6 }),
    ];
    const got = packets.map((packet) => h.passes(ethernet(packet)));
    assertEquals(got.map(({ family, protocol }) => [family, protocol]), [
      [4, 6],
      [6, 6],
      [4, 17],
      [6, 17],
    ]);
    assertEquals(got.map(({ payload }) => payload.slice(payload.length - data)), [
      bytes,
      bytes,
      bytes,
      bytes,
    ]);
  }
  h.silent();
});

Deno.test("stack: a TCP segment with a wrong checksum never reaches TCP", () => {
  const h = new StackHarness();
  const segment = tcp(GUEST4, WORLD4, pattern(20));
  segment[25]! ^= 1;
  h.drops(ethernet(ip4(segment, { protocol: 6, destination: WORLD4 })), "drop.csum");
});

Deno.test("stack: ICMP of the other family is an unknown protocol", () => {
  const h = new StackHarness();
  const echo4 = icmp4(8, 0, [0, 1, 0, 1], pattern(8));
  const echo6 = icmp6(GUEST6, WORLD6, 128, 0, [0, 1, 0, 1], pattern(8));
  h.push(ethernet(ip4(echo6, { protocol: 58, destination: WORLD4 })));
  assertEquals(h.reply().payload.slice(0, 2), Uint8Array.of(3, 2));
  h.push(ethernet(ip6(echo4, { next: 1, destination: WORLD6 })));
  const error = h.reply();
  assertEquals(error.payload.slice(0, 2), Uint8Array.of(4, 1));
  assertEquals(error.payload.slice(4, 8), Uint8Array.of(0, 0, 0, 6)); // the octet that named it
  assertEquals(h.counted(), { "drop.ip.protocol": 2, "icmp.errors": 2 });
});

Deno.test("stack: an unknown protocol that was sent to a group gets no answer", () => {
  const h = new StackHarness();
  const packet = ip4(pattern(8), { protocol: 99, destination: WORLD4 });
  h.push(ethernet(packet, { destination: BROADCAST_MAC }));
  h.silent();
  h.push(ethernet(packet));
  assertEquals(h.reply().protocol, 1);
});

Deno.test("stack: without IPv6 its frames are of an unknown type and no timer of it runs", () => {
  const h = new StackHarness({ link: { ipv6: false } });
  const datagram = udp(GUEST6, 1, WORLD6, 2, pattern(8));
  h.drops(ethernet(ip6(datagram, { destination: WORLD6 })), "drop.eth.type");
  assertEquals(h.stack.pollAt(), Infinity);
  h.stack.advance(h.nowMs + 3_600_000);
  h.silent();
  h.push(PING);
  h.reply();
});

Deno.test("stack: every wake-up that is promised makes progress", () => {
  const h = new StackHarness();
  const solicitation = icmp6("fe80::2", "ff02::2", 133, 0, [0, 0, 0, 0], new Uint8Array(0));
  const options = { source: "fe80::2", destination: "ff02::2", next: 58, hopLimit: 255 };
  h.push(ethernet(ip6(solicitation, options), { destination: "33:33:00:00:00:02" }));
  for (let steps = 0; steps < 10; steps++) {
    const due = h.stack.pollAt();
    assertEquals(due < Infinity, true, "advertisements are always due again");
    h.stack.advance(due);
    assertEquals(h.stack.pollAt() > due, true);
  }
});

Deno.test("stack: a full queue drops answers, counts them, and goes on when there is room", () => {
  const h = new StackHarness();
  h.queues.hostToGuest.fillLimitBytes = 4 * (LENGTH_BYTES + PING.length);
  load(h, ...Array.from({ length: 10 }, () => PING));
  assertEquals(h.stack.poll(16, h.nowMs), Polled.empty);
  assertEquals(h.counted()["drop.queue.full"], 6);
  assertEquals(h.sent().length, 4);
  h.push(PING);
  h.reply();
});

Deno.test("stack: what it counts is what went over the link", () => {
  const h = new StackHarness();
  load(h, PING, ethernet(pattern(30), { type: 0x88cc }), PING);
  h.stack.poll(8, h.nowMs);
  const sent = h.sent();
  const { "rx.frames": frames, "rx.bytes": bytes, "tx.frames": out, "tx.bytes": outBytes } = h
    .counters.snapshot();
  assertEquals([frames, bytes], [3, 2 * PING.length + 44]);
  assertEquals([out, outBytes], [2, sent.reduce((sum, frame) => sum + frame.length, 0)]);
  assertEquals(sent.map((frame) => read(frame).payload[0]), [0, 0]);
  assertEquals(h.counters.snapshot()["drop.eth.type"], 1);
});
