/**
 * The frame stream of a VMM, cut into reads of any length, through the bridge, the queues and the
 * device; each frame is sent back, over writes that take any part of what they are given.
 *
 * A record is a step: 0 a read (octets, how often in one piece), 1 what the next writes take at most,
 * 2 the writer stands still, 3 it goes on, 4 reads one after the other (octets, how often).
 *
 * Oracles: the frames are those of a naive reading of all octets in one piece, and so are the runts
 * and the point at which the framing is broken; what comes back is well-framed, each lane in
 * order, and exactly the dropped ones are missing; a frame behind all that still passes; the bridge
 * ends.
 *
 * @module
 */
import { FrameStreamBridge, type StreamEnd } from "../../../lib/host/frame_stream.ts";
import { Counters } from "../../../lib/stack/counters.ts";
import { VirtioNetworkDevice } from "../../../lib/stack/device.ts";
import {
  MAX_FRAME_BYTES,
  MIN_FRAME_BYTES,
  NetworkFrameQueues,
  NextFrame,
  QUEUES_BYTES,
} from "../../../lib/stack/queues.ts";
import { FrameMemory } from "../../../lib/wire/memory.ts";
import { FRAMES } from "../frames.ts";
import type { Input } from "../input.ts";
import { type Mutator, put, splice, wordOctets } from "../mutate.ts";
import { hold } from "../rig.ts";
import { CountTrace, type Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";
import { at16, at32, at8 } from "../tcp_steps.ts";
import { settled, VirtualClock } from "../../support/virtual_clock.ts";

const Step = { read: 0, takes: 1, stop: 2, go: 3, reads: 4 } as const;
const STEPS = 5;
const HEAD_BYTES = 3;
const REPEATS_MAX = 16_384;
const READS_MAX = 32;
/** Octets of all reads of an input. */
const VOLUME_MAX_BYTES = 2_500_000;
const SMALL_WRITES = 64;
const ROUNDS_MAX = 4_000;
const KIND_END = 40;

/** The target. */
export const framingTarget: FuzzTarget = {
  name: "framing",
  about: "the stream of a VMM in reads of any length, and what goes back in writes of any length",
  form: "hex",
  seeds: () => Object.entries(SEEDS),
  mutate: (input, mutator) => mutator.records(input, (record) => changeStep(record, mutator)),
  run: (input, signal) => new Stream(signal).run(input),
};

/** A VMM that gives and takes as it is told. */
class FuzzConn {
  readonly written: Uint8Array[] = [];
  takesBytes = Infinity;
  /** Writes that take only so much; those behind them take all. */
  smallWrites = 0;
  stopped = false;
  closed = false;
  reader: ((piece: Uint8Array | null) => void) | null = null;
  readonly #arriving: (Uint8Array | null)[] = [];
  #writer: (() => void) | null = null;

  get isStalled(): boolean {
    return this.#writer !== null;
  }

  async read(into: Uint8Array): Promise<number | null> {
    hold(this.reader === null, "one read at a time");
    hold(into.length > 0, "a read has room");
    const piece = this.#arriving.shift() ??
      await new Promise<Uint8Array | null>((resolve) => this.reader = resolve);
    if (this.closed) throw new Deno.errors.BadResource("closed");
    if (piece === null) return null;
    const bytes = Math.min(into.length, piece.length);
    into.set(piece.subarray(0, bytes));
    if (bytes < piece.length) this.#arriving.unshift(piece.subarray(bytes));
    return bytes;
  }

  async write(from: Uint8Array): Promise<number> {
    hold(from.length > 0, "a write has something to write");
    if (this.stopped) {
      await new Promise<void>((resolve) => this.#writer = resolve);
    }
    if (this.closed) throw new Deno.errors.BadResource("closed");
    const bytes = this.smallWrites-- > 0 ? Math.min(from.length, this.takesBytes) : from.length;
    this.written.push(from.slice(0, bytes));
    return bytes;
  }

  arrive(piece: Uint8Array | null): void {
    const { reader } = this;
    this.reader = null;
    if (reader === null) this.#arriving.push(piece);
    else reader(piece);
  }

  go(): void {
    this.stopped = false;
    const writer = this.#writer;
    this.#writer = null;
    writer?.();
  }

  close(): void {
    this.closed = true;
    this.go();
    this.arrive(null);
  }
}

let shared: FrameMemory | null = null;

class Stream {
  readonly #conn = new FuzzConn();
  readonly #clock = new VirtualClock();
  readonly #counters = new Counters();
  readonly #queues: NetworkFrameQueues;
  readonly #device: VirtioNetworkDevice;
  readonly #bridge: FrameStreamBridge;
  readonly #memory = shared ??= new FrameMemory(QUEUES_BYTES);
  readonly #trace: CountTrace;
  readonly #signal: Signal;
  readonly #model = new FrameModel();
  /** Frames that came, and whether each was sent back. */
  readonly #came: { frame: Uint8Array; back: boolean }[] = [];
  #broken = false;

  constructor(signal: Signal) {
    this.#signal = signal;
    this.#queues = new NetworkFrameQueues(this.#memory, 0, { write: () => {}, turn: () => {} });
    this.#device = new VirtioNetworkDevice(this.#queues, this.#counters);
    const conn = this.#conn as Partial<Deno.Conn> as Deno.Conn;
    const handlers = { onFrames: () => this.#onFrames(), onRoom: () => {} };
    this.#bridge = new FrameStreamBridge(
      conn,
      this.#memory,
      this.#queues,
      65_520,
      handlers,
      this.#clock,
    );
    this.#trace = new CountTrace(signal, this.#counters.values);
  }

  #onFrames(): null {
    for (;;) {
      const next = this.#device.receive();
      if (next === NextFrame.none) return null;
      if (next === NextFrame.tooLong) {
        this.#broken = true;
        this.#bridge.end("broken framing");
        return null;
      }
      this.#sendBack();
    }
  }

  #sendBack(): void {
    const device = this.#device;
    const { frameAt, frameBytes } = device;
    const frame = this.#memory.bytes.slice(frameAt, frameAt + frameBytes);
    const at = laneOf(frame) === 0 ? device.begin(frameBytes) : device.beginStream(frameBytes);
    this.#came.push({ frame, back: at >= 0 });
    if (at < 0) return;
    this.#memory.copy(at, frameAt, frameBytes);
    device.end(frameBytes);
    this.#bridge.flush();
  }

  async run(input: Input): Promise<void> {
    const running = this.#bridge.run();
    await settled();
    for (const record of input) {
      await this.#step(record);
      this.#trace.step();
    }
    await this.#probe();
    this.#compare();
    await this.#end(running);
  }

  async #step(record: Uint8Array): Promise<void> {
    const conn = this.#conn;
    switch (at8(record, 0) % STEPS) {
      case Step.read: {
        const octets = record.slice(HEAD_BYTES);
        const room = VOLUME_MAX_BYTES - this.#model.bytes;
        const times = Math.min(1 + at16(record, 1) % REPEATS_MAX, Math.floor(room / octets.length));
        if (octets.length === 0 || times <= 0 || this.#bridge.ended) return;
        return await this.#read(concatenated(new Array<Uint8Array>(times).fill(octets)));
      }
      case Step.reads: {
        const octets = record.slice(HEAD_BYTES);
        for (let left = 1 + at16(record, 1) % READS_MAX; left > 0; left--) {
          if (octets.length === 0 || this.#bridge.ended) return;
          await this.#read(octets);
        }
        return;
      }
      case Step.takes:
        conn.takesBytes = Math.max(1, at16(record, 1));
        conn.smallWrites = SMALL_WRITES;
        return;
      case Step.stop:
        conn.stopped = true;
        return;
      case Step.go:
        conn.go();
        return await this.#quiet();
    }
  }

  async #read(octets: Uint8Array): Promise<void> {
    this.#model.take(octets);
    this.#conn.arrive(octets);
    await this.#quiet();
  }

  /** Until the bridge waits for the VMM. */
  async #quiet(): Promise<void> {
    const conn = this.#conn;
    for (let rounds = 0;; rounds++) {
      hold(rounds < ROUNDS_MAX, "the bridge comes to rest");
      await null;
      const reads = conn.reader !== null || this.#bridge.ended;
      const writes = this.#queues.queuedBytes === 0 || conn.isStalled ||
        conn.closed;
      if (reads && writes && rounds > 8) return;
    }
  }

  /** The VMM finishes the frame that it is in, and sends an honest one. */
  async #probe(): Promise<void> {
    this.#conn.smallWrites = 0;
    this.#conn.go();
    await this.#quiet();
    if (this.#bridge.ended) return;
    for (let left = this.#missing(); left > 0; left = this.#missing()) {
      await this.#read(new Uint8Array(left));
    }
    if (this.#bridge.ended) return; // zeros behind the first octets of a length may break it
    const honest = FRAMES.ping4![0]!;
    const before = this.#came.length;
    await this.#read(framed(honest));
    const last = this.#came.at(-1);
    hold(this.#came.length === before + 1 && same(honest, last?.frame), "an honest frame passes");
    hold(last!.back, "an honest frame is answered");
  }

  #missing(): number {
    return this.#model.read().missing;
  }

  #compare(): void {
    const { frames, runts, broken } = this.#model.read();
    const came = this.#came;
    hold(came.length === frames.length, () => `${came.length} frames of ${frames.length}`);
    hold(came.every(({ frame }, i) => same(frame, frames[i])), "frames come as they were sent");
    hold(this.#counters.get("drop.eth.short") === runts, "runts are counted");
    hold(this.#broken === broken, "the framing breaks where it is broken");
    const taken = came.filter(({ back }) => back).map(({ frame }) => frame);
    const dropped = came.length - taken.length;
    hold(this.#counters.get("drop.queue.full") === dropped, "drops are counted");
    const back = new FrameModel();
    for (const piece of this.#conn.written) back.take(piece);
    back.read();
    hold(back.missing + back.runts === 0 && !back.broken, "what goes back is well-framed");
    for (const lane of [0, 1]) {
      const sent = taken.filter((frame) => laneOf(frame) === lane);
      const got = back.frames.filter((frame) => laneOf(frame) === lane);
      hold(sent.length === got.length, "what was taken goes back");
      hold(sent.every((frame, i) => same(frame, got[i])), "a lane keeps its order");
    }
  }

  async #end(running: Promise<StreamEnd>): Promise<void> {
    this.#conn.arrive(null);
    await settled();
    let closed = false;
    const closing = this.#bridge.close(0).then(() => closed = true);
    await this.#clock.run(1000);
    hold(closed, "the bridge closes");
    await closing;
    const end = await running;
    this.#signal.noteText(KIND_END, end);
    hold(end === (this.#broken ? "broken framing" : "closed by the VMM"), () => `it ends: ${end}`);
    hold(this.#clock.timers === 0, "no timer stays");
  }
}

/** The framing read naively: all octets in one piece. */
class FrameModel {
  frames: Uint8Array[] = [];
  runts = 0;
  broken = false;
  /** Octets that would finish the frame, or its length, that was begun. */
  missing = 0;
  bytes = 0;
  readonly #pieces: Uint8Array[] = [];

  take(octets: Uint8Array): void {
    this.bytes += octets.length;
    this.#pieces.push(octets);
  }

  read(): this {
    const all = concatenated(this.#pieces);
    this.frames = [];
    this.runts = this.missing = 0;
    for (let at = 0; at < all.length;) {
      if (all.length - at < 4) {
        this.missing = 4 - (all.length - at);
        break;
      }
      const length = at32(all, at);
      if (length > MAX_FRAME_BYTES) {
        this.broken = true;
        break;
      }
      const end = at + 4 + length;
      if (end > all.length) {
        this.missing = end - all.length;
        break;
      }
      if (length < MIN_FRAME_BYTES) this.runts++;
      else this.frames.push(all.subarray(at + 4, end));
      at = end;
    }
    return this;
  }
}

function concatenated(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

function same(a: Uint8Array, b: Uint8Array | undefined): boolean {
  if (a.length !== b?.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function laneOf(frame: Uint8Array): number {
  return frame[0]! & 1;
}

function framed(frame: Uint8Array): Uint8Array {
  return Uint8Array.from([...wordOctets(frame.length, 4), ...frame]);
}

function readStep(octets: Uint8Array, repeats = 1): Uint8Array {
  return Uint8Array.from([Step.read, ...wordOctets(repeats - 1, 2), ...octets]);
}

const PING = framed(FRAMES.ping4![0]!);
const SYN = framed(FRAMES.syn6![0]!);
const LENGTHS = [0, 1, 13, 14, 15, 1514, 65_549, 65_550, 65_551, 0xffff_ffff];
const SEEDS: Readonly<Record<string, Input>> = {
  one: [readStep(PING)],
  octets: Array.from(PING.slice(0, 40), (octet) => readStep(Uint8Array.of(octet))),
  split: [readStep(PING.slice(0, 3)), readStep(PING.slice(3, 30)), readStep(PING.slice(30))],
  many: [readStep(splice(PING, PING.length, 0, SYN), 300)],
  runts: [readStep(Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 2, 9, 9, ...PING]))],
  broken: [readStep(PING), readStep(Uint8Array.of(0, 1, 0, 15)), readStep(PING)],
  largest: [
    readStep(Uint8Array.from([0, 1, 0, 14, ...new Uint8Array(550)])),
    readStep(new Uint8Array(1000), 65),
    readStep(SYN, 9000),
    readStep(PING, 20),
  ],
  stalled: [
    Uint8Array.of(Step.stop),
    readStep(SYN, 1500),
    readStep(PING, 1500),
    Uint8Array.of(Step.go),
  ],
  drip: [Uint8Array.from([Step.reads, 0, 31, ...PING])],
  trickle: [
    Uint8Array.of(Step.takes, 0, 3),
    readStep(PING, 20),
    Uint8Array.of(Step.takes, 255, 255),
  ],
};

function changeStep(record: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  switch (random.below(8)) {
    case 0:
      return Uint8Array.from([
        random.pick([1, 1, 2, 3, 3]),
        ...wordOctets(random.pick([1, 2, 5, 100, 1500, 65_535]), 2),
      ]);
    case 1:
      return put(record.slice(), 1, wordOctets(random.pick([0, 0, 1, 3, 31, 100, 700, 9000]), 2));
    case 2:
    case 3: {
      const at = HEAD_BYTES +
        random.below(Math.max(1, record.length - HEAD_BYTES));
      return put(
        record.slice(),
        random.once(2) ? HEAD_BYTES : at,
        wordOctets(random.pick(LENGTHS), 4),
      );
    }
    case 4:
      return splice(
        record,
        Math.min(HEAD_BYTES, record.length),
        0,
        wordOctets(random.pick(LENGTHS), 4),
      );
    case 5:
      return put(record.slice(), 0, [random.pick([Step.read, Step.reads])]);
    case 6:
      return readStep(framed(random.pick(FRAMES.syn4!)), 1 + random.below(20));
    default:
      return mutator.bytes(record);
  }
}
