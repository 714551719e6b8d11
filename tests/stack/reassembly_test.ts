import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { StackHarness } from "../support/stack_harness.ts";
import {
  concat,
  ethernet,
  fragment6,
  GATEWAY4,
  GATEWAY6,
  GUEST4,
  GUEST6,
  icmp4,
  icmp6,
  ip4,
  ip6,
  pattern,
  tcp,
  udp,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";

interface Piece {
  offset: number;
  bytes: Uint8Array;
  more: boolean;
}

/** A piece of an IPv4 datagram as a frame. */
function frame4(piece: Piece, id = 1, protocol = 17, destination = WORLD4): Uint8Array {
  const fragment = (piece.more ? 0x2000 : 0) | (piece.offset / 8);
  return ethernet(ip4(piece.bytes, { id, fragment, protocol, destination }));
}

/** A piece of an IPv6 datagram as a frame. */
function frame6(piece: Piece, id = 1, protocol = 17, destination = WORLD6): Uint8Array {
  const payload = fragment6(piece.bytes, protocol, piece.offset, piece.more, id);
  return ethernet(ip6(payload, { next: 44, destination }));
}

/** Cuts a datagram behind the given octets (multiples of 8). */
function cut(whole: Uint8Array, ...at: number[]): Piece[] {
  const edges = [0, ...at, whole.length];
  return edges.slice(0, -1).map((offset, i) => ({
    offset,
    bytes: whole.slice(offset, edges[i + 1]),
    more: i < edges.length - 2,
  }));
}

const WHOLE4 = udp(GUEST4, 7, WORLD4, 8, pattern(92));
const WHOLE6 = udp(GUEST6, 7, WORLD6, 8, pattern(92));

Deno.test("reassembly: a datagram comes out whole behind its first piece's header", () => {
  const h = new StackHarness();
  const [a, b, c] = cut(WHOLE4, 40, 80) as [Piece, Piece, Piece];
  h.push(frame4(c));
  h.push(frame4(b));
  assertEquals([h.packets.length, h.stack.reassembly.sets], [0, 1]);
  assertEquals(h.stack.reassembly.heldBytes, 60);
  const got = h.passes(frame4(a));
  assertEquals(got.reassembled, true);
  assertEquals(got.header, ip4(WHOLE4, { id: 1, destination: WORLD4 }).slice(0, 20));
  assertEquals(got.payload, WHOLE4);
  assertEquals([h.stack.reassembly.sets, h.stack.reassembly.heldBytes], [0, 0]);
});

Deno.test("reassembly: IPv6 loses the fragment header and keeps what stands before it", () => {
  const h = new StackHarness();
  const [a, b] = cut(WHOLE6, 48) as [Piece, Piece];
  const options = [44, 0, 1, 4, 0, 0, 0, 0];
  const frame = (piece: Piece) =>
    ethernet(
      ip6(concat(options, fragment6(piece.bytes, 17, piece.offset, piece.more, 5)), {
        next: 60,
        destination: WORLD6,
      }),
    );
  h.push(frame(a));
  const got = h.passes(frame(b));
  assertEquals(got.payload, WHOLE6);
  assertEquals(got.protocol, 17);
  const whole = ip6(concat([17], options.slice(1), WHOLE6), { next: 60, destination: WORLD6 });
  assertEquals(concat(got.header, got.payload), whole);
});

Deno.test("reassembly: an atomic fragment is a whole packet (RFC 6946)", () => {
  const h = new StackHarness();
  const got = h.passes(frame6({ offset: 0, bytes: WHOLE6, more: false }));
  assertEquals(got.payload, WHOLE6);
  assertEquals([got.reassembled, h.stack.reassembly.sets], [false, 0]);
});

Deno.test("reassembly: what differs in address, protocol or id is another datagram", () => {
  const h = new StackHarness();
  const [a, b] = cut(WHOLE4, 40) as [Piece, Piece];
  h.push(frame4(a));
  h.push(frame4(b, 2));
  h.push(frame4(b, 1, 1));
  h.push(frame4(b, 1, 17, "192.0.2.11"));
  const [c, d] = cut(WHOLE6, 40) as [Piece, Piece];
  h.push(frame6(c));
  h.push(frame6(d, 2));
  h.push(frame6(d, 1, 17, "2001:db8::11"));
  assertEquals([h.packets.length, h.stack.reassembly.sets], [0, 7]);
  assertEquals(h.passes(frame4(b)).payload, WHOLE4);
  assertEquals(h.passes(frame6(d)).payload, WHOLE6);
});

Deno.test("reassembly: an exact copy is passed over, any other overlap spoils the datagram", () => {
  const whole = udp(GUEST4, 7, WORLD4, 8, pattern(120)); // 128 octets
  const piece = (from: number, to: number, more = to < 128): Piece => ({
    offset: from,
    bytes: whole.slice(from, to),
    more,
  });
  const overlaps: [Piece[], Piece][] = [
    [[piece(0, 32)], piece(24, 64)], // tail
    [[piece(32, 64)], piece(0, 40)], // head
    [[piece(0, 64)], piece(32, 48)], // inside
    [[piece(32, 48)], piece(24, 64)], // around
    [[piece(0, 64)], piece(0, 32)], // shorter
    [[piece(0, 32)], piece(0, 64)], // longer
    [[piece(0, 32), piece(32, 64)], piece(0, 64)], // two as one
    [[piece(0, 64)], { ...piece(0, 64), bytes: pattern(64, 1) }], // the same place, other octets
    [[piece(64, 128)], piece(64, 128, true)], // an end that is none
    [[piece(64, 128)], piece(96, 120, false)], // an earlier end
    [[piece(64, 120, false)], piece(120, 128, false)], // a later end
    [[piece(64, 128)], { offset: 128, bytes: pattern(8), more: true }], // behind the end
    [[piece(64, 96, true)], piece(32, 64, false)], // an end before what is there
    [[piece(0, 128, true)], piece(64, 128, false)], // an end inside
  ];
  for (const [first, second] of overlaps) {
    const h = new StackHarness();
    for (const part of first) h.push(frame4(part));
    h.counted();
    h.drops(frame4(second), "drop.frag.overlap");
    // The datagram is gone: not even all its pieces revive it, and it counts once.
    for (const part of [piece(0, 64), piece(64, 128)]) h.push(frame4(part));
    assertEquals([h.counted(), h.packets.length], [{}, 0]);
    assertEquals([h.stack.reassembly.sets, h.stack.reassembly.heldBytes], [1, 0]);
    h.wait(30_000);
    assertEquals([h.counted(), h.stack.reassembly.sets], [{}, 0]);
    h.silent();
    // After that the identification is free again.
    h.push(frame4(piece(0, 64)));
    assertEquals(h.passes(frame4(piece(64, 128))).payload, whole);
  }
});

Deno.test("reassembly: copies of every piece change nothing, in both families", () => {
  for (const [whole, frame] of [[WHOLE4, frame4], [WHOLE6, frame6]] as const) {
    const h = new StackHarness();
    const [a, b, c] = cut(whole, 40, 80) as [Piece, Piece, Piece];
    for (const piece of [a, a, c, c, a]) h.push(frame(piece));
    assertEquals(h.passes(frame(b)).payload, whole);
  }
});

Deno.test("reassembly: lengths that can't be are dropped", () => {
  const h = new StackHarness();
  h.drops(frame4({ offset: 8, bytes: pattern(12), more: true }, 1), "drop.ip.hdr");
  h.drops(frame4({ offset: 8, bytes: pattern(0), more: false }, 2), "drop.ip.hdr");
  h.drops(frame4({ offset: 65_528, bytes: pattern(8), more: false }, 3), "drop.frag.big");
  h.drops(frame4({ offset: 65_512, bytes: pattern(4), more: false }, 4), "drop.frag.big");
  h.drops(frame4({ offset: 65_504, bytes: pattern(1480), more: true }, 5), "drop.frag.big");
  h.drops(frame6({ offset: 65_528, bytes: pattern(8), more: false }, 6), "drop.frag.big");
  h.push(frame4({ offset: 65_512, bytes: pattern(3), more: false }, 7));
  h.push(frame6({ offset: 65_528, bytes: pattern(7), more: false }, 8));
  assertEquals(h.counted(), {});
});

Deno.test("reassembly: the largest packets of both families come out", () => {
  const h = new StackHarness({ link: { mtu: 65_520 } });
  const four = udp(GUEST4, 1, WORLD4, 2, pattern(65_507));
  for (const piece of cut(four, 32_768)) h.push(frame4(piece));
  assertEquals(h.packets.at(-1)!.payload, four);
  const six = udp(GUEST6, 1, WORLD6, 2, pattern(65_527));
  for (const piece of cut(six, 32_768).reverse()) h.push(frame6(piece));
  assertEquals(h.packets.at(-1)!.payload, six);
});

Deno.test("reassembly: more options in the first piece can't push a packet over 65,535", () => {
  const h = new StackHarness({ link: { mtu: 65_520 } });
  const whole = udp(GUEST4, 1, WORLD4, 2, pattern(65_507));
  const [a, b] = cut(whole, 32_768) as [Piece, Piece];
  h.push(frame4(b));
  const options = [1, 1, 1, 1];
  const first = ip4(a.bytes, { id: 1, fragment: 0x2000, destination: WORLD4, options });
  h.drops(ethernet(first), "drop.frag.big");
  assertEquals([h.stack.reassembly.sets, h.stack.reassembly.heldBytes], [0, 0]);
});

Deno.test("reassembly: a first piece without its whole L4 header is dropped", () => {
  const h = new StackHarness();
  const head = (whole: Uint8Array, bytes: number): Piece => cut(whole, bytes)[0]!;
  const segment4 = tcp(GUEST4, WORLD4, pattern(80));
  const segment6 = tcp(GUEST6, WORLD6, pattern(80));
  h.drops(frame4(head(segment4, 8), 1, 6), "drop.frag.tiny");
  h.drops(frame4(head(segment4, 16), 1, 6), "drop.frag.tiny");
  h.drops(frame6(head(segment6, 16), 1, 6), "drop.frag.tiny");
  // RFC 3128: nothing lands on the flags afterwards either.
  const second = { offset: 8, bytes: segment4.slice(8, 48), more: true };
  h.drops(frame4(second, 1, 6), "drop.frag.tiny");
  const longHeader = segment4.slice();
  longHeader[12] = 0xf0;
  h.drops(frame4(head(longHeader, 56), 1, 6), "drop.frag.tiny");
  // Only options of a chain in the first piece, the ports later (RFC 7112).
  const chain = concat([17, 1, 1, 12], new Uint8Array(12), WHOLE6);
  h.drops(frame6(head(chain, 8), 2, 60), "drop.frag.tiny");
  h.drops(frame6(head(chain, 16), 2, 60), "drop.frag.tiny");
  assertEquals(h.stack.reassembly.sets, 0);
  h.push(frame4(head(segment4, 24), 3, 6));
  h.push(frame6(head(chain, 24), 3, 60));
  assertEquals([h.counted(), h.stack.reassembly.sets], [{}, 2]);
});

Deno.test("reassembly: at most so many sets, the oldest goes first", () => {
  const h = new StackHarness({ limits: { fragmentSets: 4 } });
  const [a, b] = cut(WHOLE4, 40) as [Piece, Piece];
  for (let id = 0; id < 4; id++) h.push(frame4(a, id));
  assertEquals(h.counted(), {});
  h.drops(frame4(a, 4), "drop.frag.limit");
  assertEquals(h.stack.reassembly.sets, 4);
  for (const id of [1, 2, 3, 4]) h.passes(frame4(b, id));
  h.push(frame4(b, 0));
  assertEquals(h.packets.length, 4);
});

Deno.test("reassembly: a flood of incomplete sets leaves the limits and the next datagram whole", () => {
  const h = new StackHarness();
  const piece = { offset: 8, bytes: pattern(1400), more: true };
  for (let i = 0; i < 5000; i++) {
    h.push(frame4(piece, i & 0xffff));
    assertEquals(h.stack.reassembly.sets <= 64, true);
    assertEquals(h.stack.reassembly.heldBytes <= 1024 * 1024, true);
  }
  assertEquals(h.counted(), { "drop.frag.limit": 5000 - 64 });
  for (const part of cut(WHOLE6, 40)) h.push(frame6(part));
  assertEquals(h.packets.at(-1)!.payload, WHOLE6);
});

Deno.test("reassembly: bytes are limited too, and one set alone can't break that", () => {
  const h = new StackHarness({ limits: { fragmentBytes: 4000 }, link: { mtu: 9000 } });
  const piece = (offset: number, bytes: number) => ({ offset, bytes: pattern(bytes), more: true });
  h.push(frame4(piece(0, 1600), 1));
  h.push(frame4(piece(0, 1600), 2));
  h.drops(frame4(piece(1600, 1600), 2), "drop.frag.limit");
  assertEquals([h.stack.reassembly.sets, h.stack.reassembly.heldBytes], [1, 3200]);
  h.drops(frame4(piece(3200, 1600), 2), "drop.frag.limit");
  assertEquals(h.stack.reassembly.heldBytes, 0);
});

Deno.test("reassembly: 30 s for IPv4 and 60 s for IPv6 from the first piece, then 11/1 and 3/1", () => {
  const h = new StackHarness();
  const [a, b] = cut(WHOLE4, 40) as [Piece, Piece];
  const [c, d] = cut(WHOLE6, 40) as [Piece, Piece];
  h.push(frame4(a));
  h.push(frame6(c));
  h.push(frame4(b, 2)); // without a first piece nobody can be told
  h.wait(29_999);
  assertEquals([h.stack.reassembly.sets, h.counted()], [3, {}]);
  h.wait(1);
  const error4 = h.reply();
  assertEquals(error4.payload.slice(0, 2), Uint8Array.of(11, 1));
  assertEquals([error4.source, error4.destination], [GATEWAY4, GUEST4]);
  assertEquals(error4.payload.slice(8), frame4(a).slice(14));
  assertEquals(h.counted(), { "drop.frag.timeout": 2, "icmp.errors": 1 });
  h.wait(29_999);
  assertEquals(h.stack.reassembly.sets, 1);
  h.wait(1);
  const error6 = h.reply();
  assertEquals(error6.payload.slice(0, 2), Uint8Array.of(3, 1));
  assertEquals([error6.source, error6.destination], [GATEWAY6, GUEST6]);
  assertEquals(error6.payload.slice(8 + 40), c.bytes);
  assertEquals(h.stack.pollAt(), Infinity);
  h.push(frame4(b));
  h.push(frame6(d));
  assertEquals(h.packets, []);
});

Deno.test("reassembly: nobody hears that time was up for an ICMPv6 error, also behind options", () => {
  const h = new StackHarness();
  const [piece] = cut(icmp6(GUEST6, WORLD6, 1, 0, [0, 0, 0, 0], pattern(64)), 32) as [Piece];
  const options = (next: number) => [next, 0, 1, 4, 0, 0, 0, 0];
  h.push(frame6(piece, 1, 58));
  h.push(frame6({ ...piece, bytes: concat(options(58), piece.bytes) }, 2, 60));
  const outer = concat(options(44), fragment6(piece.bytes, 58, 0, true, 3));
  h.push(ethernet(ip6(outer, { next: 60, destination: WORLD6 })));
  h.wait(60_000);
  assertEquals(h.counted(), { "drop.frag.timeout": 3 });
  h.silent();
});

Deno.test("reassembly: later pieces don't prolong the time", () => {
  const h = new StackHarness();
  const [a, b, c] = cut(WHOLE4, 40, 80) as [Piece, Piece, Piece];
  h.push(frame4(b));
  h.wait(29_000);
  h.push(frame4(c));
  h.wait(1_000);
  assertEquals(h.counted(), { "drop.frag.timeout": 1 });
  h.push(frame4(a));
  assertEquals(h.packets, []);
});

Deno.test("reassembly: what is incomplete when the guest leaves is forgotten without a word", () => {
  const h = new StackHarness();
  h.push(frame4(cut(WHOLE4, 40)[0]!));
  h.push(frame6(cut(WHOLE6, 40)[0]!));
  const { reassembly } = h.stack;
  assertEquals([reassembly.sets, reassembly.heldBytes], [2, 80]);
  const sent = h.sent().length;
  reassembly.closeAll();
  assertEquals([reassembly.sets, reassembly.heldBytes, reassembly.pollAt()], [0, 0, Infinity]);
  assertEquals(h.sent().length - sent, 0);
});

Deno.test("reassembly: the judge sees ICMP only whole", () => {
  const h = new StackHarness();
  const whole = icmp4(8, 0, [0, 1, 0, 1], pattern(92));
  const [a, b] = cut(whole, 40) as [Piece, Piece];
  h.push(frame4(a, 1, 1, GATEWAY4));
  h.silent();
  h.push(frame4(b, 1, 1, GATEWAY4));
  assertEquals(h.reply().payload, icmp4(0, 0, [0, 1, 0, 1], pattern(92)));
  const flipped = { ...b, bytes: b.bytes.slice() };
  flipped.bytes[3]! ^= 1;
  h.push(frame4(a, 2, 1, GATEWAY4));
  h.counted();
  h.drops(frame4(flipped, 2, 1, GATEWAY4), "drop.csum");
});

/** Datagrams of random size, cut at random places, all pieces shuffled, some doubled. */
const shuffled = fc.record({
  family: fc.constantFrom<4 | 6>(4, 6),
  sizes: fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1, maxLength: 6 }),
  cuts: fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 12 }),
  order: fc.array(fc.nat(), { minLength: 80, maxLength: 80 }),
  doubled: fc.array(fc.boolean(), { minLength: 80, maxLength: 80 }),
});

Deno.test("reassembly: any order, interleaved and doubled, brings each datagram exactly once", () => {
  fc.assert(
    fc.property(shuffled, ({ family, sizes, cuts, order, doubled }) => {
      const h = new StackHarness();
      const [frame, source, destination] = family === 4
        ? [frame4, GUEST4, WORLD4] as const
        : [frame6, GUEST6, WORLD6] as const;
      const wholes = sizes.map((bytes, i) => udp(source, i, destination, 9, pattern(bytes, i)));
      const frames = wholes.flatMap((whole, id) => {
        const units = (whole.length - 1) >> 3;
        const at = [...new Set(cuts.map((c) => 1 + c % Math.max(1, units)))];
        const edges = at.filter((unit) => unit <= units).sort((x, y) => x - y);
        if (edges.length === 0) return [];
        return cut(whole, ...edges.map((unit) => unit * 8)).map((piece) => frame(piece, id));
      });
      const mixed = frames.map((frame, i) => ({ frame, key: order[i % 80]!, i }))
        .sort((x, y) => x.key - y.key || x.i - y.i);
      for (const { frame, i } of mixed) {
        h.push(frame);
        // A copy of the piece that completed a datagram would begin another one.
        if (doubled[i % 80] && h.stack.reassembly.sets > 0) {
          const before = h.stack.reassembly.sets;
          h.push(frame);
          if (h.stack.reassembly.sets > before) h.wait(60_000);
        }
      }
      const cutOnes = wholes.filter((whole) => whole.length > 8);
      const key = (bytes: Uint8Array) => `${bytes.length}:${bytes.slice(0, 2).join(".")}`;
      const got = h.packets.map((packet) => packet.payload);
      const lost = h.counters.get("drop.frag.timeout");
      if (lost === 0) assertEquals(got.map(key).sort(), cutOnes.map(key).sort());
      for (const payload of got) assertEquals(wholes.some((w) => same(w, payload)), true);
      assertEquals(h.counters.get("drop.frag.overlap"), 0);
    }),
    { numRuns: 150 },
  );
});

/** What must come out, in the plainest form: a list of pieces for each datagram. */
class NaiveReassembly {
  #pieces: Piece[] = [];
  spoiled = false;

  /** Adds a piece: the datagram, if it is complete. */
  add(piece: Piece): Uint8Array | null {
    if (this.spoiled) return null;
    const end = (p: Piece) => p.offset + p.bytes.length;
    for (const other of this.#pieces) {
      const copy = other.offset === piece.offset && other.more === piece.more &&
        same(other.bytes, piece.bytes);
      if (copy) return null;
      if (piece.offset < end(other) && other.offset < end(piece)) this.spoiled = true;
      if (!other.more && (end(piece) > end(other) || !piece.more)) this.spoiled = true;
      if (!piece.more && end(other) > end(piece)) this.spoiled = true;
      // Pieces touch only while more follow: an end is an end.
      if (!other.more && piece.more && end(piece) >= end(other)) this.spoiled = true;
    }
    if (this.spoiled) return null;
    this.#pieces.push(piece);
    this.#pieces.sort((x, y) => x.offset - y.offset);
    const whole = concat(...this.#pieces.map((p) => p.bytes));
    const last = this.#pieces.at(-1)!;
    if (last.more || end(last) !== whole.length) return null;
    return whole;
  }
}

Deno.test("reassembly: agrees with a naive model on pieces that overlap at random", () => {
  const whole = udp(GUEST4, 7, WORLD4, 8, pattern(56)); // 64 octets: 8 units
  const quarter = fc.constantFrom(0, 2, 4, 6).map((from) => ({ from, to: from + 2 }));
  const anywhere = fc.tuple(fc.nat(7), fc.integer({ min: 1, max: 4 })).map(([from, units]) => ({
    from,
    to: Math.min(8, from + units),
  }));
  const anyPiece = fc.record({
    place: fc.oneof({ weight: 8, arbitrary: quarter }, { weight: 1, arbitrary: anywhere }),
    lies: fc.nat(20),
  });
  let complete = 0;
  let spoiled = 0;
  fc.assert(
    fc.property(fc.array(anyPiece, { minLength: 1, maxLength: 12 }), (drawn) => {
      const h = new StackHarness();
      const model = new NaiveReassembly();
      for (const { place: { from, to }, lies } of drawn) {
        const bytes = whole.slice(from * 8, to * 8);
        const piece = { offset: from * 8, bytes, more: to < 8 };
        if (lies === 0) bytes[7]! ^= 0xff;
        if (lies === 1 && from > 0) piece.more = !piece.more;
        const want = model.add(piece);
        const before = h.packets.length;
        h.push(frame4(piece));
        assertEquals(h.packets.length - before, want === null ? 0 : 1);
        if (want !== null) {
          assertEquals(h.packets.at(-1)!.payload, want);
          complete++;
          break;
        }
        assertEquals(h.counters.get("drop.frag.overlap"), model.spoiled ? 1 : 0);
      }
      if (model.spoiled) spoiled++;
    }),
    { numRuns: 800, seed: 8200 },
  );
  assertEquals([complete > 100, spoiled > 100], [true, true]);
});

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i]);
}
