import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { StackHarness } from "../support/stack_harness.ts";
import {
  assertL4,
  concat,
  ethernet,
  fragment6,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_LL,
  GUEST4,
  GUEST6,
  GUEST_LL,
  GUEST_MAC,
  icmp4,
  icmp6,
  ip4,
  ip6,
  pattern,
  read,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";

const ID = [0x12, 0x34, 0, 7];

function echo4(data: Uint8Array, destination = GATEWAY4): Uint8Array {
  return ethernet(ip4(icmp4(8, 0, ID, data), { protocol: 1, destination }));
}

function echo6(data: Uint8Array, source: string, destination: string): Uint8Array {
  const message = icmp6(source, destination, 128, 0, ID, data);
  return ethernet(ip6(message, { next: 58, source, destination }));
}

Deno.test("echo: the gateway answers at each of its addresses with the same data", () => {
  const h = new StackHarness();
  h.push(echo4(pattern(56)));
  const four = h.reply();
  assertEquals([four.source, four.destination, four.protocol], [GATEWAY4, GUEST4, 1]);
  assertEquals(four.destinationMac, GUEST_MAC);
  assertEquals(four.payload, icmp4(0, 0, ID, pattern(56)));
  for (const [source, destination] of [[GUEST6, GATEWAY6], [GUEST_LL, GATEWAY_LL]] as const) {
    h.push(echo6(pattern(56), source, destination));
    const six = h.reply();
    assertEquals([six.source, six.destination], [destination, source]);
    assertEquals(six.payload, icmp6(destination, source, 129, 0, ID, pattern(56)));
  }
  assertEquals(h.counted(), { "icmp.echo": 3 });
});

Deno.test("echo: any size up to the MTU comes back in one frame", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1472 }), fc.boolean(), (bytes, six) => {
      const h = new StackHarness();
      const data = pattern(six ? Math.min(bytes, 1452) : bytes, bytes);
      h.push(six ? echo6(data, GUEST6, GATEWAY6) : echo4(data));
      assertEquals(h.reply().payload.slice(8), data);
    }),
    { numRuns: 60 },
  );
});

Deno.test("echo: a request in fragments is answered in fragments, at 65,507 octets too", () => {
  for (const bytes of [1473, 5000, 65_507]) {
    const h = new StackHarness();
    const message = icmp4(8, 0, ID, pattern(bytes));
    for (let offset = 0; offset < message.length; offset += 1480) {
      const piece = message.slice(offset, offset + 1480);
      const more = offset + 1480 < message.length ? 0x2000 : 0;
      h.push(ethernet(ip4(piece, { protocol: 1, id: 9, fragment: more | (offset / 8) })));
    }
    const frames = h.sent().map(read);
    assertEquals(frames.length, Math.ceil(message.length / 1480));
    const payload = concat(...frames.map((frame) => frame.payload));
    assertEquals(payload, icmp4(0, 0, ID, pattern(bytes)));
    assertEquals(h.counted(), { "icmp.echo": 1 });
  }
});

Deno.test("echo: a fragmented request over IPv6 too", () => {
  const h = new StackHarness();
  const message = icmp6(GUEST6, GATEWAY6, 128, 0, ID, pattern(4000));
  for (let offset = 0; offset < message.length; offset += 1448) {
    const piece = message.slice(offset, offset + 1448);
    const more = offset + 1448 < message.length;
    h.push(ethernet(ip6(fragment6(piece, 58, offset, more, 99), { next: 44 })));
  }
  const frames = h.sent().map(read);
  assertEquals(frames.map((frame) => frame.protocol), [44, 44, 44]);
  const payload = concat(...frames.map((frame) => frame.payload.slice(8)));
  assertL4({ source: GATEWAY6, destination: GUEST6, protocol: 58, payload });
  assertEquals(payload.slice(8), pattern(4000));
});

Deno.test("echo: only octets inside the packet come back (CVE-2020-10756)", () => {
  const h = new StackHarness();
  const short = icmp4(8, 0, ID, pattern(4));
  h.push(concat(ethernet(ip4(short, { protocol: 1 })), pattern(1000)));
  assertEquals(h.reply().payload.length, 12);
  h.drops(ethernet(ip4(short, { protocol: 1, totalBytes: 20 + 1400 })), "drop.ip.hdr");
  h.drops(ethernet(ip4(short.slice(0, 7), { protocol: 1 })), "drop.icmp");
});

Deno.test("echo: to anywhere else it is prohibited", () => {
  const h = new StackHarness();
  h.push(echo4(pattern(8), WORLD4));
  const four = h.reply();
  assertEquals(four.source, GATEWAY4);
  assertEquals(four.payload.slice(0, 2), Uint8Array.of(3, 13));
  h.push(echo6(pattern(8), GUEST6, WORLD6));
  const six = h.reply();
  assertEquals(six.source, GATEWAY6);
  assertEquals(six.payload.slice(0, 2), Uint8Array.of(1, 1));
  assertEquals(h.counted(), { "drop.icmp": 2, "icmp.errors": 2 });
});

Deno.test("echo: groups, replies, errors and stray types end here", () => {
  const h = new StackHarness();
  h.drops(echo4(pattern(8), "224.0.0.1"), "drop.ip.dst");
  const multicast = echo6(pattern(8), GUEST6, "ff02::1");
  multicast.set([0x33, 0x33, 0, 0, 0, 1], 0);
  h.drops(multicast, "drop.ip.dst");
  const quote = ip4(pattern(20), { destination: GUEST4, source: WORLD4 });
  for (const type of [0, 3, 4, 10, 11, 12, 13, 15, 17, 30, 255]) {
    h.drops(ethernet(ip4(icmp4(type, 0, ID, quote), { protocol: 1 })), "drop.icmp");
  }
  h.drops(ethernet(ip4(icmp4(8, 1, ID, quote), { protocol: 1 })), "drop.icmp");
  for (const type of [0, 1, 2, 3, 4, 100, 129, 138, 141, 255]) {
    const message = icmp6(GUEST6, GATEWAY6, type, 0, ID, quote);
    h.drops(ethernet(ip6(message, { next: 58 })), "drop.icmp");
  }
});

Deno.test("echo: a router's messages from the guest are dropped by role", () => {
  const h = new StackHarness();
  for (const type of [5, 9]) {
    h.drops(ethernet(ip4(icmp4(type, 1, ID, pattern(28)), { protocol: 1 })), "drop.role");
  }
});

Deno.test("echo: a guest that does not read gets no reply, counted once a request", () => {
  const h = new StackHarness();
  h.push(echo4(pattern(8)));
  h.queues.hostToGuest.fillLimitBytes = 1;
  h.push(echo4(pattern(8)));
  assertEquals(h.counted(), { "icmp.echo": 1, "drop.queue.full": 1 });
});

Deno.test("echo: a flood of requests is answered as often as the limit says, and counted", () => {
  const h = new StackHarness({ limits: { icmpEchoesPerSecond: 100, icmpEchoBurst: 10 } });
  for (let i = 0; i < 50; i++) {
    h.push(i % 2 === 0 ? echo4(pattern(8)) : echo6(pattern(8), GUEST6, GATEWAY6));
  }
  assertEquals(h.sent().length, 10);
  assertEquals(h.counted(), { "icmp.echo": 10, "drop.icmp.limit": 40 });
  h.nowMs += 20;
  for (let i = 0; i < 5; i++) h.push(echo4(pattern(8)));
  assertEquals(h.sent().length, 2);
});
