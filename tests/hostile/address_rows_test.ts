/** Row 52: addresses in disguise, and the host's own ones. */
import { guestPolicy } from "../support/policy.ts";
import { assert, assertEquals } from "@std/assert";
import {
  ethernet,
  GATEWAY4,
  GATEWAY6,
  GUEST4,
  GUEST6,
  ip4,
  ip6,
  pattern,
  udp,
} from "../support/packets.ts";
import { HOST4, HOST6, VirtualHost } from "../support/virtual_host.ts";
import { HostileGuest } from "./hostile_guest.ts";

/** Refused on every level. */
const NEVER = [
  "0.0.0.0",
  "0.1.2.3",
  "127.0.0.1",
  "127.255.255.254",
  "192.0.2.1",
  "198.18.0.1",
  "240.0.0.1",
  "::",
  "::1",
  "::127.0.0.1",
  "::ffff:0.0.0.0",
  "::ffff:127.0.0.1",
  "::ffff:a9fe:a9fe",
  "::ffff:93.184.216.34",
  "::ffff:0:127.0.0.1",
  "64:ff9b::7f00:1",
  "64:ff9b::0.0.0.0",
  "64:ff9b::255.255.255.255",
  "64:ff9b:1::5db8:d822",
  "100::1",
  "2002:7f00:1::1",
  "2002:0:0::1",
  "2001:0:7f00:1:0:ffff:a247:27dd",
  "2001:0:5db8:d822:0:ffff:80ff:fffe", // Teredo with 127.0.0.1, its bits turned over
  "2001:db8::1",
  "4000::1",
];

/** Refused at `metadata`, the default, and at `strict`. */
const METADATA = [
  "169.254.169.254",
  "169.254.1.1",
  "100.100.100.200",
  "168.63.129.16",
  "64:ff9b::a9fe:a9fe",
  "2002:a9fe:a9fe::1",
  "2001:0:a9fe:a9fe:0:ffff:a247:27dd",
  "fd00:ec2::254",
];

/** Refused at `strict` alone. */
const PRIVATE = [
  "10.1.2.3",
  "172.16.0.1",
  "192.168.0.1",
  "100.127.0.1",
  "64:ff9b::10.1.2.3",
  "2002:a01:203::1",
  "fd00::1",
  "fec0::1",
];

const SYN = "S 0:0 <mss 1460>";

function datagram(host: string, port: number): Uint8Array {
  const six = host.includes(":");
  const payload = udp(six ? GUEST6 : GUEST4, 5000, host, port, pattern(10));
  return ethernet(six ? ip6(payload, { destination: host }) : ip4(payload, { destination: host }));
}

/** What a connection that the policy refuses counts. */
const REFUSED_TCP = {
  "policy.refused": 1,
  "icmp.errors": 1,
  "tcp.refused": 1,
  "tcp.reset.sent": 1,
} as const;

/** The guest hears that it is forbidden, and nothing else happens. */
async function refuses(gw: HostileGuest, host: string): Promise<void> {
  const code = host.includes(":") ? "1/1" : "3/13";
  const flow = gw.flow({ host });
  await flow.guest(SYN);
  assertEquals(gw.errors().map((error) => error.code), [code], `TCP to ${host}`);
  flow.expects("R. 0:0 ack 1");
  gw.silent().counts(REFUSED_TCP);
  await gw.sends(datagram(host, 9));
  assertEquals(gw.errors().map((error) => error.code), [code], `UDP to ${host}`);
  gw.silent().counts({ "policy.refused": 1, "icmp.errors": 1 });
  assert(gw.isEmpty);
  await gw.run(100); // errors are limited
}

for (
  const [protect, refused, allowed] of [
    ["off", NEVER, [...METADATA, ...PRIVATE]],
    ["metadata", [...NEVER, ...METADATA], PRIVATE],
    ["strict", [...NEVER, ...METADATA, ...PRIVATE], []],
  ] as const
) {
  Deno.test(`hostile 52: addresses in every embedding are judged on their octets, level ${protect}`, async () => {
    await using gw = await HostileGuest.start({ policy: guestPolicy({ protect }) });
    for (const host of refused) await refuses(gw, host);
    assertEquals(gw.host.dialed, [], "nothing was dialled");
    assertEquals(gw.host.openSockets, 1);
    for (const host of [...allowed, HOST4, HOST6]) {
      const flow = gw.flow({ host });
      await flow.guest(SYN);
      await gw.settle();
      flow.expects("R. 0:0 ack 1"); // nobody listens
      gw.counts({ "tcp.refused": 1, "tcp.reset.sent": 1 });
    }
    const dialed = gw.host.dialed.map((text) => text.split(" ")[0]!);
    assertEquals(dialed.length, allowed.length + 2);
    assert(dialed.every((host) => !host.includes("::ffff:") && !host.startsWith("127.")));
    await gw.empties(0);
  });
}

Deno.test("hostile 52: the gateway's own address leads nowhere unless a way was opened", async () => {
  await using gw = await HostileGuest.start();
  for (const host of [GATEWAY4, GATEWAY6]) {
    const flow = gw.flow({ host });
    await flow.guest(SYN);
    flow.expects("R. 0:0 ack 1");
    gw.silent().counts({ "tcp.refused": 1, "tcp.reset.sent": 1 });
    await gw.sends(datagram(host, 9));
    const code = host === GATEWAY4 ? "3/3" : "1/4";
    assertEquals(gw.errors().map((error) => error.code), [code]);
    gw.silent().forget();
  }
  assertEquals(gw.host.dialed, []);
  await gw.empties(0);
});

Deno.test("hostile 52: the host's own addresses are refused at `strict`, known or not", async () => {
  for (const host of [HOST4, HOST6]) {
    const world = new VirtualHost();
    world.ownAddresses.add(host);
    world.listen(host, 80);
    await using gw = await HostileGuest.start({
      policy: guestPolicy({ protect: "strict" }),
      host: world,
    });
    await refuses(gw, host);
    assertEquals(world.dialed, []);
  }
});

/** A machine whose permissions forbid to bind: only a connection shows what its own addresses are. */
class BlindHost extends VirtualHost {
  override readonly canBind = () => false;
}

Deno.test("hostile 52: an own address that only the dial shows is closed before the SYN is answered", async () => {
  for (const [protect, ownPort] of [["strict", 1], ["metadata", 80]] as const) {
    const world = new BlindHost();
    world.ownAddresses.add(HOST4);
    world.listen(HOST4, 80);
    await using gw = await HostileGuest.start({
      policy: guestPolicy({ protect }),
      host: world,
      ownPorts: () => new Set([ownPort]),
    });
    const flow = gw.flow();
    await flow.guest(SYN);
    await gw.settle();
    assertEquals(gw.errors().map((error) => error.code), ["3/13"]);
    flow.expects("R. 0:0 ack 1");
    gw.silent().counts(REFUSED_TCP);
    assertEquals([world.accepted.length, world.accepted[0]!.isClosed], [1, true]);
    await gw.empties(0);
  }
});

Deno.test("hostile 52: sockets of the gateway itself are refused at the host's addresses and its loopback", async () => {
  const world = new VirtualHost();
  world.ownAddresses.add(HOST4);
  for (const host of [HOST4, "127.0.0.1", "::1"]) {
    world.listen(host, 80);
    world.listen(host, 81);
  }
  await using gw = await HostileGuest.start({
    policy: guestPolicy({ protect: "off" }),
    host: world,
    hostLoopback: true,
    ownPorts: () => new Set([80]),
  });
  for (const host of [HOST4, GATEWAY4, GATEWAY6]) {
    const own = gw.flow({ host, hostPort: 80 });
    await own.guest(SYN);
    await gw.settle();
    assertEquals(gw.errors().length, 1);
    own.expects("R. 0:0 ack 1");
    assertEquals(world.dialed, []);
  }
  const other = gw.flow({ host: GATEWAY4, hostPort: 81 });
  await other.opens();
  assertEquals(world.dialed, ["127.0.0.1 81"]);
  await other.guest("R 1:1");
  await gw.empties(0);
});
