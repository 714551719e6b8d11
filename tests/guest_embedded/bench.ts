/**
 * The embedded guest's stack on a virtual clock, without a connection: frames go in by `push`, what
 * it sends comes out of `sent`.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { GuestStack } from "../../lib/guest/guest_stack.ts";
import { Arena } from "../../lib/host/gateway_memory.ts";
import { BufferPool } from "../../lib/stack/buffer_pool.ts";
import { LENGTH_BYTES, NetworkFrameQueues, QUEUES_BYTES } from "../../lib/stack/queues.ts";
import { Polled } from "../../lib/stack/stack.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { GUEST_MAC, mac } from "../support/packets.ts";

const MEMORY_BYTES = 48 * 1024 * 1024;

/** A guest's stack and a clock that the test turns. */
export class GuestBench {
  nowMs = 1_000_000;
  readonly stack: GuestStack;
  readonly #memory: FrameMemory;
  readonly #queues: NetworkFrameQueues;

  constructor(seed = 1) {
    this.#memory = new FrameMemory(MEMORY_BYTES);
    const pool = new BufferPool(this.#memory, 0, this.#memory.sizeBytes);
    const arena = new Arena(pool);
    const idle = () => {};
    this.#queues = new NetworkFrameQueues(this.#memory, arena.take(QUEUES_BYTES), {
      write: idle,
      turn: idle,
    });
    let state = seed;
    this.stack = new GuestStack({
      queues: this.#queues,
      pool,
      arena,
      link: { mac: mac(GUEST_MAC), mtu: 1500, ipv6: true },
      random: () => state = (Math.imul(state, 0x6c07_8965) + 1) >>> 0,
      wake: idle,
      nowMs: this.nowMs,
    });
  }

  /** Hands a frame to the stack, and lets it work. */
  push(frame: Uint8Array): void {
    const queue = this.#queues.guestToHost;
    this.#memory.view.setUint32(queue.fillAt, frame.length);
    this.#memory.bytes.set(frame, queue.fillAt + LENGTH_BYTES);
    queue.filled(LENGTH_BYTES + frame.length);
    assertEquals(this.stack.poll(2, this.nowMs), Polled.empty);
    queue.compact();
    this.work();
  }

  /** Runs what is due. */
  work(): void {
    this.stack.advance(this.nowMs);
    this.stack.dispatch(this.nowMs);
  }

  /** Turns the clock on, running the timers that are due on the way. */
  wait(ms: number): void {
    const endMs = this.nowMs + ms;
    for (let steps = 0; this.stack.pollAt() <= endMs; steps++) {
      assertEquals(steps < 10_000, true, "pollAt makes no progress");
      this.nowMs = Math.max(this.nowMs, this.stack.pollAt());
      this.work();
    }
    this.nowMs = endMs;
  }

  /** The frames that the stack has sent since the last call. */
  sent(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (const lane of [this.#queues.hostToGuest, this.#queues.streams]) {
      const bytes = lane.queuedBytes;
      const at = lane.take();
      for (let i = at; i < at + bytes;) {
        const length = this.#memory.view.getUint32(i);
        frames.push(this.#memory.bytes.slice(i + LENGTH_BYTES, i + LENGTH_BYTES + length));
        i += LENGTH_BYTES + length;
      }
    }
    return frames;
  }
}
