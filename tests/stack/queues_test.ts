import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  GuestToHostQueue,
  HostToGuestQueue,
  LENGTH_BYTES,
  MAX_FRAME_BYTES,
  MIN_FRAME_BYTES,
  NetworkFrameQueues,
  NextFrame,
  QUEUES_BYTES,
  READ_BYTES,
  Wake,
} from "../../lib/stack/queues.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { pattern } from "../support/packets.ts";

function framed(frames: readonly Uint8Array[]): Uint8Array {
  const total = frames.reduce((sum, frame) => sum + LENGTH_BYTES + frame.length, 0);
  const out = new Uint8Array(total);
  const view = new DataView(out.buffer);
  let at = 0;
  for (const frame of frames) {
    view.setUint32(at, frame.length);
    out.set(frame, at + LENGTH_BYTES);
    at += LENGTH_BYTES + frame.length;
  }
  return out;
}

/** Feeds a stream in pieces, as a reader does: fill, walk all that is whole, compact. */
function walk(stream: Uint8Array, pieces: (left: number) => number, headerBytes = 0): {
  frames: Uint8Array[];
  runts: number;
  tooLong: boolean;
} {
  const memory = new FrameMemory(QUEUES_BYTES);
  const queue = new GuestToHostQueue(memory, 0, headerBytes);
  const frames: Uint8Array[] = [];
  let at = 0;
  while (at < stream.length) {
    queue.compact();
    const room = queue.fillBytes;
    if (room < 1) throw new Error("no room after compact");
    const bytes = Math.min(room, stream.length - at, Math.max(1, pieces(stream.length - at)));
    memory.bytes.set(stream.subarray(at, at + bytes), queue.fillAt);
    queue.filled(bytes);
    at += bytes;
    for (;;) {
      const next = queue.next();
      if (next === NextFrame.tooLong) return { frames, runts: queue.runts, tooLong: true };
      if (next === NextFrame.none) break;
      frames.push(memory.bytes.slice(queue.frameAt, queue.frameAt + queue.frameBytes));
    }
  }
  return { frames, runts: queue.runts, tooLong: false };
}

Deno.test("guest to host: any split of the bytes gives the same frames", () => {
  const length = fc.oneof(
    fc.integer({ min: 0, max: MIN_FRAME_BYTES }),
    fc.integer({ min: MIN_FRAME_BYTES, max: 2000 }),
    fc.constant(MAX_FRAME_BYTES),
  );
  fc.assert(fc.property(
    fc.array(length, { maxLength: 40 }),
    fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 20 }),
    (lengths, cuts) => {
      const frames = lengths.map((bytes, i) => pattern(bytes, i));
      const wanted = frames.filter((frame) => frame.length >= MIN_FRAME_BYTES);
      let step = 0;
      const got = walk(framed(frames), () => cuts[step++ % cuts.length]!);
      assertEquals(got.frames, wanted);
      assertEquals(got.runts, frames.length - wanted.length);
    },
  ));
});

Deno.test("guest to host: with headers the frame stands behind its own, whatever the split", () => {
  const length = fc.oneof(
    fc.integer({ min: 0, max: MIN_FRAME_BYTES }),
    fc.integer({ min: MIN_FRAME_BYTES, max: 2000 }),
    fc.constant(MAX_FRAME_BYTES),
  );
  const header = 12;
  fc.assert(fc.property(
    fc.array(length, { maxLength: 40 }),
    fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 20 }),
    (lengths, cuts) => {
      const entries = lengths.map((bytes, i) => pattern(header + bytes, i));
      const short = [pattern(0), pattern(header - 1)]; // not even a header
      const wanted = entries.filter(({ length }) => length >= header + MIN_FRAME_BYTES)
        .map((entry) => entry.slice(header));
      let step = 0;
      const next = () => cuts[step++ % cuts.length]!;
      const got = walk(framed([...short, ...entries]), next, header);
      assertEquals(got.frames, wanted);
      assertEquals(got.runts, short.length + entries.length - wanted.length);
    },
  ));
  const tooLong = framed([pattern(header + MAX_FRAME_BYTES + 1)]).slice(0, LENGTH_BYTES);
  assertEquals(walk(tooLong, () => 4, header), { frames: [], runts: 0, tooLong: true });
});

Deno.test("host to guest: with headers each frame leaves room for its own", () => {
  const memory = new FrameMemory(QUEUES_BYTES);
  const queue = new HostToGuestQueue(memory, 0, 2 * (LENGTH_BYTES + 12 + 60), 12);
  const places = [queue.begin(60), (queue.end(60), queue.begin(60))];
  assertEquals(places, [16, 16 + 76]);
  queue.end(60);
  assertEquals([queue.hasRoom(1), queue.queuedBytes], [false, 152]);
  assertEquals([memory.view.getUint32(0), memory.view.getUint32(76)], [72, 72]);
});

Deno.test("guest to host: byte by byte and 1,000 frames in one piece", () => {
  const frames = Array.from({ length: 1000 }, (_, i) => pattern(14 + (i % 60), i));
  const stream = framed(frames);
  assertEquals(walk(stream, () => 1).frames, frames);
  assertEquals(walk(stream, (left) => left).frames, frames);
});

Deno.test("guest to host: runts are passed over and counted, one byte more is a frame", () => {
  const frames = Array.from({ length: MIN_FRAME_BYTES + 1 }, (_, bytes) => pattern(bytes));
  const got = walk(framed([...frames, pattern(60)]), () => 3);
  assertEquals(got.frames, [pattern(MIN_FRAME_BYTES), pattern(60)]);
  assertEquals(got.runts, MIN_FRAME_BYTES);
});

Deno.test("guest to host: the longest frame passes, a longer length ends the walk for good", () => {
  const longest = pattern(MAX_FRAME_BYTES, 5);
  assertEquals(walk(framed([longest, longest]), () => 65_537).frames, [longest, longest]);
  for (const length of [MAX_FRAME_BYTES + 1, 0x0100_0000, 0xffff_ffff]) {
    const memory = new FrameMemory(QUEUES_BYTES);
    const queue = new GuestToHostQueue(memory, 0);
    memory.view.setUint32(0, length);
    memory.bytes.set(framed([pattern(60)]), LENGTH_BYTES);
    queue.filled(LENGTH_BYTES);
    assertEquals(queue.next(), NextFrame.tooLong); // known from the length alone
    queue.filled(64);
    assertEquals(queue.next(), NextFrame.tooLong);
  }
});

Deno.test("guest to host: a read never reaches past the region, however little was walked", () => {
  const memory = new FrameMemory(QUEUES_BYTES);
  const queue = new GuestToHostQueue(memory, 0);
  memory.view.setUint32(0, MAX_FRAME_BYTES);
  queue.filled(LENGTH_BYTES + MAX_FRAME_BYTES - 1); // one byte of the frame is still to come
  assertEquals(queue.next(), NextFrame.none);
  queue.compact();
  assertEquals(queue.fillBytes, READ_BYTES);
  queue.filled(READ_BYTES);
  const end = queue.fillAt + queue.fillBytes;
  assertEquals(
    end <= new NetworkFrameQueues(memory, 0, { write() {}, turn() {} }).streams.begin(60),
    true,
  );
  assertEquals(queue.pendingBytes, LENGTH_BYTES + MAX_FRAME_BYTES - 1 + READ_BYTES);
});

Deno.test("host to guest: frames stand behind their length, and the halves take turns", () => {
  const memory = new FrameMemory(QUEUES_BYTES);
  const queue = new HostToGuestQueue(memory, 0, READ_BYTES);
  const put = (frame: Uint8Array): void => {
    memory.bytes.set(frame, queue.begin(frame.length));
    queue.end(frame.length);
  };
  const take = (): Uint8Array => {
    const bytes = queue.queuedBytes;
    const at = queue.take();
    return memory.bytes.slice(at, at + bytes);
  };
  put(pattern(60, 1));
  put(pattern(1514, 2));
  assertEquals(queue.frames, 2);
  const first = take();
  assertEquals(queue.queuedBytes, 0);
  assertEquals(queue.frames, 0);
  put(pattern(99, 3)); // while the first half is being written
  assertEquals(first, framed([pattern(60, 1), pattern(1514, 2)]));
  assertEquals(take(), framed([pattern(99, 3)]));
});

Deno.test("host to guest: the limit is kept, but one frame always fits an empty buffer", () => {
  const memory = new FrameMemory(QUEUES_BYTES);
  const queue = new HostToGuestQueue(memory, 0, READ_BYTES);
  queue.fillLimitBytes = 1000;
  assertEquals(queue.begin(MAX_FRAME_BYTES + 1), -1);
  const at = queue.begin(MAX_FRAME_BYTES);
  assertEquals(at >= 0 && at + MAX_FRAME_BYTES <= QUEUES_BYTES, true);
  queue.end(500);
  assertEquals(queue.hasRoom(1000 - 504 - LENGTH_BYTES), true);
  assertEquals(queue.hasRoom(1000 - 504 - LENGTH_BYTES + 1), false);
  assertEquals(queue.begin(1000), -1);
  assertEquals(queue.queuedBytes, 504);
  queue.take();
  assertEquals(queue.hasRoom(1000), true);
});

Deno.test("host to guest: a frame that is begun and not ended leaves nothing behind", () => {
  const memory = new FrameMemory(QUEUES_BYTES);
  const queue = new HostToGuestQueue(memory, 0, READ_BYTES);
  const at = queue.begin(60);
  assertEquals(queue.begin(60), at);
  assertEquals(queue.queuedBytes, 0);
});

Deno.test("wake: set many times, its loop is asked for once", () => {
  let runs = 0;
  const wake = new Wake(() => runs++);
  wake.set();
  wake.set();
  assertEquals(runs, 1);
  wake.clear();
  assertEquals(runs, 1);
  wake.set();
  assertEquals(runs, 2);
});

Deno.test("queues: three wakes lead to two loops", () => {
  const calls: string[] = [];
  const queues = new NetworkFrameQueues(new FrameMemory(QUEUES_BYTES), 0, {
    write: () => calls.push("write"),
    turn: () => calls.push("turn"),
  });
  queues.guestWake.set();
  queues.hostWake.set();
  queues.relayWake.set();
  queues.relayWake.set();
  assertEquals(calls, ["write", "turn", "turn"]);
});

Deno.test("queues: the five buffers do not overlap", () => {
  const memory = new FrameMemory(QUEUES_BYTES);
  const idle = (): void => {};
  const queues = new NetworkFrameQueues(memory, 0, { write: idle, turn: idle });
  const { guestToHost, hostToGuest, streams } = queues;
  memory.bytes.fill(1, guestToHost.fillAt, guestToHost.fillAt + guestToHost.fillBytes);
  const taken: { at: number; bytes: number; mark: number }[] = [];
  let mark = 2;
  for (const lane of [hostToGuest, streams, streams, hostToGuest]) {
    while (lane.hasRoom(MAX_FRAME_BYTES)) {
      const at = lane.begin(MAX_FRAME_BYTES);
      memory.bytes.fill(mark, at, at + MAX_FRAME_BYTES);
      lane.end(MAX_FRAME_BYTES);
    }
    assertEquals(queues.queuedBytes, lane.queuedBytes);
    const bytes = lane.queuedBytes;
    taken.push({ at: lane.take(), bytes, mark: mark++ });
  }
  for (const { at, bytes, mark } of taken) {
    let marked = 0;
    for (let i = at; i < at + bytes; i++) if (memory.bytes[i] === mark) marked++;
    assertEquals(marked >= bytes - 16 * LENGTH_BYTES, true, "no other buffer wrote here");
    assertEquals(at + bytes <= QUEUES_BYTES, true);
  }
  assertEquals(memory.bytes.subarray(0, READ_BYTES).every((octet) => octet === 1), true);
});
