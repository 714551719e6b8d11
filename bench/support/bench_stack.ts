/**
 * A stack with its TCP endpoint and UDP flows and nothing around: frames are laid into the read
 * buffer, one turn walks them, what it sends is taken from the lanes. Time is what the bench says.
 *
 * The other side of every flow is an owner that takes what comes in the call that brings it, so
 * what is measured is the gateway's own work.
 *
 * @module
 */
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { BufferPool } from "../../lib/stack/buffer_pool.ts";
import { LENGTH_BYTES } from "../../lib/stack/queues.ts";
import { Polled } from "../../lib/stack/stack.ts";
import type { TcpConnection } from "../../lib/stack/tcp/connection.ts";
import { endpointBytes, TcpEndpoint } from "../../lib/stack/tcp/endpoint.ts";
import { TcpEvent, type TcpOwner } from "../../lib/stack/tcp/state.ts";
import { type UdpFlowOwner, UdpFlows, udpFlowsBytes } from "../../lib/stack/udp_flows.ts";
import { UdpInput } from "../../lib/stack/udp_input.ts";
import { UDP_OUTPUT_BYTES, UdpOutput } from "../../lib/stack/udp_output.ts";
import { TcpFlag } from "../../lib/wire/tcp.ts";
import { StackHarness } from "../../tests/support/stack_harness.ts";
import { DATA_AT, GUEST_FLOW_BYTES, GuestFlow, segmentBytes } from "./guest_frames.ts";

const FLOWS = DEFAULT_LIMITS.tcpFlows;
const POOL_BYTES = 128 * 1024 * 1024;
/** Room for what a bench places. */
const PLACE_BYTES = 2 * 1024 * 1024;
const WALK_FRAMES = 64;
const PEER = Uint8Array.of(93, 184, 216, 34);
const ISN = 0x1000_0000;
const IDLE = () => {};

/** What stands in for the host's side of a connection. */
export class TakingOwner implements TcpOwner {
  /** Bytes that were taken. */
  takenBytes = 0;

  onTcpEvents(connection: TcpConnection, events: number): void {
    if ((events & TcpEvent.readable) === 0) return;
    for (let bytes = connection.receiveSpan(); bytes > 0; bytes = connection.receiveSpan()) {
      this.takenBytes += bytes;
      connection.consume(bytes);
    }
    this.taken(connection);
  }

  /** Everything that has come was taken. */
  taken(_connection: TcpConnection): void {}
}

/** Stack, endpoint and flows on the bench's own clock. */
export class BenchStack {
  readonly harness: StackHarness;
  readonly endpoint: TcpEndpoint;
  readonly udpFlows: UdpFlows;
  readonly udpOutput: UdpOutput;
  readonly mtu: number;
  nowMs = 1_000_000;
  /** Who owns the flows that are opened. */
  owner: TcpOwner = new TakingOwner();
  udpOwner: UdpFlowOwner = { opened: IDLE, send: IDLE, close: IDLE };
  /** The connection that was offered last. */
  offered: TcpConnection | null = null;
  #freeAt: number;

  constructor(mtu = 1500) {
    this.mtu = mtu;
    const parts = [endpointBytes(FLOWS), udpFlowsBytes(DEFAULT_LIMITS), UDP_OUTPUT_BYTES];
    const guestBytes = FLOWS * GUEST_FLOW_BYTES + PLACE_BYTES;
    const ownBytes = parts.reduce((sum, bytes) => sum + bytes, guestBytes);
    this.harness = new StackHarness({ link: { mtu }, scratchBytes: ownBytes + POOL_BYTES });
    const { link, memory, stack, counters, scratchAt } = this.harness;
    const seed = Uint32Array.of(1, 2, 3, 4);
    const udpFlowsAt = scratchAt + parts[0]!;
    const udpOutputAt = udpFlowsAt + parts[1]!;
    this.#freeAt = udpOutputAt + parts[2]!;
    this.endpoint = new TcpEndpoint({
      link,
      pool: new BufferPool(memory, scratchAt + ownBytes, POOL_BYTES).quota(POOL_BYTES),
      at: scratchAt,
      flows: FLOWS,
      halfOpen: FLOWS,
      timeWaitMs: DEFAULT_LIMITS.tcpTimeWaitMs,
      idleMs: DEFAULT_LIMITS.tcpIdleMs,
      bufferMinBytes: DEFAULT_LIMITS.tcpBufferMinBytes,
      bufferMaxBytes: DEFAULT_LIMITS.tcpBufferMaxBytes,
      seed,
      nowMs: this.nowMs,
      onOffer: (connection, nowMs) => {
        this.offered = connection;
        connection.owner = this.owner;
        connection.accept(nowMs);
      },
      onBug: (error) => {
        throw error;
      },
    });
    this.udpFlows = new UdpFlows({
      memory,
      at: udpFlowsAt,
      counters,
      limits: DEFAULT_LIMITS,
      seed,
      nowMs: this.nowMs,
    });
    this.udpOutput = new UdpOutput(link, udpOutputAt);
    const udp = new UdpInput(link, this.udpFlows, stack.errors, {
      dhcp4: IDLE,
      dhcp6: IDLE,
      dns: IDLE,
      open: () => this.udpOwner,
    });
    stack.attach(this.endpoint, udp);
  }

  /** Position of the next frame in the read buffer. */
  get fillAt(): number {
    return this.harness.queues.guestToHost.fillAt;
  }

  /** Takes note of frames that were written at `fillAt`. */
  filled(bytes: number): void {
    this.harness.queues.guestToHost.filled(bytes);
  }

  /** Walks what is in the read buffer. */
  walk(): void {
    const { stack, queues } = this.harness;
    while (stack.poll(WALK_FRAMES, this.nowMs) === Polled.more);
    queues.guestToHost.compact();
  }

  /** A turn without the sending. */
  receive(): void {
    this.walk();
    this.endpoint.advance(this.nowMs);
    this.endpoint.handOver();
  }

  /** A whole turn; true where more is to be sent than the lanes had room for. */
  turn(): boolean {
    this.receive();
    return this.endpoint.dispatch(this.nowMs);
  }

  /** Takes the frames that were sent: their octets with lengths, in both lanes. */
  discardSent(): number {
    const { hostToGuest, streams } = this.harness.queues;
    const bytes = hostToGuest.queuedBytes + streams.queuedBytes;
    if (hostToGuest.queuedBytes > 0) hostToGuest.take();
    if (streams.queuedBytes > 0) streams.take();
    return bytes;
  }

  /** Shows every frame that was sent to `see`, the Ethernet header's position and its octets. */
  takeSent(see: (at: number, bytes: number) => void): void {
    const { hostToGuest, streams } = this.harness.queues;
    const { view } = this.harness.memory;
    for (const lane of [hostToGuest, streams]) {
      const bytes = lane.queuedBytes;
      if (bytes === 0) continue;
      const end = lane.take();
      for (let at = end; at < end + bytes;) {
        const length = view.getUint32(at);
        see(at + LENGTH_BYTES, length);
        at += LENGTH_BYTES + length;
      }
    }
  }

  /** Copies octets to memory of the bench's own: their position. */
  place(bytes: Uint8Array): number {
    const at = this.#freeAt;
    this.#freeAt += (bytes.length + 63) & ~63;
    this.harness.memory.bytes.set(bytes, at);
    return at;
  }

  /** A guest's flow that is not open yet. */
  flow(guestPort: number, peerPort = 80): GuestFlow {
    const at = this.place(new Uint8Array(GUEST_FLOW_BYTES));
    return new GuestFlow(this.harness.link, at, guestPort, PEER, peerPort, ISN);
  }

  /** Opens a flow. */
  open(flow: GuestFlow): TcpConnection {
    const take = (at: number, bytes: number) => void flow.take(at, bytes);
    this.filled(flow.syn(this.fillAt, segmentBytes(this.mtu) + 12));
    this.turn();
    this.takeSent(take);
    this.filled(flow.segment(this.fillAt, TcpFlag.ack));
    this.turn();
    this.takeSent(take);
    const connection = this.offered!;
    if (connection.state !== "established") throw new Error(`it is ${connection.state}`);
    return connection;
  }

  /** Lays segments of a flow into the read buffer; their data is what stands there. */
  pushData(flow: GuestFlow, segments: number, dataBytes = segmentBytes(this.mtu)): void {
    for (let i = 0; i < segments; i++) {
      const at = this.fillAt;
      const sum = this.harness.memory.sum(at + DATA_AT, dataBytes);
      this.filled(flow.segment(at, TcpFlag.ack, dataBytes, sum));
    }
  }
}
