/** Frames with a virtio-net header, from a guest that may lie in each of its fields. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { checkL4 } from "../../lib/stack/checksum_check.ts";
import type { CounterName } from "../../lib/stack/counters.ts";
import { Offload, OffloadFault } from "../../lib/stack/offload.ts";
import type { Packet } from "../../lib/stack/packet.ts";
import { headerOf, partialSum, type VnetHeader } from "../support/large_frames.ts";
import {
  concat,
  ethernet,
  GUEST4,
  GUEST6,
  icmp4,
  ip4,
  ip6,
  pattern,
  tcp,
  u16,
  udp,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";
import { StackHarness } from "../support/stack_harness.ts";

/** What the specification lets a driver say, by its words alone. */
function verdict(header: VnetHeader, frameBytes: number): OffloadFault {
  const { flags, gsoType, headersBytes, segmentBytes, checksumStart, checksumOffset } = header;
  const kind = gsoType & 0x7f;
  if (flags > 3 || ![0, 1, 4].includes(kind)) return OffloadFault.unspoken;
  const needsSum = flags % 2 === 1;
  if (gsoType !== 0) {
    const isRight = needsSum && kind !== 0 && segmentBytes > 0 && headersBytes <= frameBytes;
    if (!isRight) return OffloadFault.malformed;
  }
  if (!needsSum) return OffloadFault.none;
  const isInside = checksumStart >= 14 && checksumStart + checksumOffset + 2 <= frameBytes;
  return isInside ? OffloadFault.none : OffloadFault.malformed;
}

const byte = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, 4, 5, 0x80, 0x81, 0x84),
  fc.integer({
    min: 0,
    max: 255,
  }),
);
const number = fc.oneof(
  fc.constantFrom(0, 1, 6, 13, 14, 16, 34, 54, 1448, 65_535),
  fc.integer({ min: 0, max: 65_535 }),
);

Deno.test("offload: a header is judged as the specification has it, whatever its octets", () => {
  const offload = new Offload();
  fc.assert(
    fc.property(
      fc.record({
        flags: byte,
        gsoType: byte,
        headersBytes: number,
        segmentBytes: number,
        checksumStart: number,
        checksumOffset: number,
        buffers: number,
      }),
      fc.oneof(fc.constantFrom(14, 54, 60, 1514, 65_550), fc.integer({ min: 14, max: 65_550 })),
      (header, frameBytes) => {
        const fault = offload.read(new DataView(headerOf(header).buffer), 0, frameBytes);
        assertEquals(fault, verdict(header, frameBytes));
        const isLeft = fault === OffloadFault.none && header.flags % 2 === 1;
        assertEquals(offload.checksumStart, isLeft ? header.checksumStart : -1);
        assertEquals(offload.gsoType, isLeft ? header.gsoType & 0x7f : 0);
      },
    ),
    { numRuns: 2000 },
  );
});

const SEGMENT4 = tcp(GUEST4, WORLD4, pattern(3000));
const SEGMENT6 = tcp(GUEST6, WORLD6, pattern(3000));
const DATAGRAM = udp(GUEST4, 5000, WORLD4, 80, pattern(100));

/** A whole segment with the sum left to do. */
function left(bytes: Uint8Array, at: number, source: string, destination: string): Uint8Array {
  const out = bytes.slice();
  const sum = at === 16 ? partialSum(bytes, source, destination) : null;
  out.set(sum ?? udpSum(bytes, source, destination), at);
  return out;
}

function udpSum(bytes: Uint8Array, source: string, destination: string): number[] {
  const [high, low] = partialSum(bytes, source, destination);
  const sum = ((high! << 8) | low!) + 17 - 6; // the protocol is a part of it
  return u16(sum > 0xffff ? sum - 0xffff : sum);
}

const four = (payload: Uint8Array, protocol: number) =>
  ethernet(ip4(payload, { protocol, destination: WORLD4 }));
const six = (payload: Uint8Array, next: number) =>
  ethernet(ip6(payload, { next, destination: WORLD6 }));

const TCP4 = { flags: 1, checksumStart: 34, checksumOffset: 16 };
const TCP6 = { flags: 1, checksumStart: 54, checksumOffset: 16 };
const CUT4 = { ...TCP4, gsoType: 1, segmentBytes: 1448, headersBytes: 54 };
const CUT6 = { ...TCP6, gsoType: 4, segmentBytes: 1428, headersBytes: 74 };

/** Pushes a frame with a header: what came of it. */
function push(h: StackHarness, header: Partial<VnetHeader>, frame: Uint8Array) {
  h.counted();
  const before = h.packets.length;
  h.pushWhole(concat(headerOf({ buffers: 0, ...header }), frame));
  return { passed: h.packets.length - before, counted: h.counted() };
}

const L4 = new StackHarness({ large: "headers" }); // TCP is checked before it is handed on
const partial = { passed: 1, counted: { "csum.partial": 1 } };
const dropped = (name: CounterName) => ({ passed: 0, counted: { [name]: 1 } });

Deno.test("offload: a sum that is left to do passes where the header points at it", () => {
  const whole4 = four(left(SEGMENT4, 16, GUEST4, WORLD4), 6);
  const whole6 = six(left(SEGMENT6, 16, GUEST6, WORLD6), 6);
  for (const [header, frame] of [[TCP4, whole4], [CUT4, whole4], [TCP6, whole6], [CUT6, whole6]]) {
    assertEquals(push(L4, header as VnetHeader, frame as Uint8Array), partial);
  }
  const congested = { ...CUT4, gsoType: 0x81 };
  assertEquals(push(L4, congested, whole4), partial);
});

Deno.test("offload: it passes on a link that verifies too, since nothing was on a wire", () => {
  const h = new StackHarness({ large: "headers", link: { verifyChecksums: true } });
  const frame = four(left(SEGMENT4, 16, GUEST4, WORLD4), 6);
  assertEquals(push(h, TCP4, frame), partial);
  assertEquals(push(h, {}, frame), dropped("drop.csum"));
});

Deno.test("hostile 9: a virtio-net header that points elsewhere than at the packet's sum costs its frame", () => {
  const frame = four(left(SEGMENT4, 16, GUEST4, WORLD4), 6);
  for (
    const lie of [
      { checksumStart: 33 },
      { checksumStart: 35 },
      { checksumStart: 54 },
      { checksumOffset: 6 },
      { checksumOffset: 17 },
      { gsoType: 4, segmentBytes: 1448 },
    ]
  ) {
    assertEquals(push(L4, { ...TCP4, ...lie }, frame), dropped("drop.vnet.hdr"), `${lie}`);
  }
  for (const lie of [{ checksumStart: 13 }, { checksumStart: frame.length }, { gsoType: 1 }]) {
    assertEquals(push(L4, { ...TCP4, ...lie }, frame), dropped("drop.vnet.hdr"), `${lie}`);
  }
});

Deno.test("hostile 9: a virtio-net header that asks for what nobody agreed to is refused, in step", () => {
  const frame = four(SEGMENT4, 6);
  for (const gsoType of [2, 3, 5, 0x83]) {
    assertEquals(push(L4, { ...CUT4, gsoType }, frame), dropped("drop.vnet.kind"));
  }
  for (const flags of [4, 5, 8, 0xff]) {
    assertEquals(push(L4, { ...TCP4, flags }, frame), dropped("drop.vnet.kind"));
  }
  assertEquals(push(L4, {}, frame), { passed: 1, counted: {} });
});

Deno.test("offload: a wrong sum is wrong whatever the header says, unless it is left to do", () => {
  const wrong = SEGMENT4.slice();
  wrong[17]! ^= 1;
  assertEquals(push(L4, {}, four(wrong, 6)), dropped("drop.csum"));
  assertEquals(push(L4, { flags: 2 }, four(wrong, 6)), dropped("drop.csum"));
  assertEquals(push(L4, TCP4, four(wrong, 6)), dropped("drop.csum"));
});

Deno.test("offload: ICMP and fragments leave nothing to do", () => {
  const ping = icmp4(8, 0, [0, 1, 0, 1], pattern(8));
  const start = { flags: 1, checksumStart: 34, checksumOffset: 2 };
  assertEquals(push(L4, start, four(ping, 1)), dropped("drop.vnet.hdr"));
  L4.silent();
  const first = ip4(SEGMENT4.slice(0, 1600), {
    protocol: 6,
    destination: WORLD4,
    fragment: 0x2000,
    id: 7,
  });
  const last = ip4(SEGMENT4.slice(1600), {
    protocol: 6,
    destination: WORLD4,
    fragment: 200,
    id: 7,
  });
  assertEquals(push(L4, {}, ethernet(first)), { passed: 0, counted: {} });
  assertEquals(push(L4, TCP4, ethernet(last)), dropped("drop.vnet.hdr"));
});

Deno.test("offload: lengths count the header; less than a frame behind it is a runt", () => {
  const h = new StackHarness({ large: "headers" });
  for (const bytes of [0, 12, 25]) {
    h.counted();
    h.pushWhole(new Uint8Array(bytes));
    assertEquals(h.counted(), { "drop.eth.short": 1 });
  }
  h.pushWhole(concat(headerOf(), new Uint8Array(14).fill(2)));
  assertEquals(h.counters.get("rx.bytes"), 14);
});

Deno.test("offload: datagrams may leave their sum too, but are not cut", () => {
  const h = new StackHarness({ large: "headers" });
  let passes = false;
  const check = { process: (packet: Packet) => void (passes = checkL4(h.link, packet)) };
  h.stack.attach(check, check);
  const frame = four(left(DATAGRAM, 6, GUEST4, WORLD4), 17);
  const header = { flags: 1, checksumStart: 34, checksumOffset: 6 };
  assertEquals(push(h, header, frame).counted, { "csum.partial": 1 });
  assertEquals(passes, true);
  for (const lie of [{ gsoType: 1, segmentBytes: 9 }, { checksumOffset: 16 }]) {
    assertEquals(push(h, { ...header, ...lie }, frame).counted, { "drop.vnet.hdr": 1 });
    assertEquals(passes, false);
  }
  const none = DATAGRAM.slice();
  none.set([0, 0], 6);
  assertEquals(push(h, {}, four(none, 17)).counted, {});
  assertEquals(passes, true);
});
