import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import fc from "fast-check";
import { BufferPool } from "../../lib/stack/buffer_pool.ts";
import { Ring } from "../../lib/stack/ring.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";

const POOL_AT = 64 * 1024;
const POOL_BYTES = 64 * 1024;

function setUp(poolBytes = POOL_BYTES) {
  const memory = new FrameMemory(POOL_AT + POOL_BYTES);
  const pool = new BufferPool(memory, POOL_AT, poolBytes, 16);
  return { memory, pool, ring: new Ring(pool) };
}

/** Puts octets behind the content, as a host's read into the spans would. */
function put(memory: FrameMemory, ring: Ring, octets: number[]): void {
  let done = 0;
  while (done < octets.length) {
    const span = Math.min(ring.writeSpanBytes, octets.length - done);
    assert(span > 0, "the ring has room");
    memory.bytes.set(octets.slice(done, done + span), ring.writeSpanAt);
    ring.commit(span);
    done += span;
  }
}

/** The content, by its contiguous spans. */
function content(memory: FrameMemory, ring: Ring): number[] {
  const octets: number[] = [];
  for (let offset = 0; offset < ring.lengthBytes;) {
    const span = ring.spanBytes(offset);
    assert(span > 0, "content has a span");
    octets.push(...memory.bytes.subarray(ring.spanAt(offset), ring.spanAt(offset) + span));
    offset += span;
  }
  return octets;
}

function range(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => (from + i) & 0xff);
}

Deno.test("a ring without memory has no spans", () => {
  const { pool, ring } = setUp();
  assertEquals([ring.at, ring.readSpanBytes, ring.writeSpanBytes, pool.usedBytes], [-1, 0, 0, 0]);
  assertEquals(ring.spanBytes(0), 0);
  ring.discard();
  ring.release();
  assertEquals(pool.usedBytes, 0);
});

Deno.test("a size that is no power of two is rounded up", () => {
  const { ring } = setUp();
  assert(ring.ensure(33));
  assertEquals(ring.capacityBytes, 64);
  assertEquals(ring.at, POOL_AT);
  assert(ring.ensure(64));
  assertEquals(ring.at, POOL_AT);
});

Deno.test("spans go round the end", () => {
  const { memory, ring } = setUp();
  ring.ensure(16);
  put(memory, ring, range(0, 12));
  ring.consume(10);
  put(memory, ring, range(12, 10));
  assertEquals([ring.head, ring.lengthBytes], [10, 12]);
  assertEquals([ring.readSpanAt, ring.readSpanBytes], [ring.at + 10, 6]);
  assertEquals([ring.writeSpanAt, ring.writeSpanBytes], [ring.at + 6, 4]);
  assertEquals(content(memory, ring), range(10, 12));
  put(memory, ring, range(22, 4));
  assertEquals(ring.writeSpanBytes, 0);
  assertEquals(content(memory, ring), range(10, 16));
});

Deno.test("the head returns to the start when nothing is left", () => {
  const { memory, ring } = setUp();
  ring.ensure(16);
  put(memory, ring, range(0, 5));
  ring.consume(5);
  assertEquals([ring.head, ring.writeSpanAt, ring.writeSpanBytes], [0, ring.at, 16]);
});

Deno.test("the head stays while an operation works on the ring", () => {
  const { memory, ring } = setUp();
  ring.ensure(16);
  put(memory, ring, range(0, 5));
  const target = ring.writeSpanAt;
  ring.lendToWriter();
  ring.consume(5);
  assertEquals(ring.writeSpanAt, target);
  memory.bytes.set([7, 8], target);
  ring.giveBack();
  ring.commit(2);
  assertEquals(content(memory, ring), [7, 8]);
  ring.consume(2);
  assertEquals(ring.head, 0);
});

Deno.test("early bytes keep their place when the content before them is consumed", () => {
  const { memory, ring } = setUp();
  ring.ensure(16);
  memory.bytes.set([1, 2, 3, 9, 9], 0);
  ring.writeAtOffset(0, 0, 3, memory);
  ring.writeAtOffset(5, 3, 2, memory);
  assertEquals(ring.lengthBytes, 0);
  ring.commit(3);
  ring.consume(3);
  memory.bytes.set([4, 5], 0);
  ring.writeAtOffset(0, 0, 2, memory);
  ring.commit(4);
  assertEquals(content(memory, ring), [4, 5, 9, 9]);
});

Deno.test("growth keeps content and early bytes in order, and gives the old memory back", () => {
  const { memory, pool, ring } = setUp();
  ring.ensure(16);
  put(memory, ring, range(0, 12));
  ring.consume(10);
  put(memory, ring, range(12, 6));
  memory.bytes.set([50, 51], 0);
  ring.writeAtOffset(10, 0, 2, memory);
  assert(ring.ensure(64));
  assertEquals([ring.capacityBytes, ring.head, pool.usedBytes], [64, 0, 64]);
  assertEquals(content(memory, ring), range(10, 8));
  memory.bytes.set([40, 41], 0);
  ring.writeAtOffset(8, 0, 2, memory);
  ring.commit(4);
  assertEquals(content(memory, ring), [...range(10, 8), 40, 41, 50, 51]);
});

Deno.test("while an operation only reads the content moves to where it may grow", () => {
  const { memory, pool, ring } = setUp();
  ring.ensure(16);
  put(memory, ring, range(0, 9));
  const { readSpanAt: lentAt, readSpanBytes: lentBytes } = ring;
  ring.lendToReader();
  assert(ring.ensure(32));
  put(memory, ring, range(9, 20));
  assertEquals([...memory.bytes.subarray(lentAt, lentAt + lentBytes)], range(0, 9));
  assertEquals([ring.lent, pool.usedBytes], [true, 48]);
  ring.giveBack();
  assertEquals([ring.lent, pool.usedBytes, pool.lentBlocks], [false, 32, 0]);
  ring.consume(9);
  assertEquals(content(memory, ring), range(9, 20));
});

Deno.test("growth is refused while an operation writes, and where the pool is short", () => {
  const { memory, pool, ring } = setUp(64);
  ring.ensure(16);
  put(memory, ring, range(0, 9));
  ring.lendToWriter();
  assertFalse(ring.ensure(32));
  assert(ring.ensure(16), "what it has is enough");
  ring.giveBack();
  assertFalse(ring.ensure(64), "old and new must both fit");
  assertFalse(ring.ensure(2 ** 24));
  assertEquals([ring.capacityBytes, pool.usedBytes], [16, 16]);
  assertEquals(content(memory, ring), range(0, 9));
});

Deno.test("memory that is given up while lent goes back with the operation", () => {
  const { memory, pool, ring } = setUp();
  ring.ensure(16);
  put(memory, ring, range(0, 9));
  ring.lendToWriter();
  ring.discard();
  assertEquals([ring.at, ring.lengthBytes, ring.lent, pool.usedBytes], [-1, 0, true, 16]);
  assertFalse(ring.ensure(16), "still lent");
  ring.giveBack();
  assertEquals([ring.lent, pool.usedBytes, pool.lentBlocks], [false, 0, 0]);
  assert(ring.ensure(16));
});

Deno.test("misuse asserts", () => {
  const { memory, ring } = setUp();
  assertThrows(() => ring.lendToWriter(), Error, "has memory");
  assertThrows(() => ring.commit(1), Error, "room");
  ring.ensure(16);
  assertThrows(() => ring.giveBack(), Error, "only a lent ring");
  assertThrows(() => ring.consume(1), Error, "holds");
  assertThrows(() => ring.commit(17), Error, "room");
  assertThrows(() => ring.commit(-1), Error, "room");
  assertThrows(() => ring.writeAtOffset(15, 0, 2, memory), Error, "fit");
  assertThrows(() => ring.writeAtOffset(-1, 0, 2, memory), Error, "fit");
  ring.commit(4);
  assertThrows(() => ring.copyOut(3, 0, 2, memory), Error, "content");
  assertThrows(() => ring.release(), Error, "empty");
  ring.lendToWriter();
  assertThrows(() => ring.lendToWriter(), Error, "lent once");
});

Deno.test("bytes come from another memory and go to it", () => {
  const { memory, ring } = setUp();
  const other = new FrameMemory(1);
  ring.ensure(16);
  put(memory, ring, range(0, 12));
  ring.consume(12 - 1);
  other.bytes.set(range(100, 8), 30);
  ring.writeAtOffset(1, 30, 8, other);
  ring.commit(8);
  ring.copyOut(0, 500, 9, other);
  assertEquals([...other.bytes.subarray(500, 509)], [11, ...range(100, 8)]);
});

type Step = { kind: number; n: number; m: number };

/** A ring is a queue of known octets plus a map of early ones. */
function compareWithQueue(steps: Step[]): void {
  const { memory, pool, ring } = setUp(1024);
  let queue: number[] = [];
  const early = new Map<number, number>();
  let next = 0;
  for (const { kind, n, m } of steps) {
    const free = ring.capacityBytes - queue.length;
    switch (kind) {
      case 0: {
        const before = ring.capacityBytes;
        if (ring.ensure(n)) assert(ring.capacityBytes >= n);
        else assertEquals(ring.capacityBytes, before);
        break;
      }
      case 1: { // In order; what is early joins.
        const bytes = Math.min(n, free);
        const octets = Array.from({ length: bytes }, () => next++ & 0xff);
        memory.bytes.set(octets, 0);
        if (bytes > 0) ring.writeAtOffset(queue.length, 0, bytes, memory);
        octets.forEach((_, i) => early.delete(queue.length + i));
        queue.push(...octets);
        while (early.has(queue.length)) {
          const at = queue.length;
          queue.push(early.get(at)!);
          early.delete(at);
        }
        ring.commit(queue.length - ring.lengthBytes);
        break;
      }
      case 2: { // Early, behind a gap.
        const offset = queue.length + 1 + m;
        const bytes = Math.min(n, ring.capacityBytes - offset);
        if (bytes <= 0) break;
        const octets = Array.from({ length: bytes }, () => next++ & 0xff);
        memory.bytes.set(octets, 0);
        ring.writeAtOffset(offset, 0, bytes, memory);
        octets.forEach((octet, i) => early.set(offset + i, octet));
        break;
      }
      case 3: {
        const bytes = Math.min(n, queue.length);
        ring.consume(bytes);
        queue = queue.slice(bytes);
        const moved = [...early].map(([at, octet]) => [at - bytes, octet] as const);
        early.clear();
        for (const [at, octet] of moved) early.set(at, octet);
        break;
      }
      case 4:
        if (ring.lent) ring.giveBack();
        else if (ring.at >= 0) ring.lendToWriter();
        break;
    }
    assertEquals(ring.lengthBytes, queue.length);
    assertEquals(content(memory, ring), queue);
    assertEquals(pool.usedBytes, ring.capacityBytes === 0 ? 0 : Math.max(16, ring.capacityBytes));
    if (queue.length > 0) {
      const offset = m % queue.length;
      const bytes = Math.min(n, queue.length - offset);
      ring.copyOut(offset, 0, bytes, memory);
      assertEquals([...memory.bytes.subarray(0, bytes)], queue.slice(offset, offset + bytes));
    }
  }
  if (ring.lent) ring.giveBack();
  ring.discard();
  assertEquals([pool.usedBytes, pool.lentBlocks], [0, 0]);
}

Deno.test("any order of calls keeps every byte in its place", () => {
  const step = fc.record({
    kind: fc.nat(4),
    n: fc.integer({ min: 0, max: 90 }),
    m: fc.nat(40),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 80 }), compareWithQueue), { numRuns: 300 });
});
