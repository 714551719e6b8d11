import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  copyOctets,
  copyShared,
  LAN_RUN_BYTES,
  lanBytes,
  lanRingBytes,
  LanRings,
} from "../../lib/stack/lan_rings.ts";

const KIB = 1024;

function ringsOf(members: number): LanRings {
  return new LanRings(new ArrayBuffer(lanBytes(members)), members);
}

/** A run that says by its octets which one it is. */
function run(seed: number, n: number): Uint8Array {
  return Uint8Array.from({ length: n }, (_, i) => (seed * 31 + i * 7) & 0xff);
}

/** The next run as octets; `null` for none. */
function take(rings: LanRings, from: number, to: number): Uint8Array | null {
  const n = rings.peek(from, to);
  assert(n >= 0, "the ring makes sense");
  if (n === 0) return null;
  const octets = rings.bytes.slice(rings.runAt, rings.runAt + n);
  rings.pop(from, to);
  return octets;
}

Deno.test("rings are powers of two that share 16 MiB of a member, within bounds", () => {
  assertEquals([1, 2, 5].map(lanRingBytes), [4096 * KIB, 4096 * KIB, 4096 * KIB]);
  assertEquals([6, 9, 10, 17].map(lanRingBytes), [2048, 2048, 1024, 1024].map((n) => n * KIB));
  assertEquals([18, 33].map(lanRingBytes), [512 * KIB, 512 * KIB]);
  assertEquals([34, 64].map(lanRingBytes), [256 * KIB, 256 * KIB]);
  for (const members of [0, 65, 1.5, NaN]) assertThrows(() => lanBytes(members), RangeError);
  assertThrows(() => new LanRings(new ArrayBuffer(lanBytes(2) - 1), 2), RangeError, "octets");
});

Deno.test("no two rings of the largest network share an octet", () => {
  const members = 64;
  const rings = new LanRings(new SharedArrayBuffer(lanBytes(members)), members);
  rings.bytes[rings.bytes.length - 1] = 0; // the last octet is there
  for (let to = 0; to < members; to++) rings.attach(to);
  const octets = new Uint8Array(8);
  const view = new DataView(octets.buffer);
  for (let from = 0; from < members; from++) {
    for (let to = 0; to < members; to++) {
      if (from === to) continue;
      view.setUint32(0, from);
      view.setUint32(4, to);
      assert(rings.push(from, to, octets, 0, 8));
    }
  }
  for (let from = 0; from < members; from++) {
    for (let to = 0; to < members; to++) {
      if (from === to) continue;
      view.setUint32(0, from);
      view.setUint32(4, to);
      assertEquals(take(rings, from, to), octets);
      assertEquals(take(rings, from, to), null);
    }
  }
});

Deno.test("a ring is a bounded queue of runs", () => {
  const length = fc.oneof(
    fc.integer({ min: 1, max: 64 }),
    fc.integer({ min: 1, max: LAN_RUN_BYTES }),
    fc.constant(LAN_RUN_BYTES),
  );
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ push: length }) },
    { weight: 2, arbitrary: fc.record({ pop: fc.integer({ min: 1, max: 8 }) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const rings = ringsOf(2);
      rings.attach(1);
      const model: Uint8Array[] = [];
      let queuedBytes = 0;
      steps.forEach((step, seed) => {
        if ("push" in step) {
          const octets = run(seed, step.push);
          const hasRoom = rings.hasRoom(0, 1, step.push);
          const taken = rings.push(0, 1, octets, 0, octets.length);
          assertEquals(taken, hasRoom);
          if (taken) {
            model.push(octets);
            queuedBytes += octets.length;
          } else {
            // What is refused did not fit: two runs and their heads at most are lost to the ends.
            assert(queuedBytes > lanRingBytes(2) - 3 * LAN_RUN_BYTES - 24 * (model.length + 2));
          }
          return;
        }
        for (let i = 0; i < step.pop; i++) {
          const expected = model.shift() ?? null;
          queuedBytes -= expected?.length ?? 0;
          assertEquals(take(rings, 0, 1), expected);
        }
      });
      while (model.length > 0) assertEquals(take(rings, 0, 1), model.shift()!);
      assertEquals(take(rings, 0, 1), null);
    }),
    { numRuns: 60 },
  );
});

Deno.test("positions go on beyond 2^32 octets", () => {
  const rings = ringsOf(2);
  rings.attach(1);
  const octets = run(1, LAN_RUN_BYTES);
  const words = new Int32Array(rings.bytes.buffer);
  // Head and tail of the pair 0 to 1, shortly before they wrap: both at a multiple of the ring.
  const pair = (2 * 128 + 128) / 4;
  words[pair] = words[pair + 16] = -lanRingBytes(2);
  for (let bytes = 0; bytes <= lanRingBytes(2); bytes += octets.length) {
    assert(rings.push(0, 1, octets, 0, octets.length));
    assertEquals(take(rings, 0, 1), octets);
  }
  assert(words[pair]! > 0, "the position has wrapped");
});

Deno.test("who comes again never sees what was sent before", () => {
  const rings = ringsOf(3);
  rings.attach(1);
  assert(rings.push(0, 1, run(1, 100), 0, 100));
  assert(rings.announce(0, 1));
  rings.detach(1);
  assertFalse(rings.isAttached(1));
  rings.attach(1);
  assert(rings.isAttached(1));
  assertFalse(rings.isPending(1));
  assertEquals(take(rings, 0, 1), null);
  assert(rings.push(0, 1, run(2, 50), 0, 50));
  assertEquals(take(rings, 0, 1), run(2, 50));
});

Deno.test("what was being sent while a member came again is passed over", () => {
  // The producer's view of the attachment is older than the consumer's: as if it had read it first.
  const rings = ringsOf(2);
  rings.attach(1);
  rings.detach(1);
  assert(rings.push(0, 1, run(1, 10), 0, 10)); // meant for nobody
  assert(rings.push(0, 1, run(2, 10), 0, 10));
  const words = new Int32Array(rings.bytes.buffer);
  words[1 * 32]! += 1; // attached again, without emptying the ring
  assert(rings.push(0, 1, run(3, 10), 0, 10));
  assertEquals(take(rings, 0, 1), run(3, 10));
  assertEquals(take(rings, 0, 1), null);
});

Deno.test("only the first announcement asks for a wake, until the consumer has looked", () => {
  const rings = ringsOf(40);
  rings.attach(5);
  assert(rings.announce(3, 5));
  assertFalse(rings.announce(3, 5));
  assert(rings.announce(35, 5));
  assert(rings.announce(31, 5));
  assertFalse(rings.announce(35, 5));
  assert(rings.isPending(5));
  assertFalse(rings.isPending(6));
  rings.takePending(5);
  assertEquals(rings.pendingLow >>> 0, (2 ** 31 | 1 << 3) >>> 0);
  assertEquals(rings.pendingHigh, 1 << 3);
  assertFalse(rings.isPending(5));
  assert(rings.announce(35, 5));
});

Deno.test("a ring that makes no sense is emptied, and works again", () => {
  const rings = ringsOf(2);
  rings.attach(1);
  const words = new Int32Array(rings.bytes.buffer);
  const header = (2 * 128 + 4 * 128) / 4; // behind two members and four pairs, the ring of 0 to 1
  for (const n of [0, -2, LAN_RUN_BYTES + 1, 0x7fffffff, 2_000]) {
    assert(rings.push(0, 1, run(1, 100), 0, 100));
    const tail = words[(2 * 128 + 128) / 4 + 16]!;
    words[header + ((tail & (lanRingBytes(2) - 1)) >>> 2)] = n;
    assertEquals(rings.peek(0, 1), -1, `a run of ${n} octets`);
    assertEquals(rings.peek(0, 1), 0);
    assert(rings.push(0, 1, run(2, 60), 0, 60));
    assertEquals(take(rings, 0, 1), run(2, 60));
  }
});

Deno.test("octets come out of shared memory whole, wherever they stand and go", () => {
  const from = new Uint8Array(new SharedArrayBuffer(4_096));
  from.set(run(5, 4_096));
  for (const n of [1, 96, 97, 104, 1_514]) {
    for (let shift = 0; shift < 64; shift++) {
      const [at, to] = [8 + (shift >> 3), 16 + (shift & 7)];
      const into = new Uint8Array(2_048);
      copyShared(into, to, from, at, n);
      assertEquals(into.slice(to, to + n), from.slice(at, at + n));
      assert(into.subarray(0, to).every((octet) => octet === 0), "nothing in front");
      assert(
        into.subarray(to + n + 7).every((octet) => octet === 0),
        "7 octets behind at the most",
      );
    }
  }
});

Deno.test("octets are copied whole, short or long", () => {
  const from = run(9, 4_000);
  for (const n of [0, 1, 95, 96, 97, 1_514, 3_000]) {
    const into = new Uint8Array(4_000);
    copyOctets(into, 13, from, 7, n);
    assertEquals(into.slice(13, 13 + n), from.slice(7, 7 + n));
    assert(into.subarray(0, 13).every((octet) => octet === 0));
    assert(into.subarray(13 + n).every((octet) => octet === 0));
  }
});
