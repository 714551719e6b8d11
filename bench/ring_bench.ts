/**
 * What a flow's buffers cost beside the bytes: writing a segment into a ring and taking it out,
 * memory from the pool, and lending it to an operation.
 *
 *     deno task microbench
 */
import { BufferPool } from "../lib/stack/buffer_pool.ts";
import { Ring } from "../lib/stack/ring.ts";
import { FrameMemory } from "../lib/wire/memory.ts";

const POOL_BYTES = 64 * 1024 * 1024;
const RING_BYTES = 4 * 1024 * 1024;
/** Position of the segments, behind the pool. */
const FROM = POOL_BYTES;

const memory = new FrameMemory(POOL_BYTES + 128 * 1024);
const pool = new BufferPool(memory, 0, POOL_BYTES);

for (const bytes of [1448, 65_468]) {
  const ring = new Ring(pool);
  ring.ensure(RING_BYTES);
  ring.writeAtOffset(0, FROM, 1, memory);
  ring.commit(1); // never empty: the ring goes round
  Deno.bench(`write and take ${bytes} bytes`, { group: "ring" }, () => {
    ring.writeAtOffset(ring.lengthBytes, FROM, bytes, memory);
    ring.commit(bytes);
    ring.consume(bytes);
  });
}

for (const bytes of [1024, 64 * 1024, RING_BYTES]) {
  const ring = new Ring(pool);
  Deno.bench(`${bytes >> 10} KiB from the pool and back`, { group: "pool" }, () => {
    ring.ensure(bytes);
    ring.release();
  });
}

const at = pool.allocate(RING_BYTES);
Deno.bench("lend a block to an operation and have it back", { group: "pool" }, () => {
  pool.lend(at);
  pool.giveBack(at);
});
