import { assert, assertEquals, assertThrows } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import { Arena, sharedPool } from "../../lib/host/gateway_memory.ts";
import { BufferPool, MAX_BLOCK_BYTES } from "../../lib/stack/buffer_pool.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";

function poolOf(blocks: number): BufferPool {
  return new BufferPool(new FrameMemory(blocks * MAX_BLOCK_BYTES), 0, blocks * MAX_BLOCK_BYTES);
}

Deno.test("arena: regions are aligned, inside a block, and do not overlap", () => {
  const pool = poolOf(3);
  using arena = new Arena(pool);
  const regions: [at: number, bytes: number][] = [];
  for (const bytes of [1, 63, 64, 65, 3_000_000, 5_000_000, 100, MAX_BLOCK_BYTES, 0]) {
    regions.push([arena.take(bytes), bytes]);
  }
  for (const [at, bytes] of regions) {
    assertEquals(at % 64, 0);
    const block = Math.floor(at / MAX_BLOCK_BYTES);
    assert(at + bytes <= (block + 1) * MAX_BLOCK_BYTES);
    for (const [otherAt, otherBytes] of regions) {
      if (otherAt === at) continue;
      assert(at + bytes <= otherAt || otherAt + otherBytes <= at, `${at} and ${otherAt}`);
    }
  }
});

Deno.test("arena: what it took goes back with it, and can be taken again", () => {
  const pool = poolOf(2);
  for (let i = 0; i < 3; i++) {
    using arena = new Arena(pool);
    arena.take(MAX_BLOCK_BYTES);
    arena.take(1);
    assertEquals(pool.usedBytes, 2 * MAX_BLOCK_BYTES);
    arena[Symbol.dispose]();
    arena[Symbol.dispose](); // twice is once
    assertEquals(pool.usedBytes, 0);
  }
});

Deno.test("arena: no memory for another guest is a typed error, and the pool stays whole", () => {
  const pool = poolOf(1);
  using first = new Arena(pool);
  first.take(MAX_BLOCK_BYTES);
  {
    using second = new Arena(pool);
    const error = assertThrows(() => second.take(1), GatewayError) as GatewayError;
    assertEquals(error.code, "closed");
    assert(error.message.includes("frame memory is full"));
    assert(error.hint !== "");
  }
  assertEquals(pool.usedBytes, MAX_BLOCK_BYTES);
});

Deno.test("arena: more than a block holds is refused and takes nothing", () => {
  const pool = poolOf(2);
  using arena = new Arena(pool);
  assertThrows(() => arena.take(MAX_BLOCK_BYTES + 1), GatewayError);
  assertEquals(pool.usedBytes, 0);
});

Deno.test("shared pool: one for the isolate, with room for a guest beside full buffers", () => {
  const pool = sharedPool(256 * 1024 * 1024);
  assertEquals(sharedPool(1), pool);
  assertEquals(pool.memory.sizeBytes % MAX_BLOCK_BYTES, 0);
  const { usedBytes } = pool;
  const buffers: number[] = [];
  for (let i = 0; i < 32; i++) buffers.push(pool.allocate(MAX_BLOCK_BYTES));
  assert(buffers.every((at) => at >= 0));
  {
    using arena = new Arena(pool);
    for (let i = 0; i < 3; i++) arena.take(MAX_BLOCK_BYTES);
  }
  for (const at of buffers) pool.free(at, MAX_BLOCK_BYTES);
  assertEquals(pool.usedBytes, usedBytes);
});
