import { assertEquals } from "@std/assert";
import { type HarnessOptions, StackHarness } from "../support/stack_harness.ts";
import {
  concat,
  ethernet,
  fragment6,
  GATEWAY6,
  GATEWAY_LL,
  GATEWAY_MAC,
  GUEST6,
  GUEST_LL,
  GUEST_MAC,
  icmp6,
  ip,
  ip6,
  mac,
  pattern,
  type Read,
  read,
  u16,
  u32,
} from "../support/packets.ts";

const PRIVACY6 = "fd53:4d00::8c1f:22ff:fe01:99";
const SLLA = concat([1, 1], mac(GUEST_MAC));
const TLLA = concat([2, 1], mac(GUEST_MAC));

interface Message {
  source?: string;
  destination?: string;
  hopLimit?: number;
  code?: number;
  rest?: readonly number[];
}

function nd(type: number, body: Uint8Array, options: Message = {}): Uint8Array {
  const { source = GUEST_LL, destination = GATEWAY_LL, hopLimit = 255 } = options;
  const rest = options.rest ?? [0, 0, 0, 0];
  const message = icmp6(source, destination, type, options.code ?? 0, rest, body);
  return ethernet(ip6(message, { next: 58, hopLimit, source, destination }));
}

function solicitedNode(target: string): string {
  const tail = [...ip(target).slice(13)].map((octet) => octet.toString(16).padStart(2, "0"));
  return `ff02::1:ff${tail[0]}:${tail[1]}${tail[2]}`;
}

function ns(target: string, options: Message = {}, extra: Uint8Array = SLLA): Uint8Array {
  return nd(135, concat(ip(target), extra), {
    destination: solicitedNode(target),
    ...options,
  });
}

function dad(target: string): Uint8Array {
  return ns(target, { source: "::" }, new Uint8Array(0));
}

function assertAdvertises(na: Read, target: string, destination: string, flags: number): void {
  assertEquals([na.source, na.destination, na.ttl], [target, destination, 255]);
  const body = concat([136, 0], na.payload.slice(2, 4), [flags, 0, 0, 0], ip(target), [2, 1]);
  assertEquals(na.payload, concat(body, mac(GATEWAY_MAC)));
}

Deno.test("ndp: the gateway answers for both its addresses, to the one who asks", () => {
  const h = new StackHarness();
  for (const [source, target] of [[GUEST_LL, GATEWAY_LL], [GUEST6, GATEWAY6]] as const) {
    h.push(ns(target, { source }));
    const na = h.reply();
    assertEquals(na.destinationMac, GUEST_MAC);
    assertAdvertises(na, target, source, 0xe0);
  }
  h.push(ns(GATEWAY6, { destination: GATEWAY6, source: GUEST6 }, new Uint8Array(0)));
  assertAdvertises(h.reply(), GATEWAY6, GUEST6, 0xe0);
  assertEquals(h.counted(), { "nd.advertisements": 3 });
});

Deno.test("ndp: nobody answers for other addresses", () => {
  const h = new StackHarness();
  for (const target of ["fd53:4d00::3", GUEST6, "fe80::1", "2001:db8::1"]) {
    h.push(ns(target));
  }
  h.silent();
  assertEquals(h.counted(), {});
});

Deno.test("ndp: duplicate address detection announces the guest's address", () => {
  const h = new StackHarness();
  h.push(dad(PRIVACY6));
  h.silent();
  const { addresses } = h.stack;
  assertEquals(addresses.count, 1);
  const at = addresses.preferredAt;
  assertEquals(h.memory.bytes.slice(at, at + 16), ip(PRIVACY6));
  h.push(dad("fe80::1234"));
  h.push(dad("2001:db8::77"));
  assertEquals([addresses.count, h.counted()], [1, {}]);
});

Deno.test("ndp: the gateway's addresses are defended, to all nodes", () => {
  const h = new StackHarness();
  for (const target of [GATEWAY6, GATEWAY_LL]) {
    h.push(dad(target));
    const na = h.reply();
    assertEquals(na.destinationMac, "33:33:00:00:00:01");
    assertAdvertises(na, target, "ff02::1", 0xa0);
  }
  assertEquals(h.stack.addresses.count, 0);
});

Deno.test("ndp: the guest's advertisements announce, but never the gateway's address", () => {
  const h = new StackHarness();
  const na = (target: string, options: Message = {}) => nd(136, concat(ip(target), TLLA), options);
  const unsolicited = na(PRIVACY6, { destination: "ff02::1", rest: [0x20, 0, 0, 0] });
  h.push(unsolicited);
  assertEquals([h.stack.addresses.count, h.counted()], [1, {}]);
  h.drops(na(GATEWAY6), "drop.role");
  h.drops(na(GATEWAY_LL, { destination: "ff02::1" }), "drop.role");
  const solicitedToAll = na(GUEST6, { destination: "ff02::1", rest: [0x40, 0, 0, 0] });
  h.drops(solicitedToAll, "drop.icmp");
});

Deno.test("ndp: another MAC in a message is dropped, the link has one guest", () => {
  const h = new StackHarness();
  const foreign = concat([1, 1], mac("02:00:00:00:00:99"));
  h.drops(ns(GATEWAY6, {}, foreign), "drop.icmp");
  h.drops(nd(136, concat(ip(PRIVACY6), [2, 1], mac("02:00:00:00:00:99"))), "drop.icmp");
  assertEquals(h.stack.addresses.count, 0);
});

Deno.test("ndp: messages that break the rules of RFC 4861 are dropped", () => {
  const h = new StackHarness();
  h.drops(ns(GATEWAY6, { hopLimit: 254 }), "drop.icmp");
  h.drops(ns(GATEWAY6, { code: 1 }), "drop.icmp");
  h.drops(ns("ff02::1"), "drop.icmp");
  h.drops(ns(GATEWAY6, { source: "::" }), "drop.icmp"); // DAD with a MAC
  const dadToUs = ns(GATEWAY6, { source: "::", destination: GATEWAY6 }, new Uint8Array(0));
  h.drops(dadToUs, "drop.icmp");
  h.drops(nd(135, pattern(19)), "drop.icmp");
  h.drops(nd(136, pattern(15)), "drop.icmp");
  h.drops(ns(GATEWAY6, {}, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)), "drop.icmp");
  h.drops(ns(GATEWAY6, {}, Uint8Array.of(1, 2, 0, 0, 0, 0, 0, 0)), "drop.icmp");
  h.drops(ns(GATEWAY6, {}, Uint8Array.of(1, 1, 0, 0)), "drop.icmp");
  h.push(ns(GATEWAY6, {}, concat(SLLA, [14, 1, 0, 0, 0, 0, 0, 0]))); // an unknown option is skipped
  assertEquals(h.reply().payload[0], 136);
});

Deno.test("ndp: never in fragments (RFC 6980)", () => {
  const h = new StackHarness();
  const whole = icmp6(GUEST_LL, GATEWAY_LL, 135, 0, [0, 0, 0, 0], concat(ip(GATEWAY_LL), SLLA));
  const frame = (from: number, to: number) => {
    const piece = fragment6(whole.slice(from, to), 58, from, to < whole.length, 1);
    const options = { next: 44, hopLimit: 255, source: GUEST_LL, destination: GATEWAY_LL };
    return ethernet(ip6(piece, options));
  };
  h.push(frame(0, 16));
  h.drops(frame(16, whole.length), "drop.icmp");
});

Deno.test("ndp: a router's messages from the guest are dropped by role (CVE-2020-10749)", () => {
  const h = new StackHarness();
  h.drops(nd(134, pattern(8), { destination: "ff02::1" }), "drop.role");
  h.drops(nd(134, pattern(8)), "drop.role");
  h.drops(nd(137, concat(ip(GATEWAY6), ip(GUEST6))), "drop.role");
});

/** The options of a router advertisement by type. */
function optionsOf(payload: Uint8Array): Record<number, Uint8Array> {
  const found: Record<number, Uint8Array> = {};
  for (let i = 16; i < payload.length;) {
    const bytes = payload[i + 1]! * 8;
    found[payload[i]!] = payload.slice(i, i + bytes);
    i += bytes;
  }
  return found;
}

function advertisement(options: HarnessOptions): Read {
  const h = new StackHarness(options);
  h.push(nd(133, SLLA, { destination: "ff02::2" }));
  const ra = h.reply();
  assertEquals([ra.source, ra.destination, ra.ttl], [GATEWAY_LL, GUEST_LL, 255]);
  assertEquals(ra.destinationMac, GUEST_MAC);
  return ra;
}

Deno.test("ndp: an advertisement holds the prefix, the MTU, the resolver and the search domain", () => {
  const ra = advertisement({ link: { mtu: 9000 }, search: "vm.internal" });
  const head = concat([134, 0], ra.payload.slice(2, 4), [64, 0x40], u16(1800), u32(0), u32(0));
  assertEquals(ra.payload.slice(0, 16), head);
  const options = optionsOf(ra.payload);
  assertEquals(Object.keys(options).map(Number), [1, 3, 5, 25, 31]);
  assertEquals(options[1], concat([1, 1], mac(GATEWAY_MAC)));
  assertEquals(options[5], concat([5, 1, 0, 0], u32(9000)));
  const prefix = concat([3, 4, 64, 0xc0], u32(86_400), u32(14_400), u32(0), ip("fd53:4d00::"));
  assertEquals(options[3], prefix);
  assertEquals(options[25], concat([25, 3, 0, 0], u32(1800), ip(GATEWAY6)));
  const names = new TextEncoder().encode("\x02vm\x08internal\0");
  assertEquals(options[31], concat([31, 3, 0, 0], u32(1800), names, new Uint8Array(3)));
});

Deno.test("ndp: without a search domain there is none, without IPv6 above no default router", () => {
  const ra = advertisement({ ipv6Upstream: false });
  assertEquals(ra.payload.slice(6, 8), Uint8Array.of(0, 0));
  const options = optionsOf(ra.payload);
  assertEquals(Object.keys(options).map(Number), [1, 3, 5, 25]);
  assertEquals(options[3]!.slice(2, 4), Uint8Array.of(64, 0xc0));
});

Deno.test("ndp: only a prefix of 64 bits is for addresses", () => {
  const ra = advertisement({ link: { prefix6: 56 } });
  const prefix = optionsOf(ra.payload)[3]!;
  assertEquals(prefix.slice(2, 4), Uint8Array.of(56, 0x80));
  assertEquals(prefix.slice(16), ip("fd53:4d00::"));
});

Deno.test("ndp: addresses are managed where they can't be made from the prefix, and only there", () => {
  for (const [prefix6, flags] of [[64, 0x40], [56, 0xc0], [120, 0xc0]] as const) {
    assertEquals(advertisement({ link: { prefix6 } }).payload[5], flags, `/${prefix6}`);
  }
});

Deno.test("ndp: a guest without an address gets its advertisement by the group", () => {
  const h = new StackHarness();
  h.push(nd(133, new Uint8Array(0), { source: "::", destination: "ff02::2" }));
  const ra = h.reply();
  assertEquals([ra.destination, ra.destinationMac], ["ff02::1", "33:33:00:00:00:01"]);
  assertEquals(ra.payload[0], 134);
  h.drops(nd(133, SLLA, { source: "::", destination: "ff02::2" }), "drop.icmp");
  h.drops(nd(133, SLLA, { destination: "ff02::2", hopLimit: 1 }), "drop.icmp");
});

Deno.test("ndp: unasked advertisements: after 16, 32 and 48 s, then every 10 minutes", () => {
  const h = new StackHarness();
  h.wait(3_600_000);
  h.silent();
  assertEquals(h.stack.pollAt(), Infinity);
  h.push(dad(PRIVACY6));
  const start = h.nowMs;
  const seconds: number[] = [];
  for (let i = 0; i < 5; i++) {
    h.wait(h.stack.pollAt() - h.nowMs);
    const ra = read(h.sent()[0]!);
    assertEquals([ra.payload[0], ra.destination, ra.source], [134, "ff02::1", GATEWAY_LL]);
    seconds.push((h.nowMs - start) / 1000);
  }
  assertEquals(seconds, [16, 32, 48, 648, 1248]);
  assertEquals(h.counted(), {});
});

Deno.test("ndp: malformed messages of another kind don't start them", () => {
  const h = new StackHarness();
  h.drops(ns(GATEWAY6, { hopLimit: 64 }), "drop.icmp");
  assertEquals(h.stack.pollAt(), Infinity);
});
