/** `TcpReceiver` against a model that keeps each octet: random segments, overlapping, in any order. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { BufferPool } from "../../../lib/stack/buffer_pool.ts";
import { Received, TcpReceiver } from "../../../lib/stack/tcp/receive.ts";
import { seqAdd, seqDiff } from "../../../lib/stack/tcp/sequence.ts";
import { FrameMemory } from "../../../lib/wire/memory.ts";

const IRS = 0xffffffc0;
const SEGMENT_AT = 0;
const POOL_AT = 64 * 1024;
const BLOCK = 64;
const RANGES_MAX = 256;

/** A receiver with a pool of small blocks, and what its guest and its host know. */
class Rig {
  readonly memory = new FrameMemory(256 * 1024, { wasm: false });
  readonly pool;
  readonly receiver;
  /** The first copy of each octet that was taken, by its offset in the stream. */
  readonly octets = new Map<number, number>();
  /** Octets below this are in order, octets below `taken` are the host's. */
  next = 0;
  taken = 0;
  edge = 0;
  #copies = 0;

  constructor(initialBytes: number, maxBytes: number, poolBytes = 64 * 1024) {
    this.pool = new BufferPool(this.memory, POOL_AT, poolBytes, BLOCK).quota(poolBytes);
    this.receiver = new TcpReceiver(this.memory, this.pool, { initialBytes, maxBytes });
    this.receiver.synchronise(IRS);
    this.edge = this.#offset(this.receiver.rcvEdge);
  }

  /** A segment with octets that no other copy has, where the window would let it in. */
  segment(offset: number, bytes: number): number {
    const copy = ++this.#copies;
    const { bytes: memory } = this.memory;
    for (let i = 0; i < bytes; i++) memory[SEGMENT_AT + i] = (copy * 37 + i) & 0xff;
    const seq = this.#seq(offset);
    if (!this.receiver.acceptable(seq, bytes)) return Received.nothing;
    const refusedBefore = this.receiver.earlyRanges;
    const result = this.receiver.accept(seq, SEGMENT_AT, bytes, false);
    if (result === Received.refused || result === Received.scattered) {
      assertEquals(this.receiver.earlyRanges, refusedBefore);
      return result;
    }
    const room = this.receiver.ring.capacityBytes - this.receiver.ring.lengthBytes +
      this.#offset(this.receiver.rcvNxt);
    for (let i = 0; i < bytes; i++) {
      const at = offset + i;
      const fits = at >= this.next && at < this.edge && at < room;
      if (fits && !this.octets.has(at)) this.octets.set(at, (copy * 37 + i) & 0xff);
    }
    while (this.octets.has(this.next)) this.next++;
    return result;
  }

  /** The host takes at most so many octets: they must be the first copies. */
  read(limit: number): void {
    const { receiver } = this;
    const bytes = Math.min(limit, receiver.readySpanBytes);
    const at = receiver.ring.readSpanAt;
    for (let i = 0; i < bytes; i++) {
      assertEquals(this.memory.bytes[at + i], this.octets.get(this.taken + i), "the first copy");
    }
    this.taken += bytes;
    receiver.consume(bytes);
  }

  /** An ACK leaves: the guest hears of the window. */
  acknowledge(): void {
    const { receiver } = this;
    receiver.advertise();
    receiver.acknowledged();
    const edge = this.#offset(receiver.rcvEdge);
    assert(edge >= this.edge, "the window's edge never moves left");
    this.edge = edge;
  }

  /** RCV.NXT, ring and ranges are what the model says. */
  compare(): void {
    const { receiver } = this;
    assertEquals(this.#offset(receiver.rcvNxt), this.next, "RCV.NXT");
    assertEquals(receiver.ring.lengthBytes, this.next - this.taken, "octets for the host");
    const edges = new Uint32Array(8);
    const blocks = receiver.sackBlocks(edges, 4);
    for (let i = 0; i < blocks; i++) {
      const [start, end] = [this.#offset(edges[2 * i]!), this.#offset(edges[2 * i + 1]!)];
      assert(start < end, "a block is not empty");
      for (let n = Math.max(start, this.taken); n < end; n++) {
        assert(this.octets.has(n), `octet ${n} of a block was received`);
      }
    }
    assert(receiver.earlyRanges <= RANGES_MAX);
  }

  #seq(offset: number): number {
    return seqAdd(IRS, 1 + offset);
  }

  #offset(seq: number): number {
    return seqDiff(seq, seqAdd(IRS, 1));
  }
}

const steps = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        ahead: fc.integer({ min: -40, max: 300 }),
        bytes: fc.integer({ min: 1, max: 120 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ read: fc.integer({ min: 1, max: 200 }) }) },
    { weight: 2, arbitrary: fc.constant("acknowledge" as const) },
    { weight: 1, arbitrary: fc.constant("fill" as const) },
  ),
  { maxLength: 150 },
);

Deno.test("what the host gets is the first copy of each octet, in order", () => {
  const sizes = fc.constantFrom([64, 64], [64, 256], [256, 1024], [128, 100_000]);
  fc.assert(fc.property(sizes, steps, ([initial, max], list) => {
    const rig = new Rig(initial!, max!);
    for (const step of list) {
      if (step === "acknowledge") rig.acknowledge();
      else if (step === "fill") rig.segment(rig.next, 200);
      else if ("read" in step) rig.read(step.read);
      else rig.segment(Math.max(-1, rig.next + step.ahead), step.bytes);
      rig.compare();
    }
    // The guest sends everything again from where it is: all of it arrives.
    for (let turns = 0; rig.next < 2000; turns++) {
      assert(turns < 5000, "the transfer comes to an end");
      rig.read(Infinity);
      rig.acknowledge();
      rig.segment(rig.next, 100);
      rig.compare();
    }
    while (rig.taken < rig.next) rig.read(Infinity);
    rig.receiver.release();
    assertEquals(rig.pool.usedBytes, 0);
  }));
});

Deno.test("with next to no memory everything still arrives, in order", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 8 }), steps, (blocks, list) => {
    const rig = new Rig(256, 1024, blocks * BLOCK);
    for (const step of list) {
      if (step === "acknowledge") rig.acknowledge();
      else if (step === "fill") rig.segment(rig.next, 200);
      else if ("read" in step) rig.read(step.read);
      else rig.segment(Math.max(-1, rig.next + step.ahead), step.bytes);
      rig.compare();
    }
    for (let turns = 0; rig.next < 1000; turns++) {
      assert(turns < 5000, "the transfer comes to an end");
      rig.read(Infinity);
      rig.acknowledge();
      rig.segment(rig.next, 20);
      rig.compare();
    }
    rig.receiver.release();
    assertEquals(rig.pool.usedBytes, 0);
  }));
});

Deno.test("a ring that is read from keeps what the reader has, wherever it goes itself", () => {
  fc.assert(fc.property(steps, (list) => {
    const rig = new Rig(64, 4096);
    const { ring } = rig.receiver;
    let span = { at: 0, bytes: [] as number[] };
    const look = () => {
      const { bytes } = rig.memory;
      assertEquals([...bytes.subarray(span.at, span.at + span.bytes.length)], span.bytes);
    };
    for (const step of list) {
      if (step === "acknowledge") rig.acknowledge();
      else if (step === "fill") {
        if (ring.lent) ring.giveBack();
        else if (ring.at >= 0 && ring.lengthBytes > 0) {
          const { readSpanAt: at, readSpanBytes } = ring;
          span = { at, bytes: [...rig.memory.bytes.subarray(at, at + readSpanBytes)] };
          ring.lendToReader();
        }
      } else if ("read" in step) {
        if (!ring.lent) rig.read(step.read);
      } else rig.segment(Math.max(-1, rig.next + step.ahead), step.bytes);
      if (ring.lent) look();
      rig.compare();
    }
    if (ring.lent) ring.giveBack();
    rig.receiver.release();
    assertEquals(rig.pool.usedBytes, 0);
  }));
});
