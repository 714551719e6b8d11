import { assertEquals } from "@std/assert";
import { StackHarness } from "../support/stack_harness.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  GATEWAY4,
  GUEST4,
  GUEST_MAC,
  icmp4,
  ip,
  ip4,
  type Ip4Options,
  pattern,
  udp,
  WORLD4,
} from "../support/packets.ts";

const DATA = pattern(40);

function packet(options: Ip4Options = {}): Uint8Array {
  const destination = options.destination ?? WORLD4;
  const payload = udp(options.source ?? GUEST4, 5000, destination, 53, DATA);
  return ethernet(ip4(payload, { ...options, destination }));
}

Deno.test("ipv4: a packet from the guest passes with its positions checked", () => {
  const h = new StackHarness();
  const got = h.passes(packet({ ttl: 9 }));
  assertEquals(got.family, 4);
  assertEquals(got.protocol, 17);
  assertEquals(got.ttl, 9);
  assertEquals(got.reassembled, false);
  assertEquals(got.source, ip(GUEST4));
  assertEquals(got.destination, ip(WORLD4));
  assertEquals(got.payload, udp(GUEST4, 5000, WORLD4, 53, DATA));
  h.silent();
});

Deno.test("ipv4: octets behind the total length never go on", () => {
  const h = new StackHarness();
  const got = h.passes(concat(packet(), pattern(18, 7)));
  assertEquals(got.payload.length, 8 + DATA.length);
});

Deno.test("ipv4: a header that lies is dropped", () => {
  const h = new StackHarness();
  for (const version of [0, 5, 15]) h.drops(packet({ version }), "drop.ip.hdr");
  for (const ihl of [0, 1, 4]) h.drops(packet({ ihl }), "drop.ip.hdr");
  h.drops(packet({ totalBytes: 19 }), "drop.ip.hdr");
  h.drops(packet({ totalBytes: 20 + 48 + 1 }), "drop.ip.hdr");
  h.drops(packet({ totalBytes: 65_535 }), "drop.ip.hdr");
  h.drops(packet({ ihl: 15, totalBytes: 40 }), "drop.ip.hdr");
  for (const bytes of [0, 1, 19]) {
    h.drops(packet().slice(0, 14 + bytes), "drop.ip.hdr");
  }
  h.drops(packet({ badChecksum: true }), "drop.csum");
});

Deno.test("ipv4: source routing and broken options are dropped, harmless ones skipped", () => {
  const h = new StackHarness();
  h.drops(packet({ options: [131, 7, 4, 1, 2, 3, 4, 0] }), "drop.ip.opt");
  h.drops(packet({ options: [137, 7, 4, 1, 2, 3, 4, 0] }), "drop.ip.opt");
  h.drops(packet({ options: [1, 1, 131, 3, 4, 0, 0, 0] }), "drop.ip.opt");
  h.drops(packet({ options: [7, 0, 0, 0] }), "drop.ip.opt");
  h.drops(packet({ options: [7, 1, 0, 0] }), "drop.ip.opt");
  h.drops(packet({ options: [7, 5, 0, 0] }), "drop.ip.opt");
  h.drops(packet({ options: [1, 1, 1, 7] }), "drop.ip.opt");
  const got = h.passes(packet({ options: [1, 7, 3, 4, 0, 131, 0, 0] }));
  assertEquals(got.header.length, 28);
  assertEquals(got.payload.length, 48);
});

Deno.test("ipv4: only the guest's own address is a source", () => {
  const h = new StackHarness();
  for (
    const source of [
      "0.0.0.0",
      "100.96.0.3",
      "127.0.0.1",
      "224.0.0.1",
      "255.255.255.255",
      "8.8.8.8",
      GATEWAY4,
    ]
  ) {
    h.drops(packet({ source }), "drop.ip.src");
  }
});

Deno.test("ipv4: source and destination the same is dropped (CVE-1999-0016)", () => {
  const h = new StackHarness();
  h.drops(packet({ destination: GUEST4 }), "drop.ip.land");
});

Deno.test("ipv4: groups are dropped, also in the link's and the prefix's form", () => {
  const h = new StackHarness();
  for (
    const destination of ["224.0.0.1", "239.255.255.250", "255.255.255.255", "100.96.0.3"]
  ) {
    h.drops(packet({ destination }), "drop.ip.dst");
  }
  const unicast = packet();
  unicast.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 0);
  h.drops(unicast, "drop.ip.dst");
  // Reserved, but no group: that is for the judge.
  h.passes(packet({ destination: "240.0.0.1" }));
});

Deno.test("ipv4: a prefix of 31 bits has no broadcast address (RFC 3021)", () => {
  const h = new StackHarness({ link: { prefix4: 31, guestIp4: ip(GUEST4) } });
  h.passes(packet({ destination: "100.96.0.3" }));
});

Deno.test("ipv4: DHCP passes from 0.0.0.0, to broadcast and to the gateway, nothing like it", () => {
  const h = new StackHarness({ dhcp: false });
  const dhcp = (source: string, destination: string, from = 68, to = 67, fragment = 0) => {
    const payload = udp(source, from, destination, to, DATA);
    const packet = ip4(payload, { source, destination, fragment, ttl: 1 });
    return ethernet(packet, { destination: BROADCAST_MAC });
  };
  h.passes(dhcp("0.0.0.0", "255.255.255.255"));
  h.passes(dhcp("0.0.0.0", "100.96.0.3"));
  h.passes(dhcp(GUEST4, "255.255.255.255"));
  h.passes(dhcp("0.0.0.0", GATEWAY4));
  h.drops(dhcp("0.0.0.0", "255.255.255.255", 68, 68), "drop.ip.src");
  h.drops(dhcp("0.0.0.0", "255.255.255.255", 67, 67), "drop.ip.src");
  h.drops(dhcp("0.0.0.0", "255.255.255.255", 68, 67, 0x2000), "drop.ip.src");
  h.drops(dhcp("0.0.0.0", WORLD4), "drop.ip.src");
  h.drops(dhcp("100.96.0.3", "255.255.255.255"), "drop.ip.src");
  h.drops(dhcp(GUEST4, "255.255.255.255", 68, 68), "drop.ip.dst");
});

Deno.test("ipv4: what a DHCP server would send is dropped by role", () => {
  const h = new StackHarness();
  const offer = (destination: string, fragment = 0) =>
    ethernet(ip4(udp(GUEST4, 67, destination, 68, DATA), { destination, fragment }));
  for (const destination of ["255.255.255.255", "100.96.0.3", GATEWAY4]) {
    h.drops(offer(destination), "drop.role");
  }
  h.passes(offer(WORLD4));
  h.drops(offer("255.255.255.255", 0x2000), "drop.ip.dst");
  const spoofed = ip4(udp(GATEWAY4, 67, "255.255.255.255", 68, DATA), {
    source: GATEWAY4,
    destination: "255.255.255.255",
  });
  h.drops(ethernet(spoofed), "drop.ip.src");
});

Deno.test("ipv4: a TTL of 1 ends at the gateway, with 11/0 for what is behind it", () => {
  for (const ttl of [0, 1]) {
    const h = new StackHarness();
    const frame = packet({ ttl });
    h.push(frame);
    const error = h.reply();
    assertEquals([error.source, error.destination, error.protocol], [GATEWAY4, GUEST4, 1]);
    assertEquals(error.destinationMac, GUEST_MAC);
    assertEquals(error.payload.slice(0, 2), Uint8Array.of(11, 0));
    assertEquals(error.payload.slice(8), frame.slice(14));
    assertEquals(h.counted(), { "drop.ip.ttl": 1, "icmp.errors": 1 });
    h.passes(packet({ ttl, destination: GATEWAY4 }));
  }
});

Deno.test("ipv4: later fragments with a TTL of 1 get no error", () => {
  const h = new StackHarness();
  h.drops(packet({ ttl: 1, fragment: 0x2005 }), "drop.ip.ttl");
});

Deno.test("ipv4: unknown protocols get 3/2 and are never looked into", () => {
  const h = new StackHarness();
  const inner = ip4(icmp4(8, 0, [0, 1, 0, 1], DATA), { protocol: 1 });
  for (const protocol of [0, 2, 4, 41, 47, 50, 58, 132, 255]) {
    h.push(ethernet(ip4(inner, { protocol, destination: WORLD4 })));
    const error = h.reply();
    assertEquals(
      error.payload.slice(0, 8),
      concat([3, 2], error.payload.slice(2, 4), [0, 0, 0, 0]),
    );
    assertEquals(h.counted(), { "drop.ip.protocol": 1, "icmp.errors": 1 });
  }
  assertEquals(h.packets, []);
});
