import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { StackHarness } from "../support/stack_harness.ts";
import {
  concat,
  GATEWAY4,
  GATEWAY6,
  GUEST4,
  GUEST6,
  pattern,
  type Read,
  read,
  udp,
} from "../support/packets.ts";
import { sendDatagram } from "../../lib/stack/fragmentation.ts";

function send(h: StackHarness, family: 4 | 6, dataBytes: number): boolean {
  const { link } = h;
  const payload = family === 4
    ? udp(GATEWAY4, 53, GUEST4, 4000, pattern(dataBytes))
    : udp(GATEWAY6, 53, GUEST6, 4000, pattern(dataBytes));
  const at = h.place(payload);
  return family === 4
    ? sendDatagram(link, 4, link.gatewayIp4At, link.guestIp4At, 17, at, payload.length)
    : sendDatagram(link, 6, link.gatewayIp6At, link.guestIp6At, 17, at, payload.length);
}

function offset4(frame: Read): number {
  return (frame.fragment & 0x1fff) * 8;
}

Deno.test("fragmentation: what fits the MTU is one packet, whole", () => {
  const h = new StackHarness();
  send(h, 4, 1472);
  const four = h.reply();
  assertEquals(four.fragment, 0x4000);
  assertEquals(four.payload, udp(GATEWAY4, 53, GUEST4, 4000, pattern(1472)));
  send(h, 6, 1452);
  const six = h.reply();
  assertEquals(six.protocol, 17);
  assertEquals(six.payload, udp(GATEWAY6, 53, GUEST6, 4000, pattern(1452)));
});

Deno.test("fragmentation: one octet more is two fragments", () => {
  const h = new StackHarness();
  send(h, 4, 1473);
  const four = h.sent().map(read);
  assertEquals(four.map((frame) => frame.fragment), [0x2000, 1480 / 8]);
  assertEquals(four.map((frame) => frame.payload.length), [1480, 1]);
  send(h, 6, 1453);
  const six = h.sent().map(read);
  assertEquals(six.map((frame) => frame.protocol), [44, 44]);
  assertEquals(six.map((frame) => frame.payload.length), [8 + 1448, 8 + 13]);
  assertEquals(six[0]!.payload.slice(0, 4), Uint8Array.of(17, 0, 0, 1));
  assertEquals(six[1]!.payload.slice(0, 4), Uint8Array.of(17, 0, 5, 0xa8));
  assertEquals(six[0]!.payload.slice(4, 8), six[1]!.payload.slice(4, 8));
});

Deno.test("fragmentation: pieces are within the MTU and add up, any size, any MTU", () => {
  fc.assert(
    fc.property(
      fc.constantFrom<4 | 6>(4, 6),
      fc.integer({ min: 0, max: 65_499 }),
      fc.integer({ min: 1280, max: 9000 }),
      (family, dataBytes, mtu) => {
        const h = new StackHarness({ link: { mtu } });
        assertEquals(send(h, family, dataBytes), true);
        const frames = h.sent();
        for (const frame of frames) assertEquals(frame.length <= mtu + 14, true);
        const parts = frames.map(read);
        const pieces = parts.map((part) =>
          family === 4 || part.protocol === 17 ? part.payload : part.payload.slice(8)
        );
        let offset = 0;
        pieces.forEach((piece, i) => {
          if (family === 4) assertEquals(offset4(parts[i]!), offset);
          if (i < pieces.length - 1) assertEquals(piece.length % 8, 0);
          offset += piece.length;
        });
        const own = family === 4 ? [GATEWAY4, GUEST4] : [GATEWAY6, GUEST6];
        const whole = udp(own[0]!, 53, own[1]!, 4000, pattern(dataBytes));
        assertEquals(concat(...pieces), whole);
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("fragmentation: datagrams of one link have identifications of their own", () => {
  const h = new StackHarness();
  const ids = Array.from({ length: 5 }, () => {
    send(h, 4, 3000);
    const [first, ...rest] = h.sent().map((frame) => (frame[18]! << 8) | frame[19]!);
    for (const id of rest) assertEquals(id, first);
    return first;
  });
  assertEquals(new Set(ids).size, 5);
});

Deno.test("fragmentation: too large for the family is refused", () => {
  const h = new StackHarness();
  assertEquals(send(h, 4, 65_507), true);
  assertEquals(h.sent().length, 45);
  assertEquals(send(h, 6, 65_527), true);
  assertEquals(h.sent().length, 46);
  const { link } = h;
  const at = h.scratchAt;
  const four = sendDatagram(link, 4, link.gatewayIp4At, link.guestIp4At, 17, at, 65_516);
  const six = sendDatagram(link, 6, link.gatewayIp6At, link.guestIp6At, 17, at, 65_536);
  assertEquals([four, six], [false, false]);
  h.silent();
});

Deno.test("fragmentation: without room for all fragments none is sent", () => {
  for (const family of [4, 6] as const) {
    const h = new StackHarness();
    send(h, family, 100);
    h.queues.hostToGuest.fillLimitBytes = 8000;
    assertEquals(send(h, family, 8000), false);
    assertEquals(h.counted(), { "drop.queue.full": 1 });
    assertEquals(h.sent().length, 1);
    assertEquals(send(h, family, 7000), true);
    assertEquals(h.counted(), {});
  }
});
