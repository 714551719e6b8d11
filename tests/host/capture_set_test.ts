/** The captures of a gateway: what the device gets, guest after guest, and how many. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ConfigError, GatewayError } from "../../lib/config/errors.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { type CapturedNetwork, CaptureSet, STREAMS_MAX } from "../../lib/host/capture_set.ts";
import { CaptureTap } from "../../lib/host/capture_tap.ts";
import { NetworkFrameQueues, NextFrame, QUEUES_BYTES } from "../../lib/stack/queues.ts";
import { Counters } from "../../lib/stack/counters.ts";
import { type FrameTap, VirtioNetworkDevice } from "../../lib/stack/device.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { readPcapng } from "../capture/read_pcapng.ts";
import { Folder } from "../cli/cli_process.ts";
import { concat, ethernet, ip4, pattern, u32, udp } from "../support/packets.ts";
import { CaptureTestClock } from "./capture_rig.ts";

const FRAME = ethernet(ip4(udp("100.96.0.2", 5_000, "192.0.2.10", 4_444, pattern(9))));

/** A guest's device with its memory, as the set sees it. */
class FakeNetwork implements CapturedNetwork {
  readonly memory = new FrameMemory(QUEUES_BYTES);
  readonly queues = new NetworkFrameQueues(this.memory, 0, { write: () => {}, turn: () => {} });
  readonly device = new VirtioNetworkDevice(this.queues, new Counters());

  get tap(): FrameTap | null {
    return this.device.tap;
  }

  setTap(tap: FrameTap | null): void {
    this.device.tap = tap;
  }

  pins() {
    return [{ name: "db.test", address: "10.0.0.5", untilMs: 1 }];
  }

  /** A frame of the guest comes. */
  arrive(): void {
    const { guestToHost } = this.queues;
    guestToHost.compact();
    const bytes = concat(u32(FRAME.length), FRAME);
    this.memory.bytes.set(bytes, guestToHost.fillAt);
    guestToHost.filled(bytes.length);
    assertEquals(this.device.receive(), NextFrame.frame);
  }
}

function makeSet() {
  const clock = new CaptureTestClock();
  return { clock, set: new CaptureSet(clock, silentLogger), network: new FakeNetwork() };
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  return Uint8Array.from((await Array.fromAsync(stream)).flatMap((part) => [...part]));
}

Deno.test("capture set: without a capture there is no tap, with one there is nothing around it", async () => {
  const { set, network } = makeSet();
  set.attach(network);
  assertEquals(network.tap, null);
  const first = set.stream();
  const { tap } = network;
  assert(tap instanceof CaptureTap);
  const second = set.stream();
  assert(network.tap !== null && !(network.tap instanceof CaptureTap));
  await second.return!();
  assertEquals(network.tap, tap);
  await first.return!();
  assertEquals([network.tap, set.streams], [null, 0]);
  await first.return!();
  assertEquals(set.streams, 0, "leaving twice is leaving once");
});

Deno.test("capture set: a stream sees one guest after another, with their names", async () => {
  const { set, network } = makeSet();
  const stream = set.stream({ snapLength: 14 });
  set.attach(network);
  network.arrive();
  set.detach(network);
  assertEquals(network.tap, null);
  const next = new FakeNetwork();
  set.attach(next);
  set.detach(network);
  next.arrive();
  next.arrive();
  const whole = collect(stream);
  await set.close();
  const { packets, names, statistics } = readPcapng(await whole);
  assertEquals(packets.map(({ data }) => data), Array(3).fill(FRAME.slice(0, 14)));
  assertEquals(names.some(({ names }) => names[0] === "db.test"), true);
  assertEquals(statistics, [{ seen: 3, accepted: 3, lost: 0 }]);
});

Deno.test("capture set: each of several has what it asked for; a reader keeps what it got", async () => {
  const { set, network, clock } = makeSet();
  set.attach(network);
  const stop = new AbortController();
  const all = set.stream({ signal: stop.signal });
  const none = set.stream({ filter: "tcp" });
  network.arrive();
  await all.next();
  const first = all.next();
  await clock.run(100);
  const kept = (await first).value!;
  const copy = kept.slice();
  for (let i = 0; i < 4; i++) {
    network.arrive();
    const next = all.next();
    await clock.run(100);
    await next;
  }
  assertEquals(kept, copy);
  stop.abort();
  assertEquals(set.streams, 1);
  assertEquals((await Array.fromAsync(all)).length, 1, "the end alone is left");
  const whole = collect(none);
  await set.close();
  assertEquals(readPcapng(await whole).statistics, [{ seen: 5, accepted: 0, lost: 0 }]);
});

Deno.test("capture set: what can't be is refused: a wrong filter, a wrong length, one too many", async () => {
  const { set } = makeSet();
  const wrong = assertThrows(() => set.stream({ filter: "tcp port http" }), ConfigError);
  assertEquals(wrong.message, `filter: "http" is not a port from 0 to 65535`);
  for (const snapLength of [13, 262_145, 1.5, NaN]) {
    const error = assertThrows(() => set.stream({ snapLength }), ConfigError);
    assertEquals(
      error.message,
      `snapLength: ${snapLength} is not a whole number of octets from 14 to 262144`,
    );
  }
  const streams = Array.from({ length: STREAMS_MAX }, () => set.stream());
  const busy = assertThrows(() => set.stream(), GatewayError) as GatewayError;
  assertEquals(busy.code, "busy");
  await streams[0]!.return!();
  const again = set.stream();
  await set.close();
  for (const stream of [...streams, again]) await Array.fromAsync(stream);
  assertEquals(set.streams, 0);
  const late = await collect(set.stream());
  assertEquals(readPcapng(late).packets, [], "after the end there is a file without packets");
});

Deno.test("capture set: a file beside a stream, to the end of both", async () => {
  await using folder = await Folder.make();
  const { set, network } = makeSet();
  const path = folder.file("vm.pcapng");
  await set.startFile({ file: path, filter: "udp" });
  set.attach(network);
  const stream = set.stream();
  network.arrive();
  const whole = collect(stream);
  await set.close();
  const filed = readPcapng(await Deno.readFile(path));
  assertEquals([filed.interface.filter, filed.packets], [
    "udp",
    readPcapng(await whole).packets,
  ]);
});
