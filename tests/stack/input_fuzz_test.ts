/**
 * Frames of every kind with octets changed, cut and checksums made right again: nothing throws, the
 * limits hold, what is sent is well-formed, and an honest guest is answered afterwards.
 */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { StackHarness } from "../support/stack_harness.ts";
import { dhcpFixture } from "./dhcp_fixtures.ts";
import {
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
  ip,
  ip4,
  ip6,
  mac,
  onesSum,
  pattern,
  pseudoHeader,
  read,
  tcp,
  u16,
  udp,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";

const NS = concat(ip(GATEWAY6), [1, 1], mac(GUEST_MAC));
const OPTIONS = [17, 0, 1, 4, 0, 0, 0, 0];
const DATAGRAM6 = udp(GUEST6, 1, WORLD6, 2, pattern(200));

const BASES = [
  ethernet(
    concat(
      u16(1),
      u16(0x0800),
      [6, 4],
      u16(1),
      mac(GUEST_MAC),
      ip(GUEST4),
      mac(GUEST_MAC),
      ip(GATEWAY4),
    ),
    { type: 0x0806 },
  ),
  ethernet(ip4(icmp4(8, 0, [0, 1, 0, 1], pattern(40)), { protocol: 1 })),
  ethernet(ip4(tcp(GUEST4, WORLD4, pattern(60)), { protocol: 6, destination: WORLD4 })),
  ethernet(ip4(pattern(64), { destination: WORLD4, fragment: 0x2000, id: 1 })),
  ethernet(ip4(pattern(64), { destination: WORLD4, fragment: 0x2008, id: 1 })),
  ethernet(ip4(pattern(20), { destination: WORLD4, fragment: 0x0010, id: 1 })),
  ethernet(ip4(pattern(20), { destination: WORLD4, options: [7, 7, 4, 0, 0, 0, 0, 0] })),
  ethernet(ip6(icmp6(GUEST6, GATEWAY6, 128, 0, [0, 1, 0, 1], pattern(40)), { next: 58 })),
  ethernet(
    ip6(icmp6(GUEST_LL, GATEWAY_LL, 135, 0, [0, 0, 0, 0], NS), {
      next: 58,
      hopLimit: 255,
      source: GUEST_LL,
      destination: GATEWAY_LL,
    }),
  ),
  ethernet(ip6(concat(OPTIONS, DATAGRAM6), { next: 60, destination: WORLD6 })),
  ethernet(
    ip6(fragment6(DATAGRAM6.slice(0, 104), 17, 0, true, 1), { next: 44, destination: WORLD6 }),
  ),
  ethernet(
    ip6(fragment6(DATAGRAM6.slice(104), 17, 104, false, 1), { next: 44, destination: WORLD6 }),
  ),
  dhcpFixture("udhcpc_discover"),
  dhcpFixture("dhclient_request"),
  dhcpFixture("dhclient_information_request"),
];

/** Makes the checksums of a changed frame right, as far as its lengths still make sense. */
function reseal(frame: Uint8Array): void {
  const packet = frame.subarray(14);
  const type = (frame[12]! << 8) | frame[13]!;
  const four = type === 0x0800 && packet.length >= 20;
  const six = type === 0x86dd && packet.length >= 40;
  if (!four && !six) return;
  const headerBytes = four ? (packet[0]! & 15) * 4 : 40;
  if (headerBytes > packet.length || headerBytes < 20) return;
  if (four) {
    packet.set([0, 0], 10);
    packet.set(u16(~onesSum(packet.slice(0, headerBytes)) & 0xffff), 10);
  }
  const protocol = packet[four ? 9 : 6]!;
  const at = new Map([[1, 2], [6, 16], [17, 6], [58, 2]]).get(protocol);
  const payload = packet.subarray(headerBytes);
  if (at === undefined || payload.length < at + 2) return;
  const address = (from: number, bytes: number) => {
    const octets = [...packet.slice(from, from + bytes)];
    if (bytes === 4) return octets.join(".");
    const hex = octets.map((octet) => octet.toString(16).padStart(2, "0"));
    return Array.from({ length: 8 }, (_, i) => hex[2 * i]! + hex[2 * i + 1]!).join(":");
  };
  const [source, destination] = four
    ? [address(12, 4), address(16, 4)]
    : [address(8, 16), address(24, 16)];
  const pseudo = protocol === 1
    ? new Uint8Array(0)
    : pseudoHeader(source, destination, protocol, payload.length);
  payload.set([0, 0], at);
  payload.set(u16(~onesSum(concat(pseudo, payload)) & 0xffff), at);
}

const mutation = fc.record({
  base: fc.nat(BASES.length - 1),
  changes: fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 4 }),
  cut: fc.option(fc.nat(120)),
  sealed: fc.boolean(),
  waitMs: fc.constantFrom(0, 0, 0, 1, 20_000),
});

function mutate({ base, changes, cut, sealed }: {
  base: number;
  changes: [number, number][];
  cut: number | null;
  sealed: boolean;
}): Uint8Array {
  const whole = BASES[base]!;
  const frame = whole.slice(0, cut === null ? whole.length : Math.max(14, whole.length - cut));
  for (const [at, value] of changes) {
    if (frame.length > 14) frame[14 + at % (frame.length - 14)] = value;
  }
  if (sealed) reseal(frame);
  return frame;
}

Deno.test("input: mutated frames harm nobody, and the honest guest is answered", () => {
  const outcomes = new Set<string>();
  fc.assert(
    fc.property(fc.array(mutation, { minLength: 1, maxLength: 20 }), (mutations) => {
      const h = new StackHarness();
      for (const each of mutations) {
        h.push(mutate(each));
        h.wait(each.waitMs);
        assertEquals(h.stack.reassembly.sets <= 64, true);
        assertEquals(h.stack.reassembly.heldBytes <= 1024 * 1024, true);
        assertEquals(h.stack.addresses.count <= 16, true);
        for (const frame of h.sent()) {
          assertEquals(frame.length <= 1514, true);
          read(frame);
        }
      }
      for (const name of Object.keys(h.counters.snapshot())) outcomes.add(name);
      h.push(BASES[1]!);
      assertEquals(h.reply().payload[0], 0);
      h.push(BASES[7]!);
      assertEquals(h.reply().payload[0], 129);
    }),
    { numRuns: 400, seed: 4242 },
  );
  // The changes reach deep enough to be worth their time.
  for (const name of ["drop.ip.hdr", "drop.csum", "drop.ip.src", "drop.dhcp", "icmp.errors"]) {
    assertEquals(outcomes.has(name), true, name);
  }
});
