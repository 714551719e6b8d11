/** Rows 42 to 45: UDP, and destinations that are groups. */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  GATEWAY4,
  GUEST4,
  GUEST6,
  icmp4,
  icmp6,
  ip4,
  ip6,
  pattern,
  sealed,
  tcp,
  u16,
  u32,
  udp,
} from "../support/packets.ts";
import { HOST4, HOST6 } from "../support/virtual_host.ts";
import { HostileGuest } from "./hostile_guest.ts";

/** A datagram of the guest's to a host of either family. */
function datagram(host: string, guestPort: number, port: number, data: Uint8Array): Uint8Array {
  const source = host.includes(":") ? GUEST6 : GUEST4;
  return packet(host, udp(source, guestPort, host, port, data));
}

/** A frame whose payload calls itself UDP. */
function packet(destination: string, payload: Uint8Array): Uint8Array {
  return ethernet(
    destination.includes(":") ? ip6(payload, { destination }) : ip4(payload, { destination }),
  );
}

/** The data of the datagrams that the guest was sent. */
function dataOf(gw: HostileGuest): Uint8Array[] {
  return gw.taken(({ protocol, payload }) => protocol === 17 ? payload.slice(8) : null);
}

// CVE-2021-3593: over IPv6 a payload shorter than the header was read as a datagram.
Deno.test("hostile 42: a UDP length below 8 or beyond the payload is dropped, 0 octets are not", async () => {
  for (const host of [HOST4, HOST6]) {
    await using gw = await HostileGuest.start();
    const got: number[] = [];
    gw.host.udp(host, 7, (data, reply) => {
      got.push(data.length);
      reply(data);
    });
    const source = host === HOST4 ? GUEST4 : GUEST6;
    const lying = (length: number, dataBytes: number) => {
      const bytes = concat(u16(5000), u16(7), u16(length), [0, 0], pattern(dataBytes));
      return packet(host, sealed(bytes, 6, source, host, 17));
    };
    const frames = [
      ...[0, 1, 7, 9, 10, 1000, 65_535].map((length) => lying(length, 0)),
      ...[0, 1, 7, 109, 65_535].map((length) => lying(length, 100)),
      ...[0, 1, 2, 3, 4, 5, 6, 7].map((bytes) => packet(host, pattern(bytes))),
    ];
    await gw.sends(...frames);
    gw.silent().counts({ "drop.udp.len": frames.length });
    assertEquals(got, []);
    await gw.sends(datagram(host, 5000, 7, new Uint8Array(0)));
    assertEquals([got, dataOf(gw)], [[0], [new Uint8Array(0)]]);
    gw.silent().counts({ "udp.opened": 1, "udp.up": 1, "udp.down": 1 });
    await gw.empties();
  }
});

Deno.test("hostile 43: 65,535 source ports share 4,096 flows, of which the least used make way", async () => {
  await using gw = await HostileGuest.start({ limits: { udpOpensPerSecond: 1_000_000 } });
  const { udpFlows, udpUnrepliedMs } = DEFAULT_LIMITS;
  let came = 0;
  gw.host.udp(HOST4, 7, () => came++);
  gw.host.udp(HOST4, 9, (data, reply) => reply(data));
  const ports = 65_535;
  const burst = 255;
  const one = datagram(HOST4, 0, 7, pattern(4));
  one.set([0, 0], 14 + 20 + 6); // over IPv4 a checksum may be left out
  for (let first = 1; first <= ports; first += burst) {
    const frames: Uint8Array[] = [datagram(HOST4, 4000, 9, pattern(8))];
    for (let i = 0; i < burst; i++) {
      const frame = one.slice();
      frame.set(u16(first + i), 14 + 20);
      frames.push(frame);
    }
    gw.sendBytes(concat(...frames.flatMap((frame) => [u32(frame.length), frame])));
    await gw.settle();
    assert(gw.figures().udpFlows <= udpFlows);
    assert(gw.host.openSockets <= udpFlows + 1, `${gw.host.openSockets} sockets`);
    assertEquals(dataOf(gw).length, 1, "a flow in use goes on");
  }
  assertEquals(came, ports);
  assertEquals(gw.figures().udpFlows, udpFlows);
  gw.silent().counts({
    "udp.opened": ports + 1,
    "udp.evicted": ports + 1 - udpFlows,
    "udp.up": ports + ports / burst,
    "udp.down": ports / burst,
  });
  await gw.run(udpUnrepliedMs + 10);
  assertEquals([gw.figures().udpFlows, gw.host.openSockets], [1, 2]);
  await gw.empties();
});

Deno.test("hostile 43: new ports get no more sockets than the rate, flows in use go on", async () => {
  await using gw = await HostileGuest.start();
  const { udpOpensPerSecond } = DEFAULT_LIMITS;
  gw.host.udp(HOST4, 7, () => {});
  gw.host.udp(HOST4, 9, (data, reply) => reply(data));
  for (let port = 5000; port < 15_000; port += 100) {
    const ports = Array.from({ length: 100 }, (_, i) => port + i);
    gw.send(datagram(HOST4, 4000, 9, pattern(8)));
    await gw.sends(...ports.map((one) => datagram(HOST4, one, 7, pattern(4))));
    assertEquals(dataOf(gw).length, 1, "a flow in use goes on");
    await gw.run(1);
  }
  const { "udp.opened": opened = 0, "drop.udp.rate": dropped = 0 } = gw.grown();
  assertEquals(opened + dropped, 10_001);
  assert(opened <= udpOpensPerSecond * 1.1, `${opened} opened within a tenth of a second`);
});

Deno.test("hostile 43: a DNS flow past the gateway ends with its answer", async () => {
  await using gw = await HostileGuest.start({
    dns: { intercept: false },
    limits: { udpOpensPerSecond: 10_000 },
  });
  gw.host.udp(HOST4, 53, (data, reply) => reply(data, { delayMs: 3 }));
  for (let port = 1024; port < 11_024; port += 100) {
    const ports = Array.from({ length: 100 }, (_, i) => port + i);
    await gw.sends(...ports.map((one) => datagram(HOST4, one, 53, pattern(20))));
    assertEquals(gw.figures().udpFlows, 100);
    await gw.run(3);
    assertEquals([gw.figures().udpFlows, dataOf(gw).length], [0, 100]);
  }
  gw.silent().counts({ "udp.opened": 10_000, "udp.up": 10_000, "udp.down": 10_000 });
  assertEquals(gw.host.openSockets, 1);
  await gw.empties(0);
});

Deno.test("hostile 44: a reply from another address or port than was asked goes no further", async () => {
  await using gw = await HostileGuest.start();
  const strangers = [
    { address: "93.184.216.35", port: 7 },
    { address: HOST4, port: 8 },
    { address: "127.0.0.1", port: 7 },
    { address: HOST6, port: 7 },
  ];
  gw.host.udp(HOST4, 7, (data, reply) => {
    for (const from of strangers) reply(pattern(50, 99), { from });
    reply(data, { delayMs: 10 });
  });
  await gw.sends(datagram(HOST4, 5000, 7, pattern(30)));
  gw.silent().counts({ "udp.opened": 1, "udp.up": 1, "drop.udp.peer": strangers.length });
  await gw.run(10);
  assertEquals(dataOf(gw), [pattern(30)]);
  gw.silent().counts({ "udp.down": 1 });
  await gw.empties();
});

Deno.test("hostile 45: a broadcast or multicast destination is dropped, but for DHCP and discovery", async () => {
  await using gw = await HostileGuest.start();
  const none = new Uint8Array(0);
  const groups4 = ["255.255.255.255", "100.96.0.3", "224.0.0.1", "224.0.0.251", "239.255.255.250"];
  const groups6 = ["ff02::1", "ff02::2", "ff02::fb", "ff05::1:3", "ff0e::1", "ff02::1:ff00:1"];
  const frames = [
    ...groups4.flatMap((destination) => [
      packet(destination, udp(GUEST4, 5000, destination, 1900, pattern(10))),
      packet(destination, udp(GUEST4, 5000, destination, 53, pattern(10))),
      ethernet(ip4(tcp(GUEST4, destination, none, 2), { destination, protocol: 6 })),
      ethernet(ip4(icmp4(8, 0, [0, 1, 0, 1], pattern(8)), { destination, protocol: 1 })),
    ]),
    ...groups6.flatMap((destination) => [
      packet(destination, udp(GUEST6, 5000, destination, 1900, pattern(10))),
      packet(destination, udp(GUEST6, 5000, destination, 53, pattern(10))),
      ethernet(ip6(tcp(GUEST6, destination, none, 2), { destination, next: 6 })),
      ethernet(
        ip6(icmp6(GUEST6, destination, 128, 0, [0, 1, 0, 1], pattern(8)), {
          destination,
          next: 58,
        }),
      ),
    ]),
    // A packet for one host in a frame for all.
    ethernet(ip4(udp(GUEST4, 5000, HOST4, 7, none), { destination: HOST4 }), {
      destination: BROADCAST_MAC,
    }),
    ethernet(ip6(udp(GUEST6, 5000, HOST6, 7, none), { destination: HOST6 }), {
      destination: "33:33:00:00:00:01",
    }),
    ethernet(ip4(tcp(GUEST4, HOST4, none, 2), { destination: HOST4, protocol: 6 }), {
      destination: BROADCAST_MAC,
    }),
  ];
  for (const frame of frames) {
    await gw.sends(frame);
    gw.silent().counts({ "drop.ip.dst": 1 });
    assert(gw.isEmpty);
  }
  assertEquals(gw.host.dialed, []);
  // The gateway's own address still answers, and so does the world.
  await gw.sends(ethernet(ip4(icmp4(8, 0, [0, 1, 0, 1], none), { protocol: 1 })));
  assertEquals(gw.packets().map(({ source, payload }) => [source, payload[0]]), [[GATEWAY4, 0]]);
});
