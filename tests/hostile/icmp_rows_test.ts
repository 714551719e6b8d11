/** Rows 20 to 22: ICMP in both directions. */
import { assert, assertEquals } from "@std/assert";
import type { CounterName } from "../../lib/stack/counters.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_LL,
  GUEST4,
  GUEST6,
  GUEST_LL,
  icmp4,
  icmp6,
  ip4,
  ip6,
  pattern,
  u16,
  u32,
} from "../support/packets.ts";
import { HOST4, HOST6 } from "../support/virtual_host.ts";
import { flood } from "./flood.ts";
import { type Flow, hostBytes, HostileGuest } from "./hostile_guest.ts";
import { datagram, listensTo, pings, toHost } from "./probe.ts";

const FAMILIES = [4, 6] as const;
type Family = typeof FAMILIES[number];
const ID = [0, 1, 0, 1];

/** Sends frames of which each is dropped, without a word, under this name. */
async function drops(gw: HostileGuest, counter: CounterName, ...frames: Uint8Array[]) {
  await gw.sends(...frames);
  gw.silent().counts({ [counter]: frames.length });
}

/** An ICMP message from the guest, as a frame. */
function message(
  family: Family,
  type: number,
  code: number,
  rest: readonly number[],
  data: Uint8Array,
  destination = family === 4 ? HOST4 : HOST6,
): Uint8Array {
  return ethernet(
    family === 4
      ? ip4(icmp4(type, code, rest, data), { destination, protocol: 1 })
      : ip6(icmp6(GUEST6, destination, type, code, rest, data), { destination, next: 58 }),
  );
}

/** An echo request. */
function echo(family: Family, data: Uint8Array, destination?: string): Uint8Array {
  return message(family, family === 4 ? 8 : 128, 0, ID, data, destination);
}

Deno.test("hostile 20: of a flood of pings to the world 50 at once and 1,000 a second are told", async () => {
  for (const family of FAMILIES) {
    await using gw = await HostileGuest.start();
    const count = 100_000;
    await flood(gw, count, echo(family, pattern(32)), () => {});
    const errors = gw.errors();
    assertEquals(errors.map(({ code }) => code), Array(50).fill(family === 4 ? "3/13" : "1/1"));
    gw.silent();
    const atOnce = { "icmp.errors": 50, "drop.icmp": count, "drop.icmp.limit": count - 50 };
    gw.counts({ ...atOnce, "policy.refused": count });
    for (let ms = 0; ms < 1000; ms++) {
      await gw.sends(...Array(20).fill(echo(family, pattern(32))));
      await gw.run(1);
    }
    const told = gw.errors().length;
    assert(told >= 950 && told <= 1000, `${told} in a second`);
    const dropped = { "drop.icmp": 20_000, "drop.icmp.limit": 20_000 - told };
    gw.counts({ "icmp.errors": told, ...dropped, "policy.refused": 20_000 });
    await gw.run(60); // the limit lets pass again
    await pings(gw);
    await gw.empties(0);
  }
});

Deno.test("hostile 20: of a flood of pings to the gateway 1,000 at once and 10,000 a second are answered", async () => {
  for (const family of FAMILIES) {
    await using gw = await HostileGuest.start();
    const count = 50_000;
    const frame = echo(family, pattern(32), family === 4 ? GATEWAY4 : GATEWAY6);
    await flood(gw, count, frame, () => {});
    assertEquals(gw.frames().length, 1000);
    gw.counts({ "icmp.echo": 1000, "drop.icmp.limit": count - 1000 });
    for (let ms = 0; ms < 100; ms++) {
      await flood(gw, 50, frame, () => {});
      await gw.run(1);
    }
    const answered = gw.frames().length;
    assert(answered >= 980 && answered <= 1000, `${answered} in a tenth of a second`);
    gw.counts({ "icmp.echo": answered, "drop.icmp.limit": 5000 - answered });
    await pings(gw);
    await gw.empties(0);
  }
});

Deno.test("hostile 20: of a flood of pings that may leave, eight at once are sent, and 20 a second", async () => {
  for (const family of FAMILIES) {
    await using gw = await HostileGuest.start();
    gw.host.mayPing = true; // and nobody answers
    const count = 100_000;
    await flood(gw, count, echo(family, pattern(32)), () => {});
    assertEquals([gw.host.pinging, gw.figures().pings], [8, 8]);
    gw.silent().counts({ "ping.sent": 8, "drop.ping": count - 8 });
    gw.host.ping(HOST4, { kind: "answered" });
    gw.host.ping(HOST6, { kind: "answered" });
    await gw.run(5_000);
    assertEquals([gw.host.pinging, gw.figures().pings], [0, 0]);
    gw.silent();
    const frame = echo(family, pattern(32));
    for (let ms = 0; ms < 10_000; ms += 10) {
      await gw.sends(frame, frame);
      await gw.run(10);
    }
    const answered = gw.packets().length;
    assert(answered >= 200 && answered <= 208, `${answered} in ten seconds`);
    gw.counts({ "ping.sent": answered, "ping.answered": answered, "drop.ping": 2_000 - answered });
    await pings(gw);
    await gw.empties(0);
  }
});

Deno.test("hostile 20: pings that may leave are whole, whatever their frames are, and few are kept", async () => {
  await using gw = await HostileGuest.start();
  gw.host.ping(HOST4, { kind: "answered" });
  gw.host.ping(HOST6, { kind: "answered" });
  for (let bytes = 0; bytes < 8; bytes++) {
    const cut4 = icmp4(8, 0, ID, new Uint8Array(0)).slice(0, bytes);
    const cut6 = icmp6(GUEST6, HOST6, 128, 0, ID, new Uint8Array(0)).slice(0, bytes);
    await gw.sends(toHost(4, 1, cut4), toHost(6, 58, cut6));
  }
  gw.forget();
  assertEquals(gw.host.pinged, []);
  const secret = pattern(1200, 77);
  for (let bytes = 0; bytes <= 64; bytes++) {
    const data = pattern(bytes, 3);
    const routed = concat([58, 0, 1, 4, 0, 0, 0, 0], icmp6(GUEST6, HOST6, 128, 0, ID, data));
    await gw.sends(
      concat(echo(4, data), secret),
      concat(echo(6, data), secret),
      concat(toHost(6, 60, routed), secret),
    );
    await gw.run(200);
    assertEquals(gw.packets().map(({ payload }) => payload.slice(8)), [data, data, data]);
  }
  gw.forget();
  await pings(gw);
  await gw.empties(0);
});

Deno.test("hostile 20: of pings to the gateway no more wait than there is room for", async () => {
  await using gw = await HostileGuest.start();
  const data = pattern(1400);
  gw.takes = false;
  await flood(gw, 1000, echo(4, data, GATEWAY4), () => {});
  const { "icmp.echo": answered = 0, "drop.queue.full": dropped = 0 } = gw.grown();
  assertEquals(answered + dropped, 1000);
  assert(dropped > 100 && answered * data.length < 1024 * 1024, `${answered} wait`);
  gw.takes = true;
  await gw.settle();
  assertEquals(gw.frames().length, answered);
  await gw.run(10);
  await pings(gw);
  await gw.empties(0);
});

Deno.test("hostile 20: no error is said of an error, whatever is wrong with its packet", async () => {
  await using gw = await HostileGuest.start();
  const quote = ip4(datagram(4, pattern(9)), { source: HOST4, destination: GUEST4 });
  const quote6 = ip6(datagram(6, pattern(9)), { source: HOST6, destination: GUEST6 });
  for (const type of [3, 4, 11, 12]) {
    await drops(gw, "drop.icmp", message(4, type, 1, [0, 0, 0, 0], quote));
    const packet = icmp4(type, 1, [0, 0, 0, 0], quote);
    const ttl = ethernet(ip4(packet, { destination: HOST4, protocol: 1, ttl: 1 }));
    await drops(gw, "drop.ip.ttl", ttl);
  }
  for (const type of [0, 1, 2, 3, 4, 100, 101, 127]) {
    await drops(gw, "drop.icmp", message(6, type, 0, [0, 0, 0, 0], quote6));
    const packet = icmp6(GUEST6, HOST6, type, 0, [0, 0, 0, 0], quote6);
    const ends = { destination: HOST6, hopLimit: 1 };
    await drops(gw, "drop.ip.ttl", ethernet(ip6(packet, { ...ends, next: 58 })));
    const options = concat([58, 0, 1, 4, 0, 0, 0, 0], packet);
    await drops(gw, "drop.ip.ttl", ethernet(ip6(options, { ...ends, next: 60 })));
  }
  await drops(gw, "drop.role", message(4, 5, 1, [100, 96, 0, 1], quote));
  await pings(gw);
  await gw.empties(0);
});

Deno.test("hostile 20: groups get no answer and no error, in packet or frame", async () => {
  await using gw = await HostileGuest.start();
  for (const group of ["224.0.0.1", "239.255.255.250", "255.255.255.255", "100.96.0.3"]) {
    const frames = [echo(4, pattern(9), group)];
    frames.push(ethernet(ip4(pattern(9), { destination: group, protocol: 47, ttl: 0 })));
    frames.push(ethernet(ip4(datagram(4, pattern(9)), { destination: group })));
    await drops(gw, "drop.ip.dst", ...frames);
  }
  for (const group of ["ff02::1", "ff02::2", "ff02::fb", "ff0e::1"]) {
    const frames = [echo(6, pattern(9), group)];
    frames.push(ethernet(ip6(pattern(9), { destination: group, next: 47, hopLimit: 0 })));
    frames.push(ethernet(ip6(datagram(6, pattern(9)), { destination: group })));
    await drops(gw, "drop.ip.dst", ...frames);
  }
  for (const destination of [BROADCAST_MAC, "33:33:00:00:00:01", "01:00:5e:00:00:01"]) {
    const frames = FAMILIES.flatMap((family) => [
      echo(family, pattern(9), family === 4 ? GATEWAY4 : GATEWAY6),
      toHost(family, 254, pattern(9)),
    ]);
    const toGroup = frames.map((frame) => ethernet(frame.slice(14), { destination }));
    await drops(gw, "drop.ip.dst", ...toGroup);
  }
  await pings(gw);
  await gw.empties(0);
});

Deno.test("hostile 20: a later fragment gets no error", async () => {
  await using gw = await HostileGuest.start();
  const later = (protocol: number, ttl: number) =>
    ethernet(ip4(pattern(16), { destination: HOST4, protocol, ttl, id: 3, fragment: 0x2004 }));
  await drops(gw, "drop.ip.ttl", later(17, 1), later(1, 0));
  await drops(gw, "drop.ip.protocol", later(47, 64), later(4, 64));
  const later6 = concat([17, 0, 0, 0x21], u32(3), pattern(16));
  await drops(
    gw,
    "drop.ip.ttl",
    ethernet(ip6(later6, { destination: HOST6, next: 44, hopLimit: 1 })),
  );
  // It alone makes no datagram, and nobody is told about that either.
  await gw.sends(later(17, 64), ethernet(ip6(later6, { destination: HOST6, next: 44 })));
  await gw.run(60_010);
  gw.silent().counts({ "drop.frag.timeout": 2 });
  await gw.empties(0);
});

// CVE-2020-10756: the reply to a ping was as long as the request said, not as it was, and so held
// what stood behind it in memory.
Deno.test("hostile 21: an echo reply holds octets of its request only, whatever lengths say", async () => {
  await using gw = await HostileGuest.start();
  const secret = pattern(1200, 77);
  for (let bytes = 0; bytes <= 64; bytes++) {
    const data = pattern(bytes, 3);
    const four = ip4(icmp4(8, 0, ID, data), { protocol: 1 });
    const six = (destination: string, source: string) =>
      ip6(icmp6(source, destination, 128, 0, ID, data), { source, destination, next: 58 });
    const packets = [four, six(GATEWAY6, GUEST6), six(GATEWAY_LL, GUEST_LL)];
    await gw.sends(...packets.map((packet) => concat(ethernet(packet), secret)));
    const replies = gw.packets().map(({ payload }) => payload.slice(8));
    assertEquals(replies, [data, data, data]);
    gw.counts({ "icmp.echo": 3 });
    // The packet says that there is more than the frame holds.
    const over = [1, 8, 1000, 60_000];
    await drops(
      gw,
      "drop.ip.hdr",
      ...over.map((more) =>
        ethernet(ip4(four.slice(20), { protocol: 1, totalBytes: four.length + more }))
      ),
      ...over.map((more) => {
        const packet = packets[1]!.slice();
        packet.set(u16(packet.length - 40 + more), 4);
        return ethernet(packet);
      }),
    );
  }
  for (let bytes = 0; bytes < 8; bytes++) {
    const cut4 = icmp4(8, 0, ID, new Uint8Array(0)).slice(0, bytes);
    await drops(gw, "drop.icmp", concat(ethernet(ip4(cut4, { protocol: 1 })), secret));
    const cut6 = icmp6(GUEST6, GATEWAY6, 128, 0, ID, new Uint8Array(0)).slice(0, bytes);
    const frame = concat(ethernet(ip6(cut6, { next: 58 })), secret);
    await gw.sends(frame);
    const dropped = gw.silent().grown();
    assertEquals(Object.values(dropped), [1], `${bytes} octets: ${JSON.stringify(dropped)}`);
  }
  await pings(gw);
  await gw.empties(0);
});

/** The guest's "packet too big" about what it says the host sent. */
function tooBig(family: Family, mtu: number, quote: Uint8Array, destination?: string): Uint8Array {
  return family === 4
    ? message(4, 3, 4, [0, 0, ...u16(mtu)], quote, destination)
    : message(6, 2, 0, u32(mtu), quote, destination);
}

/** The header of a segment of the host's, in a packet of `bytes` octets. */
function segmentQuote(family: Family, flow: Flow, seq: number, bytes: number): Uint8Array {
  const head = concat(u16(flow.hostPort), u16(flow.guestPort), u32((flow.iss + seq) >>> 0));
  const segment = concat(head, u32((flow.isn + 1) >>> 0), [0x50, 0x10], u16(0xffff), u32(0));
  return family === 4
    ? ip4(segment, { source: HOST4, destination: GUEST4, protocol: 6, totalBytes: bytes })
    : ip6(segment, { source: HOST6, destination: GUEST6, next: 6, payloadBytes: bytes - 40 });
}

Deno.test("hostile 22: a packet-too-big counts where it quotes a segment in flight, down to a floor", async () => {
  for (const family of FAMILIES) {
    await using gw = await HostileGuest.start();
    const host = family === 4 ? HOST4 : HOST6;
    const headers = family === 4 ? 40 : 60;
    gw.host.listen(host, 80);
    const flow = gw.flow({ host });
    const peer = await flow.opens();
    const full = 1500 - headers;
    peer.write(hostBytes(2 * full));
    await gw.run(1);
    flow.sent();
    await flow.guest(`. 1:1 ack ${1 + full}`);
    const forged = [
      segmentQuote(family, flow, 1, 1500), // acknowledged already
      segmentQuote(family, flow, 1 + 2 * full, 1500), // not sent
      segmentQuote(family, flow, 1 + full + 2 ** 31, 1500),
      segmentQuote(family, flow, 1 + full, 600), // would have fitted
    ];
    await drops(gw, "drop.icmp", ...forged.map((quote) => tooBig(family, 700, quote, host)));
    const right = segmentQuote(family, flow, 1 + full, 1500);
    const elsewhere = [
      tooBig(family, 700, right.slice(0, right.length - 16), host), // no ports in it
      tooBig(family, 700, right, family === 4 ? GATEWAY4 : GATEWAY6), // not to whom it quotes
    ];
    await drops(gw, "drop.icmp", ...elsewhere);
    // The right one, with an MTU of nothing at all: segments get no smaller than the floor.
    await gw.sends(tooBig(family, 68, right, host));
    await gw.run(1);
    const floor = (family === 4 ? 552 : 1280) - headers;
    const sizes = flow.sent().map(({ dataBytes }) => dataBytes);
    assertEquals(sizes[0], floor);
    assertEquals(sizes.reduce((sum, size) => sum + size), full);
    gw.silent().counts({ "icmp.toobig": 1, "tcp.retransmit": sizes.length });
    await flow.guest(`. 1:1 ack ${1 + 2 * full}`, "R 1:1");
    gw.silent().counts({ "tcp.reset.received": 1 });
    await gw.empties(0);
  }
});

Deno.test("hostile 22: a packet-too-big about datagrams, pings or no flow at all is dropped", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  for (const family of FAMILIES) {
    await gw.sends(toHost(family, 17, datagram(family, pattern(9))));
    gw.silent().counts({ "udp.opened": 1, "udp.up": 1 });
    const [guest, host] = family === 4 ? [GUEST4, HOST4] : [GUEST6, HOST6];
    const ends = { source: host, destination: guest };
    const quotes = [17, 1, 58, 6, 47].map((protocol) => {
      const bytes = concat(u16(7), u16(5000), pattern(32));
      return family === 4
        ? ip4(bytes, { ...ends, protocol })
        : ip6(bytes, { ...ends, next: protocol });
    });
    quotes.push(new Uint8Array(0), quotes[0]!.slice(0, 19), pattern(600));
    for (const mtu of [0, 1, 68, 576, 1280, 65_535]) {
      await drops(gw, "drop.icmp", ...quotes.map((quote) => tooBig(family, mtu, quote)));
    }
    await gw.sends(toHost(family, 17, datagram(family, pattern(1400))));
    assertEquals(got.splice(0), [pattern(9), pattern(1400)]);
    gw.silent().counts({ "udp.up": 1 });
  }
  await gw.empties();
});
