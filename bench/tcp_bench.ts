/**
 * What TCP costs in the stack alone: a read buffer of data, the ACKs of a bulk download, segments
 * out of a send ring, whole short connections, and many flows with a small segment each.
 *
 *     deno task microbench
 */
import type { TcpConnection } from "../lib/stack/tcp/connection.ts";
import { TcpFlag } from "../lib/wire/tcp.ts";
import { BenchStack, TakingOwner } from "./support/bench_stack.ts";
import { figure } from "./support/figure.ts";
import { DATA_AT, type GuestFlow, guestPortAt, segmentBytes } from "./support/guest_frames.ts";

/** Rounds until a window must be wide enough. */
const WARM_UP_ROUNDS = 400;

for (const [mtu, segments] of [[1500, 256], [65_520, 16]] as const) {
  for (const flowCount of [1, 8]) {
    const stack = new BenchStack(mtu);
    const flows = Array.from({ length: flowCount }, (_, i) => stack.flow(40_000 + i));
    for (const flow of flows) stack.open(flow);
    const segmentsEach = segments / flowCount;
    const round = () => {
      stack.turn();
      stack.nowMs += 0.1;
    };
    const push = () => {
      // As many of one flow behind each other as a guest's device hands over.
      for (let i = 0; i < segmentsEach; i += 2) {
        for (const flow of flows) stack.pushData(flow, 2);
      }
    };
    const takeAcks = () => stack.takeSent((at, bytes) => void flowOf(flows, stack, at, bytes));
    for (const flow of flows) widen(stack, flow, segmentsEach * segmentBytes(mtu));
    figure(
      `data, MTU ${mtu}, ${flowCount} ${flowCount === 1 ? "flow" : "flows"}`,
      { count: segments, unit: "frame", bytes: segments * segmentBytes(mtu) },
      { group: `data ${mtu}`, baseline: flowCount === 1 },
      (stopwatch) => {
        push();
        stopwatch.start();
        round();
        stopwatch.stop();
        takeAcks();
        for (const { acknowledged, seq } of flows) if (acknowledged !== seq) throw notTaken();
      },
    );
  }
}

/** What would make a figure worthless. */
function notTaken(): Error {
  return new Error("Cannot measure: the gateway did not acknowledge all that was sent");
}

/** Gives the flow whose segment it is that segment. */
function flowOf(flows: GuestFlow[], stack: BenchStack, at: number, bytes: number): void {
  const port = guestPortAt(stack.harness.memory, at);
  flows[port - flows[0]!.guestPort]!.take(at, bytes);
}

/** Sends until the gateway's window takes `bytes` at once. */
function widen(stack: BenchStack, flow: GuestFlow, bytes: number): void {
  for (let i = 0; i < WARM_UP_ROUNDS; i++) {
    const window = (flow.edge - flow.acknowledged) >>> 0;
    if (window >= bytes) return;
    const dataBytes = Math.min(window, segmentBytes(stack.mtu));
    stack.pushData(flow, Math.floor(window / dataBytes), dataBytes);
    stack.turn();
    stack.takeSent((at, length) => void flow.take(at, length));
    stack.nowMs += 10;
  }
  throw new Error(`The window stays below ${bytes} bytes`);
}

/** A flow whose host sends as much as its ring takes. */
class Download {
  readonly stack: BenchStack;
  readonly flow: GuestFlow;
  readonly connection: TcpConnection;
  /** What the guest acknowledges with each ACK, and how many segments it has got since the last. */
  #ends: number[] = [];

  constructor(mtu: number, fillBytes: number) {
    this.stack = new BenchStack(mtu);
    this.stack.harness.queues.streams.fillLimitBytes = fillBytes;
    this.flow = this.stack.flow(40_000);
    this.connection = this.stack.open(this.flow);
  }

  /** Queues `bytes`, or as much as there is room for: how much it was. */
  queue(bytes: number): number {
    let queued = 0;
    while (queued < bytes) {
      const span = Math.min(bytes - queued, this.connection.sendSpan());
      if (span === 0) break;
      this.connection.commitSend(span);
      queued += span;
    }
    return queued;
  }

  /** Sends what is queued, as far as the windows let it go. */
  send(): void {
    while (this.stack.endpoint.dispatch(this.stack.nowMs)) this.stack.discardSent();
  }

  /** As `send`; the guest takes note of each segment. */
  sendToGuest(): void {
    const { stack, flow } = this;
    this.#ends = [];
    const take = (at: number, bytes: number) => {
      if (flow.take(at, bytes) > 0) this.#ends.push(flow.ack);
    };
    for (let more = true; more;) {
      more = stack.endpoint.dispatch(stack.nowMs);
      stack.takeSent(take);
    }
  }

  /** Lays an ACK for every `every` segments into the read buffer: how many. */
  pushAcks(every: number): number {
    const { stack, flow } = this;
    let count = 0;
    for (let i = every - 1; i < this.#ends.length + every - 1; i += every) {
      flow.ack = this.#ends[Math.min(i, this.#ends.length - 1)]!;
      stack.filled(flow.segment(stack.fillAt, TcpFlag.ack));
      count++;
    }
    return count;
  }

  /** Everything that was sent is acknowledged. */
  acknowledge(): void {
    const { stack, flow, connection } = this;
    flow.ack = connection.sender.sndNxt;
    stack.filled(flow.segment(stack.fillAt, TcpFlag.ack));
    stack.receive();
    stack.nowMs++;
  }

  /** Sends until the guest gets `bytes` at once. */
  widen(bytes: number): void {
    for (let i = 0; i < WARM_UP_ROUNDS; i++) {
      this.queue(bytes);
      this.sendToGuest();
      const all = this.connection.sender.flightBytes >= bytes;
      this.stack.nowMs++;
      this.pushAcks(2);
      this.stack.receive();
      this.stack.discardSent();
      if (all) return;
    }
    throw new Error(`The congestion window stays below ${bytes} bytes`);
  }
}

{
  const bulk = new Download(1500, 256 * 1024);
  const segments = 512;
  const bytes = segments * segmentBytes(1500);
  bulk.widen(bytes);
  for (const every of [2, 32]) {
    figure(
      `ACKs of a bulk download, each for ${every} segments`,
      { count: segments / every, unit: "ACK", bytes },
      { group: "ACK", baseline: every === 2 },
      (stopwatch) => {
        bulk.queue(bytes);
        bulk.sendToGuest();
        bulk.stack.nowMs++;
        bulk.pushAcks(every);
        stopwatch.start();
        bulk.stack.receive();
        stopwatch.stop();
      },
    );
  }
}

for (
  const [mtu, segments, fillBytes] of [[1500, 512, 256 * 1024], [65_520, 16, 1024 * 1024]] as const
) {
  const bulk = new Download(mtu, fillBytes);
  const bytes = segments * segmentBytes(mtu);
  bulk.widen(bytes);
  figure(
    `segments out of a send ring, MTU ${mtu}`,
    { count: segments, unit: "frame", bytes },
    { group: "segments" },
    (stopwatch) => {
      bulk.queue(bytes);
      stopwatch.start();
      bulk.send();
      stopwatch.stop();
      bulk.stack.discardSent();
      bulk.acknowledge();
    },
  );
}

/** Answers each byte with a byte, and finishes when the guest does. */
class AnsweringOwner extends TakingOwner {
  override taken(connection: TcpConnection): void {
    if (connection.guestFinished) connection.finish();
    else if (connection.sendSpan() > 0) connection.commitSend(1);
  }
}

for (const atOnce of [1, 64]) {
  const stack = new BenchStack();
  stack.owner = new AnsweringOwner();
  const flows = Array.from({ length: 64 }, (_, i) => stack.flow(40_000 + i));
  const take = (at: number, bytes: number) => flowOf(flows, stack, at, bytes);
  let isn = 1;
  const step = (from: number, write: (flow: GuestFlow) => number) => {
    for (let i = from; i < from + atOnce; i++) stack.filled(write(flows[i]!));
  };
  figure(
    `short connections, ${atOnce} at once`,
    { count: flows.length, unit: "connection" },
    { group: "connections", baseline: atOnce === 1 },
    (stopwatch) => {
      isn = (isn + 100_000) >>> 0;
      const turn = () => {
        stopwatch.start();
        stack.turn();
        stopwatch.stop();
        stack.takeSent(take);
      };
      for (let from = 0; from < flows.length; from += atOnce) {
        step(from, (flow) => {
          flow.restart(isn);
          return flow.syn(stack.fillAt, 1460);
        });
        turn();
        step(from, (flow) => flow.segment(stack.fillAt, TcpFlag.ack));
        turn();
        step(from, (flow) => {
          return flow.segment(stack.fillAt, TcpFlag.ack | TcpFlag.psh, 1, dataSum(stack));
        });
        turn();
        step(from, (flow) => flow.segment(stack.fillAt, TcpFlag.ack | TcpFlag.fin));
        turn();
        step(from, (flow) => flow.segment(stack.fillAt, TcpFlag.ack));
        turn();
        stack.nowMs += 0.1;
      }
      if (stack.endpoint.size > 0) throw new Error(`${stack.endpoint.size} flows are left`);
    },
  );
}

/** The sum of the one octet of data that the frame which is laid down next will have. */
function dataSum(stack: BenchStack): number {
  return stack.harness.memory.sum(stack.fillAt + DATA_AT, 1);
}

for (const flowCount of [1, 10_000]) {
  const stack = new BenchStack();
  const flows = Array.from({ length: flowCount }, (_, i) => stack.flow(10_000 + i));
  for (const flow of flows) stack.open(flow);
  const take = (at: number, bytes: number) => flowOf(flows, stack, at, bytes);
  const segments = 256;
  let next = 0;
  figure(
    `small segments, ${flowCount} ${flowCount === 1 ? "flow" : "flows, each another's"}`,
    { count: segments, unit: "frame" },
    { group: "flows", baseline: flowCount === 1 },
    (stopwatch) => {
      for (let i = 0; i < segments; i++) {
        next = (next + 7919) % flowCount;
        stack.filled(flows[next]!.segment(stack.fillAt, TcpFlag.ack, 1, dataSum(stack)));
      }
      stopwatch.start();
      stack.turn();
      stopwatch.stop();
      stack.takeSent(take);
      stack.nowMs++;
    },
  );
}
