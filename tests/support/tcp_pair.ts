/**
 * Two TCP endpoints joined by a bad wire, on one virtual clock and from one seed: one is the
 * gateway's, the other, with the addresses swapped, plays its guest.
 *
 * The wire loses, repeats, delays, reorders and flips bits, and may take options out of the SYNs,
 * so that the two must do without SACK, timestamps or a window scale. At each end stands what a
 * relay would be: reads and writes that are pending for a while, with the ring lent to them, of
 * random sizes. `run` ends when both have closed, within a bounded number of steps.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { BufferPool, type BufferQuota } from "../../lib/stack/buffer_pool.ts";
import type { TcpConnection } from "../../lib/stack/tcp/connection.ts";
import { TcpEvent, type TcpOwner } from "../../lib/stack/tcp/state.ts";
import { endpointBytes, TcpEndpoint } from "../../lib/stack/tcp/endpoint.ts";
import {
  concat,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_MAC,
  GUEST4,
  GUEST6,
  GUEST_MAC,
  ip,
  mac,
  sealed,
} from "./packets.ts";
import { StackHarness } from "./stack_harness.ts";
import { octet, octets } from "./tcp_segments.ts";

/** What a pair's wire and ends are like. */
export interface PairOptions {
  seed: number;
  bytes: number;
  /** Probabilities for each frame. */
  loss: number;
  duplicate: number;
  reorder: number;
  flip: number;
  /** One way, without jitter. */
  delayMs: number;
  jitterMs: number;
  mtu: number;
  poolBytes: number;
  /** Kinds of TCP options that the wire takes out of SYNs: 3 window scale, 4 SACK, 8 timestamps. */
  strip: readonly number[];
  /** How long a read or write of an end is pending, at most. */
  pendingMs: number;
  /**
   * Whether the devices take large segments. Those with a header the wire carries in the pieces that
   * it says, each of which may be lost; those without one as they are.
   */
  large?: "headers" | "bare";
}

const FLOWS = 4;
const STEPS_MAX = 200_000;
const HANDSHAKE_LOSS_MAX = 0.1;
/** Longer than any retransmission of a FIN takes, however often it is lost. */
const TIME_WAIT_MS = 3_000_000;
/** No checksum covers these, so the wire leaves them alone. */
const ETHERNET_BYTES = 14;
const OPTIONS_AT = 14 + 20 + 20;

/** A generator of numbers in [0, 1) that depend on the seed alone. */
export function dice(seed: number): () => number {
  let state = (seed * 0x9e3779b9) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One end: a stack, an endpoint, and the relay of its one connection. */
export class PairEnd implements TcpOwner {
  readonly harness: StackHarness;
  readonly endpoint: TcpEndpoint;
  readonly pool: BufferQuota;
  connection: TcpConnection | null = null;
  /** When the offered connection is accepted. */
  acceptMs = Infinity;
  closed = false;
  /** What was thrown inside the endpoint, in a call of this end too. */
  bug: unknown = null;
  taken = 0;
  given = 0;
  readonly #roll: () => number;
  readonly #options: PairOptions;
  readonly #ownStream: number;
  #readMs = Infinity;
  #writeMs = Infinity;
  #reading = 0;
  #writing = 0;
  #established = false;
  #finished = false;
  #mustWait = false;

  constructor(options: PairOptions, isGuest: boolean, roll: () => number) {
    this.#options = options;
    this.#roll = roll;
    this.#ownStream = isGuest ? 1 : 2;
    const ownBytes = endpointBytes(FLOWS);
    this.harness = new StackHarness({
      scratchBytes: 64 + ownBytes + options.poolBytes,
      link: { mtu: options.mtu, ...(isGuest ? SWAPPED : {}) },
      ...(options.large === undefined ? {} : { large: options.large }),
    });
    const { harness } = this;
    const poolAt = harness.scratchAt + 64 + ownBytes;
    this.pool = new BufferPool(harness.memory, poolAt, options.poolBytes).quota(options.poolBytes);
    this.endpoint = new TcpEndpoint({
      link: harness.link,
      pool: this.pool,
      at: harness.scratchAt + 64,
      flows: FLOWS,
      halfOpen: FLOWS,
      timeWaitMs: TIME_WAIT_MS,
      idleMs: 7_440_000,
      bufferMinBytes: 16 * 1024,
      bufferMaxBytes: 1024 * 1024,
      seed: Uint32Array.of(options.seed, isGuest ? 1 : 2, 3, 4),
      nowMs: harness.nowMs,
      onBug: (error) => this.bug ??= error,
      onOffer: (connection, nowMs) => {
        // A copy of the SYN that comes when all is over.
        if (this.connection !== null) return connection.drop();
        this.join(connection);
        this.acceptMs = nowMs + Math.floor(50 * roll());
      },
    });
    harness.stack.attach(
      { process: (packet) => this.endpoint.process(packet, harness.nowMs) },
      { process: () => {} },
    );
  }

  join(connection: TcpConnection): void {
    assertEquals(this.connection, null, "one connection an end");
    this.connection = connection;
    connection.owner = this;
  }

  /** The earliest time at which this end has something to do. */
  pollAt(): number {
    return Math.min(this.endpoint.pollAt(), this.acceptMs, this.#readMs, this.#writeMs);
  }

  /** One turn; the frames that it sends. */
  turn(frames: Uint8Array[], nowMs: number): Uint8Array[] {
    this.harness.nowMs = nowMs;
    for (const frame of frames) this.harness.push(frame);
    this.endpoint.advance(nowMs);
    this.endpoint.handOver();
    if (this.acceptMs <= nowMs) {
      this.acceptMs = Infinity;
      this.connection!.accept(nowMs);
    }
    if (this.#readMs <= nowMs) this.#endRead();
    if (this.#writeMs <= nowMs) this.#endWrite();
    const out: Uint8Array[] = [];
    for (let more = true, i = 0; more; i++) {
      assert(i < 1000, "dispatch comes to an end");
      more = this.endpoint.dispatch(nowMs);
      if (this.bug !== null) throw this.bug;
      out.push(...this.harness.sent());
    }
    return out;
  }

  onTcpEvents(connection: TcpConnection, events: number): void {
    if ((events & TcpEvent.established) !== 0) this.#established = true;
    if ((events & TcpEvent.closed) !== 0) {
      assertEquals(connection.closeReason, "finished");
      this.closed = true;
    }
    if ((events & TcpEvent.writable) !== 0) this.#mustWait = false;
    this.#pump();
  }

  /** What is left of the connection's memory goes back. */
  release(): void {
    this.connection!.receiver.release();
  }

  #pump(): void {
    const connection = this.connection!;
    if (!this.#established) return;
    if (this.#readMs === Infinity && connection.receiveSpan() > 0) {
      this.#reading = Math.max(1, Math.floor(connection.receiveSpan() * this.#roll()));
      connection.receiver.ring.lendToReader();
      this.#readMs = this.#pendingUntil();
    }
    if (this.#writeMs < Infinity || this.#mustWait || this.#finished || this.closed) return;
    const left = this.#options.bytes - this.given;
    if (left === 0) {
      this.#finished = true;
      connection.finish();
      return;
    }
    const span = Math.min(left, connection.sendSpan());
    this.#mustWait = span === 0;
    if (span === 0) return;
    this.#writing = Math.max(1, Math.floor(span * this.#roll()));
    connection.sender.ring.lendToWriter();
    this.#writeMs = this.#pendingUntil();
  }

  #pendingUntil(): number {
    return this.harness.nowMs + Math.floor(this.#options.pendingMs * this.#roll() ** 4);
  }

  #endRead(): void {
    const { receiver } = this.connection!;
    this.#readMs = Infinity;
    const at = receiver.ring.readSpanAt;
    for (let i = 0; i < this.#reading; i++) {
      const right = octet(this.taken + i, 3 - this.#ownStream);
      assertEquals(this.harness.memory.bytes[at + i], right, `octet ${this.taken + i}`);
    }
    this.taken += this.#reading;
    receiver.ring.giveBack();
    this.connection!.consume(this.#reading);
    this.#pump();
  }

  #endWrite(): void {
    const connection = this.connection!;
    const { ring } = connection.sender;
    this.#writeMs = Infinity;
    const bytes = octets(this.given, this.#writing, this.#ownStream);
    this.harness.memory.bytes.set(bytes, ring.writeSpanAt);
    ring.giveBack();
    connection.commitSend(this.#writing);
    this.given += this.#writing;
    this.#pump();
  }
}

const SWAPPED = {
  guestMac: mac(GATEWAY_MAC),
  gatewayMac: mac(GUEST_MAC),
  guestIp4: ip(GATEWAY4),
  gatewayIp4: ip(GUEST4),
  guestIp6: ip(GATEWAY6),
  gatewayIp6: ip(GUEST6),
};

interface InTransit {
  readonly dueMs: number;
  readonly order: number;
  readonly to: 0 | 1;
  readonly frame: Uint8Array;
}

/** The two ends and the wire between them. */
export class TcpPair {
  readonly ends: readonly [PairEnd, PairEnd];
  steps = 0;
  readonly #options: PairOptions;
  readonly #roll: () => number;
  #wire: InTransit[] = [];
  #order = 0;
  #nowMs: number;

  constructor(options: PairOptions) {
    this.#options = options;
    this.#roll = dice(options.seed);
    this.ends = [
      new PairEnd(options, false, dice(options.seed + 0x10000)),
      new PairEnd(options, true, dice(options.seed + 0x20000)),
    ];
    this.#nowMs = this.ends[0].harness.nowMs;
  }

  /** The guest connects, both send and finish, everything closes: the time that it took. */
  run(): number {
    const startMs = this.#nowMs;
    const { endpoint, harness } = this.ends[1];
    const { gatewayIp4At, guestIp4At } = harness.link;
    const connection = endpoint.connect(4, gatewayIp4At, 40000, guestIp4At, 80, startMs);
    this.ends[1].join(connection!);
    let quietSteps = 0;
    this.#step();
    while (
      this.ends.some(({ endpoint, closed }) => endpoint.size > 0 || !closed) ||
      this.#wire.length > 0
    ) {
      const nextMs = this.#nextMs();
      assert(nextMs < Infinity, "something is always due until both have closed");
      quietSteps = nextMs > this.#nowMs ? 0 : quietSteps + 1;
      assert(quietSteps < 1000, "pollAt makes progress");
      assert(++this.steps < STEPS_MAX, "the transfer comes to an end");
      this.#nowMs = Math.max(this.#nowMs, nextMs);
      this.#step();
    }
    return this.#nowMs - startMs;
  }

  #nextMs(): number {
    const wireMs = this.#wire.reduce((least, { dueMs }) => Math.min(least, dueMs), Infinity);
    return Math.min(wireMs, this.ends[0].pollAt(), this.ends[1].pollAt());
  }

  #step(): void {
    const due = this.#wire.filter(({ dueMs }) => dueMs <= this.#nowMs);
    due.sort((a, b) => a.dueMs - b.dueMs || a.order - b.order);
    if (due.length > 0) this.#wire = this.#wire.filter(({ dueMs }) => dueMs > this.#nowMs);
    for (const side of [0, 1] as const) {
      const frames = due.filter(({ to }) => to === side).map(({ frame }) => frame);
      for (const frame of this.ends[side].turn(frames, this.#nowMs)) {
        this.#send(frame, side === 0 ? 1 : 0);
      }
    }
  }

  #send(frame: Uint8Array, to: 0 | 1): void {
    const { loss, duplicate, reorder, flip, delayMs, jitterMs } = this.#options;
    const roll = this.#roll;
    const isHandshake = this.ends.some(({ connection }) =>
      connection === null || connection.state === "synSent" || connection.state === "synReceived"
    );
    const copies = roll() < duplicate ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (roll() < (isHandshake ? Math.min(HANDSHAKE_LOSS_MAX, loss) : loss)) continue;
      const bytes = this.#strip(frame);
      if (roll() < flip) {
        const at = ETHERNET_BYTES + Math.floor(roll() * (bytes.length - ETHERNET_BYTES));
        bytes[at]! ^= 1 << Math.floor(8 * roll());
      }
      const late = roll() < reorder ? delayMs + 4 * jitterMs * roll() : 0;
      this.#wire.push({
        dueMs: this.#nowMs + delayMs + jitterMs * (roll() < 0.1 ? roll() : 0) + late,
        order: this.#order++,
        to,
        frame: bytes,
      });
    }
  }

  /** A copy of the frame; a SYN loses the options that this wire takes out. */
  #strip(frame: Uint8Array): Uint8Array {
    const bytes = frame.slice();
    const isSyn = (bytes[14 + 20 + 13]! & 2) !== 0;
    if (!isSyn || this.#options.strip.length === 0) return bytes;
    const end = 14 + 20 + (bytes[14 + 20 + 12]! >> 4) * 4;
    for (let at = OPTIONS_AT; at < end;) {
      const kind = bytes[at]!;
      const length = kind <= 1 ? 1 : bytes[at + 1]!;
      if (this.#options.strip.includes(kind)) bytes.fill(1, at, at + length);
      at += length;
    }
    const source = bytes.slice(26, 30).join(".");
    const destination = bytes.slice(30, 34).join(".");
    return concat(bytes.slice(0, 34), sealed(bytes.slice(34), 16, source, destination, 6));
  }
}
