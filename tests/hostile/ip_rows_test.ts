/** Rows 8 to 12, 18 and 19: headers, sources and protocols of IP. */
import { assertEquals } from "@std/assert";
import type { CounterName } from "../../lib/stack/counters.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  fragment6,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_LL,
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
  onesSum,
  pattern,
  pseudoHeader,
  sealed,
  tcp,
  u16,
  udp,
} from "../support/packets.ts";
import { HOST4, HOST6 } from "../support/virtual_host.ts";
import { HostileGuest } from "./hostile_guest.ts";
import { datagram, HOST_PORT, listensTo, pings, toHost } from "./probe.ts";

const SYN = 2;

/** A SYN to the host of that family, without its IP header. */
function syn(source: string, destination: string): Uint8Array {
  return tcp(source, destination, new Uint8Array(0), SYN);
}

/** A packet of each protocol with such addresses, as frames. */
function packets(source: string, destination: string): Uint8Array[] {
  if (!source.includes(":")) {
    const ends = { source, destination };
    return [
      ethernet(ip4(udp(source, 5000, destination, HOST_PORT, pattern(9)), ends)),
      ethernet(ip4(syn(source, destination), { ...ends, protocol: 6 })),
      ethernet(ip4(icmp4(8, 0, [0, 1, 0, 1], pattern(9)), { ...ends, protocol: 1 })),
    ];
  }
  const ends = { source, destination };
  return [
    ethernet(ip6(udp(source, 5000, destination, HOST_PORT, pattern(9)), ends)),
    ethernet(ip6(syn(source, destination), { ...ends, next: 6 })),
    ethernet(
      ip6(icmp6(source, destination, 128, 0, [0, 1, 0, 1], pattern(9)), { ...ends, next: 58 }),
    ),
  ];
}

/** Sends frames of which each is dropped, without a word, under this name. */
async function drops(
  gw: HostileGuest,
  counter: CounterName,
  frames: readonly Uint8Array[],
): Promise<void> {
  await gw.sends(...frames);
  gw.silent().counts({ [counter]: frames.length });
}

Deno.test("hostile 8: IPv4 headers that lie about their lengths are dropped", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const data = datagram(4, pattern(40));
  const whole = ip4(data, { destination: HOST4 });
  const frames: Uint8Array[] = [];
  for (let ihl = 0; ihl < 5; ihl++) frames.push(ethernet(ip4(data, { destination: HOST4, ihl })));
  for (let bytes = 0; bytes < 20; bytes++) {
    frames.push(ethernet(whole.slice(0, bytes), { type: 0x0800 }));
    frames.push(ethernet(ip4(data, { destination: HOST4, totalBytes: bytes })));
  }
  for (const over of [1, 2, 255, 65_535 - whole.length]) {
    const totalBytes = whole.length + over;
    frames.push(ethernet(ip4(data, { destination: HOST4, totalBytes })));
  }
  for (const version of [0, 3, 5, 6, 15]) {
    frames.push(ethernet(ip4(data, { destination: HOST4, version }), { type: 0x0800 }));
  }
  // Sixty octets of header, of which the packet, and then the frame, has only some.
  frames.push(ethernet(ip4(data, { destination: HOST4, ihl: 15, totalBytes: 59 })));
  frames.push(ethernet(ip4(data.slice(0, 30), { destination: HOST4, ihl: 15, totalBytes: 60 })));
  await drops(gw, "drop.ip.hdr", frames);
  assertEquals(got, []);
  await pings(gw);
  await gw.empties(0);
});

Deno.test("hostile 8: IPv6 headers that lie about their lengths are dropped", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const data = datagram(6, pattern(40));
  const whole = ip6(data, { destination: HOST6 });
  const frames: Uint8Array[] = [];
  for (let bytes = 0; bytes < 40; bytes++) {
    frames.push(ethernet(whole.slice(0, bytes), { type: 0x86dd }));
  }
  for (const over of [1, 8, 255, 65_535 - data.length]) {
    const payloadBytes = data.length + over;
    frames.push(ethernet(ip6(data, { destination: HOST6, payloadBytes })));
  }
  for (const version of [0, 4, 5, 7, 15]) {
    frames.push(ethernet(ip6(data, { destination: HOST6, version }), { type: 0x86dd }));
  }
  await drops(gw, "drop.ip.hdr", frames);
  assertEquals(got, []);
  await pings(gw);
  await gw.empties(0);
});

Deno.test("hostile 8: what stands behind the packet in its frame never goes on", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const secret = pattern(700, 99);
  for (const family of [4, 6] as const) {
    await gw.sends(concat(toHost(family, 17, datagram(family, pattern(20))), secret));
    const ping = family === 4
      ? ip4(icmp4(8, 0, [0, 1, 0, 1], pattern(3)), { protocol: 1 })
      : ip6(icmp6(GUEST6, GATEWAY6, 128, 0, [0, 1, 0, 1], pattern(3)), { next: 58 });
    await gw.sends(concat(ethernet(ping), secret));
    const unknown = toHost(family, 254, pattern(5)); // an error quotes it
    await gw.sends(concat(unknown, secret));
    const [reply, error] = gw.packets();
    assertEquals(reply!.payload.slice(8), pattern(3));
    assertEquals(error!.payload.slice(8), unknown.slice(14));
  }
  assertEquals(got, [pattern(20), pattern(20)]);
  const sent = { "icmp.echo": 2, "icmp.errors": 2, "drop.ip.protocol": 2 };
  gw.silent().counts({ ...sent, "udp.opened": 2, "udp.up": 2 });
  await gw.empties(60_000);
});

/** Octets of the segment with these ones turned over. */
function flipped(bytes: Uint8Array, at: number, bits: number): Uint8Array {
  return bytes.with(at, bytes[at]! ^ bits);
}

Deno.test("hostile 9: a wrong checksum of UDP, TCP or ICMP is dropped", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  gw.host.listen(HOST4, 80);
  gw.host.listen(HOST6, 80);
  for (const family of [4, 6] as const) {
    const guest = family === 4 ? GUEST4 : GUEST6;
    const host = family === 4 ? HOST4 : HOST6;
    const echo = family === 4
      ? icmp4(8, 0, [0, 1, 0, 1], pattern(9))
      : icmp6(guest, host, 128, 0, [0, 1, 0, 1], pattern(9));
    const segments: [protocol: number, bytes: Uint8Array, field: number][] = [
      [17, datagram(family, pattern(9)), 6],
      [6, syn(guest, host), 16],
      [family === 4 ? 1 : 58, echo, 2],
    ];
    for (const [protocol, bytes, field] of segments) {
      const wrong: Uint8Array[] = [];
      for (let at = field; at < field + 2; at++) {
        for (let bit = 0; bit < 8; bit++) wrong.push(flipped(bytes, at, 1 << bit));
      }
      wrong.push(flipped(bytes, bytes.length - 1, 1), flipped(bytes, 0, 0x40));
      // No sum at all is allowed to UDP over IPv4 only.
      if (family === 6 || protocol !== 17) {
        wrong.push(concat(bytes.slice(0, field), [0, 0], bytes.slice(field + 2)));
      }
      await drops(gw, "drop.csum", wrong.map((it) => toHost(family, protocol, it)));
    }
  }
  const header = ip4(datagram(4, pattern(9)), { destination: HOST4, badChecksum: true });
  await drops(gw, "drop.csum", [ethernet(header)]);
  assertEquals([got, gw.host.dialed], [[], []]);
  await pings(gw);
  await gw.empties(0);
});

/** The segment with the folded sum of its pseudo-header where its checksum belongs. */
function partial(
  bytes: Uint8Array,
  field: number,
  source: string,
  destination: string,
  protocol: number,
) {
  const sum = onesSum(pseudoHeader(source, destination, protocol, bytes.length));
  return concat(bytes.slice(0, field), u16(sum), bytes.slice(field + 2));
}

Deno.test("hostile 9: exactly the pseudo-header's sum passes, unless sums are verified", async () => {
  for (const checksums of ["auto", "verify"] as const) {
    await using gw = await HostileGuest.start({ network: { checksums } });
    const got = listensTo(gw);
    gw.host.listen(HOST4, 80);
    const bytes = partial(datagram(4, pattern(9)), 6, GUEST4, HOST4, 17);
    const bytes6 = partial(datagram(6, pattern(9)), 6, GUEST6, HOST6, 17);
    const segment = partial(syn(GUEST4, HOST4), 16, GUEST4, HOST4, 6);
    await gw.sends(toHost(4, 17, bytes), toHost(6, 17, bytes6), toHost(4, 6, segment));
    await gw.run(1);
    if (checksums === "verify") {
      gw.silent().counts({ "drop.csum": 3 });
      assertEquals([got, gw.host.dialed], [[], []]);
      await gw.empties(0);
      continue;
    }
    gw.counts({ "csum.partial": 3, "udp.opened": 2, "udp.up": 2 });
    assertEquals(got, [pattern(9), pattern(9)]);
    assertEquals(gw.packets().map(({ payload }) => payload[13]), [0x12], "the SYN-ACK");
    // One more or less than that sum is wrong.
    const near = [1, 2, 0x80].map((bits) => toHost(4, 17, flipped(bytes, 7, bits)));
    await drops(gw, "drop.csum", near);
    await gw.sends(
      toHost(4, 6, sealed(tcp(GUEST4, HOST4, new Uint8Array(0), 4), 16, GUEST4, HOST4, 6)),
    );
    gw.forget();
    await gw.empties();
  }
});

Deno.test("hostile 10: over IPv4 only the guest's own address is a source", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const sources = [
    "0.0.0.0",
    "127.0.0.1",
    "127.255.255.254",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "10.0.0.1",
    "169.254.169.254",
    HOST4,
    GATEWAY4,
    "100.96.0.0",
    "100.96.0.3",
    "100.96.0.6",
    "100.97.0.2",
  ];
  for (const source of sources) {
    for (const destination of [HOST4, GATEWAY4, GUEST4, "255.255.255.255"]) {
      if (source === destination) continue;
      await drops(gw, "drop.ip.src", packets(source, destination));
    }
    const piece = ip4(pattern(16), { source, destination: HOST4, fragment: 0x2000, protocol: 17 });
    await drops(gw, "drop.ip.src", [ethernet(piece)]);
  }
  assertEquals([got, gw.host.dialed], [[], []]);
  // Without an address a guest may ask for one, and nothing else.
  const discover = (source: string, from: number, to: number, destination: string) =>
    ethernet(ip4(udp(source, from, destination, to, pattern(9)), { source, destination }));
  await gw.sends(discover("0.0.0.0", 68, 67, "255.255.255.255"));
  gw.silent().counts({ "drop.dhcp": 1 }); // it got as far as the server
  await drops(gw, "drop.ip.src", [
    discover("0.0.0.0", 69, 67, "255.255.255.255"),
    discover("0.0.0.0", 68, 69, "255.255.255.255"),
    discover("0.0.0.0", 68, 67, HOST4),
    discover("10.0.0.1", 68, 67, "255.255.255.255"),
  ]);
  await pings(gw);
  await gw.empties(0);
});

/** A neighbor solicitation from `source`, about `target`, as a frame. */
function solicitation(source: string, destination: string, target: string, hopLimit = 255) {
  const option = source === "::" ? [] : concat([1, 1], mac(GUEST_MAC));
  const body = concat(ip(target), option);
  const packet = icmp6(source, destination, 135, 0, [0, 0, 0, 0], body);
  return ethernet(ip6(packet, { source, destination, next: 58, hopLimit }), {
    destination: "33:33:ff:00:00:01",
  });
}

Deno.test("hostile 10: over IPv6 a source is link-local, or was announced inside the prefix", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const sources = [
    "::",
    "::1",
    "ff02::1",
    "ff0e::1",
    HOST6,
    "2001:db8::1",
    "fd53:4d00:0:1::2",
    GATEWAY6,
    GATEWAY_LL,
    "fd53:4d00::",
    "::ffff:100.96.0.2",
    "64:ff9b::1",
    "fec0::1",
  ];
  for (const source of sources) {
    for (const destination of [HOST6, GATEWAY6, "ff02::1"]) {
      if (source === destination) continue;
      await drops(gw, "drop.ip.src", packets(source, destination));
    }
    const piece = ip6(fragment6(pattern(16), 17, 0, true, 1), {
      source,
      destination: HOST6,
      next: 44,
    });
    await drops(gw, "drop.ip.src", [ethernet(piece)]);
  }
  assertEquals([got, gw.host.dialed], [[], []]);
  // Inside the prefix it is asked for, a few times a second; what is not announced stays outside.
  const own = "fd53:4d00::1234";
  const [frame] = packets(own, HOST6);
  await gw.sends(...Array(20).fill(frame));
  const questions = gw.packets().map(({ payload }) => [payload[0], payload.slice(8, 24)]);
  assertEquals(questions, Array(4).fill([135, ip(own)]));
  gw.counts({ "drop.ip.src": 20 });
  // An announcement from beyond the link, or for another's address, is none.
  await gw.sends(solicitation("::", "ff02::1:ff00:1234", own, 254));
  gw.silent().counts({ "drop.icmp": 1 });
  await gw.run(2000);
  await gw.sends(frame!);
  assertEquals(gw.packets().map(({ payload }) => payload[0]), [135]);
  gw.counts({ "drop.ip.src": 1 });
  // DAD announces it, and then it is the guest's.
  await gw.sends(solicitation("::", "ff02::1:ff00:1234", own));
  await gw.sends(frame!);
  assertEquals(got, [pattern(9)]);
  gw.packets();
  await gw.empties(60_000);
});

// CVE-1999-0016: a SYN from an address and port to the same ones made a host answer itself for ever.
Deno.test("hostile 11: source and destination the same is dropped", async () => {
  await using gw = await HostileGuest.start();
  const same = (address: string): Uint8Array => {
    const ports = concat(u16(80), u16(80));
    const segment = sealed(concat(ports, syn(address, address).slice(4)), 16, address, address, 6);
    const ends = { source: address, destination: address };
    return ethernet(
      address.includes(":")
        ? ip6(segment, { ...ends, next: 6 })
        : ip4(segment, { ...ends, protocol: 6 }),
    );
  };
  const own = [GUEST4, GUEST6, GUEST_LL];
  await drops(gw, "drop.ip.land", own.flatMap((it) => [same(it), ...packets(it, it)]));
  const pieces = [
    ethernet(ip4(pattern(16), { destination: GUEST4, fragment: 0x2000 })),
    ethernet(ip6(fragment6(pattern(16), 17, 0, true, 1), { destination: GUEST6, next: 44 })),
  ];
  await drops(gw, "drop.ip.land", pieces);
  // With another's address on both sides it is its source that is wrong.
  await drops(gw, "drop.ip.src", [GATEWAY4, HOST4, "127.0.0.1", GATEWAY6, HOST6, "::1"].map(same));
  assertEquals(gw.host.dialed, []);
  await pings(gw);
  await gw.empties(0);
});

Deno.test("hostile 12: source routes and options without end are dropped, others passed over", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const route = [7, 4, 10, 0, 0, 1];
  const wrong = [
    [131, ...route, 0],
    [137, ...route, 0], // loose and strict source routes
    [1, 131, ...route],
    [7, 4, 4, 0, 137, 3, 4, 0], // behind other options
    [68, 0, 0, 0],
    [68, 1, 0, 0],
    [200, 0, 1, 1],
    [1, 1, 200, 0], // lengths of 0 and 1
    [68, 5, 0, 0],
    [68, 255, 0, 0],
    [1, 1, 1, 68], // over the end
  ];
  const frame = (options: readonly number[], protocol: number, payload: Uint8Array) =>
    ethernet(ip4(payload, { options, protocol, destination: HOST4 }));
  for (const options of wrong) {
    await drops(gw, "drop.ip.opt", [
      frame(options, 17, datagram(4, pattern(9))),
      frame(options, 6, syn(GUEST4, HOST4)),
      frame(options, 1, icmp4(8, 0, [0, 1, 0, 1], pattern(9))),
    ]);
  }
  assertEquals([got, gw.host.dialed], [[], []]);
  const harmless = [[1, 1, 1, 0], [148, 4, 0, 0], [7, 7, 4, 0, 0, 0, 0, 0], [0, 131, 0, 0]];
  for (const options of harmless) await gw.sends(frame(options, 17, datagram(4, pattern(9))));
  assertEquals(got, harmless.map(() => pattern(9)));
  gw.silent().counts({ "udp.opened": 1, "udp.up": harmless.length });
  await gw.empties(60_000);
});

/** Protocols that are spoken, and the extension headers of IPv6. */
const SPOKEN4 = [1, 6, 17];
const SPOKEN6 = [6, 17, 58, 0, 43, 44, 59, 60];

// CVE-2020-11896: what was inside IP in IP was taken out, and its lengths were believed, over
// several fragments. Here it is a protocol that nobody speaks, from its first fragment on.
Deno.test("hostile 18: IP in IP, GRE and every unknown protocol is refused, never looked into", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const inner = ip4(datagram(4, pattern(9)), { destination: HOST4 });
  const inner6 = ip6(datagram(6, pattern(9)), { destination: HOST6 });
  let refused = 0;
  for (let protocol = 0; protocol < 256; protocol++) {
    for (const family of [4, 6] as const) {
      if ((family === 4 ? SPOKEN4 : SPOKEN6).includes(protocol)) continue;
      const payload = protocol === 41
        ? inner6
        : protocol === 47
        ? concat([0, 0, 8, 0], inner)
        : inner;
      const frame = toHost(family, protocol, payload);
      await gw.sends(frame);
      const [{ code, quote } = { code: "none", quote: null }] = gw.errors();
      assertEquals(code, family === 4 ? "3/2" : "4/1", `protocol ${protocol}`);
      assertEquals(quote, frame.slice(14));
      refused++;
      await gw.run(1);
    }
  }
  gw.silent().counts({ "drop.ip.protocol": refused, "icmp.errors": refused });
  // ICMP of the other family is one of them.
  await gw.sends(toHost(4, 58, pattern(20)), toHost(6, 1, pattern(20)));
  assertEquals(gw.errors().map(({ code }) => code), ["3/2", "4/1"]);
  gw.counts({ "drop.ip.protocol": 2, "icmp.errors": 2 });
  const piece = (from: number, to: number, more: number) =>
    ethernet(ip4(inner.slice(from, to), {
      protocol: 4,
      id: 5,
      fragment: more | (from / 8),
      destination: HOST4,
    }));
  await gw.sends(piece(0, 24, 0x2000), piece(24, inner.length, 0));
  assertEquals(gw.errors().map(({ code }) => code), ["3/2"], "the first fragment is told off");
  assertEquals(got, []);
  gw.silent().counts({ "drop.ip.protocol": 2, "icmp.errors": 1 });
  await gw.empties(0);
});

Deno.test("hostile 19: a TTL of at most 1 ends at the gateway, told within the limit on errors", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  for (const ttl of [0, 1]) {
    const frames = [
      ethernet(ip4(datagram(4, pattern(9)), { destination: HOST4, ttl })),
      ethernet(ip4(syn(GUEST4, HOST4), { destination: HOST4, ttl, protocol: 6 })),
      ethernet(ip6(datagram(6, pattern(9)), { destination: HOST6, hopLimit: ttl })),
      ethernet(ip6(syn(GUEST6, HOST6), { destination: HOST6, hopLimit: ttl, next: 6 })),
    ];
    await gw.sends(...frames);
    const errors = gw.errors();
    assertEquals(errors.map(({ code }) => code), ["11/0", "11/0", "3/0", "3/0"]);
    assertEquals(errors.map(({ quote }) => quote), frames.map((frame) => frame.slice(14)));
    gw.silent().counts({ "drop.ip.ttl": 4, "icmp.errors": 4 });
    // The gateway itself is one hop away.
    await gw.sends(ethernet(ip4(icmp4(8, 0, [0, 1, 0, 1], pattern(9)), { protocol: 1, ttl })));
    assertEquals(gw.packets().length, 1);
    gw.counts({ "icmp.echo": 1 });
  }
  const one = ethernet(ip4(datagram(4, pattern(9)), { destination: HOST4, ttl: 1 }));
  await gw.run(1000);
  await gw.sends(...Array(500).fill(one));
  assertEquals(gw.errors().length, 50);
  gw.counts({ "drop.ip.ttl": 500, "icmp.errors": 50, "drop.icmp.limit": 450 });
  assertEquals([got, gw.host.dialed], [[], []]);
  // A frame to everybody, and what is said of an error, are never answered.
  await drops(gw, "drop.ip.dst", [ethernet(one.slice(14), { destination: BROADCAST_MAC })]);
  await gw.run(1000);
  const error = icmp4(3, 1, [0, 0, 0, 0], one.slice(14));
  await drops(gw, "drop.ip.ttl", [
    ethernet(ip4(error, { destination: HOST4, ttl: 1, protocol: 1 })),
  ]);
  await pings(gw);
  await gw.empties(0);
});
