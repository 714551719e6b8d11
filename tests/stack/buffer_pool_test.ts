import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { BufferPool, MAX_BLOCK_BYTES } from "../../lib/stack/buffer_pool.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";

const KIB = 1024;
const MEMORY = new FrameMemory(64 * KIB * KIB);

Deno.test("the lowest free place is taken, and a freed one again", () => {
  const pool = new BufferPool(MEMORY, 128, 64 * KIB, 4 * KIB);
  assertEquals(pool.allocate(4 * KIB), 128);
  assertEquals(pool.allocate(1), 128 + 4 * KIB);
  assertEquals(pool.allocate(4 * KIB + 1), 128 + 8 * KIB);
  pool.free(128, 4 * KIB);
  assertEquals(pool.allocate(8 * KIB), 128 + 16 * KIB);
  assertEquals(pool.allocate(4 * KIB), 128);
  assertEquals(pool.usedBytes, 4 * KIB + 4 * KIB + 8 * KIB + 8 * KIB);
});

Deno.test("buddies join up to 8 MiB and no further", () => {
  const pool = new BufferPool(MEMORY, 0, 32 * KIB * KIB);
  assertEquals(pool.allocate(MAX_BLOCK_BYTES + 1), -1);
  assertEquals(pool.allocate(2 ** 45 + 1), -1);
  const small = Array.from({ length: 8192 }, () => pool.allocate(4 * KIB));
  assertEquals(pool.allocate(1), -1);
  for (const at of small) pool.free(at, 4 * KIB);
  assertEquals(pool.usedBytes, 0);
  const large = Array.from({ length: 4 }, () => pool.allocate(MAX_BLOCK_BYTES));
  assertEquals(large, [0, 1, 2, 3].map((i) => i * MAX_BLOCK_BYTES));
  assertEquals(pool.allocate(1), -1);
});

Deno.test("a region that is no power of two is used up to its last whole block", () => {
  const pool = new BufferPool(MEMORY, 0, 3 * 64 * KIB + 100, 64 * KIB);
  assertEquals(pool.allocate(128 * KIB), 0);
  assertEquals(pool.allocate(128 * KIB), -1);
  assertEquals(pool.allocate(64 * KIB), 128 * KIB);
  assertEquals(pool.allocate(1), -1);
});

Deno.test("a region smaller than a block has none", () => {
  assertEquals(new BufferPool(MEMORY, 0, 100).allocate(1), -1);
});

Deno.test("a region outside the memory asserts", () => {
  assertThrows(() => new BufferPool(MEMORY, MEMORY.sizeBytes - 4096, 8192));
});

Deno.test("a lent block goes back only when the operation has settled", () => {
  const pool = new BufferPool(MEMORY, 0, 8 * KIB);
  const at = pool.allocate(8 * KIB);
  pool.lend(at);
  assertEquals(pool.lentBlocks, 1);
  pool.free(at, 8 * KIB);
  assertEquals(pool.usedBytes, 8 * KIB);
  assertEquals(pool.allocate(1), -1);
  assertEquals(pool.giveBack(at), 8 * KIB);
  assertEquals(pool.lentBlocks, 0);
  assertEquals(pool.usedBytes, 0);
  assertEquals(pool.allocate(8 * KIB), at);
});

Deno.test("a block that is given back before it is freed stays", () => {
  const pool = new BufferPool(MEMORY, 0, 8 * KIB);
  const at = pool.allocate(1);
  pool.lend(at);
  assertEquals(pool.giveBack(at), 0);
  assertEquals(pool.usedBytes, 1 * KIB);
  pool.free(at, 1);
  assertEquals(pool.usedBytes, 0);
});

Deno.test("misuse asserts and changes nothing", () => {
  const pool = new BufferPool(MEMORY, 0, 64 * KIB);
  const at = pool.allocate(8 * KIB);
  assertThrows(() => pool.free(at, 4 * KIB), Error, "its size");
  assertThrows(() => pool.free(at + 4 * KIB, 8 * KIB), Error, "begins here");
  assertThrows(() => pool.free(at + 1, 8 * KIB), Error, "begins here");
  assertThrows(() => pool.free(-4 * KIB, 8 * KIB), Error, "begins here");
  assertThrows(() => pool.giveBack(at), Error, "only a lent block");
  pool.lend(at);
  assertThrows(() => pool.lend(at), Error, "lent once");
  pool.free(at, 8 * KIB);
  assertThrows(() => pool.free(at, 8 * KIB), Error, "freed once");
  assertThrows(() => pool.lend(at), Error, "lent once");
  pool.giveBack(at);
  assertThrows(() => pool.free(at, 8 * KIB), Error, "begins here");
  assertThrows(() => pool.lend(at), Error, "begins here");
  assertEquals(pool.allocate(64 * KIB), 0);
});

Deno.test("a quota bounds one guest and leaves the rest to others", () => {
  const pool = new BufferPool(MEMORY, 0, 64 * KIB);
  const a = pool.quota(16 * KIB);
  const b = pool.quota(64 * KIB);
  const first = a.allocate(8 * KIB);
  assertEquals(a.allocate(9 * KIB), -1);
  assert(a.allocate(8 * KIB) >= 0);
  assertEquals(a.allocate(1), -1);
  assert(b.allocate(32 * KIB) >= 0);
  assertEquals(b.allocate(32 * KIB), -1, "the pool itself is short");
  assertEquals(b.usedBytes, 32 * KIB);
  a.lend(first);
  a.free(first, 8 * KIB);
  assertEquals(a.usedBytes, 16 * KIB, "a lent block still counts");
  assertEquals(a.allocate(1), -1);
  assertEquals(a.giveBack(first), 8 * KIB);
  assertEquals(a.usedBytes, 8 * KIB);
  assertEquals(a.allocate(8 * KIB), first);
  assertEquals(a.memory, MEMORY);
});

Deno.test("a quota asserts when it gives back what another took", () => {
  const pool = new BufferPool(MEMORY, 0, 64 * KIB);
  const at = pool.quota(64 * KIB).allocate(4 * KIB);
  assertThrows(() => pool.quota(64 * KIB).free(at, 4 * KIB), Error, "its own blocks");
});

/** The allocator as a plain bitmap that is searched from the front. */
class NaivePool {
  readonly used: boolean[];
  constructor(leaves: number) {
    this.used = new Array(leaves).fill(false);
  }
  allocate(leaves: number): number {
    for (let at = 0; at + leaves <= this.used.length; at += leaves) {
      if (this.used.slice(at, at + leaves).some((used) => used)) continue;
      this.used.fill(true, at, at + leaves);
      return at;
    }
    return -1;
  }
}

Deno.test("any order of calls gives what a search from the front gives", () => {
  const step = fc.record({ order: fc.nat(5), victim: fc.nat(), free: fc.boolean() });
  fc.assert(fc.property(
    fc.array(step, { maxLength: 200 }),
    fc.integer({ min: 1, max: 70 }),
    (steps, leaves) => {
      const block = 64;
      const pool = new BufferPool(MEMORY, 64, leaves * block, block);
      const naive = new NaivePool(leaves);
      const live: { at: number; leaves: number }[] = [];
      for (const { order, victim, free } of steps) {
        if (free && live.length > 0) {
          const [{ at, leaves }] = live.splice(victim % live.length, 1) as [typeof live[0]];
          pool.free(64 + at * block, leaves * block);
          naive.used.fill(false, at, at + leaves);
        } else {
          const count = 2 ** order;
          const expected = naive.allocate(count);
          assertEquals(
            pool.allocate(count * block - (victim % (block - 1))),
            expected < 0 ? -1 : 64 + expected * block,
          );
          if (expected >= 0) live.push({ at: expected, leaves: count });
        }
        assertEquals(pool.usedBytes, naive.used.filter((used) => used).length * block);
      }
    },
  ));
});
