/** Leases of DHCPv6, message by message. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { StackHarness } from "../support/stack_harness.ts";
import { dhcpFixture } from "./dhcp_fixtures.ts";
import {
  concat,
  ethernet,
  GATEWAY6,
  GATEWAY_LL,
  GATEWAY_MAC,
  GUEST6,
  GUEST_LL,
  GUEST_MAC,
  ip,
  ip6,
  mac,
  u16,
  u32,
  udp,
} from "../support/packets.ts";

const SOLICIT = 1, ADVERTISE = 2, REQUEST = 3, CONFIRM = 4, RENEW = 5, REBIND = 6, REPLY = 7;
const RELEASE = 8, DECLINE = 9;
const SERVERS = "ff02::1:2";
const NEIGHBOR6 = "fd53:4d00::77";
const ELSEWHERE6 = "2001:db8::77";
const NAMES = new TextEncoder().encode("\x02vm\x08internal\0");

function option(code: number, ...value: (Uint8Array | readonly number[])[]): Uint8Array {
  const whole = concat(...value);
  return concat(u16(code), u16(whole.length), whole);
}

const CLIENT_ID = option(1, [0, 3, 0, 1], mac(GUEST_MAC));
const SERVER_ID = option(2, [0, 3, 0, 1], mac(GATEWAY_MAC));
const OTHER_SERVER = option(2, [0, 3, 0, 1], mac(GUEST_MAC));
const NO_EXTRAS = option(6, [0, 31]);
const DNS = option(23, ip(GATEWAY6));
const PREFERENCE = option(7, [255]);
const RAPID = option(14);
const DAY = 86_400;

const address = (text: string, seconds = 0) => option(5, ip(text), u32(seconds), u32(seconds));
const iaNa = (id: number, ...inside: Uint8Array[]) => option(3, u32(id), u32(0), u32(0), ...inside);
const iaTa = (id: number, ...inside: Uint8Array[]) => option(4, u32(id), ...inside);
const iaPd = (id: number, ...inside: Uint8Array[]) =>
  option(25, u32(id), u32(0), u32(0), ...inside);
const status = (code: number) => option(13, u16(code));
const leased = (id: number, ...more: Uint8Array[]) => {
  return option(3, u32(id), u32(DAY / 2), u32((DAY / 5) * 4), address(GUEST6, DAY), ...more);
};

function message(type: number, ...options: Uint8Array[]): Uint8Array {
  return concat([type, 1, 2, 3], ...options);
}

function dhcp(data: Uint8Array, destination = SERVERS): Uint8Array {
  const packet = ip6(udp(GUEST_LL, 546, destination, 547, data), { source: GUEST_LL, destination });
  return ethernet(packet, destination === SERVERS ? { destination: "33:33:00:01:00:02" } : {});
}

/** What a message of the client is answered with. */
function answer(h: StackHarness, data: Uint8Array): Uint8Array {
  h.push(dhcp(data));
  const { source, destination, payload } = h.reply();
  assertEquals([source, destination], [GATEWAY_LL, GUEST_LL]);
  assertEquals(payload.slice(0, 4), concat(u16(547), u16(546)));
  return payload.slice(8);
}

/** Where published ports lead. */
function preferred(h: StackHarness): Uint8Array | null {
  const at = h.stack.addresses.preferredAt;
  return at < 0 ? null : h.memory.bytes.slice(at, at + 16);
}

Deno.test("dhcp6 lease: asked for, offered, taken, renewed, given back", () => {
  const h = new StackHarness({ search: "vm.internal" });
  const offer = answer(h, message(SOLICIT, CLIENT_ID, iaNa(7)));
  const rest = [DNS, option(24, NAMES)];
  assertEquals(offer, message(ADVERTISE, CLIENT_ID, SERVER_ID, PREFERENCE, leased(7), ...rest));
  assertEquals([h.dhcp6.leased, preferred(h)], [false, null]);
  const lease = message(REPLY, CLIENT_ID, SERVER_ID, leased(7), ...rest);
  const held = iaNa(7, address(GUEST6, DAY));
  assertEquals(answer(h, message(REQUEST, CLIENT_ID, SERVER_ID, held)), lease);
  assertEquals([h.dhcp6.leased, preferred(h)], [true, ip(GUEST6)]);
  assertEquals(answer(h, message(RENEW, CLIENT_ID, SERVER_ID, held)), lease);
  assertEquals(answer(h, message(REBIND, CLIENT_ID, held)), lease);
  assertEquals(h.counted(), { "dhcp.leases": 1 });
  const noted = message(REPLY, CLIENT_ID, SERVER_ID, status(0));
  assertEquals(answer(h, message(RELEASE, CLIENT_ID, SERVER_ID, held)), noted);
  assertEquals([h.dhcp6.leased, preferred(h)], [false, null]);
});

Deno.test("dhcp6 lease: a real client's question: ISC dhclient", () => {
  const h = new StackHarness();
  h.push(dhcpFixture("dhclient_solicit"));
  const { payload } = h.reply();
  assertEquals(payload[8], ADVERTISE);
  assert(payload.toString().includes(address(GUEST6, DAY).toString()));
});

Deno.test("dhcp6 lease: rapid commit needs one question", () => {
  const h = new StackHarness();
  const got = answer(h, message(SOLICIT, CLIENT_ID, RAPID, iaNa(7), NO_EXTRAS));
  assertEquals(got, message(REPLY, CLIENT_ID, SERVER_ID, RAPID, leased(7)));
  assertEquals([h.dhcp6.leased, preferred(h)], [true, ip(GUEST6)]);
  assertEquals(h.counted(), { "dhcp.leases": 1 });
  // Without anything to commit to it is an offer of nothing.
  const none = answer(h, message(SOLICIT, CLIENT_ID, RAPID, iaPd(7), NO_EXTRAS));
  assertEquals(none, message(ADVERTISE, CLIENT_ID, SERVER_ID, PREFERENCE, iaPd(7, status(6))));
});

Deno.test("dhcp6 lease: there is one address, and neither prefixes nor temporary ones", () => {
  const h = new StackHarness();
  const asked = [iaTa(1), iaNa(2), iaPd(3), iaNa(4), NO_EXTRAS];
  const some = [iaTa(1, status(2)), leased(2), iaPd(3, status(6)), iaNa(4, status(2))];
  const offer = message(ADVERTISE, CLIENT_ID, SERVER_ID, PREFERENCE, ...some);
  assertEquals(answer(h, message(SOLICIT, CLIENT_ID, ...asked)), offer);
  const reply = message(REPLY, CLIENT_ID, SERVER_ID, ...some);
  assertEquals(answer(h, message(REQUEST, CLIENT_ID, SERVER_ID, ...asked)), reply);
  // The one that names it keeps it, wherever it stands.
  const second = [iaNa(2), iaNa(4, address(GUEST6)), NO_EXTRAS];
  const kept = message(REPLY, CLIENT_ID, SERVER_ID, iaNa(2, status(2)), leased(4));
  assertEquals(answer(h, message(REQUEST, CLIENT_ID, SERVER_ID, ...second)), kept);
  const nothing = message(ADVERTISE, CLIENT_ID, SERVER_ID, PREFERENCE, iaTa(9, status(2)));
  assertEquals(answer(h, message(SOLICIT, CLIENT_ID, iaTa(9), NO_EXTRAS)), nothing);
});

Deno.test("dhcp6 lease: another address is let go of, one of another link is told so", () => {
  const h = new StackHarness();
  const held = iaNa(7, address(NEIGHBOR6, 50), address(GUEST6, 50));
  for (const type of [RENEW, REBIND]) {
    const server = type === RENEW ? [SERVER_ID] : [];
    const got = answer(h, message(type, CLIENT_ID, ...server, held, NO_EXTRAS));
    assertEquals(got, message(REPLY, CLIENT_ID, SERVER_ID, leased(7, address(NEIGHBOR6, 0))));
  }
  const second = [iaNa(1), iaNa(2, address(ELSEWHERE6)), NO_EXTRAS];
  const gone = iaNa(2, address(ELSEWHERE6, 0), status(2));
  const got = answer(h, message(REBIND, CLIENT_ID, ...second));
  assertEquals(got, message(REPLY, CLIENT_ID, SERVER_ID, leased(1), gone));
  for (const to of [ELSEWHERE6, GATEWAY6, "fe80::1", "::", "ff02::1"]) {
    const wanted = iaNa(7, address(to));
    const told = answer(h, message(REQUEST, CLIENT_ID, SERVER_ID, wanted, NO_EXTRAS));
    assertEquals(told, message(REPLY, CLIENT_ID, SERVER_ID, iaNa(7, status(4))), to);
  }
  const near = answer(
    h,
    message(REQUEST, CLIENT_ID, SERVER_ID, iaNa(7, address(NEIGHBOR6)), NO_EXTRAS),
  );
  assertEquals(near, message(REPLY, CLIENT_ID, SERVER_ID, leased(7)));
});

Deno.test("dhcp6 lease: a guest that wakes up asks whether it is still on the link", () => {
  const rows: [Uint8Array[], number][] = [
    [[iaNa(7, address(GUEST6))], 0],
    [[iaNa(7, address(NEIGHBOR6))], 4],
    [[iaNa(7, address(ELSEWHERE6))], 4],
    [[iaNa(7, address(GUEST6), address(ELSEWHERE6))], 4],
    [[iaNa(7, address(GUEST6)), iaTa(8, address(NEIGHBOR6))], 4],
    [[iaNa(7), iaNa(8, address(GUEST6))], 0],
  ];
  for (const [ias, code] of rows) {
    const h = new StackHarness();
    const got = answer(h, message(CONFIRM, CLIENT_ID, ...ias));
    assertEquals(got, message(REPLY, CLIENT_ID, SERVER_ID, status(code)));
    assertEquals(preferred(h), code === 0 ? ip(GUEST6) : null);
  }
  const h = new StackHarness();
  h.drops(dhcp(message(CONFIRM, CLIENT_ID, iaNa(7))), "drop.dhcp");
});

Deno.test("dhcp6 lease: given back or declined, it is offered again; what was not leased is unknown", () => {
  for (const type of [RELEASE, DECLINE]) {
    const h = new StackHarness();
    answer(h, message(REQUEST, CLIENT_ID, SERVER_ID, iaNa(7)));
    h.stack.addresses.confirm(h.place(ip(NEIGHBOR6)));
    const unknown = [iaNa(1, address(NEIGHBOR6)), iaPd(2), iaTa(3, address(GUEST6))];
    const told = [iaNa(1, status(3)), iaPd(2, status(3)), iaTa(3, status(3))];
    const not = answer(h, message(type, CLIENT_ID, SERVER_ID, ...unknown));
    assertEquals(not, message(REPLY, CLIENT_ID, SERVER_ID, status(0), ...told));
    assertEquals([h.dhcp6.leased, h.stack.addresses.count], [true, 2]);
    const held = iaNa(7, address(GUEST6));
    const done = answer(h, message(type, CLIENT_ID, SERVER_ID, held, iaPd(2)));
    assertEquals(done, message(REPLY, CLIENT_ID, SERVER_ID, status(0), iaPd(2, status(3))));
    assertEquals([h.dhcp6.leased, preferred(h)], [false, ip(NEIGHBOR6)]);
    const again = answer(h, message(SOLICIT, CLIENT_ID, iaNa(7), NO_EXTRAS));
    assertEquals(again, message(ADVERTISE, CLIENT_ID, SERVER_ID, PREFERENCE, leased(7)));
  }
});

Deno.test("dhcp6 lease: identifiers are there, and only where they belong", () => {
  const h = new StackHarness();
  for (const type of [SOLICIT, REQUEST, CONFIRM, RENEW, REBIND, RELEASE, DECLINE]) {
    const names = [REQUEST, RENEW, RELEASE, DECLINE].includes(type);
    const right = names ? [SERVER_ID] : [];
    const wrong = names ? [] : [SERVER_ID];
    const ia = iaNa(7, address(GUEST6));
    h.drops(dhcp(message(type, ...right, ia)), "drop.dhcp");
    h.drops(dhcp(message(type, CLIENT_ID, ...wrong, ia)), "drop.dhcp");
    h.drops(dhcp(message(type, CLIENT_ID, OTHER_SERVER, ia)), "drop.dhcp");
    h.drops(dhcp(message(type, CLIENT_ID, ...right)), "drop.dhcp");
    h.drops(dhcp(message(type, option(1, new Uint8Array(131)), ...right, ia)), "drop.dhcp");
    assertEquals(answer(h, message(type, CLIENT_ID, ...right, ia)).length > 0, true);
  }
  h.drops(dhcp(message(11, CLIENT_ID, iaNa(7))), "drop.dhcp");
});

Deno.test("dhcp6 lease: to one address nothing is leased", () => {
  const h = new StackHarness();
  const ia = iaNa(7, address(GUEST6));
  for (const to of [GATEWAY_LL, GATEWAY6]) {
    for (const type of [REQUEST, RENEW, RELEASE, DECLINE]) {
      h.push(dhcp(message(type, CLIENT_ID, SERVER_ID, ia), to));
      const told = h.reply().payload.slice(8);
      assertEquals(told, message(REPLY, CLIENT_ID, SERVER_ID, status(5)));
    }
    for (const type of [SOLICIT, CONFIRM, REBIND]) {
      h.drops(dhcp(message(type, CLIENT_ID, ia), to), "drop.dhcp");
    }
    h.drops(dhcp(message(11, CLIENT_ID), to), "drop.dhcp");
  }
  assertEquals([h.dhcp6.leased, preferred(h)], [false, null]);
});

Deno.test("dhcp6 lease: the longest question has an answer that fits the smallest MTU", () => {
  const label = `${"x".repeat(61)}.`;
  const h = new StackHarness({ link: { mtu: 1280 }, search: `${label.repeat(4).slice(0, -1)}` });
  const client = option(1, new Uint8Array(130).fill(7));
  const pairs = Array.from({ length: 8 }, (_, i) => {
    return iaNa(i, address(`fd53:4d00::1:${i}`), address(`fd53:4d00::2:${i}`));
  });
  for (const [type, head] of [[RENEW, [SERVER_ID]], [REBIND, []]] as const) {
    const got = answer(h, message(type, client, ...head, ...pairs));
    assertEquals(got.length > 900 && got.length <= 1280 - 48, true, `${got.length}`);
  }
  answer(h, message(SOLICIT, client, RAPID, ...pairs));
  const nine = [...pairs, iaNa(9)];
  h.drops(dhcp(message(SOLICIT, client, ...nine)), "drop.dhcp");
  const more = iaNa(1, ...Array.from({ length: 17 }, () => address(GUEST6)));
  h.drops(dhcp(message(SOLICIT, client, more)), "drop.dhcp");
});

Deno.test("dhcp6 lease: any octets are survived, and an honest client gets its lease afterwards", () => {
  const type = fc.constantFrom(SOLICIT, REQUEST, CONFIRM, RENEW, REBIND, RELEASE, DECLINE);
  const piece = fc.oneof(
    fc.constantFrom(
      CLIENT_ID,
      SERVER_ID,
      RAPID,
      iaNa(7),
      iaNa(7, address(GUEST6)),
      iaPd(1),
      iaTa(2),
    ),
    fc.constantFrom(iaNa(1, address(ELSEWHERE6)), NO_EXTRAS, OTHER_SERVER, status(0)),
    fc.uint8Array({ maxLength: 30 }),
    fc.uint8Array({ maxLength: 40 }).map((inside) => iaNa(3, inside)),
  );
  fc.assert(
    fc.property(type, fc.array(piece, { maxLength: 10 }), (type, pieces) => {
      const h = new StackHarness();
      h.push(dhcp(message(type, ...pieces)));
      const sent = h.sent();
      assert(sent.length <= 1 && sent.every((frame) => frame.length <= 1294));
      const lease = answer(h, message(REQUEST, CLIENT_ID, SERVER_ID, iaNa(7), NO_EXTRAS));
      assertEquals(lease, message(REPLY, CLIENT_ID, SERVER_ID, leased(7)));
      assertEquals(preferred(h), ip(GUEST6));
    }),
    { numRuns: 500 },
  );
});
