/** Rows 13 to 17: fragments and the extension headers of IPv6. */
import { assert, assertEquals } from "@std/assert";
import type { CounterName } from "../../lib/stack/counters.ts";
import { Dice } from "../support/dice.ts";
import {
  concat,
  ethernet,
  fragment6,
  GUEST4,
  GUEST6,
  icmp6,
  ip4,
  ip6,
  pattern,
  tcp,
  u32,
  udp,
} from "../support/packets.ts";
import { HOST4, HOST6 } from "../support/virtual_host.ts";
import { flood, sealHeader4, usedMs } from "./flood.ts";
import { HostileGuest } from "./hostile_guest.ts";
import { datagram, listensTo } from "./probe.ts";

/** How long the pieces of a datagram are waited for. */
const WAIT_MS = { 4: 30_000, 6: 60_000 } as const;
const FAMILIES = [4, 6] as const;
type Family = typeof FAMILIES[number];

/** A piece of a datagram: from which octet on, and whether others follow. */
interface Piece {
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly more: boolean;
}

/** What differs from a piece of UDP to the host. */
interface FragmentOptions {
  readonly id?: number;
  readonly protocol?: number;
  readonly destination?: string;
  readonly options?: readonly number[];
}

/** A piece as a frame. */
function fragment(family: Family, piece: Piece, options: FragmentOptions = {}): Uint8Array {
  const { at, bytes, more } = piece;
  const { id = 1, protocol = 17 } = options;
  const destination = options.destination ?? (family === 4 ? HOST4 : HOST6);
  if (family === 6) {
    return ethernet(ip6(fragment6(bytes, protocol, at, more, id), { destination, next: 44 }));
  }
  const field = (more ? 0x2000 : 0) | (at / 8);
  const extra = options.options ?? [];
  return ethernet(ip4(bytes, { destination, protocol, id, fragment: field, options: extra }));
}

/** The octets from `from` to `to` of a datagram. */
function slice(whole: Uint8Array, from: number, to: number): Piece {
  return { at: from, bytes: whole.slice(from, to), more: to < whole.length };
}

/** A datagram in pieces of at most `size` octets. */
function cut(whole: Uint8Array, size: number): Piece[] {
  const pieces: Piece[] = [];
  for (let at = 0; at < whole.length; at += size) {
    pieces.push(slice(whole, at, Math.min(whole.length, at + size)));
  }
  return pieces;
}

/** The honest guest's datagram in pieces reaches the host whole. */
async function arrives(gw: HostileGuest, got: Uint8Array[], family: Family): Promise<void> {
  const data = pattern(3000, 5);
  const pieces = cut(datagram(family, data, 5999), 1480);
  got.length = 0;
  await gw.sends(...pieces.map((piece) => fragment(family, piece, { id: 0xbeef })));
  assertEquals(got, [data]);
  gw.silent();
}

Deno.test("hostile 13: overlapping fragments lose the whole datagram", async () => {
  const units = 6;
  const spans: [from: number, to: number][] = [];
  for (let from = 0; from < units; from++) {
    // All of it at once would be a packet of its own, and no fragment (RFC 6946).
    for (let to = from + 1; to <= units && to - from < units; to++) spans.push([8 * from, 8 * to]);
  }
  for (const family of FAMILIES) {
    await using gw = await HostileGuest.start();
    const got = listensTo(gw);
    const whole = datagram(family, pattern(8 * units - 8));
    const other = datagram(family, pattern(8 * units - 8, 1));
    let id = 0;
    for (const first of spans) {
      for (const second of spans) {
        if (second[1] <= first[0] || first[1] <= second[0]) continue;
        const isCopy = first[0] === second[0] && first[1] === second[1];
        const pieces = [slice(whole, ...first), slice(isCopy ? other : whole, ...second)];
        id++;
        await gw.sends(
          ...[...pieces, ...cut(whole, 8)].map((piece) => fragment(family, piece, { id })),
        );
        assertEquals(got, [], `${first} and ${second}`);
        gw.silent().counts({ "drop.frag.overlap": 1 });
      }
    }
    await arrives(gw, got, family);
    gw.forget();
    await gw.run(WAIT_MS[family]);
    gw.silent().counts({}); // they are remembered that long, and forgotten without a word
    await gw.empties();
  }
});

Deno.test("hostile 13: ends that contradict each other lose the datagram, an exact copy does not", async () => {
  for (const family of FAMILIES) {
    await using gw = await HostileGuest.start();
    const got = listensTo(gw);
    const whole = datagram(family, pattern(64 - 8));
    const last = (from: number, to: number): Piece => ({ ...slice(whole, from, to), more: false });
    const contradictions = [
      [slice(whole, 48, 64), last(32, 40)], // an end in front of what is there
      [last(32, 40), slice(whole, 40, 48)], // a piece behind the end
      [last(32, 40), last(40, 48)], // two ends
      [last(40, 48), last(32, 40)],
      [slice(whole, 32, 40), last(32, 40)], // the same piece, as an end
      [last(32, 40), { ...last(32, 40), more: true }],
    ];
    for (const [i, pieces] of contradictions.entries()) {
      const rest = [...cut(whole, 8), ...cut(whole.slice(0, 40), 8)];
      await gw.sends(...[...pieces, ...rest].map((it) => fragment(family, it, { id: i + 1 })));
      assertEquals(got, [], `contradiction ${i}`);
      gw.silent().counts({ "drop.frag.overlap": 1 });
    }
    const [a, b] = [slice(whole, 0, 24), slice(whole, 24, 64)];
    await gw.sends(...[b, b, b, a].map((piece) => fragment(family, piece, { id: 99 })));
    assertEquals(got, [whole.slice(8)]);
    gw.silent().counts({ "udp.opened": 1, "udp.up": 1 });
    await gw.empties();
  }
});

Deno.test("hostile 14: offset and length beyond 65,535 lose the datagram", async () => {
  for (const family of FAMILIES) {
    await using gw = await HostileGuest.start();
    const got = listensTo(gw);
    // The largest that there is: its length counts the header over IPv4, and not over IPv6.
    const most = family === 4 ? 65_535 - 20 : 65_535;
    const whole = datagram(family, pattern(most - 8));
    const pieces = cut(whole, 1448);
    await gw.sends(...pieces.map((piece) => fragment(family, piece)));
    assertEquals(got.map(({ length }) => length), [most - 8]);
    assertEquals(got.splice(0), [whole.slice(8)]);
    gw.silent().counts({ "udp.opened": 1, "udp.up": 1 });
    const at = most - (most % 8);
    const over: Piece[] = [
      { at, bytes: pattern(most % 8 + 1), more: false },
      { at, bytes: pattern(8), more: true },
      { at: 65_528, bytes: pattern(8), more: false },
      { at: 65_528, bytes: pattern(1400), more: true },
      { at: 65_528, bytes: pattern(1400), more: false },
    ];
    for (const [i, piece] of over.entries()) {
      // As a "ping of death": everything in front of it is there.
      const all = [...pieces.slice(0, -1), piece, pieces.at(-1)!];
      await gw.sends(...all.map((it) => fragment(family, it, { id: i + 2 })));
      gw.silent().counts({ "drop.frag.big": 1 });
    }
    assertEquals(got, []);
    if (family === 4) {
      // Options of the first piece, which comes last, make the packet too long.
      const [first, ...rest] = pieces.map((it) => fragment(family, it, { id: 9 }));
      const options = Array<number>(40).fill(1);
      const long = fragment(family, pieces[0]!, { id: 9, options });
      assert(long.length > first!.length);
      await gw.sends(...rest, long);
      gw.silent().counts({ "drop.frag.big": 1 });
      assertEquals(got, []);
    }
    await arrives(gw, got, family);
    gw.forget();
    await gw.run(WAIT_MS[family]);
    gw.silent().counts({});
    await gw.empties();
  }
});

/** Numbers of the fields of a fragment's frame. */
const ID4 = 18, OFFSET4 = 20, DESTINATION4 = 30, DESTINATION6 = 38, OFFSET6 = 56, ID6 = 58;

Deno.test("hostile 15: of a million incomplete datagrams 64 are kept, for 30 s", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const count = 1_000_000;
  const piece: Piece = { at: 64, bytes: pattern(8), more: true };
  await flood(gw, count, fragment(4, piece), (_, view, i) => {
    view.setUint16(ID4, i);
    view.setUint8(DESTINATION4 + 3, i >>> 16);
    sealHeader4(view);
    if (i % 4096 === 0) assert(gw.figures().fragmentSets <= 64);
  });
  assertEquals(gw.figures().fragmentSets, 64);
  gw.silent().counts({ "drop.frag.limit": count - 64 });
  await arrives(gw, got, 4); // the oldest makes way
  assertEquals(gw.figures().fragmentSets, 63);
  gw.counts({ "drop.frag.limit": 1, "udp.opened": 1, "udp.up": 1 });
  await gw.run(WAIT_MS[4] - 10);
  assertEquals(gw.figures().fragmentSets, 63);
  await gw.run(20);
  gw.silent().counts({ "drop.frag.timeout": 63 });
  assertEquals(gw.figures().fragmentSets, 0);
  await gw.empties();
});

Deno.test("hostile 15: the oldest of the incomplete datagrams makes way, whoever is used", async () => {
  for (const family of FAMILIES) {
    await using gw = await HostileGuest.start();
    const got = listensTo(gw);
    const whole = datagram(family, pattern(56));
    const rest = slice(whole, 32, 64);
    for (let id = 1; id <= 70; id++) {
      await gw.sends(fragment(family, rest, { id }));
      await gw.sends(fragment(family, rest, { id: 1 + id / 2 | 0 })); // a copy keeps nobody young
    }
    gw.silent().grown();
    got.length = 0;
    const ids = [...Array(64).keys()].map((i) => 7 + i);
    const held = gw.figures().fragmentSets;
    assertEquals(held, 64);
    await gw.sends(...ids.map((id) => fragment(family, slice(whole, 0, 32), { id })));
    assertEquals(got.length, 64, "the youngest 64 are there");
    gw.silent();
    await gw.empties();
  }
});

Deno.test("hostile 15: the same over IPv6, for 60 s", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const count = 200_000;
  const piece: Piece = { at: 64, bytes: pattern(8), more: true };
  await flood(gw, count, fragment(6, piece), (_, view, i) => {
    view.setUint32(ID6, i);
    view.setUint16(DESTINATION6 + 14, i);
  });
  assertEquals(gw.figures().fragmentSets, 64);
  gw.silent().counts({ "drop.frag.limit": count - 64 });
  await arrives(gw, got, 6);
  gw.forget();
  await gw.run(WAIT_MS[6] - 10);
  assertEquals(gw.figures().fragmentSets, 63);
  await gw.run(20);
  gw.silent().counts({ "drop.frag.timeout": 63 });
  await gw.empties();
});

Deno.test("hostile 15: who sent first pieces hears that time was up, within the limit on errors", async () => {
  await using gw = await HostileGuest.start();
  for (const family of FAMILIES) {
    const whole = datagram(family, pattern(56));
    const frame = fragment(family, slice(whole, 0, 32));
    await flood(gw, 100, frame, (_, view, i) => {
      view.setUint16(family === 4 ? ID4 : ID6 + 2, i);
      if (family === 4) sealHeader4(view);
    });
    gw.silent().counts({ "drop.frag.limit": 36 });
    await gw.run(WAIT_MS[family] + 10);
    const errors = gw.errors();
    const code = family === 4 ? "11/1" : "3/1";
    assertEquals(errors.map((error) => error.code), Array(50).fill(code));
    for (const { quote } of errors) assertEquals(quote.slice(-32), whole.slice(0, 32));
    gw.silent().counts({ "drop.frag.timeout": 64, "icmp.errors": 50, "drop.icmp.limit": 14 });
  }
  await gw.empties(0);
});

Deno.test("hostile 15: pieces of all incomplete datagrams hold at most 1 MiB", async () => {
  for (const family of FAMILIES) {
    await using gw = await HostileGuest.start();
    const got = listensTo(gw);
    const whole = datagram(family, pattern(64_000));
    const [, ...rest] = cut(whole, 1448); // without its first piece
    const eachBytes = whole.length - 1448;
    for (let id = 1; id <= 64; id++) {
      await gw.sends(...rest.map((piece) => fragment(family, piece, { id })));
      assert(gw.figures().fragmentSets * eachBytes <= 1024 * 1024 + eachBytes, `${id}`);
    }
    const kept = Math.floor(1024 * 1024 / eachBytes);
    assertEquals(gw.figures().fragmentSets, kept);
    gw.silent().counts({ "drop.frag.limit": 64 - kept });
    // The youngest is still whole but for its first piece.
    await gw.sends(fragment(family, slice(whole, 0, 1448), { id: 64 }));
    assertEquals(got, [whole.slice(8)]);
    await arrives(gw, got, family);
    await gw.empties();
  }
});

// CVE-2018-5391: pieces of 8 octets at random offsets, the last one held back, made the search for
// the place of each piece longer and longer.
Deno.test("hostile 15: the smallest pieces at random offsets cost no more the more there are", async () => {
  const count = 400_000;
  for (const family of FAMILIES) {
    await using gw = await HostileGuest.start();
    const got = listensTo(gw);
    const dice = new Dice(15);
    const frame = fragment(family, { at: 64, bytes: pattern(8), more: true });
    const tookMs: number[] = [];
    for (let part = 0; part < 4; part++) {
      const fromMs = usedMs();
      await flood(gw, count / 4, frame, (_, view) => {
        const unit = 1 + dice.below(8000);
        const id = dice.below(8);
        if (family === 4) {
          view.setUint16(ID4, id);
          view.setUint16(OFFSET4, 0x2000 | unit);
          sealHeader4(view);
        } else {
          view.setUint32(ID6, id);
          view.setUint16(OFFSET6, unit << 3 | 1);
        }
      });
      tookMs.push(usedMs() - fromMs);
    }
    assert(tookMs[3]! < 5 * tookMs[0]! + 1000, `${tookMs.map(Math.round)} ms`);
    assertEquals(gw.figures().fragmentSets, 8);
    gw.silent().counts({}); // copies are the network's doing
    await arrives(gw, got, family);
    await gw.empties();
  }
});

/** Sends frames of which each is dropped, without a word, under this name. */
async function drops(gw: HostileGuest, counter: CounterName, ...frames: Uint8Array[]) {
  await gw.sends(...frames);
  gw.silent().counts({ [counter]: frames.length });
}

const SYN = 2;

Deno.test("hostile 16: an L4 header that is split over fragments is dropped", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  gw.host.listen(HOST6, 80);
  for (const family of FAMILIES) {
    const [guest, host] = family === 4 ? [GUEST4, HOST4] : [GUEST6, HOST6];
    const segment = tcp(guest, host, pattern(40), SYN);
    const lied = segment.with(12, 0xf0); // 60 octets of header, of which 24 come first
    const echo = family === 4 ? 1 : 58;
    const first = (bytes: Uint8Array, to: number, protocol: number) =>
      fragment(family, { at: 0, bytes: bytes.slice(0, to), more: true }, { protocol });
    await drops(
      gw,
      "drop.frag.tiny",
      first(segment, 8, 6),
      first(segment, 16, 6),
      first(lied, 24, 6),
      first(datagram(family, pattern(40)), 4, 17),
      first(segment, 4, echo),
    );
    // The rest alone makes no datagram; a piece that begins inside the header is refused itself.
    const rest = fragment(family, slice(segment, 24, segment.length), { protocol: 6, id: 2 });
    const inside = fragment(family, slice(segment, 8, segment.length), { protocol: 6, id: 3 });
    await gw.sends(rest);
    gw.silent().counts({});
    if (family === 4) await drops(gw, "drop.frag.tiny", inside); // RFC 3128
    else await gw.sends(inside, first(segment, 8, 6)); // without its first piece, for ever
    gw.forget();
  }
  // IPv6: all headers are in the first piece (RFC 7112).
  const chain = concat([60, 0, 1, 4, 0, 0, 0, 0], [17, 0, 1, 4, 0, 0, 0, 0]);
  for (const bytes of [8, 16]) {
    const piece: Piece = { at: 0, bytes: chain.slice(0, bytes), more: true };
    await drops(gw, "drop.frag.tiny", fragment(6, piece, { protocol: 60, id: 4 }));
  }
  await gw.run(60_000);
  gw.silent();
  assertEquals(gw.host.dialed, []);
  await gw.empties(0);
});

Deno.test("hostile 16: what is allowed is judged on the whole datagram, not on a piece", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const metadata = "169.254.169.254";
  // Both pieces alone look like datagrams to a port that is open.
  const whole = udp(GUEST4, 5000, metadata, 80, pattern(64));
  const pieces = cut(whole, 40).map((it) => fragment(4, it, { destination: metadata }));
  await gw.sends(pieces[0]!);
  gw.silent().counts({});
  await gw.sends(pieces[1]!);
  const [refused, ...others] = gw.errors();
  assertEquals([refused!.code, others], ["3/13", []]);
  assertEquals(refused!.quote.slice(20), whole);
  gw.silent().counts({ "policy.refused": 1, "icmp.errors": 1 });
  // A SYN is dialled when it is whole.
  const segment = cut(tcp(GUEST4, HOST4, pattern(40), SYN), 24);
  const frames = segment.map((it) => fragment(4, it, { protocol: 6, id: 2 }));
  await gw.sends(frames[2]!, frames[0]!);
  assertEquals(gw.host.dialed, []);
  await gw.sends(frames[1]!);
  assertEquals(gw.host.dialed, [`${HOST4} 80`]);
  await gw.empties();
});

/** A header of options with nothing in them. */
function options(next: number): number[] {
  return [next, 0, 1, 4, 0, 0, 0, 0];
}

/** So many headers of options in front of UDP. */
function chain(count: number): number[] {
  return Array.from({ length: count }, (_, i) => options(i === count - 1 ? 17 : 60)).flat();
}

function extended(next: number, headers: readonly number[], payload: Uint8Array): Uint8Array {
  return ethernet(ip6(concat(headers, payload), { next, destination: HOST6 }));
}

Deno.test("hostile 17: at most 8 extension headers are walked", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const data = datagram(6, pattern(9));
  await gw.sends(extended(60, chain(1), data), extended(60, chain(8), data));
  assertEquals(got.splice(0), [pattern(9), pattern(9)]);
  gw.silent().counts({ "udp.opened": 1, "udp.up": 2 });
  await drops(gw, "drop.ext.limit", extended(60, chain(9), data), extended(60, chain(100), data));
  // Headers in front of a fragment header and behind it count together.
  const whole = concat(chain(5), data);
  const piece = fragment6(whole.slice(0, 48), 60, 0, true, 1);
  const outer = [...options(60), ...options(60), ...options(44)];
  await drops(gw, "drop.ext.limit", extended(60, outer, piece));
  // A header that runs over the end, or has no end.
  const overrun = extended(60, [17, 255, 1, 4, 0, 0, 0, 0], data);
  await drops(
    gw,
    "drop.ext.hdr",
    overrun,
    ethernet(ip6(pattern(4), { next: 60, destination: HOST6 })),
  );
  assertEquals(got, []);
  await gw.empties();
});

Deno.test("hostile 17: a routing header is told off with 4/0, and nobody is sent on", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const data = datagram(6, pattern(9));
  const route = (type: number, left: number) =>
    concat([17, 2, type, left, 0, 0, 0, 0], [
      0x20,
      1,
      0xd,
      0xb8,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      9,
    ]);
  for (const [type, left] of [[0, 1], [0, 0], [0, 255], [2, 1], [4, 1]] as const) {
    const frame = extended(43, [...route(type, left)], data);
    await gw.sends(frame);
    const [packet, ...others] = gw.packets();
    const { payload } = packet!;
    assertEquals([payload[0], payload[1], others], [4, 0, []]);
    assertEquals(payload.slice(4, 8), Uint8Array.from(u32(42)), "the octet that is wrong");
    assertEquals(payload.slice(8), frame.slice(14));
    gw.counts({ "drop.ext.hdr": 1, "icmp.errors": 1 });
  }
  assertEquals(got, []);
  await gw.empties(0);
});

Deno.test("hostile 17: fragments in fragments are dropped, in sight or once put together", async () => {
  await using gw = await HostileGuest.start();
  const got = listensTo(gw);
  const data = datagram(6, pattern(64));
  const inner = fragment6(data.slice(0, 32), 17, 0, true, 2);
  const nested = (more: boolean) => fragment6(inner, 44, 0, more, 1);
  await drops(
    gw,
    "drop.frag.nested",
    extended(44, [], nested(true)),
    extended(44, [], nested(false)),
  );
  // A first piece that ends in front of the inner header does not hold all headers.
  const hidden = concat(options(44), inner);
  await drops(
    gw,
    "drop.frag.tiny",
    extended(44, [], fragment6(hidden.slice(0, 8), 60, 0, true, 3)),
  );
  assertEquals(gw.figures().fragmentSets, 0);
  assertEquals(got, []);
  await gw.empties(0);
});

Deno.test("hostile 20: an error in pieces, behind whatever headers, is not answered when its time is up", async () => {
  await using gw = await HostileGuest.start();
  const error = icmp6(GUEST6, HOST6, 1, 0, [0, 0, 0, 0], pattern(64));
  const echo = icmp6(GUEST6, HOST6, 128, 0, [0, 1, 0, 1], pattern(64));
  const first = (
    message: Uint8Array,
    id: number,
    inside: readonly number[],
    outside: readonly number[],
  ) => {
    const bytes = concat(inside, message.slice(0, 32));
    const piece = fragment6(bytes, inside.length > 0 ? 60 : 58, 0, true, id);
    return extended(outside.length > 0 ? 60 : 44, outside, piece);
  };
  let id = 0;
  for (const inside of [[], options(58)]) {
    for (const outside of [[], options(44)]) {
      await gw.sends(first(error, ++id, inside, outside), first(echo, ++id, inside, outside));
    }
  }
  gw.silent();
  await gw.run(60_010);
  assertEquals(gw.errors().map(({ code }) => code), Array(4).fill("3/1"), "the pings' alone");
  gw.silent().counts({ "drop.frag.timeout": 8, "icmp.errors": 4 });
  await gw.empties(0);
});
