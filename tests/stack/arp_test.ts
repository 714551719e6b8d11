import { assertEquals } from "@std/assert";
import { StackHarness } from "../support/stack_harness.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  GATEWAY4,
  GATEWAY_MAC,
  GUEST4,
  GUEST_MAC,
  ip,
  mac,
  u16,
} from "../support/packets.ts";

function arp(
  operation: number,
  senderMac: string,
  senderIp: string,
  targetIp: string,
  change: (packet: Uint8Array) => void = () => {},
): Uint8Array {
  const packet = concat(
    u16(1),
    u16(0x0800),
    [6, 4],
    u16(operation),
    mac(senderMac),
    ip(senderIp),
    [0, 0, 0, 0, 0, 0],
    ip(targetIp),
  );
  change(packet);
  return ethernet(packet, { type: 0x0806, destination: BROADCAST_MAC });
}

Deno.test("arp: a request for the gateway is answered to the guest alone", () => {
  const h = new StackHarness();
  h.push(arp(1, GUEST_MAC, GUEST4, GATEWAY4));
  const reply = h.reply();
  assertEquals(reply.destinationMac, GUEST_MAC);
  assertEquals(reply.type, 0x0806);
  assertEquals(
    reply.payload,
    concat(
      u16(1),
      u16(0x0800),
      [6, 4],
      u16(2),
      mac(GATEWAY_MAC),
      ip(GATEWAY4),
      mac(GUEST_MAC),
      ip(GUEST4),
    ),
  );
  assertEquals(h.counted(), {});
});

Deno.test("arp: a probe for the gateway's address finds it taken (RFC 5227)", () => {
  const h = new StackHarness();
  h.push(arp(1, GUEST_MAC, "0.0.0.0", GATEWAY4));
  const reply = h.reply();
  assertEquals(reply.payload.slice(6, 8), Uint8Array.of(0, 2));
  assertEquals(reply.payload.slice(14, 18), ip(GATEWAY4));
});

Deno.test("arp: nobody answers for other addresses, and announcements are no fault", () => {
  const h = new StackHarness();
  h.push(arp(1, GUEST_MAC, GUEST4, "100.96.0.3"));
  h.push(arp(1, GUEST_MAC, GUEST4, "192.0.2.1"));
  h.push(arp(1, GUEST_MAC, GUEST4, GUEST4));
  h.push(arp(2, GUEST_MAC, GUEST4, GUEST4));
  h.silent();
  assertEquals(h.counted(), {});
});

Deno.test("arp: the gateway's address can't be taken", () => {
  const h = new StackHarness();
  h.drops(arp(1, GUEST_MAC, GATEWAY4, GUEST4), "drop.arp");
  h.drops(arp(2, GUEST_MAC, GATEWAY4, GATEWAY4), "drop.arp");
  h.drops(arp(1, "02:00:00:00:00:99", GUEST4, GATEWAY4), "drop.arp");
  h.push(arp(1, GUEST_MAC, GUEST4, GATEWAY4));
  assertEquals(h.reply().payload.slice(8, 14), mac(GATEWAY_MAC));
});

Deno.test("arp: malformed packets are dropped and counted", () => {
  const h = new StackHarness();
  h.drops(ethernet(new Uint8Array(27), { type: 0x0806 }), "drop.arp");
  h.drops(ethernet(new Uint8Array(0), { type: 0x0806 }), "drop.arp");
  const wrong: [number, number][] = [[1, 6], [2, 0x86], [4, 8], [4, 0xff], [5, 16], [7, 3], [7, 0]];
  for (const [at, value] of wrong) {
    h.drops(arp(1, GUEST_MAC, GUEST4, GATEWAY4, (p) => p[at] = value), "drop.arp");
  }
});
