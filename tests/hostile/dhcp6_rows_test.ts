/** Row 24 for DHCPv6: a link has one lease, and nothing of a message is believed unread. */
import { assert, assertEquals } from "@std/assert";
import {
  concat,
  ethernet,
  GATEWAY_LL,
  GATEWAY_MAC,
  GUEST6,
  GUEST_LL,
  GUEST_MAC,
  ip,
  ip6,
  mac,
  pattern,
  u16,
  u32,
  udp,
} from "../support/packets.ts";
import { flood } from "./flood.ts";
import { HostileGuest } from "./hostile_guest.ts";
import { pings } from "./probe.ts";

const SOLICIT = 1, REQUEST = 3, RENEW = 5, REPLY = 7, RELEASE = 8;
const SERVERS = "ff02::1:2";
const DUID_AT = 14 + 40 + 8 + 4 + 4;

function option(code: number, ...value: (Uint8Array | readonly number[])[]): Uint8Array {
  const whole = concat(...value);
  return concat(u16(code), u16(whole.length), whole);
}

const CLIENT_ID = option(1, [0, 3, 0, 1], mac(GUEST_MAC));
const SERVER_ID = option(2, [0, 3, 0, 1], mac(GATEWAY_MAC));
const address = (text: string) => option(5, ip(text), u32(60), u32(60));
const iaNa = (...inside: Uint8Array[]) => option(3, u32(7), u32(0), u32(0), ...inside);

function dhcp(type: number, ...options: Uint8Array[]): Uint8Array {
  const data = concat([type, 1, 2, 3], ...options);
  const payload = udp(GUEST_LL, 546, SERVERS, 547, data);
  const packet = ip6(payload, { source: GUEST_LL, destination: SERVERS });
  return ethernet(packet, { destination: "33:33:00:01:00:02" });
}

/** An honest client gets its lease, and nothing that it did not ask for. */
async function leases(gw: HostileGuest): Promise<void> {
  await gw.sends(dhcp(REQUEST, CLIENT_ID, SERVER_ID, iaNa(), option(6, [0, 31])));
  const [reply, ...others] = gw.packets();
  assertEquals([reply!.source, reply!.destination, others], [GATEWAY_LL, GUEST_LL, []]);
  const lease = option(5, ip(GUEST6), u32(86_400), u32(86_400));
  const ia = option(3, u32(7), u32(43_200), u32(69_120), lease);
  assertEquals(reply!.payload.slice(8), concat([REPLY, 1, 2, 3], CLIENT_ID, SERVER_ID, ia));
}

Deno.test("hostile 24: DHCPv6 options over the end, of wrong lengths or too many are dropped", async () => {
  await using gw = await HostileGuest.start();
  const ids = [CLIENT_ID, SERVER_ID];
  const long = new Uint8Array(131);
  const bad: Uint8Array[][] = [
    [CLIENT_ID, SERVER_ID, Uint8Array.of(0, 3)],
    [CLIENT_ID, SERVER_ID, Uint8Array.of(0, 3, 255, 255, 0)],
    [option(1), SERVER_ID, iaNa()],
    [option(1, long), SERVER_ID, iaNa()],
    [CLIENT_ID, option(2, long), iaNa()],
    [...ids, option(3, u32(7), u32(0))],
    [...ids, option(4, [1, 2, 3])],
    [...ids, option(25, u32(7), u32(0))],
    [...ids, iaNa(Uint8Array.of(0, 5))],
    [...ids, iaNa(Uint8Array.of(0, 5, 0, 24, 1))],
    [...ids, iaNa(Uint8Array.of(0, 5, 255, 255))],
    [...ids, iaNa(option(5, ip(GUEST6), u32(60)))],
    [...ids, iaNa(), option(14, [1])],
    [...ids, iaNa(), option(6, [1])],
    [...ids, ...Array.from({ length: 9 }, () => iaNa())],
    [...ids, iaNa(...Array.from({ length: 17 }, () => address(GUEST6)))],
    [...ids, ...Array.from({ length: 2 }, () => iaNa(...Array(9).fill(address(GUEST6))))],
  ];
  const secret = pattern(400, 66);
  for (const type of [SOLICIT, REQUEST, RENEW, RELEASE]) {
    await gw.sends(...bad.map((options) => concat(dhcp(type, ...options), secret)));
    gw.silent().counts({ "drop.dhcp": bad.length });
  }
  await leases(gw);
  gw.counts({ "dhcp.leases": 1 });
  await pings(gw);
  await gw.empties(0);
});

Deno.test("hostile 24: of a DHCPv6 message of any length only what is there is read", async () => {
  await using gw = await HostileGuest.start();
  const whole = concat([RENEW, 1, 2, 3], CLIENT_ID, SERVER_ID, iaNa(address("fd53:4d00::77")));
  const secret = pattern(400, 66);
  let answered = 0;
  for (let bytes = 0; bytes <= whole.length; bytes++) {
    const payload = udp(GUEST_LL, 546, SERVERS, 547, whole.slice(0, bytes));
    const packet = ip6(payload, { source: GUEST_LL, destination: SERVERS });
    await gw.sends(concat(ethernet(packet, { destination: "33:33:00:01:00:02" }), secret));
    answered += gw.packets().length;
  }
  assertEquals(answered, 1, "the whole one");
  gw.counts({ "drop.dhcp": whole.length, "dhcp.leases": 1 });
  await gw.empties(0);
});

Deno.test("hostile 24: a link has one DHCPv6 lease, whoever asks how often", async () => {
  await using gw = await HostileGuest.start();
  await leases(gw);
  gw.counts({ "dhcp.leases": 1 });
  // A hundred thousand identifiers are all of the one guest, and none of them is kept.
  const count = 100_000;
  const frame = dhcp(REQUEST, CLIENT_ID, SERVER_ID, iaNa());
  const sumAt = 14 + 40 + 6;
  gw.takes = false;
  await flood(gw, count, frame, (frame, view, i) => {
    view.setUint32(DUID_AT + 6, i);
    sealUdp6(frame, view, sumAt);
  });
  const { "drop.queue.full": dropped = 0, ...more } = gw.grown();
  assertEquals(more, {});
  gw.takes = true;
  await gw.settle();
  const told = gw.packets();
  assert(dropped > 0 && told.length === count - dropped, `${told.length} answers wait`);
  for (const { payload } of told.slice(0, 50)) {
    assert(payload.toString().includes(ip(GUEST6).toString()), "the one address");
  }
  await gw.run(10);
  await leases(gw);
  gw.counts({});
  await gw.empties(0);
});

/** Puts the UDP checksum right. */
function sealUdp6(frame: Uint8Array, view: DataView, at: number): void {
  view.setUint16(at, 0);
  let sum = 17 + frame.length - 14 - 40;
  for (let i = 14 + 8; i < frame.length; i += 2) {
    sum += (frame[i]! << 8) | (frame[i + 1] ?? 0);
  }
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(at, ~(sum + (sum >>> 16)) & 0xffff || 0xffff);
}
