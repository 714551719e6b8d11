import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { FrameStreamBridge, type StreamEnd } from "../../lib/host/frame_stream.ts";
import { systemClock } from "../../lib/host/host_clock.ts";
import { Counters } from "../../lib/stack/counters.ts";
import { VirtioNetworkDevice } from "../../lib/stack/device.ts";
import {
  LENGTH_BYTES,
  NetworkFrameQueues,
  NextFrame,
  QUEUES_BYTES,
} from "../../lib/stack/queues.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { concat, pattern, u32 } from "../support/packets.ts";

/** The VMM's end, of which the test decides how much each read brings and each write takes. */
class FakeConn {
  writes = 0;
  reads = 0;
  closed = false;
  /** How many bytes a write takes; 0 keeps it pending until `drain`. */
  takeBytes: () => number = () => Infinity;
  /** Pieces that reads bring; `null` is the end, an error makes the read fail. */
  readonly arriving: (Uint8Array | Error | null)[] = [];
  readonly #written: Uint8Array[] = [];
  #isWriting = false;
  #reader: (() => void) | null = null;
  #writer: (() => void) | null = null;

  async read(into: Uint8Array): Promise<number | null> {
    this.reads++;
    while (this.arriving.length === 0 && !this.closed) {
      await new Promise<void>((resolve) => this.#reader = resolve);
    }
    if (this.closed) throw new Deno.errors.BadResource("closed");
    const piece = this.arriving[0]!;
    if (piece === null) return null;
    if (piece instanceof Error) throw piece;
    const bytes = Math.min(into.length, piece.length);
    into.set(piece.subarray(0, bytes));
    if (bytes === piece.length) this.arriving.shift();
    else this.arriving[0] = piece.subarray(bytes);
    return bytes;
  }

  async write(from: Uint8Array): Promise<number> {
    assert(!this.#isWriting, "one write at a time");
    this.#isWriting = true;
    this.writes++;
    await Promise.resolve();
    let bytes = Math.min(from.length, this.takeBytes());
    while (bytes === 0 && !this.closed) {
      await new Promise<void>((resolve) => this.#writer = resolve);
      bytes = Math.min(from.length, this.takeBytes());
    }
    if (this.closed) throw new Deno.errors.Interrupted("closed");
    this.#isWriting = false;
    this.#written.push(from.slice(0, bytes));
    return bytes;
  }

  /** What the gateway wrote. */
  get written(): Uint8Array {
    const all = new Uint8Array(this.#written.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of this.#written) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }

  /** More for the reader. */
  arrive(...pieces: (Uint8Array | Error | null)[]): void {
    this.arriving.push(...pieces);
    this.#reader?.();
  }

  /** Lets writes go on as `takeBytes` says. */
  drain(takeBytes: () => number): void {
    this.takeBytes = takeBytes;
    this.#writer?.();
  }

  close(): void {
    if (this.closed) throw new Deno.errors.BadResource("closed already");
    this.closed = true;
    this.#reader?.();
    this.#writer?.();
  }
}

/** A bridge whose turn only collects frames. */
class Rig {
  readonly conn = new FakeConn();
  readonly memory = new FrameMemory(QUEUES_BYTES);
  readonly counters = new Counters();
  readonly queues: NetworkFrameQueues;
  readonly device: VirtioNetworkDevice;
  readonly bridge: FrameStreamBridge;
  readonly frames: Uint8Array[] = [];
  turns = 0;
  rooms = 0;
  /** What `onFrames` answers when frames are left over. */
  hold: Promise<void> | null = null;
  onRoom: () => void = () => {};

  constructor(mtu = 1500, now: () => number = systemClock.now) {
    const idle = (): void => {};
    this.queues = new NetworkFrameQueues(this.memory, 0, { write: idle, turn: idle });
    this.device = new VirtioNetworkDevice(this.queues, this.counters);
    this.bridge = new FrameStreamBridge(
      this.conn as Partial<Deno.Conn> as Deno.Conn,
      this.memory,
      this.queues,
      mtu,
      {
        onFrames: () => this.#onFrames(),
        onRoom: () => {
          this.rooms++;
          this.onRoom();
        },
      },
      { ...systemClock, now },
    );
  }

  #onFrames(): Promise<void> | null {
    this.turns++;
    for (;;) {
      const next = this.device.receive();
      if (next === NextFrame.none) return this.hold;
      if (next === NextFrame.tooLong) {
        this.bridge.end("broken framing");
        return null;
      }
      const { frameAt, frameBytes } = this.device;
      this.frames.push(this.memory.bytes.slice(frameAt, frameAt + frameBytes));
    }
  }

  /** Queues a frame as the stack does; false when it was dropped. */
  send(frame: Uint8Array): boolean {
    const at = this.device.begin(frame.length);
    if (at < 0) return false;
    this.memory.bytes.set(frame, at);
    this.device.end(frame.length);
    this.bridge.flush();
    return true;
  }

  /** As `send`, in the lane of streams. */
  sendStream(frame: Uint8Array): boolean {
    const at = this.device.beginStream(frame.length);
    if (at < 0) return false;
    this.memory.bytes.set(frame, at);
    this.device.end(frame.length);
    this.bridge.flush();
    return true;
  }

  /** Runs until the stream ends, and closes it as its owner does. */
  async finish(): Promise<StreamEnd> {
    const end = await this.bridge.run();
    await this.bridge.close(0);
    return end;
  }
}

function framed(...frames: Uint8Array[]): Uint8Array {
  return concat(...frames.flatMap((frame) => [u32(frame.length), frame]));
}

function cut(stream: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0, i = 0; at < stream.length; i++) {
    const end = at + Math.max(1, sizes[i % sizes.length]!);
    pieces.push(stream.slice(at, end));
    at = end;
  }
  return pieces;
}

/** Lets everything that has settled be heard. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

Deno.test("frame stream: any split of the bytes gives the same frames", async () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 1600 }), { maxLength: 30 });
  const sizes = fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1, maxLength: 10 });
  await fc.assert(
    fc.asyncProperty(lengths, sizes, async (lengths, sizes) => {
      const rig = new Rig();
      const frames = lengths.map((bytes, i) => pattern(bytes, i));
      rig.conn.arrive(...cut(framed(...frames), sizes), null);
      assertEquals(await rig.finish(), "closed by the VMM");
      assertEquals(rig.frames, frames.filter((frame) => frame.length >= 14));
      const runts = frames.filter((frame) => frame.length < 14).length;
      assertEquals(rig.counters.snapshot()["drop.eth.short"] ?? 0, runts);
    }),
    { numRuns: 60 },
  );
});

Deno.test("frame stream: 1-byte reads, and 1,000 frames in one read", async () => {
  const frames = Array.from({ length: 1000 }, (_, i) => pattern(14 + (i % 8), i));
  const stream = framed(...frames);
  for (const [sizes, turns] of [[[1], stream.length], [[stream.length], 1]] as const) {
    const rig = new Rig();
    rig.conn.arrive(...cut(stream, sizes), null);
    assertEquals(await rig.finish(), "closed by the VMM");
    assertEquals(rig.frames, frames);
    assertEquals(rig.turns, turns);
  }
});

Deno.test("frame stream: the end inside a frame ends the stream and the piece is dropped", async () => {
  const stream = framed(pattern(100), pattern(200, 1));
  for (const bytes of [1, 3, 4, 5, 103, 104, 105, 107, 108, 300]) {
    const rig = new Rig();
    rig.conn.arrive(stream.slice(0, bytes), null);
    assertEquals(await rig.finish(), "closed by the VMM");
    assertEquals(rig.frames.length, bytes >= 104 ? 1 : 0);
    assert(rig.conn.closed);
  }
});

Deno.test("frame stream: runts are passed over and counted, the stream stays in step", async () => {
  const rig = new Rig();
  const runts = Array.from({ length: 14 }, (_, bytes) => pattern(bytes));
  rig.conn.arrive(...cut(framed(pattern(60), ...runts, pattern(61)), [7]), null);
  await rig.finish();
  assertEquals(rig.frames, [pattern(60), pattern(61)]);
  assertEquals(rig.counters.snapshot()["drop.eth.short"], 14);
});

Deno.test("frame stream: a length above 65,550 ends the link, nothing after it is read", async () => {
  for (const length of [65_551, 0x0001_0000_00, 0xffff_ffff]) {
    const rig = new Rig();
    rig.conn.arrive(
      framed(pattern(60)),
      concat(u32(length), pattern(50)),
      framed(pattern(61)),
      null,
    );
    assertEquals(await rig.finish(), "broken framing");
    assertEquals(rig.frames, [pattern(60)]);
    assertEquals(rig.conn.reads, 2);
  }
  const rig = new Rig(65_520);
  rig.conn.arrive(framed(pattern(65_550)), null);
  assertEquals(await rig.finish(), "closed by the VMM");
  assertEquals(rig.frames.length, 1);
});

Deno.test("frame stream: nothing is read while frames are left over", async () => {
  const rig = new Rig();
  const { promise, resolve } = Promise.withResolvers<void>();
  rig.hold = promise;
  const running = rig.finish();
  rig.conn.arrive(framed(pattern(60)), framed(pattern(61)), null);
  await settle();
  assertEquals([rig.conn.reads, rig.frames.length], [1, 1]);
  rig.hold = null;
  resolve();
  assertEquals(await running, "closed by the VMM");
  assertEquals(rig.frames.length, 2);
});

Deno.test("frame stream: a read that fails ends it", async () => {
  const rig = new Rig();
  rig.conn.arrive(framed(pattern(60)), new Deno.errors.ConnectionReset("reset"));
  assertEquals(await rig.finish(), "read failed");
  assertEquals(rig.frames.length, 1);
  assert(rig.conn.closed);
});

Deno.test("frame stream: partial writes of any size give the same bytes", async () => {
  for (const takes of [[1], [3, 1, 900], [65_536], [Infinity]]) {
    const rig = new Rig();
    let step = 0;
    rig.conn.takeBytes = () => takes[step++ % takes.length]!;
    const frames = Array.from({ length: 40 }, (_, i) => pattern(60 + 17 * i, i));
    for (const frame of frames) assert(rig.send(frame));
    await rig.bridge.close(10_000);
    assertEquals(rig.conn.written, framed(...frames));
  }
});

Deno.test("frame stream: frames that are queued during a write follow in one write", async () => {
  const rig = new Rig();
  rig.conn.takeBytes = () => 0;
  const frames = Array.from({ length: 21 }, (_, i) => pattern(60, i));
  for (const frame of frames) assert(rig.send(frame));
  assertEquals(rig.conn.writes, 1);
  rig.conn.drain(() => Infinity);
  await settle();
  assertEquals(rig.conn.writes, 2);
  assertEquals(rig.conn.written, framed(...frames));
  await rig.bridge.close(0);
});

Deno.test("frame stream: what the room made is queued, without another wake", async () => {
  const rig = new Rig();
  const frames = [pattern(60), pattern(61), pattern(62)];
  let next = 1;
  rig.onRoom = () => {
    if (next < frames.length) rig.send(frames[next++]!);
  };
  rig.send(frames[0]!);
  await settle();
  assertEquals(rig.conn.written, framed(...frames));
  await rig.bridge.close(0);
});

Deno.test("frame stream: a guest that stops reading bounds the queue, and nothing spins", async () => {
  for (const mtu of [1500, 65_520]) {
    const rig = new Rig(mtu);
    rig.conn.takeBytes = () => 0;
    const frame = pattern(mtu + 14);
    let sent = 0;
    for (let i = 0; i < 10_000; i++) {
      if (rig.send(frame)) sent++;
      if (i % 1000 === 0) await settle();
    }
    const { "drop.queue.full": dropped, "tx.frames": counted } = rig.counters.snapshot();
    assertEquals([counted, dropped], [sent, 10_000 - sent]);
    const queuedBytes = sent * (LENGTH_BYTES + frame.length);
    assert(queuedBytes <= 4 * 1024 * 1024, `${queuedBytes} bytes are queued`);
    assertEquals(rig.conn.writes, 1);
    assertEquals(rig.rooms, 1); // the first buffer was taken, then there was no room any more
    rig.conn.drain(() => Infinity);
    await settle();
    assertEquals(rig.conn.written.length, queuedBytes);
    assert(rig.send(pattern(60)), "there is room again");
    await rig.bridge.close(0);
  }
});

Deno.test("frame stream: the queue shrinks with a slow guest and grows with a fast one", async () => {
  let nowMs = 0;
  const rig = new Rig(9000, () => nowMs);
  const start = rig.queues.streams.fillLimitBytes;
  const fill = (): void => {
    while (rig.device.hasRoomForStream(9014)) rig.sendStream(pattern(9014));
  };
  rig.conn.takeBytes = () => 0;
  rig.sendStream(pattern(60));
  fill();
  let first = 4 + 60;
  rig.conn.drain(() => {
    const bytes = first;
    first = 0;
    return bytes;
  });
  await settle();
  nowMs += 50;
  rig.conn.drain(() => Infinity); // what was filled has taken 50 ms
  await settle();
  const slow = rig.queues.streams.fillLimitBytes;
  assert(slow < start, `${slow} after a slow guest`);
  assert(slow >= 64 * 1024, "never less than a large frame");
  while (rig.queues.streams.fillLimitBytes < start) {
    fill();
    await settle();
  }
  await rig.bridge.close(0);
});

Deno.test("frame stream: below an MTU of 9,000 streams leave room while other frames go", async () => {
  let nowMs = 0;
  const rig = new Rig(1500, () => nowMs);
  const { streams } = rig.queues;
  const bulk = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) rig.sendStream(pattern(1514));
    await settle();
  };
  await bulk();
  assertEquals(streams.fillLimitBytes, 256 * 1024);
  rig.send(pattern(60));
  await bulk();
  assertEquals(streams.fillLimitBytes, 64 * 1024);
  nowMs = 99;
  await bulk();
  assertEquals(streams.fillLimitBytes, 64 * 1024);
  nowMs = 100;
  await bulk();
  assertEquals(streams.fillLimitBytes, 256 * 1024);
  await rig.bridge.close(0);
});

Deno.test("frame stream: at a large MTU other frames change nothing", async () => {
  const rig = new Rig(65_520);
  rig.send(pattern(60));
  await settle();
  assertEquals(rig.queues.streams.fillLimitBytes, 256 * 1024);
  await rig.bridge.close(0);
});

Deno.test("frame stream: close lets the write under way and what is queued finish", async () => {
  const rig = new Rig();
  rig.conn.takeBytes = () => 0;
  const frames = [pattern(60), pattern(1514, 1), pattern(200, 2)];
  for (const frame of frames) rig.send(frame);
  const running = rig.bridge.run();
  const closing = rig.bridge.close(60_000);
  await settle();
  assert(!rig.conn.closed, "a frame is in flight");
  rig.conn.drain(() => 50);
  await closing;
  assert(rig.conn.closed);
  assertEquals(await running, "stopped");
  assertEquals(rig.conn.written, framed(...frames));
});

Deno.test("frame stream: close waits for a stuck guest no longer than the grace", async () => {
  for (const graceMs of [0, 1]) {
    const rig = new Rig();
    rig.conn.takeBytes = () => 0;
    rig.send(pattern(60));
    const running = rig.bridge.run();
    await rig.bridge.close(graceMs);
    assert(rig.conn.closed);
    assertEquals(await running, "stopped");
    rig.bridge.flush();
    assertEquals(rig.conn.writes, 1);
  }
});

Deno.test("frame stream: a write that fails ends the reader too", async () => {
  const rig = new Rig();
  rig.conn.takeBytes = () => {
    throw new Deno.errors.BrokenPipe("gone");
  };
  const running = rig.finish();
  rig.send(pattern(60));
  assertEquals(await running, "write failed");
  assert(rig.conn.closed);
  assert(rig.send(pattern(60)));
  assertEquals(rig.conn.writes, 1);
});

Deno.test("frame stream: the first reason counts", async () => {
  const rig = new Rig();
  const running = rig.finish();
  rig.bridge.end("broken framing");
  rig.bridge.end("stopped");
  rig.conn.arrive(framed(pattern(60)));
  assertEquals(await running, "broken framing");
  assertEquals(rig.frames, []);
});

Deno.test("frame stream: a real socket whose reader is stuck is closed after the grace", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [near, far] = await Promise.all([
    Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
    listener.accept(),
  ]);
  listener.close();
  const memory = new FrameMemory(QUEUES_BYTES);
  const idle = (): void => {};
  const queues = new NetworkFrameQueues(memory, 0, { write: idle, turn: idle });
  const { hostToGuest } = queues;
  const fill = (): void => {
    while (hostToGuest.begin(65_000) >= 0) hostToGuest.end(65_000);
    bridge.flush();
  };
  let rooms = 0;
  const bridge = new FrameStreamBridge(near, memory, queues, 65_520, {
    onFrames: () => null,
    onRoom: () => {
      rooms++;
      fill();
    },
  });
  const running = bridge.run();
  fill();
  for (let before = -1; before !== rooms;) { // until the kernel takes no more
    before = rooms;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  await bridge.close(10);
  assertEquals(await running, "stopped");
  far.close();
});
