import { assertEquals } from "@std/assert";
import { StackHarness } from "../support/stack_harness.ts";
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
  ip4,
  ip6,
  pattern,
  u32,
  udp,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";
import { IcmpReason } from "../../lib/stack/icmp_errors.ts";

const QUOTE4 = ip4(udp(GUEST4, 1, WORLD4, 2, pattern(20)), { destination: WORLD4 });
const QUOTE6 = ip6(udp(GUEST6, 1, WORLD6, 2, pattern(20)), { destination: WORLD6 });

function quoted(h: StackHarness, packet: Uint8Array, reason: IcmpReason, parameter = 0): boolean {
  const family = packet[0]! >> 4 === 4 ? 4 : 6;
  const { errors } = h.stack;
  return errors.sendQuoted(family, h.place(packet), packet.length, reason, h.nowMs, parameter);
}

Deno.test("icmp errors: each reason has its type, code and parameter in both families", () => {
  const rows: [IcmpReason, number, number[], number[]][] = [
    [IcmpReason.networkUnreachable, 0, [3, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]],
    [IcmpReason.hostUnreachable, 0, [3, 1, 0, 0, 0, 0], [1, 3, 0, 0, 0, 0]],
    [IcmpReason.protocolUnreachable, 6, [3, 2, 0, 0, 0, 6], [4, 1, 0, 0, 0, 6]],
    [IcmpReason.portUnreachable, 0, [3, 3, 0, 0, 0, 0], [1, 4, 0, 0, 0, 0]],
    [IcmpReason.adminProhibited, 0, [3, 13, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]],
    [IcmpReason.packetTooBig, 1400, [3, 4, 0, 0, 5, 0x78], [2, 0, 0, 0, 5, 0x78]],
    [IcmpReason.timeExceeded, 0, [11, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]],
    [IcmpReason.reassemblyTimeExceeded, 0, [11, 1, 0, 0, 0, 0], [3, 1, 0, 0, 0, 0]],
    [IcmpReason.parameterProblem, 9, [12, 0, 9, 0, 0, 0], [4, 0, 0, 0, 0, 9]],
    [IcmpReason.unrecognizedHeader, 200, [12, 0, 200, 0, 0, 0], [4, 1, 0, 0, 0, 200]],
    [IcmpReason.unrecognizedOption, 42, [12, 0, 42, 0, 0, 0], [4, 2, 0, 0, 0, 42]],
  ];
  assertEquals(rows.length, Object.keys(IcmpReason).length);
  for (const [reason, parameter, four, six] of rows) {
    const h = new StackHarness();
    assertEquals(quoted(h, QUOTE4, reason, parameter), true);
    const error4 = h.reply();
    assertEquals([error4.source, error4.destination], [GATEWAY4, GUEST4]);
    assertEquals(error4.destinationMac, GUEST_MAC);
    const rest4 = concat(error4.payload.slice(0, 2), error4.payload.slice(4, 8));
    if (reason === IcmpReason.protocolUnreachable) four[5] = 6; // unused there, sent as given
    assertEquals([...rest4], four);
    assertEquals(error4.payload.slice(8), QUOTE4);
    assertEquals(quoted(h, QUOTE6, reason, parameter), true);
    const error6 = h.reply();
    assertEquals([error6.source, error6.destination, error6.protocol], [GATEWAY6, GUEST6, 58]);
    assertEquals([...concat(error6.payload.slice(0, 2), error6.payload.slice(4, 8))], six);
    assertEquals(error6.payload.slice(8), QUOTE6);
    assertEquals(h.counted(), { "icmp.errors": 2 });
  }
});

Deno.test("icmp errors: the quote is as long as 576 and 1,280 octets allow", () => {
  const h = new StackHarness();
  const long4 = ip4(udp(GUEST4, 1, WORLD4, 2, pattern(1400)), { destination: WORLD4 });
  quoted(h, long4, IcmpReason.portUnreachable);
  const error4 = h.reply();
  assertEquals(error4.header.length + error4.payload.length, 576);
  assertEquals(error4.payload.slice(8), long4.slice(0, 548));
  const long6 = ip6(udp(GUEST6, 1, WORLD6, 2, pattern(1400)), { destination: WORLD6 });
  quoted(h, long6, IcmpReason.portUnreachable);
  const error6 = h.reply();
  assertEquals(error6.header.length + error6.payload.length, 1280);
  assertEquals(error6.payload.slice(8), long6.slice(0, 1232));
});

Deno.test("icmp errors: a link-local source hears from the gateway's link-local address", () => {
  const h = new StackHarness();
  const packet = ip6(udp(GUEST_LL, 1, WORLD6, 2, pattern(4)), {
    source: GUEST_LL,
    destination: WORLD6,
  });
  quoted(h, packet, IcmpReason.adminProhibited);
  const error = h.reply();
  assertEquals([error.source, error.destination], [GATEWAY_LL, GUEST_LL]);
});

Deno.test("icmp errors: never about an error, a group, a later fragment or no host", () => {
  const h = new StackHarness();
  const never = [
    ...[3, 4, 5, 11, 12].map((type) =>
      ip4(icmp4(type, 0, [0, 0, 0, 0], QUOTE4), { protocol: 1, destination: WORLD4 })
    ),
    ip4(pattern(20), { destination: "224.0.0.1" }),
    ip4(pattern(20), { destination: "255.255.255.255" }),
    ip4(pattern(20), { destination: "100.96.0.3" }),
    ip4(pattern(20), { destination: WORLD4, fragment: 1 }),
    ip4(pattern(20), { destination: WORLD4, source: "0.0.0.0" }),
    ...[1, 2, 3, 4, 127, 137].map((type) =>
      ip6(icmp6(GUEST6, WORLD6, type, 0, [0, 0, 0, 0], QUOTE6), { next: 58, destination: WORLD6 })
    ),
    ip6(pattern(20), { destination: "ff02::1" }),
    ip6(pattern(20), { destination: WORLD6, source: "::" }),
  ];
  for (const packet of never) {
    assertEquals(quoted(h, packet, IcmpReason.hostUnreachable), false);
  }
  h.silent();
  assertEquals(h.counted(), {});
  const may = [
    ip4(icmp4(8, 0, [0, 0, 0, 0], pattern(4)), { protocol: 1, destination: WORLD4 }),
    ip6(icmp6(GUEST6, WORLD6, 128, 0, [0, 0, 0, 0], pattern(4)), { next: 58, destination: WORLD6 }),
    ip4(pattern(20), { destination: WORLD4, fragment: 0x2000 }),
  ];
  for (const packet of may) {
    assertEquals(quoted(h, packet, IcmpReason.hostUnreachable), true);
    h.reply();
  }
});

Deno.test("icmp errors: a burst of 50, then 1,000 a second, the rest counted", () => {
  const h = new StackHarness();
  let sent = 0;
  for (let i = 0; i < 200; i++) if (quoted(h, QUOTE4, IcmpReason.portUnreachable)) sent++;
  assertEquals(sent, 50);
  assertEquals(h.counted(), { "icmp.errors": 50, "drop.icmp.limit": 150 });
  for (let ms = 0; ms < 1000; ms++) {
    h.wait(1);
    for (let i = 0; i < 3; i++) if (quoted(h, QUOTE6, IcmpReason.portUnreachable)) sent++;
    h.sent();
  }
  assertEquals(sent, 1050);
  h.wait(60_000);
  for (let i = 0; i < 200; i++) if (quoted(h, QUOTE4, IcmpReason.portUnreachable)) sent++;
  assertEquals(sent, 1100);
});

Deno.test("icmp errors: one that the guest has no room for is not counted as sent", () => {
  const h = new StackHarness();
  quoted(h, QUOTE4, IcmpReason.portUnreachable);
  h.queues.hostToGuest.fillLimitBytes = 1;
  assertEquals(quoted(h, QUOTE4, IcmpReason.portUnreachable), false);
  assertEquals(h.counted(), { "icmp.errors": 1, "drop.queue.full": 1 });
});

Deno.test("icmp errors: a frame to a group gets none, whatever is in it", () => {
  const h = new StackHarness();
  const packet = ip4(pattern(20), { destination: WORLD4, protocol: 47 });
  h.drops(ethernet(packet, { destination: "ff:ff:ff:ff:ff:ff" }), "drop.ip.dst");
});

Deno.test("icmp errors: about a reassembled packet the quote shows it whole", () => {
  const h = new StackHarness();
  const payload = concat([200], pattern(23));
  const piece = (offset: number, more: boolean) =>
    ethernet(
      ip6(fragment6(payload.slice(offset, offset + 16), 60, offset, more, 7), {
        next: 44,
        destination: WORLD6,
      }),
    );
  // A destination options header whose next header nobody speaks, then 16 octets.
  payload.set([0x8a, 0, 1, 4, 0, 0, 0, 0], 0);
  h.push(piece(0, true));
  h.silent();
  h.push(piece(16, false));
  const error = h.reply();
  assertEquals(error.payload.slice(0, 2), Uint8Array.of(4, 1));
  assertEquals(error.payload.slice(4, 8), Uint8Array.from(u32(40)));
  assertEquals(error.payload.slice(8), ip6(payload, { next: 60, destination: WORLD6 }));
});
