import { assertEquals } from "@std/assert";
import { StackHarness } from "../support/stack_harness.ts";
import {
  concat,
  ethernet,
  fragment6,
  GATEWAY6,
  GATEWAY_LL,
  GUEST6,
  GUEST_LL,
  GUEST_MAC,
  icmp6,
  ip,
  ip6,
  type Ip6Options,
  mac,
  pattern,
  u32,
  udp,
  WORLD6,
} from "../support/packets.ts";

const DATA = pattern(40);
const OTHER6 = "fd53:4d00::1234:5678:9abc:def0";

function packet(options: Ip6Options = {}, extensions: readonly number[] = []): Uint8Array {
  const destination = options.destination ?? WORLD6;
  const payload = udp(options.source ?? GUEST6, 5000, destination, 53, DATA);
  return ethernet(ip6(concat(extensions, payload), { ...options, destination }));
}

/** An options header of 8 octets: six octets of options. */
function options(next: number, body: readonly number[]): number[] {
  return [next, 0, ...body, ...new Array(6 - body.length).fill(0)];
}

/** A neighbor solicitation by the guest for the gateway. */
function solicitation(source: string, hopLimit = 255): Uint8Array {
  const body = concat(ip(GATEWAY6), [1, 1], mac(GUEST_MAC));
  const message = icmp6(source, GATEWAY6, 135, 0, [0, 0, 0, 0], body);
  return ethernet(ip6(message, { next: 58, hopLimit, source, destination: GATEWAY6 }));
}

Deno.test("ipv6: a packet from the guest passes with its positions checked", () => {
  const h = new StackHarness();
  const got = h.passes(concat(packet({ hopLimit: 9 }), pattern(7)));
  assertEquals([got.family, got.protocol, got.ttl, got.header.length], [6, 17, 9, 40]);
  assertEquals([got.source, got.destination], [ip(GUEST6), ip(WORLD6)]);
  assertEquals(got.payload, udp(GUEST6, 5000, WORLD6, 53, DATA));
});

Deno.test("ipv6: a header that lies is dropped", () => {
  const h = new StackHarness();
  h.drops(ethernet(ip6(DATA, { version: 5 }), { type: 0x86dd }), "drop.ip.hdr");
  h.drops(packet({ payloadBytes: 49 }), "drop.ip.hdr");
  h.drops(packet({ payloadBytes: 65_535 }), "drop.ip.hdr");
  for (const bytes of [0, 39]) {
    h.drops(ethernet(packet().slice(14, 14 + bytes), { type: 0x86dd }), "drop.ip.hdr");
  }
});

Deno.test("ipv6: with IPv6 off nothing of it is looked at", () => {
  const h = new StackHarness({ link: { ipv6: false } });
  h.push(packet());
  assertEquals(h.packets, []);
  h.silent();
});

Deno.test("ipv6: sources are link-local, configured or announced", () => {
  const h = new StackHarness();
  h.passes(packet());
  h.passes(packet({ source: GUEST_LL }));
  for (
    const source of [
      "::",
      "::1",
      "ff02::1",
      "2001:db8::2",
      "::ffff:100.96.0.2",
      "fd53:4d01::2",
      "fd53:4d00::",
      GATEWAY6,
      GATEWAY_LL,
    ]
  ) {
    h.drops(packet({ source }), "drop.ip.src");
  }
});

Deno.test("ipv6: an unannounced source inside the prefix waits until the guest stands by it", () => {
  const h = new StackHarness();
  h.push(packet({ source: OTHER6 }));
  assertEquals([h.packets.length, h.counted()], [0, { "drop.ip.src": 1 }]);
  // The gateway asks for it, at the address itself.
  const question = h.reply();
  assertEquals([question.source, question.protocol, question.ttl], [GATEWAY_LL, 58, 255]);
  assertEquals(question.header.slice(24, 40), ip(OTHER6));
  assertEquals(question.payload.slice(8, 24), ip(OTHER6));
  const target = concat(ip(OTHER6), [2, 1], mac(GUEST_MAC));
  const advertisement = icmp6(OTHER6, GATEWAY_LL, 136, 0, [0x60, 0, 0, 0], target);
  h.push(
    ethernet(
      ip6(advertisement, { next: 58, hopLimit: 255, source: OTHER6, destination: GATEWAY_LL }),
    ),
  );
  h.passes(packet({ source: OTHER6 }));
  h.silent();
});

Deno.test("ipv6: a static guest's question for the gateway announces its source", () => {
  const h = new StackHarness();
  h.push(solicitation(OTHER6));
  assertEquals(h.sent().length, 1);
  h.passes(packet({ source: OTHER6 }));
});

Deno.test("ipv6: nothing is announced from beyond the link, or with a wrong checksum", () => {
  const h = new StackHarness();
  h.push(solicitation(OTHER6, 254));
  assertEquals(h.counted(), { "drop.ip.src": 1 });
  const broken = solicitation(OTHER6);
  broken[14 + 40 + 2]! ^= 1;
  h.push(broken);
  assertEquals(h.counted(), { "drop.csum": 1 });
  const echo = icmp6(OTHER6, GATEWAY6, 128, 0, [0, 0, 0, 0], DATA);
  h.push(ethernet(ip6(echo, { next: 58, source: OTHER6, hopLimit: 255 })));
  assertEquals(h.counted(), { "drop.ip.src": 1 });
  assertEquals(h.stack.addresses.count, 0);
});

Deno.test("ipv6: the questions for unannounced sources are limited", () => {
  const h = new StackHarness();
  for (let i = 0; i < 1000; i++) {
    h.push(packet({ source: `fd53:4d00::${(i + 16).toString(16)}` }));
    h.wait(1);
  }
  const questions = h.sent().length;
  assertEquals([questions >= 4, questions <= 8], [true, true]);
  assertEquals(h.counted(), { "drop.ip.src": 1000 });
});

Deno.test("ipv6: no errors for a source that is not the guest's", () => {
  const h = new StackHarness();
  h.drops(packet({ source: "2001:db8::2", hopLimit: 1 }), "drop.ip.src");
  h.drops(packet({ source: "2001:db8::2", next: 43 }, [17, 0, 0, 1, 0, 0, 0, 0]), "drop.ip.src");
  h.drops(packet({ source: "2001:db8::2", next: 99 }), "drop.ip.src");
});

Deno.test("ipv6: source and destination the same is dropped", () => {
  const h = new StackHarness();
  h.drops(packet({ destination: GUEST6 }), "drop.ip.land");
});

Deno.test("ipv6: groups are for neighbor discovery, MLD and DHCPv6", () => {
  const h = new StackHarness({ dhcp: false });
  h.drops(packet({ destination: "ff02::fb" }), "drop.ip.dst");
  h.drops(packet({ destination: "ff0e::1" }), "drop.ip.dst");
  const echo = icmp6(GUEST6, "ff02::1", 128, 0, [0, 0, 0, 0], DATA);
  h.drops(ethernet(ip6(echo, { next: 58, destination: "ff02::1" })), "drop.ip.dst");
  const piece = fragment6(DATA, 17, 0, true, 1);
  h.drops(ethernet(ip6(piece, { next: 44, destination: "ff02::1" })), "drop.ip.dst");
  const onGroup = packet();
  onGroup.set([0x33, 0x33, 0, 0, 0, 1], 0);
  h.drops(onGroup, "drop.ip.dst");
  const dhcp = udp(GUEST_LL, 546, "ff02::1:2", 547, DATA);
  h.passes(ethernet(ip6(dhcp, { source: GUEST_LL, destination: "ff02::1:2" })));
  // Linux reports its groups from :: with a router alert; that is neither a fault nor answered.
  const report = icmp6("::", "ff02::16", 143, 0, [0, 0, 0, 0], pattern(20));
  const alert = options(58, [5, 2, 0, 0, 1, 0]);
  h.push(
    ethernet(
      ip6(concat(alert, report), { next: 0, hopLimit: 1, source: "::", destination: "ff02::16" }),
    ),
  );
  assertEquals(h.counted(), {});
  h.silent();
});

Deno.test("ipv6: what a DHCP server would send is dropped by role", () => {
  const h = new StackHarness();
  const reply = (destination: string) =>
    ethernet(
      ip6(udp(GUEST_LL, 547, destination, 546, DATA), { source: GUEST_LL, destination }),
    );
  for (const destination of ["ff02::1", "ff02::1:2", GATEWAY_LL, GATEWAY6]) {
    h.drops(reply(destination), "drop.role");
  }
  h.passes(reply(WORLD6));
});

Deno.test("ipv6: a hop limit of 1 ends at the gateway, with 3/0 for what is behind it", () => {
  for (const hopLimit of [0, 1]) {
    const h = new StackHarness();
    const frame = packet({ hopLimit });
    h.push(frame);
    const error = h.reply();
    assertEquals([error.source, error.destination, error.protocol], [GATEWAY6, GUEST6, 58]);
    assertEquals(error.payload.slice(0, 2), Uint8Array.of(3, 0));
    assertEquals(error.payload.slice(8), frame.slice(14));
    assertEquals(h.counted(), { "drop.ip.ttl": 1, "icmp.errors": 1 });
    h.passes(packet({ hopLimit, destination: GATEWAY6 }));
    h.passes(packet({ hopLimit, source: GUEST_LL, destination: GATEWAY_LL }));
    const later = fragment6(DATA, 17, 80, true, 1);
    h.drops(ethernet(ip6(later, { next: 44, hopLimit, destination: WORLD6 })), "drop.ip.ttl");
  }
});

Deno.test("ipv6: unknown protocols get 4/1 that points at the octet naming them", () => {
  const h = new StackHarness();
  for (const protocol of [1, 4, 41, 47, 50, 51, 132, 135, 255]) {
    h.push(ethernet(ip6(DATA, { next: protocol, destination: WORLD6 })));
    const plain = h.reply();
    assertEquals(plain.payload.slice(0, 2), Uint8Array.of(4, 1));
    assertEquals(plain.payload.slice(4, 8), Uint8Array.from(u32(6)));
    h.push(ethernet(ip6(concat(options(protocol, []), DATA), { next: 60, destination: WORLD6 })));
    assertEquals(h.reply().payload.slice(4, 8), Uint8Array.from(u32(40)));
    assertEquals(h.counted(), { "drop.ip.protocol": 2, "icmp.errors": 2 });
  }
  h.drops(ethernet(ip6(DATA, { next: 59, destination: WORLD6 })), "drop.ip.protocol");
});

Deno.test("ipv6: known extension headers are passed over, 8 at most (RFC 7112)", () => {
  const h = new StackHarness();
  const chain = (count: number) =>
    Array.from({ length: count }, (_, i) => options(i === count - 1 ? 17 : 60, [1, 4])).flat();
  for (const count of [1, 2, 8]) {
    const got = h.passes(packet({ next: 60 }, chain(count)));
    assertEquals(got.header.length, 40 + 8 * count);
    assertEquals(got.payload, udp(GUEST6, 5000, WORLD6, 53, DATA));
  }
  h.drops(packet({ next: 60 }, chain(9)), "drop.ext.limit");
  h.drops(packet({ next: 60 }, chain(100)), "drop.ext.limit");
});

Deno.test("ipv6: routing headers get 4/0, type 0 always (RFC 5095)", () => {
  const h = new StackHarness();
  const routed: [number, number][] = [[0, 1], [0, 0], [2, 1], [4, 3]];
  for (const [type, segmentsLeft] of routed) {
    h.push(packet({ next: 43 }, [17, 0, type, segmentsLeft, 0, 0, 0, 0]));
    const error = h.reply();
    assertEquals(error.payload.slice(0, 2), Uint8Array.of(4, 0));
    assertEquals(error.payload.slice(4, 8), Uint8Array.from(u32(42)));
    assertEquals(h.counted(), { "drop.ext.hdr": 1, "icmp.errors": 1 });
  }
  h.passes(packet({ next: 43 }, [17, 0, 4, 0, 0, 0, 0, 0]));
});

Deno.test("ipv6: unknown options do what their two high bits say", () => {
  const h = new StackHarness();
  h.passes(packet({ next: 60 }, options(17, [0x1e, 1, 9])));
  h.drops(packet({ next: 60 }, options(17, [0x5e, 1, 9])), "drop.ext.hdr");
  for (const type of [0x9e, 0xde, 0xc2]) {
    h.push(packet({ next: 60 }, options(17, [1, 0, type, 1, 9])));
    const error = h.reply();
    assertEquals(error.payload.slice(0, 2), Uint8Array.of(4, 2));
    assertEquals(error.payload.slice(4, 8), Uint8Array.from(u32(44)));
    assertEquals(h.counted(), { "drop.ext.hdr": 1, "icmp.errors": 1 });
  }
});

Deno.test("ipv6: headers and options over the end are dropped, a late hop-by-hop gets 4/1", () => {
  const h = new StackHarness();
  h.drops(packet({ next: 60 }, [17, 40, 0, 0, 0, 0, 0, 0]), "drop.ext.hdr");
  h.drops(packet({ next: 60 }, options(17, [1, 5])), "drop.ext.hdr");
  h.drops(ethernet(ip6(pattern(4), { next: 60, destination: WORLD6 })), "drop.ext.hdr");
  h.push(packet({ next: 60 }, [...options(0, []), ...options(17, [])]));
  const error = h.reply();
  assertEquals(error.payload.slice(0, 2), Uint8Array.of(4, 1));
  assertEquals(error.payload.slice(4, 8), Uint8Array.from(u32(40)));
});

Deno.test("ipv6: fragments in fragments are dropped, in sight or after reassembly", () => {
  const h = new StackHarness();
  const whole = udp(GUEST6, 1, WORLD6, 2, DATA);
  const inner = fragment6(whole.slice(0, 24), 17, 0, true, 2);
  const atOnce = fragment6(inner, 44, 0, true, 1);
  h.drops(ethernet(ip6(atOnce, { next: 44, destination: WORLD6 })), "drop.frag.nested");
  const atomic = fragment6(inner, 44, 0, false, 1);
  h.drops(ethernet(ip6(atomic, { next: 44, destination: WORLD6 })), "drop.frag.nested");
  assertEquals(h.stack.reassembly.sets, 0);
});

Deno.test("ipv6: the limit of headers holds over a fragment header too", () => {
  const h = new StackHarness();
  const headers = (count: number, next: number) =>
    Array.from({ length: count }, (_, i) => options(i === count - 1 ? next : 60, [])).flat();
  const whole = concat(headers(4, 17), udp(GUEST6, 1, WORLD6, 2, DATA));
  for (const [before, counter] of [[3, null], [4, "drop.ext.limit"]] as const) {
    const frame = (from: number, to: number) => {
      const piece = fragment6(whole.slice(from, to), 60, from, to < whole.length, before);
      const packet = concat(headers(before, 44), piece);
      return ethernet(ip6(packet, { next: 60, destination: WORLD6 }));
    };
    if (counter === null) {
      h.push(frame(0, 48));
      const got = h.passes(frame(48, whole.length));
      assertEquals(got.header.length, 40 + 8 * 3 + 8 * 4);
      assertEquals(got.payload, udp(GUEST6, 1, WORLD6, 2, DATA));
    } else {
      h.drops(frame(0, 48), counter);
    }
  }
});

Deno.test("ipv6: headers too long to be kept in front of a datagram are refused", () => {
  const h = new StackHarness();
  const long = concat([44, 31], new Uint8Array(254));
  const piece = fragment6(pattern(16), 17, 0, true, 1);
  const frame = ethernet(ip6(concat(long, piece), { next: 60, destination: WORLD6 }));
  h.drops(frame, "drop.ext.limit");
});
