/** Rows 23 and 24: roles that a guest does not have, and DHCP. */
import { assert, assertEquals } from "@std/assert";
import type { CounterName } from "../../lib/stack/counters.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_LL,
  GATEWAY_MAC,
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
  pattern,
  read,
  u16,
  u32,
  udp,
} from "../support/packets.ts";
import { HOST4, HOST6 } from "../support/virtual_host.ts";
import { flood } from "./flood.ts";
import { HostileGuest } from "./hostile_guest.ts";
import { pings } from "./probe.ts";

/** Sends frames of which each is dropped, without a word, under this name. */
async function drops(gw: HostileGuest, counter: CounterName, ...frames: Uint8Array[]) {
  await gw.sends(...frames);
  gw.silent().counts({ [counter]: frames.length });
}

/** A message of neighbor discovery: what follows its checksum, and where it goes. */
interface Discovery {
  readonly body: Uint8Array;
  readonly destination: string;
  readonly source?: string;
  readonly hopLimit?: number;
}

function discovery(type: number, options: Discovery): Uint8Array {
  const { body, destination, source = GUEST_LL, hopLimit = 255 } = options;
  const packet = icmp6(source, destination, type, 0, [...body.slice(0, 4)], body.slice(4));
  const frame = ip6(packet, { source, destination, next: 58, hopLimit });
  return ethernet(frame, destination.startsWith("ff") ? { destination: "33:33:00:00:00:01" } : {});
}

// CVE-2020-10749: a container's router advertisements made the traffic of its host and of its
// neighbors come by the container.
Deno.test("hostile 23: a guest's router advertisements and redirects change nothing", async () => {
  await using gw = await HostileGuest.start();
  const prefix = concat([3, 4, 64, 0xc0], u32(86_400), u32(86_400), u32(0), ip("2001:db8:bad::"));
  const resolver = concat([25, 3, 0, 0], u32(86_400), ip(GUEST6));
  const link = concat([1, 1], mac(GUEST_MAC));
  const head = concat([255, 0xc0], u16(9000), u32(0), u32(0));
  const advertisement = concat(head, prefix, resolver, link);
  const redirect = concat(u32(0), ip(GUEST_LL), ip(HOST6), [2, 1], mac(GUEST_MAC));
  for (const destination of ["ff02::1", GATEWAY_LL, GATEWAY6]) {
    await drops(
      gw,
      "drop.role",
      discovery(134, { body: advertisement, destination }),
      discovery(134, { body: advertisement, destination, source: GUEST6, hopLimit: 64 }),
      discovery(134, { body: new Uint8Array(4), destination }), // one that is cut short
      discovery(137, { body: redirect, destination }),
    );
    const spoofed = { body: advertisement, destination, source: "fe80::1234:5678:9abc:def0" };
    await drops(gw, "drop.role", discovery(134, spoofed));
  }
  const own = { body: advertisement, destination: "ff02::1", source: GATEWAY_LL };
  await drops(gw, "drop.ip.src", discovery(134, own));
  const redirect4 = icmp4(5, 1, [...ip(GUEST4)], ip4(pattern(8), { destination: HOST4 }));
  const router4 = icmp4(9, 0, [1, 2, 255, 255], concat(ip(GUEST4), u32(0)));
  const plain = { protocol: 1 };
  await drops(
    gw,
    "drop.role",
    ethernet(ip4(redirect4, plain)),
    ethernet(ip4(redirect4, { ...plain, destination: HOST4 })),
    ethernet(ip4(router4, plain)),
  );
  await drops(gw, "drop.ip.dst", ethernet(ip4(router4, { ...plain, destination: "224.0.0.1" })));
  // Nor does it hold the gateway's addresses, or the MAC of another.
  const claim = (address: string, owner: string) => ({
    body: concat([0x20, 0, 0, 0], ip(address), [2, 1], mac(owner)),
    destination: "ff02::1",
  });
  const claims = [claim(GATEWAY6, GUEST_MAC), claim(GATEWAY_LL, GUEST_MAC)];
  await drops(gw, "drop.role", ...claims.map((it) => discovery(136, it)));
  await drops(gw, "drop.icmp", discovery(136, claim(GUEST6, GATEWAY_MAC)));
  // What the gateway says of itself is what it said before.
  await gw.sends(discovery(133, { body: concat(u32(0), link), destination: "ff02::2" }));
  const [told, ...others] = gw.frames().map(read);
  assertEquals([told!.source, told!.payload[0], others], [GATEWAY_LL, 134, []]);
  const words = told!.payload.toString();
  assert(words.includes(ip("fd53:4d00::").toString()), "the prefix of the link");
  assert(!words.includes(ip("2001:db8:bad::").toString()), "not the guest's");
  gw.counts({});
  await pings(gw);
  await gw.empties(0);
});

/** Fields of a DHCP message that differ from those of a client without an address. */
interface Dhcp {
  readonly op?: number;
  readonly htype?: number;
  readonly hlen?: number;
  readonly relay?: string;
  readonly clientMac?: string;
  readonly cookie?: number;
}

const DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5, NAK = 6;
const END = 255;
/** Octets in front of the options, and offset of the client's MAC. */
const FIXED_BYTES = 240, MAC_OFFSET = 28;

function dhcp(options: readonly number[], fields: Dhcp = {}): Uint8Array {
  return concat(
    [fields.op ?? 1, fields.htype ?? 1, fields.hlen ?? 6, 0],
    u32(0x1234_5678),
    u32(0),
    new Uint8Array(12),
    ip(fields.relay ?? "0.0.0.0"),
    mac(fields.clientMac ?? GUEST_MAC),
    new Uint8Array(10 + 64 + 128),
    u32(fields.cookie ?? 0x6382_5363),
    options,
  );
}

/** A DHCP message in its frame: from a client without an address to everybody. */
function broadcast(message: Uint8Array, from = 68, to = 67, source = "0.0.0.0"): Uint8Array {
  const destination = "255.255.255.255";
  const packet = ip4(udp(source, from, destination, to, message), { source, destination });
  return ethernet(packet, { destination: BROADCAST_MAC });
}

function type(value: number): number[] {
  return [53, 1, value];
}

/** An honest client gets its lease, and the octets of the replies are its own. */
async function leases(gw: HostileGuest): Promise<void> {
  for (const [asked, told] of [[DISCOVER, OFFER], [REQUEST, ACK]] as const) {
    const wanted = asked === REQUEST ? [50, 4, ...ip(GUEST4), 54, 4, ...ip(GATEWAY4)] : [];
    await gw.sends(broadcast(dhcp([...type(asked), ...wanted, END])));
    const [reply, ...others] = gw.packets();
    const data = reply!.payload.slice(8);
    assertEquals([reply!.source, others], [GATEWAY4, []]);
    assertEquals(data.slice(16, 20), ip(GUEST4), "yiaddr");
    assertEquals(data.slice(28, 44), concat(mac(GUEST_MAC), new Uint8Array(10)), "chaddr");
    assertEquals(data.slice(44, 236), new Uint8Array(192), "sname and file");
    assertEquals(data.slice(240, 243), Uint8Array.from(type(told)));
  }
}

Deno.test("hostile 23: messages of a DHCP server are dropped by their role, in both families", async () => {
  await using gw = await HostileGuest.start();
  const unicast = (message: Uint8Array, from: number, to: number) =>
    ethernet(ip4(udp(GUEST4, from, GATEWAY4, to, message)));
  for (const answer of [OFFER, ACK, NAK]) {
    const message = dhcp([...type(answer), 54, 4, ...ip(GUEST4), END], { op: 2 });
    await drops(
      gw,
      "drop.role",
      broadcast(message, 67, 68, GUEST4), // as a server sends it
      unicast(message, 67, 68),
      broadcast(message), // in a client's envelope
      unicast(message, 68, 67),
      broadcast(dhcp([...type(answer), END])),
    );
    const spoofed = ["0.0.0.0", GATEWAY4].map((source) => broadcast(message, 67, 68, source));
    await drops(gw, "drop.ip.src", ...spoofed);
  }
  const identifier = concat(u16(2), u16(10), [0, 3, 0, 1], mac(GUEST_MAC));
  for (const answer of [2, 7, 10]) { // advertise, reply, reconfigure
    const message = concat([answer, 1, 2, 3], identifier);
    const frame = (destination: string, from: number, to: number) => {
      const datagram = udp(GUEST_LL, from, destination, to, message);
      const group = destination.startsWith("ff") ? { destination: "33:33:00:01:00:02" } : {};
      return ethernet(ip6(datagram, { source: GUEST_LL, destination }), group);
    };
    await drops(
      gw,
      "drop.role",
      frame("ff02::1", 547, 546),
      frame(GATEWAY_LL, 547, 546),
      frame(GATEWAY6, 547, 546),
      frame("ff02::1:2", 546, 547),
      frame(GATEWAY_LL, 546, 547),
    );
  }
  await leases(gw);
  gw.silent().counts({ "dhcp.leases": 1 });
  await gw.empties(0);
});

// CVE-2021-3592: a message shorter than the fixed part was read as if it were whole, and what stood
// behind it in memory came back in the reply.
Deno.test("hostile 24: a DHCP message of every length below its fixed part is dropped", async () => {
  await using gw = await HostileGuest.start();
  const whole = dhcp([...type(DISCOVER), END]);
  const secret = concat(whole, pattern(400, 66));
  for (let bytes = 0; bytes < FIXED_BYTES; bytes++) {
    await gw.sends(concat(broadcast(whole.slice(0, bytes)), secret.slice(bytes)));
  }
  gw.silent().counts({ "drop.dhcp": FIXED_BYTES });
  // Behind the fixed part a type must stand inside the datagram, not only inside the frame.
  for (let bytes = FIXED_BYTES; bytes < FIXED_BYTES + 3; bytes++) {
    const frame = concat(broadcast(whole.slice(0, bytes)), secret.slice(bytes));
    await drops(gw, "drop.dhcp", frame);
  }
  await leases(gw);
  gw.silent().counts({ "dhcp.leases": 1 });
  await gw.empties(0);
});

Deno.test("hostile 24: DHCP options over the end and fields that lie are dropped", async () => {
  await using gw = await HostileGuest.start();
  const asks = type(DISCOVER);
  const options: number[][] = [
    [...asks, 12], // a code without a length
    [...asks, 12, 200, 65], // a length over the end
    [...asks, 61, 255, 1],
    [...asks, 12, 1], // a value that would begin at the end
    [53, 0, END], // lengths that their kinds can't have
    [53, 2, 1, 1, END],
    [...asks, 50, 3, 1, 2, 3, END],
    [...asks, 50, 0, END],
    [...asks, 54, 5, 1, 2, 3, 4, 5, END],
    [...asks, 57, 1, 2, END],
    [...asks, 61, 0, END],
    [...asks, 55, 0, END],
    [...asks, 52, 1, 3, END], // more options in the fields for names
  ];
  await drops(gw, "drop.dhcp", ...options.map((it) => broadcast(dhcp(it))));
  const fields: Dhcp[] = [
    ...[0, 1, 5, 7, 16, 17, 255].map((hlen) => ({ hlen })),
    ...[0, 2, 6, 255].map((htype) => ({ htype })),
    ...[0, 3, 255].map((op) => ({ op })),
    { relay: "10.0.0.1" },
    { relay: GATEWAY4 },
    ...[GATEWAY_MAC, BROADCAST_MAC, "02:53:4d:00:00:03"].map((clientMac) => ({ clientMac })),
    ...[0, 0x6382_5362, 0x5363_6382].map((cookie) => ({ cookie })),
  ];
  const all = [...asks, END];
  await drops(gw, "drop.dhcp", ...fields.map((it) => broadcast(dhcp(all, it))));
  const types = [0, 9, 13, 18, 200, 255];
  await drops(gw, "drop.dhcp", ...types.map((it) => broadcast(dhcp([...type(it), END]))));
  await leases(gw);
  gw.silent().counts({ "dhcp.leases": 1 });
  await gw.empties(0);
});

Deno.test("hostile 24: a link has one lease, whoever asks how often", async () => {
  await using gw = await HostileGuest.start();
  await leases(gw);
  gw.silent().counts({ "dhcp.leases": 1 });
  // Of a hundred thousand clients all but the guest's own MAC are strangers.
  const count = 100_000;
  const dhcpAt = 14 + 20 + 8;
  const frame = broadcast(dhcp([...type(DISCOVER), END]));
  await flood(gw, count, frame, (_, view, i) => {
    view.setUint16(dhcpAt - 2, 0); // UDP without a checksum
    view.setUint32(dhcpAt + MAC_OFFSET + 2, 0x4d00_0002 + i); // the guest's, and on from it
  });
  assertEquals(gw.packets().length, 1, "the guest's own offer");
  gw.counts({ "drop.dhcp": count - 1 });
  // Whichever address it wants, there is this one.
  const others = Array.from({ length: 256 }, (_, i) => i).filter((i) => i !== 2);
  for (const last of others) {
    const wanted = [50, 4, 100, 96, 0, last];
    await gw.sends(broadcast(dhcp([...type(REQUEST), ...wanted, END])));
  }
  const told = gw.packets().map(({ payload }) => payload[8 + FIXED_BYTES + 2]);
  assertEquals(told, others.map(() => NAK));
  gw.counts({});
  for (let i = 0; i < 20; i++) { // to renew is no other lease
    await gw.sends(broadcast(dhcp([...type(REQUEST), 50, 4, ...ip(GUEST4), END])));
    assertEquals(gw.packets().map(({ payload }) => payload[8 + FIXED_BYTES + 2]), [ACK]);
    gw.counts(i === 0 ? { "dhcp.leases": 1 } : {}); // the offer had ended the first
  }
  await pings(gw);
  await gw.empties(0);
});
