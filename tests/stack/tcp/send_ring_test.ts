/** How much memory a sender takes for what its host sends. */
import { assertEquals } from "@std/assert";
import { BufferPool, type BufferQuota } from "../../../lib/stack/buffer_pool.ts";
import { TcpSender } from "../../../lib/stack/tcp/send.ts";
import { FrameMemory } from "../../../lib/wire/memory.ts";

const KIB = 1024;
const POOL_BYTES = 64 * KIB * KIB;

/** A sender whose guest acknowledges what it is told to. */
class Rig {
  readonly quota: BufferQuota;
  readonly sender: TcpSender;
  #ack = 1;

  constructor(windowBytes: number, minBytes = KIB) {
    const memory = new FrameMemory(POOL_BYTES);
    this.quota = new BufferPool(memory, 0, POOL_BYTES).quota(POOL_BYTES);
    const maxBytes = 4 * KIB * KIB;
    this.sender = new TcpSender(this.quota, { minBytes, maxBytes, longMaxBytes: maxBytes }, 0);
    this.sender.begin(1000, true);
    this.sender.setWindow(0, 0, windowBytes);
    this.sender.sndNxt = this.sender.sndUna = this.#ack; // behind the SYN
  }

  /** A read of the host that brings so much, or all that there is room for: how much it was. */
  read(bytes = Infinity): number {
    const spanBytes = this.sender.prepareSpan();
    const count = Math.min(bytes, spanBytes);
    this.sender.ring.lendToWriter();
    this.sender.ring.giveBack();
    this.sender.commit(count);
    return count;
  }

  /** All that was read goes out and is acknowledged. */
  deliver(): void {
    this.#ack += this.sender.ring.lengthBytes;
    this.sender.sndNxt = this.#ack;
    this.sender.acknowledge(this.#ack);
  }

  /** The ring that reads which fill it lead to. */
  grown(): number {
    let largestBytes = 0;
    for (let i = 0; i < 100; i++) {
      while (this.read() > 0);
      largestBytes = Math.max(largestBytes, this.sender.ring.capacityBytes);
      this.deliver();
    }
    return largestBytes;
  }
}

Deno.test("a ring with nothing left in it goes back", () => {
  const rig = new Rig(1 << 20);
  rig.read(700);
  assertEquals(rig.quota.usedBytes, KIB);
  rig.deliver();
  assertEquals(rig.quota.usedBytes, 0);
});

Deno.test("a ring that an operation works on stays, though it is empty", () => {
  const rig = new Rig(1 << 20);
  rig.read(700);
  rig.sender.prepareSpan();
  rig.sender.ring.lendToWriter();
  rig.deliver();
  assertEquals(rig.sender.ring.capacityBytes, KIB);
  rig.sender.ring.giveBack();
  rig.sender.commit(100);
  assertEquals(rig.sender.ring.lengthBytes, 100);
});

Deno.test("a large ring that went back begins with 16 KiB, and a read that fills them brings the rest", () => {
  const rig = new Rig(1 << 20);
  const largestBytes = rig.grown();
  assertEquals(largestBytes, 4 * KIB * KIB);
  assertEquals(rig.read(), 16 * KIB);
  assertEquals(rig.sender.isBeginning, true);
  assertEquals(rig.read(), largestBytes - 16 * KIB);
  assertEquals(rig.sender.ring.capacityBytes, largestBytes);
  assertEquals(rig.sender.isBeginning, false);
});

Deno.test("asking for room twice makes no ring larger: nothing was read", () => {
  const rig = new Rig(1 << 20);
  rig.grown();
  assertEquals(rig.sender.prepareSpan(), 16 * KIB);
  assertEquals(rig.sender.prepareSpan(), 16 * KIB);
  assertEquals(rig.sender.isBeginning, false);
});

Deno.test("after small reads the next ring is the least one", () => {
  const rig = new Rig(1 << 20);
  rig.grown();
  for (let i = 0; i < 60; i++) {
    rig.read(10);
    rig.deliver();
  }
  rig.read(10);
  assertEquals(rig.sender.ring.capacityBytes, KIB);
});

Deno.test("where memory is short a flow keeps its ring, and aims for no larger one", () => {
  const rig = new Rig(1 << 20);
  rig.grown();
  rig.read();
  const blocks: number[] = [];
  for (let at = rig.quota.allocate(KIB); at >= 0; at = rig.quota.allocate(KIB)) blocks.push(at);
  rig.read();
  assertEquals(rig.sender.isBeginning, false);
  rig.deliver();
  assertEquals(rig.sender.ring.capacityBytes, 16 * KIB);
  for (const at of blocks) rig.quota.free(at, KIB);
  rig.read();
  rig.deliver();
  assertEquals(rig.quota.usedBytes, 0);
});

Deno.test("a read that leaves room makes no ring larger", () => {
  const rig = new Rig(1 << 20);
  rig.grown();
  for (let i = 0; i < 20; i++) rig.read(700);
  assertEquals(rig.sender.ring.capacityBytes, 16 * KIB);
  assertEquals(rig.sender.isBeginning, false);
});

Deno.test("a ring holds no more than four windows of the guest, or 64 KiB", () => {
  assertEquals(new Rig(64 * KIB).grown(), 256 * KIB);
  assertEquals(new Rig(4 * KIB).grown(), 64 * KIB);
});

Deno.test("no ring begins with less than its least size", () => {
  const rig = new Rig(1 << 20, 128 * KIB);
  assertEquals(rig.read(), 128 * KIB);
});
