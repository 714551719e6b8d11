import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { IcmpReason } from "../../lib/stack/icmp_errors.ts";
import {
  ethernet,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_LL,
  GUEST4,
  GUEST6,
  GUEST_LL,
  ip,
  ip4,
  ip6,
  pattern,
  sealed,
  u16,
  udp,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";
import { icmpErrorOf, UdpRig } from "../support/udp_rig.ts";

const DNS_QUESTION = new TextEncoder().encode("question");

Deno.test("the first datagram makes a flow, the next ones find it", () => {
  const rig = new UdpRig();
  rig.guest({ data: pattern(3) });
  rig.guest({ data: pattern(4, 1) });
  assertEquals(rig.owners.length, 1);
  assertEquals(rig.owners[0]!.sent, [pattern(3), pattern(4, 1)]);
  assertEquals(rig.flows.size, 1);
  assertEquals(rig.counted(), { "udp.opened": 1 });
  const flow = rig.owners[0]!.flow!;
  assertEquals([flow.guestPort, flow.peerPort, flow.sent], [40000, 7, 2]);
  assertEquals(rig.memory.bytes.slice(flow.guestAt, flow.guestAt + 4), ip(GUEST4));
  assertEquals(rig.memory.bytes.slice(flow.peerAt, flow.peerAt + 4), ip(WORLD4));
  rig.silent();
});

Deno.test("each of address and port makes another flow, of either family", () => {
  const rig = new UdpRig();
  rig.guest({});
  rig.guest({ sourcePort: 40001 });
  rig.guest({ destinationPort: 8 });
  rig.guest({ destination: "192.0.2.11" });
  rig.guest({ destination: WORLD6 });
  rig.guest({ destination: WORLD6, source: GUEST_LL });
  assertEquals(rig.owners.length, 6);
  assertEquals(rig.owners.map((owner) => owner.sent.length), [1, 1, 1, 1, 1, 1]);
  const flow = rig.owners[5]!.flow!;
  assertEquals(flow.family, 6);
  assertEquals(rig.memory.bytes.slice(flow.guestAt, flow.guestAt + 16), ip(GUEST_LL));
  assertEquals(rig.memory.bytes.slice(flow.peerAt, flow.peerAt + 16), ip(WORLD6));
});

for (const destination of [WORLD4, WORLD6]) {
  Deno.test(`data of every length arrives as it was sent, to ${destination}`, () => {
    const rig = new UdpRig();
    for (const bytes of [0, 1, 1432, 1452, 1453, 1472, 1473, 60_000, 65_507]) {
      rig.guest({ destination, data: pattern(bytes, bytes) });
      assertEquals(rig.owners[0]!.sent.pop(), pattern(bytes, bytes), `${bytes} bytes`);
    }
    assertEquals(rig.counted(), { "udp.opened": 1 });
  });
}

Deno.test("a length below the header or beyond the payload is dropped", () => {
  const rig = new UdpRig();
  const good = udp(GUEST4, 40000, WORLD4, 7, pattern(20));
  for (const length of [0, 7, 29, 65_535]) {
    const bad = good.slice();
    bad.set([length >> 8, length & 0xff], 4);
    rig.drops(ethernet(ip4(bad, { destination: WORLD4 })), "drop.udp.len");
  }
  rig.drops(ethernet(ip4(good.slice(0, 7), { destination: WORLD4 })), "drop.udp.len");
  assertEquals(rig.owners.length, 0);
});

Deno.test("what stands behind the UDP length goes no further", () => {
  const rig = new UdpRig();
  const payload = new Uint8Array(40).fill(0xee);
  payload.set(udp(GUEST4, 40000, WORLD4, 7, pattern(5)));
  rig.push(ethernet(ip4(payload, { destination: WORLD4 })));
  assertEquals(rig.owners[0]!.sent, [pattern(5)]);
});

Deno.test("a wrong checksum is dropped; none passes over IPv4 and not over IPv6", () => {
  const rig = new UdpRig();
  const wrong = udp(GUEST4, 40000, WORLD4, 7, pattern(5));
  wrong[6]! ^= 1;
  rig.drops(ethernet(ip4(wrong, { destination: WORLD4 })), "drop.csum");
  const none4 = udp(GUEST4, 40000, WORLD4, 7, pattern(5));
  none4.fill(0, 6, 8);
  rig.push(ethernet(ip4(none4, { destination: WORLD4 })));
  assertEquals(rig.owners.length, 1);
  assertEquals(rig.counted(), { "udp.opened": 1 });
  const none6 = udp(GUEST6, 40000, WORLD6, 7, pattern(5));
  none6.fill(0, 6, 8);
  rig.drops(ethernet(ip6(none6, { destination: WORLD6 })), "drop.csum");
});

Deno.test("DHCP is served at the gateway's addresses and at groups, nowhere else", () => {
  const rig = new UdpRig();
  const dhcp = { sourcePort: 68, destinationPort: 67 };
  rig.guest({ ...dhcp, destination: GATEWAY4 });
  const discover = udp("0.0.0.0", 68, "255.255.255.255", 67, pattern(9));
  rig.push(ethernet(ip4(discover, { source: "0.0.0.0", destination: "255.255.255.255" }), {
    destination: "ff:ff:ff:ff:ff:ff",
  }));
  assertEquals(rig.served.splice(0), ["dhcp4", "dhcp4"]);
  const dhcp6 = { sourcePort: 546, destinationPort: 547 };
  const solicit = udp(GUEST_LL, 546, "ff02::1:2", 547, pattern(9));
  rig.push(ethernet(ip6(solicit, { source: GUEST_LL, destination: "ff02::1:2" }), {
    destination: "33:33:00:01:00:02",
  }));
  rig.guest({ ...dhcp6, source: GUEST_LL, destination: GATEWAY_LL });
  rig.guest({ ...dhcp6, destination: GATEWAY6 });
  assertEquals(rig.served.splice(0), ["dhcp6", "dhcp6", "dhcp6"]);
  assertEquals(rig.owners.length, 0);
  rig.guest({ ...dhcp, destination: WORLD4 });
  rig.guest({ ...dhcp6, destination: WORLD6 });
  rig.guest({ ...dhcp6, destination: WORLD4 });
  rig.guest({ ...dhcp, destination: WORLD6 });
  assertEquals(rig.served, []);
  assertEquals(rig.owners.length, 4);
});

Deno.test("with interception, port 53 of any address is the DNS gateway's", () => {
  const rig = new UdpRig();
  for (const destination of [GATEWAY4, WORLD4, GATEWAY6, WORLD6]) {
    rig.guest({ destination, destinationPort: 53, sourcePort: 1234, data: DNS_QUESTION });
  }
  rig.guest({
    source: GUEST_LL,
    destination: GATEWAY_LL,
    destinationPort: 53,
    sourcePort: 1,
    data: DNS_QUESTION,
  });
  assertEquals(rig.served, [
    "dns4 1234 question",
    "dns4 1234 question",
    "dns6 1234 question",
    "dns6 1234 question",
    "dns6 1 question",
  ]);
  assertEquals(rig.flows.size, 0);
});

Deno.test("without interception, port 53 is the DNS gateway's at the gateway only", () => {
  const rig = new UdpRig({ interceptDns: false });
  for (const destination of [GATEWAY4, WORLD4, GATEWAY6, WORLD6]) {
    rig.guest({ destination, destinationPort: 53, data: DNS_QUESTION });
  }
  assertEquals(rig.served, ["dns4 40000 question", "dns6 40000 question"]);
  assertEquals(rig.owners.map((owner) => owner.sent), [[DNS_QUESTION], [DNS_QUESTION]]);
});

Deno.test("a refusal is told as what it is, or not at all", () => {
  const rig = new UdpRig();
  const cases = [
    [IcmpReason.adminProhibited, "3/13", "1/1"],
    [IcmpReason.portUnreachable, "3/3", "1/4"],
    [IcmpReason.networkUnreachable, "3/0", "1/0"],
  ] as const;
  for (const [refusal, code4, code6] of cases) {
    rig.refusal = refusal;
    rig.guest({ data: pattern(30) });
    const error4 = icmpErrorOf(rig.sent()[0]!);
    assertEquals([error4.source, error4.code], [GATEWAY4, code4]);
    assertEquals(error4.quoted, {
      source: ip(GUEST4),
      destination: ip(WORLD4),
      ports: [40000, 7],
    });
    rig.guest({ destination: WORLD6, data: pattern(30) });
    const error6 = icmpErrorOf(rig.sent()[0]!);
    assertEquals([error6.source, error6.code], [GATEWAY6, code6]);
  }
  rig.refusal = null;
  rig.guest({ data: pattern(30) });
  rig.silent();
  assertEquals(rig.flows.size, 0);
});

Deno.test("port 0 is unreachable and nobody is asked", () => {
  const rig = new UdpRig({
    handlers: {
      open: () => {
        throw new Error("asked");
      },
    },
  });
  rig.guest({ destinationPort: 0 });
  assertEquals(icmpErrorOf(rig.sent()[0]!).code, "3/3");
  assertEquals(rig.flows.size, 0);
});

Deno.test("no datagram makes it throw, and an honest one still passes", () => {
  const rig = new UdpRig({ limits: { udpFlows: 8 } });
  rig.guest({});
  const port = fc.oneof(fc.constantFrom(0, 53, 67, 547), fc.nat(65_535));
  fc.assert(
    fc.property(
      fc.constantFrom(WORLD4, GATEWAY4, WORLD6, GATEWAY6),
      port,
      port,
      fc.option(fc.nat(65_535)),
      fc.uint8Array({ maxLength: 64 }),
      (destination, sourcePort, destinationPort, length, data) => {
        const source = destination.includes(":") ? GUEST6 : GUEST4;
        const payload = udp(source, sourcePort, destination, destinationPort, data);
        if (length !== null) payload.set(u16(length), 4);
        const bytes = sealed(payload, 6, source, destination, 17);
        const packet = source === GUEST4
          ? ip4(bytes, { source, destination })
          : ip6(bytes, { source, destination });
        const before = rig.owners.length;
        rig.push(ethernet(packet));
        rig.sent();
        assert(rig.flows.size <= 8);
        if (length !== null && (length < 8 || length > bytes.length)) {
          assertEquals(rig.owners.length, before);
        }
      },
    ),
    { numRuns: 1000 },
  );
  rig.guest({ sourcePort: 50_000, destinationPort: 9, data: pattern(10, 5) });
  assertEquals(rig.owners.at(-1)!.sent, [pattern(10, 5)]);
});
