import { assertEquals } from "@std/assert";
import { StackHarness } from "../support/stack_harness.ts";
import {
  concat,
  ethernet,
  GATEWAY4,
  GATEWAY6,
  GUEST4,
  GUEST6,
  icmp4,
  icmp6,
  ip4,
  ip6,
  onesSum,
  pattern,
  pseudoHeader,
  tcp,
  u16,
  udp,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";
import { checkL4 } from "../../lib/stack/checksum_check.ts";
import { Packet } from "../../lib/stack/packet.ts";

/** What `checkL4` says about a payload, and what it counted. */
function check(h: StackHarness, family: 4 | 6, protocol: number, payload: Uint8Array) {
  const whole = family === 4
    ? ip4(payload, { protocol, destination: WORLD4 })
    : ip6(payload, { next: protocol, destination: WORLD6 });
  const packet = new Packet();
  packet.family = family;
  packet.headerAt = h.place(whole);
  packet.headerBytes = family === 4 ? 20 : 40;
  packet.sourceAt = packet.headerAt + (family === 4 ? 12 : 8);
  packet.destinationAt = packet.headerAt + (family === 4 ? 16 : 24);
  packet.protocol = protocol;
  packet.payloadAt = packet.headerAt + packet.headerBytes;
  packet.payloadBytes = payload.length;
  h.counted();
  return { passes: checkL4(h.link, packet), counted: h.counted() };
}

/** Puts the folded, not complemented sum of the pseudo-header into the checksum's field. */
function partial(bytes: Uint8Array, at: number, source: string, destination: string, p: number) {
  const out = bytes.slice();
  out.set(u16(onesSum(pseudoHeader(source, destination, p, bytes.length))), at);
  return out;
}

const CASES = [
  { name: "udp4", family: 4, p: 17, at: 6, bytes: udp(GUEST4, 1, WORLD4, 2, pattern(33)) },
  { name: "udp6", family: 6, p: 17, at: 6, bytes: udp(GUEST6, 1, WORLD6, 2, pattern(33)) },
  { name: "tcp4", family: 4, p: 6, at: 16, bytes: tcp(GUEST4, WORLD4, pattern(101)) },
  { name: "tcp6", family: 6, p: 6, at: 16, bytes: tcp(GUEST6, WORLD6, pattern(0)) },
  {
    name: "icmp6",
    family: 6,
    p: 58,
    at: 2,
    bytes: icmp6(GUEST6, WORLD6, 128, 0, [0, 0, 0, 0], pattern(9)),
  },
] as const;

for (const { name, family, p, at, bytes } of CASES) {
  const [source, destination] = family === 4 ? [GUEST4, WORLD4] : [GUEST6, WORLD6];

  Deno.test(`checksum: ${name}: right passes, any flipped bit does not`, () => {
    const h = new StackHarness();
    assertEquals(check(h, family, p, bytes), { passes: true, counted: {} });
    for (let i = 0; i < bytes.length; i++) {
      if (p === 17 && (i === 4 || i === 5)) continue; // the length has a verdict of its own
      const flipped = bytes.slice();
      flipped[i]! ^= 1 << (i % 8);
      assertEquals(check(h, family, p, flipped), { passes: false, counted: { "drop.csum": 1 } });
    }
  });

  Deno.test(`checksum: ${name}: exactly the pseudo-header's sum passes unless verified`, () => {
    const left = partial(bytes, at, source, destination, p);
    const h = new StackHarness();
    assertEquals(check(h, family, p, left), { passes: true, counted: { "csum.partial": 1 } });
    left[at + 1]! ^= 1;
    assertEquals(check(h, family, p, left), { passes: false, counted: { "drop.csum": 1 } });
    left[at + 1]! ^= 1;
    const strict = new StackHarness({ link: { verifyChecksums: true } });
    assertEquals(check(strict, family, p, left), { passes: false, counted: { "drop.csum": 1 } });
    assertEquals(check(strict, family, p, bytes), { passes: true, counted: {} });
  });
}

Deno.test("checksum: UDP may go without over IPv4, not over IPv6", () => {
  const h = new StackHarness({ link: { verifyChecksums: true } });
  const none = (bytes: Uint8Array) => concat(bytes.slice(0, 6), [0, 0], bytes.slice(8));
  assertEquals(check(h, 4, 17, none(CASES[0].bytes)), { passes: true, counted: {} });
  assertEquals(check(h, 6, 17, none(CASES[1].bytes)), {
    passes: false,
    counted: { "drop.csum": 1 },
  });
});

Deno.test("checksum: a UDP length that lies is dropped; one below the packet's is summed", () => {
  const h = new StackHarness();
  const datagram = udp(GUEST4, 1, WORLD4, 2, pattern(10));
  for (const length of [0, 7, 19, 65_535]) {
    const lying = concat(datagram.slice(0, 4), u16(length), datagram.slice(6));
    assertEquals(check(h, 4, 17, lying), { passes: false, counted: { "drop.udp.len": 1 } });
  }
  assertEquals(check(h, 4, 17, concat(datagram, [1, 2, 3])), { passes: true, counted: {} });
  const empty = udp(GUEST4, 1, WORLD4, 2, pattern(0));
  assertEquals(check(h, 4, 17, empty), { passes: true, counted: {} });
});

Deno.test("checksum: a payload below its header's size is dropped under its own name", () => {
  const h = new StackHarness();
  assertEquals(check(h, 4, 6, pattern(19)).counted, { "drop.tcp.hdr": 1 });
  assertEquals(check(h, 4, 17, pattern(7)).counted, { "drop.udp.len": 1 });
  assertEquals(check(h, 4, 1, pattern(7)).counted, { "drop.icmp": 1 });
  assertEquals(check(h, 6, 58, pattern(7)).counted, { "drop.icmp": 1 });
});

Deno.test("checksum: ICMP sums its message alone, and its field is never a partial sum", () => {
  const h = new StackHarness();
  const echo = icmp4(8, 0, [0, 1, 0, 1], pattern(5));
  assertEquals(check(h, 4, 1, echo), { passes: true, counted: {} });
  const wrong = partial(echo, 2, GUEST4, WORLD4, 1);
  assertEquals(check(h, 4, 1, wrong), { passes: false, counted: { "drop.csum": 1 } });
});

Deno.test("checksum: the stack drops what fails, before any answer", () => {
  const h = new StackHarness();
  const echo = icmp4(8, 0, [0, 1, 0, 1], pattern(5));
  echo[3]! ^= 1;
  h.drops(ethernet(ip4(echo, { protocol: 1, destination: GATEWAY4 })), "drop.csum");
  const echo6 = icmp6(GUEST6, GATEWAY6, 128, 0, [0, 0, 0, 0], pattern(5));
  echo6[9]! ^= 1;
  h.drops(ethernet(ip6(echo6, { next: 58 })), "drop.csum");
  const segment = tcp(GUEST4, WORLD4, pattern(3));
  segment[20]! ^= 4;
  h.drops(ethernet(ip4(segment, { protocol: 6, destination: WORLD4 })), "drop.csum");
});
