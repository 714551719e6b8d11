/** What a guest forges goes nowhere, and has its counter: RFC 826, 4861, 4862, 5227, 6980. */
import { assertEquals } from "@std/assert";
import type { CounterName } from "../../lib/stack/counters.ts";
import { LAN_GATEWAY6, LanRig, madeAddress } from "../support/lan_rig.ts";
import {
  concat,
  ethernet,
  fragment6,
  icmp4,
  icmp6,
  ip,
  ip4,
  ip6,
  type Ip6Options,
  mac,
  pattern,
  tcp,
  udp,
} from "../support/packets.ts";

const [A4, B4, C4] = ["10.77.0.2", "10.77.0.3", "10.77.0.4"];
const [A6, B6, C6] = ["fd53:4d01::2", "fd53:4d01::3", "fd53:4d01::4"];
const NONE = new Uint8Array(0);
const EVERYBODY = -1;

/** Guest a of three, and what becomes of each of its frames. */
async function refused(
  rows: (lan: LanRig) => readonly (readonly [what: string, CounterName, Uint8Array])[],
): Promise<void> {
  await using lan = new LanRig(3);
  await lan.settle();
  for (const [what, counter, frame] of rows(lan)) {
    lan.counted(0);
    const before = lan.guests[0]!.counters["lan.rx.frames"];
    lan.send(0, frame);
    await lan.settle();
    assertEquals([lan.frames(1), lan.frames(2)], [[], []], `${what}: nothing came`);
    assertEquals(lan.counted(0), { [counter]: 1 }, what);
    assertEquals(lan.guests[0]!.counters["lan.rx.frames"], before);
  }
}

/** An ARP packet of guest a. */
function arp(
  lan: LanRig,
  to: number,
  operation: number,
  sender: readonly [mac: string, ip: string],
  targetIp: string,
  fixed: readonly number[] = [0, 1, 8, 0, 6, 4],
): Uint8Array {
  const body = concat(
    fixed,
    [0, operation],
    mac(sender[0]),
    ip(sender[1]),
    mac("00:00:00:00:00:00"),
  );
  return ethernet(concat(body, ip(targetIp)), { ...lan.macs(0, to), type: 0x0806 });
}

Deno.test("another's MAC", async () => {
  await refused((lan) => {
    const asB = lan.udp(0, 2);
    asB.set(mac(lan.members[1]!.mac), 6);
    const asGateway = lan.udp(0, 2);
    asGateway.set(mac("02:53:4d:00:00:01"), 6);
    const asGroup = lan.udp(0, 2);
    asGroup.set(mac("03:53:4d:00:00:01"), 6);
    const toStranger = lan.udp(0, 2);
    toStranger.set(mac("02:00:00:00:00:99"), 0);
    const toItself = lan.udp(0, 2);
    toItself.set(mac(lan.members[0]!.mac), 0);
    return [
      ["from b's", "drop.eth.src", asB],
      ["from the gateway's", "drop.eth.src", asGateway],
      ["from a group's", "drop.eth.src", asGroup],
      ["to nobody's", "drop.eth.dst", toStranger],
      ["to its own", "drop.eth.dst", toItself],
    ];
  });
});

Deno.test("frames that are no IP", async () => {
  await refused((lan) => {
    const tagged = (type: number) =>
      ethernet(concat([0, 5, 8, 0], lan.udp(0, 1).subarray(14)), { ...lan.macs(0, 1), type });
    return [
      ["VLAN", "drop.lan.type", tagged(0x8100)],
      ["QinQ", "drop.lan.type", tagged(0x88a8)],
      ["MPLS", "drop.lan.type", tagged(0x8847)],
      ["PPPoE", "drop.lan.type", tagged(0x8863)],
      ["LLDP", "drop.lan.type", tagged(0x88cc)],
      ["802.3", "drop.lan.type", tagged(0x0026)],
      ["nothing", "drop.lan.hdr", ethernet(NONE, { ...lan.macs(0, 1), type: 0x0800 })],
    ];
  });
});

Deno.test("ARP for others", async () => {
  await refused((lan) => {
    const [a, b] = [lan.members[0]!.mac, lan.members[1]!.mac];
    const short = arp(lan, EVERYBODY, 1, [a, A4], B4).subarray(0, 41);
    return [
      ["b's address", "drop.lan.arp", arp(lan, EVERYBODY, 1, [a, B4], C4)],
      ["b's address in an answer", "drop.lan.arp", arp(lan, 2, 2, [a, B4], C4)],
      ["the gateway's address", "drop.lan.arp", arp(lan, EVERYBODY, 2, [a, "10.77.0.1"], C4)],
      ["a stranger's address", "drop.lan.arp", arp(lan, 2, 2, [a, "10.77.0.99"], C4)],
      ["b's MAC", "drop.lan.arp", arp(lan, 2, 2, [b, A4], C4)],
      ["a probe for b's address", "drop.lan.arp", arp(lan, EVERYBODY, 1, [a, "0.0.0.0"], B4)],
      ["an answer from nobody", "drop.lan.arp", arp(lan, 2, 2, [a, "0.0.0.0"], A4)],
      ["RARP", "drop.lan.arp", arp(lan, EVERYBODY, 3, [a, A4], B4)],
      ["other hardware", "drop.lan.arp", arp(lan, 1, 1, [a, A4], B4, [0, 6, 8, 0, 6, 4])],
      ["other lengths", "drop.lan.arp", arp(lan, 1, 1, [a, A4], B4, [0, 1, 8, 0, 6, 16])],
      ["too short", "drop.lan.arp", short],
    ];
  });
});

Deno.test("IPv4 of others and with wrong headers", async () => {
  await refused((lan) => {
    const datagram = udp(A4, 1, B4, 2, pattern(8));
    const frame = (to: number, options: Parameters<typeof ip4>[1], payload = datagram) =>
      ethernet(ip4(payload, { source: A4, destination: B4, ...options }), lan.macs(0, to));
    return [
      ["from c", "drop.lan.src", frame(1, { source: C4 })],
      ["from the gateway", "drop.lan.src", frame(1, { source: "10.77.0.1" })],
      ["from the world", "drop.lan.src", frame(1, { source: "192.0.2.1" })],
      ["from nobody", "drop.lan.src", frame(1, { source: "0.0.0.0" })],
      ["to c in a frame to b", "drop.lan.dst", frame(1, { destination: C4 })],
      ["to the world in a frame to b", "drop.lan.dst", frame(1, { destination: "192.0.2.1" })],
      ["to a group in a frame to b", "drop.lan.dst", frame(1, { destination: "224.0.0.251" })],
      ["to all in a frame to b", "drop.lan.dst", frame(1, { destination: "255.255.255.255" })],
      ["to b in a frame to all", "drop.lan.dst", frame(EVERYBODY, {})],
      ["a source route", "drop.lan.hdr", frame(1, { options: [131, 7, 4, 10, 77, 0, 4, 0] })],
      ["version 5", "drop.lan.hdr", frame(1, { version: 5 })],
      ["a short header", "drop.lan.hdr", frame(1, { ihl: 4 })],
      ["longer than its frame", "drop.lan.hdr", frame(1, { totalBytes: 1_000 })],
      ["shorter than its header", "drop.lan.hdr", frame(1, { totalBytes: 19 })],
      ["UDP without its header", "drop.lan.hdr", frame(1, {}, datagram.subarray(0, 7))],
      ["TCP without its header", "drop.lan.hdr", frame(1, { protocol: 6 }, pattern(19))],
      [
        "TCP to all",
        "drop.lan.dst",
        frame(EVERYBODY, { protocol: 6, destination: "10.77.0.255" }, tcp(A4, "10.77.0.255", NONE)),
      ],
      [
        "a ping to all",
        "drop.lan.dst",
        frame(
          EVERYBODY,
          { protocol: 1, destination: "255.255.255.255" },
          icmp4(8, 0, [0, 1, 0, 1], NONE),
        ),
      ],
    ];
  });
});

Deno.test("what only the gateway says over IPv4", async () => {
  await refused((lan) => {
    const message = (from: number, to: number, destination: string, frameTo: number) =>
      ethernet(
        ip4(udp(A4, from, destination, to, pattern(240)), { source: A4, destination }),
        lan.macs(0, frameTo),
      );
    const icmp = (type: number, code = 0) =>
      lan.ip4(0, 1, 1, icmp4(type, code, [10, 77, 0, 2], pattern(28)));
    const first = (from: number) =>
      lan.ip4(0, 1, 17, udp(A4, from, B4, 5_000, pattern(16)), { fragment: 0x2000 });
    return [
      ["a DHCP offer to all", "drop.lan.role", message(67, 68, "255.255.255.255", EVERYBODY)],
      ["a DHCP offer to b", "drop.lan.role", message(67, 68, B4, 1)],
      ["an offer from another port", "drop.lan.role", message(5_000, 68, B4, 1)],
      ["a question to b as its server", "drop.lan.role", message(68, 67, B4, 1)],
      [
        "a server's word to a server",
        "drop.lan.role",
        message(67, 67, "255.255.255.255", EVERYBODY),
      ],
      ["an offer in fragments", "drop.lan.role", first(67)],
      ["a redirect", "drop.lan.role", icmp(5, 1)],
      ["a source quench", "drop.lan.role", icmp(4)],
      ["a router's advertisement", "drop.lan.role", icmp(9)],
      ["a router solicitation", "drop.lan.role", icmp(10)],
    ];
  });
});

Deno.test("IPv6 of others", async () => {
  await refused((lan) => {
    const [a, b, c] = lan.members as [
      typeof lan.members[0],
      typeof lan.members[0],
      typeof lan.members[0],
    ];
    const frame = (options: Ip6Options, to = 1) =>
      ethernet(
        ip6(udp(A6, 1, B6, 2, pattern(8)), { source: A6, destination: B6, ...options }),
        lan.macs(0, to),
      );
    return [
      ["from c", "drop.lan.src", frame({ source: C6 })],
      ["from c to all", "drop.lan.src", frame({ source: C6, destination: "ff02::fb" }, EVERYBODY)],
      ["from c's link-local", "drop.lan.src", frame({ source: madeAddress(c) })],
      [
        "from what c makes of its MAC",
        "drop.lan.src",
        frame({ source: madeAddress(c, "fd53:4d01::") }),
      ],
      ["from the gateway", "drop.lan.src", frame({ source: LAN_GATEWAY6 })],
      ["from a temporary address", "drop.lan.src", frame({ source: "fd53:4d01::abcd" })],
      ["from another link-local", "drop.lan.src", frame({ source: "fe80::1" })],
      ["from nobody", "drop.lan.src", frame({ source: "::" })],
      ["to c in a frame to b", "drop.lan.dst", frame({ destination: C6 })],
      ["to c's link-local in a frame to b", "drop.lan.dst", frame({ destination: madeAddress(c) })],
      ["to a group in a frame to b", "drop.lan.dst", frame({ destination: "ff02::1" })],
      ["to b in a frame to all", "drop.lan.dst", frame({}, EVERYBODY)],
      [
        "to b's link-local in a frame to all",
        "drop.lan.dst",
        frame({ destination: madeAddress(b) }, EVERYBODY),
      ],
      ["version 4", "drop.lan.hdr", frame({ version: 4 })],
      ["longer than its frame", "drop.lan.hdr", frame({ payloadBytes: 1_000 })],
      [
        "a ping to all",
        "drop.lan.dst",
        ethernet(
          ip6(icmp6(A6, "ff02::1", 128, 0, [0, 1, 0, 1], NONE), {
            source: A6,
            destination: "ff02::1",
            next: 58,
          }),
          { source: a.mac, destination: "33:33:00:00:00:01" },
        ),
      ],
    ];
  });
});

/** A frame with an ICMPv6 message of guest a. */
function nd(
  lan: LanRig,
  type: number,
  target: string,
  how: {
    source?: string;
    destination?: string;
    option?: Uint8Array;
    hopLimit?: number;
    code?: number;
    to?: number;
  } = {},
): Uint8Array {
  const { source = A6, destination = B6, option = NONE, hopLimit = 255, code = 0, to = 1 } = how;
  const message = icmp6(
    source,
    destination,
    type,
    code,
    [0x60, 0, 0, 0],
    concat(ip(target), option),
  );
  return ethernet(ip6(message, { source, destination, next: 58, hopLimit }), lan.macs(0, to));
}

Deno.test("neighbor discovery for others", async () => {
  await refused((lan) => {
    const [a, b] = [lan.members[0]!, lan.members[1]!];
    const asB = concat([2, 1], mac(b.mac));
    const fromB = concat([1, 1], mac(b.mac));
    const groups = { destination: "ff02::1", to: EVERYBODY };
    const inFragment = fragment6(
      icmp6(A6, B6, 136, 0, [0x60, 0, 0, 0], concat(ip(A6))).subarray(0, 24),
      58,
      0,
      true,
      9,
    );
    const behindOptions = concat(
      [58, 0, 1, 4, 0, 0, 0, 0],
      icmp6(A6, B6, 136, 0, [0x60, 0, 0, 0], ip(A6)),
    );
    return [
      ["an answer for c", "drop.lan.nd", nd(lan, 136, C6)],
      ["an answer for c to all", "drop.lan.nd", nd(lan, 136, C6, groups)],
      [
        "an answer for what b makes of its MAC",
        "drop.lan.nd",
        nd(lan, 136, madeAddress(b), { destination: B6 }),
      ],
      ["an answer for the gateway", "drop.lan.nd", nd(lan, 136, LAN_GATEWAY6)],
      ["an answer for nobody's address", "drop.lan.nd", nd(lan, 136, "fd53:4d01::99")],
      ["an answer with b's MAC", "drop.lan.nd", nd(lan, 136, A6, { option: asB })],
      ["a question with b's MAC", "drop.lan.nd", nd(lan, 135, B6, { option: fromB })],
      [
        "looking for duplicates of c's",
        "drop.lan.nd",
        nd(lan, 135, C6, { source: "::", ...groups }),
      ],
      [
        "looking for duplicates of b's link-local",
        "drop.lan.nd",
        nd(lan, 135, madeAddress(b), { source: "::", ...groups }),
      ],
      ["an answer from c's address", "drop.lan.src", nd(lan, 136, A6, { source: C6 })],
      ["a hop limit below 255", "drop.lan.nd", nd(lan, 136, A6, { hopLimit: 254 })],
      ["a code", "drop.lan.nd", nd(lan, 135, B6, { code: 1 })],
      ["a group as target", "drop.lan.nd", nd(lan, 135, "ff02::1")],
      [
        "an option of no length",
        "drop.lan.nd",
        nd(lan, 135, B6, { option: concat([1, 0], mac(a.mac)) }),
      ],
      ["in a fragment", "drop.lan.nd", lan.ip6(0, 1, 44, inFragment, { hopLimit: 255 })],
      ["behind options", "drop.lan.nd", lan.ip6(0, 1, 60, behindOptions, { hopLimit: 255 })],
      ["a question to c in a frame to b", "drop.lan.dst", nd(lan, 135, C6, { destination: C6 })],
    ];
  });
});

Deno.test("what only the gateway says over IPv6", async () => {
  await refused((lan) => {
    const own = madeAddress(lan.members[0]!);
    const message = (type: number, destination: string, to: number, data = pattern(24)) =>
      ethernet(
        ip6(icmp6(own, destination, type, 0, [64, 0, 7, 8], data), {
          source: own,
          destination,
          next: 58,
          hopLimit: 255,
        }),
        lan.macs(0, to),
      );
    const dhcp = (from: number, to: number, destination: string, frameTo: number) =>
      ethernet(
        ip6(udp(own, from, destination, to, pattern(60)), { source: own, destination }),
        lan.macs(0, frameTo),
      );
    const hidden = concat(
      [58, 0, 1, 4, 0, 0, 0, 0],
      icmp6(own, "ff02::1", 134, 0, [64, 0, 7, 8], pattern(8)),
    );
    const inFragments = fragment6(
      icmp6(own, "ff02::1", 134, 0, [64, 0, 7, 8], pattern(8)),
      58,
      0,
      true,
      3,
    );
    const toAll = (next: number, payload: Uint8Array) =>
      ethernet(
        ip6(payload, { source: own, destination: "ff02::1", next, hopLimit: 255 }),
        lan.macs(0, EVERYBODY),
      );
    return [
      ["a router's advertisement", "drop.lan.role", message(134, "ff02::1", EVERYBODY)],
      ["one to b", "drop.lan.role", message(134, B6, 1)],
      ["one behind options", "drop.lan.role", toAll(60, hidden)],
      ["one in fragments", "drop.lan.role", toAll(44, inFragments)],
      ["a redirect", "drop.lan.role", message(137, B6, 1)],
      ["router renumbering", "drop.lan.role", message(138, B6, 1)],
      ["a router solicitation to b", "drop.lan.role", message(133, B6, 1)],
      ["group membership to b", "drop.lan.role", message(143, B6, 1)],
      ["a DHCPv6 reply to b", "drop.lan.role", dhcp(547, 546, B6, 1)],
      ["a DHCPv6 reply to all", "drop.lan.role", dhcp(547, 546, "ff02::1", EVERYBODY)],
      ["a question to b as its server", "drop.lan.role", dhcp(546, 547, B6, 1)],
    ];
  });
});

Deno.test("what a guest claims of others counts at the gateway neither", async () => {
  await using lan = new LanRig(2, { network: { mtu: 1500 } });
  await lan.settle();
  const b = lan.members[1]!;
  // As a packet to the world, from b's addresses: the first would be learnt, were it nobody's.
  for (const source of [b.ip6!, madeAddress(b, "fd53:4d01::"), madeAddress(b)]) {
    const packet = ip6(udp(source, 1, "2001:db8::1", 2, pattern(4)), {
      source,
      destination: "2001:db8::1",
    });
    await lan.drops(0, ethernet(packet, lan.macs(0, -2)), "drop.ip.src");
    assertEquals(lan.frames(0), [], "nobody asks for it");
  }
  // As neighbor discovery to the gateway itself.
  const claim = icmp6(
    madeAddress(lan.members[0]!),
    LAN_GATEWAY6,
    136,
    0,
    [0x60, 0, 0, 0],
    ip(b.ip6!),
  );
  lan.send(
    0,
    ethernet(
      ip6(claim, {
        source: madeAddress(lan.members[0]!),
        destination: LAN_GATEWAY6,
        next: 58,
        hopLimit: 255,
      }),
      lan.macs(0, -2),
    ),
  );
  await lan.settle();
  const packet = ip6(udp(b.ip6!, 1, "2001:db8::1", 2, pattern(4)), {
    source: b.ip6!,
    destination: "2001:db8::1",
  });
  await lan.drops(0, ethernet(packet, lan.macs(0, -2)), "drop.ip.src");
});

Deno.test("a guest with addresses of its own making reaches the gateway, and no other guest", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  const own = "fd53:4d01::aaaa";
  const message = icmp6("::", "ff02::1:ff00:aaaa", 135, 0, [0, 0, 0, 0], ip(own));
  lan.send(
    0,
    ethernet(
      ip6(message, { source: "::", destination: "ff02::1:ff00:aaaa", next: 58, hopLimit: 255 }),
      { source: lan.members[0]!.mac, destination: "33:33:ff:00:aa:aa" },
    ),
  );
  await lan.settle();
  assertEquals([lan.frames(1), lan.counted(0)], [[], {}]);
  const packet = ip6(udp(own, 1, "2606:4700::1", 2, pattern(4)), {
    source: own,
    destination: "2606:4700::1",
  });
  lan.send(0, ethernet(packet, lan.macs(0, -2)));
  await lan.settle();
  assertEquals(lan.guests[0]!.counters["udp.opened"], 1, "the gateway knows it");
});

Deno.test("a frame of another MAC is not the guest's even as the first one", async () => {
  await using lan = new LanRig(2);
  const frame = lan.udp(0, 1);
  frame.set(mac("02:53:4d:00:00:77"), 6);
  await lan.drops(0, frame, "drop.eth.src");
  await lan.passes(0, lan.udp(0, 1), [1]);
});
