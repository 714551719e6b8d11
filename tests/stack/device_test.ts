import { assertEquals } from "@std/assert";
import { Counters } from "../../lib/stack/counters.ts";
import { VirtioNetworkDevice } from "../../lib/stack/device.ts";
import {
  LENGTH_BYTES,
  NetworkFrameQueues,
  NextFrame,
  QUEUES_BYTES,
} from "../../lib/stack/queues.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { headerOf } from "../support/large_frames.ts";

function make() {
  const memory = new FrameMemory(QUEUES_BYTES);
  const idle = (): void => {};
  const queues = new NetworkFrameQueues(memory, 0, { write: idle, turn: idle });
  const counters = new Counters();
  const device = new VirtioNetworkDevice(queues, counters);
  const arrive = (bytes: number): void => {
    memory.view.setUint32(queues.guestToHost.fillAt, bytes);
    queues.guestToHost.filled(LENGTH_BYTES + bytes);
  };
  return { memory, queues, counters, device, arrive };
}

Deno.test("device: frames from the guest are counted with their bytes, runts apart", () => {
  const { device, counters, arrive } = make();
  arrive(60);
  arrive(13);
  arrive(0);
  arrive(1514);
  arrive(1);
  assertEquals(device.receive(), NextFrame.frame);
  assertEquals([device.frameAt, device.frameBytes], [LENGTH_BYTES, 60]);
  assertEquals(device.receive(), NextFrame.frame);
  assertEquals(device.frameBytes, 1514);
  assertEquals(device.receive(), NextFrame.none);
  assertEquals(device.receive(), NextFrame.none); // the runts are not counted again
  assertEquals(counters.snapshot(), { "rx.frames": 2, "rx.bytes": 1574, "drop.eth.short": 3 });
});

Deno.test("device: a length that is too long is told, not counted as a frame", () => {
  const { device, counters, memory, queues } = make();
  memory.view.setUint32(queues.guestToHost.fillAt, 65_551);
  queues.guestToHost.filled(LENGTH_BYTES);
  assertEquals(device.receive(), NextFrame.tooLong);
  assertEquals(counters.snapshot(), {});
});

Deno.test("device: frames to the guest are counted when they are sent", () => {
  const { device, counters, queues } = make();
  assertEquals(device.begin(60) >= 0, true);
  assertEquals(counters.snapshot(), {});
  device.end(60);
  assertEquals(counters.snapshot(), { "tx.frames": 1, "tx.bytes": 60 });
  assertEquals(queues.hostToGuest.queuedBytes, LENGTH_BYTES + 60);
});

Deno.test("device: a frame without room is a counted drop, asking for room is not", () => {
  const { device, counters, queues } = make();
  queues.hostToGuest.fillLimitBytes = 100;
  device.begin(60);
  device.end(60);
  assertEquals(device.hasRoom(60), false);
  assertEquals(counters.snapshot(), { "tx.frames": 1, "tx.bytes": 60 });
  assertEquals(device.begin(60), -1);
  assertEquals(counters.snapshot(), { "tx.frames": 1, "tx.bytes": 60, "drop.queue.full": 1 });
});

Deno.test("device: a tap sees each frame that passes, and no runt, no frame without room", () => {
  const { device, queues, arrive, memory } = make();
  const seen: string[] = [];
  device.tap = {
    received: (at, bytes) => seen.push(`received ${bytes} at ${at === device.frameAt}`),
    sent: (at, bytes) => seen.push(`sent ${bytes}, first octet ${memory.bytes[at]}`),
  };
  arrive(60);
  arrive(13);
  arrive(1514);
  while (device.receive() === NextFrame.frame);
  memory.bytes[device.begin(70)] = 7;
  device.end(70);
  memory.bytes[device.beginStream(80)] = 8;
  device.end(80);
  queues.hostToGuest.fillLimitBytes = 10;
  device.begin(60);
  assertEquals(seen, [
    "received 60 at true",
    "received 1514 at true",
    "sent 70, first octet 7",
    "sent 80, first octet 8",
  ]);
});

Deno.test("device: with headers the frame alone is counted and seen, and its header is written", () => {
  const memory = new FrameMemory(QUEUES_BYTES);
  const idle = (): void => {};
  const queues = new NetworkFrameQueues(memory, 0, { write: idle, turn: idle }, true);
  const counters = new Counters();
  const device = new VirtioNetworkDevice(queues, counters, true);
  const seen: string[] = [];
  device.tap = {
    received: (at, bytes) => seen.push(`received ${bytes}, first octet ${memory.bytes[at]}`),
    sent: (at, bytes) => seen.push(`sent ${bytes}, first octet ${memory.bytes[at]}`),
  };
  const { fillAt } = queues.guestToHost;
  memory.view.setUint32(fillAt, 12 + 60);
  memory.bytes.fill(0, fillAt + LENGTH_BYTES, fillAt + 16);
  memory.bytes[fillAt + 16] = 5;
  queues.guestToHost.filled(LENGTH_BYTES + 12 + 60);
  assertEquals(device.receive(), NextFrame.frame);
  const entryAt = device.begin(70) - 16;
  memory.bytes.fill(0xa5, entryAt, entryAt + 16);
  memory.bytes[entryAt + 16] = 6;
  device.end(70);
  assertEquals(memory.view.getUint32(entryAt), 12 + 70);
  assertEquals(memory.bytes.slice(entryAt + 4, entryAt + 16), headerOf());
  const largeAt = device.beginStream(5000) - 16;
  memory.bytes[largeAt + 16] = 7;
  device.endLarge(5000, 6, 54, 32, 1428);
  assertEquals(
    memory.bytes.slice(largeAt + 4, largeAt + 16),
    headerOf({
      flags: 1,
      gsoType: 4,
      headersBytes: 86,
      segmentBytes: 1428,
      checksumStart: 54,
      checksumOffset: 16,
    }),
  );
  assertEquals(seen, [
    "received 60, first octet 5",
    "sent 70, first octet 6",
    "sent 5000, first octet 7",
  ]);
  assertEquals(counters.snapshot(), {
    "rx.frames": 1,
    "rx.bytes": 60,
    "tx.frames": 2,
    "tx.bytes": 5070,
  });
});
