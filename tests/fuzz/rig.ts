/**
 * A gateway's whole stack with small tables, on a virtual clock, with owners that are the target's:
 * frames go in by `push`, `turn` lets it work, and everything that it sends is looked at.
 *
 * All rigs stand in one memory, which is never cleared: what an earlier input left there must not
 * show. `poisoned` fills it, so that a target can hold two runs against each other.
 *
 * @module
 */
import { DEFAULT_LIMITS, type Limits } from "../../lib/config/limits.ts";
import { BufferPool, type BufferQuota } from "../../lib/stack/buffer_pool.ts";
import { Counter, COUNTER_NAMES, Counters } from "../../lib/stack/counters.ts";
import { VirtioNetworkDevice } from "../../lib/stack/device.ts";
import { Dhcp4, DHCP4_BYTES } from "../../lib/stack/dhcp4.ts";
import { Dhcp6 } from "../../lib/stack/dhcp6.ts";
import { DHCP6_REPLY_BYTES } from "../../lib/stack/dhcp6_reply.ts";
import { Link, LINK_BYTES, type LinkConfig } from "../../lib/stack/link.ts";
import type { Packet } from "../../lib/stack/packet.ts";
import { LENGTH_BYTES, NetworkFrameQueues, QUEUES_BYTES } from "../../lib/stack/queues.ts";
import { GatewayStack, type L4Input, Polled, stackBytes } from "../../lib/stack/stack.ts";
import type { TcpConnection } from "../../lib/stack/tcp/connection.ts";
import { TcpState } from "../../lib/stack/tcp/state.ts";
import { endpointBytes, TcpEndpoint } from "../../lib/stack/tcp/endpoint.ts";
import {
  type UdpFlow,
  type UdpFlowOwner,
  UdpFlows,
  udpFlowsBytes,
} from "../../lib/stack/udp_flows.ts";
import { UdpInput, type UdpRefusal } from "../../lib/stack/udp_input.ts";
import { UDP_OUTPUT_BYTES, UdpOutput } from "../../lib/stack/udp_output.ts";
import { encodeDomainNames } from "../../lib/wire/domain_names.ts";
import { PLAIN_LINK } from "../support/stack_harness.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { delivered, headerOf } from "../support/large_frames.ts";
import { concat, GATEWAY_MAC, mac } from "../support/packets.ts";
import { CountTrace, type Signal } from "./signal.ts";
import { checkFrame, type LinkFacts, type Shape } from "./well_formed.ts";

/** Small, so that an input of a few dozen frames comes to every one of them. */
export const FUZZ_LIMITS: Readonly<Limits> = {
  ...DEFAULT_LIMITS,
  tcpFlows: 8,
  tcpHalfOpen: 5,
  tcpBufferMinBytes: 4096,
  tcpBufferMaxBytes: 256 * 1024,
  udpFlows: 6,
  publishedUdpFlows: 4,
  fragmentSets: 4,
  fragmentBytes: 72 * 1024,
  icmpErrorsPerSecond: 100,
  icmpErrorBurst: 10,
  icmpEchoesPerSecond: 1_000,
  icmpEchoBurst: 100,
};
const POOL_BYTES = 4 * 1024 * 1024;
const QUOTA_BYTES = 1024 * 1024;
const SCRATCH_BYTES = 256;
/** Steps of the clock, or turns of one moment, that nothing may need. */
const STEPS_MAX = 4000;
const TURNS_MAX = 64;

const LINK_AT = QUEUES_BYTES;
const DHCP_AT = LINK_AT + LINK_BYTES;
const DHCP6_AT = DHCP_AT + DHCP4_BYTES + 8;
const SCRATCH_AT = DHCP6_AT + DHCP6_REPLY_BYTES;
const STACK_AT = SCRATCH_AT + SCRATCH_BYTES;
const TCP_AT = STACK_AT + stackBytes(FUZZ_LIMITS);
const OUTPUT_AT = TCP_AT + endpointBytes(FUZZ_LIMITS.tcpFlows);
const FLOWS_AT = OUTPUT_AT + UDP_OUTPUT_BYTES;
const POOL_AT = (FLOWS_AT + udpFlowsBytes(FUZZ_LIMITS) + 4095) &
  ~4095;

let shared: FrameMemory | null = null;

/** The memory of all rigs. */
export function rigMemory(): FrameMemory {
  return shared ??= new FrameMemory(POOL_AT + POOL_BYTES);
}

/** Fills the memory of all rigs with one octet. */
export function poison(octet: number): void {
  rigMemory().bytes.fill(octet);
}

/** Who is above the stack. */
export interface RigOwners {
  /** Answers a SYN, at once or later. */
  offer?(connection: TcpConnection, nowMs: number): void;
  /** Judges a datagram that has no flow. */
  open?(packet: Packet, peerPort: number): UdpFlowOwner | UdpRefusal;
  /** A question for the resolver. */
  dns?(
    packet: Packet,
    guestPort: number,
    dataAt: number,
    dataBytes: number,
  ): void;
  /** Instead of TCP and UDP; `null` for nobody. */
  l4?: L4Input | null;
  /** A frame for the guest, which was found well-formed; it stays only for the call. */
  sent?(frame: Uint8Array, shape: Shape): void;
}

/** What the rig differs from the plain link in. */
export interface RigOptions {
  readonly link?: Partial<LinkConfig>;
  /** Whether the guest takes large segments; those with a header are looked at in their pieces. */
  readonly large?: Large;
}

/** Devices that an input may choose, by how they take large segments. */
export const LARGE = ["never", "headers", "bare"] as const;
/** One of `LARGE`. */
export type Large = typeof LARGE[number];

/** Links that an input may choose: the usual one, the smallest with IPv6, the smallest, a large one. */
export const LINKS: readonly Partial<LinkConfig>[] = [
  {},
  { mtu: 1280 },
  { mtu: 576, ipv6: false },
  { mtu: 9000, verifyChecksums: true },
];

/** What must hold did not. */
export class Broken extends Error {
  override readonly name = "Broken";
}

/** Throws where something that must hold does not. */
export function hold(right: boolean, what: string | (() => string)): void {
  if (!right) throw new Broken(typeof what === "string" ? what : what());
}

/** The rig. */
export class Rig {
  nowMs = 1_000_000;
  readonly memory: FrameMemory;
  readonly counters = new Counters();
  readonly queues: NetworkFrameQueues;
  readonly link: Link;
  readonly stack: GatewayStack;
  readonly tcp: TcpEndpoint;
  readonly udpFlows: UdpFlows;
  readonly udpOutput: UdpOutput;
  readonly quota: BufferQuota;
  readonly scratchAt = SCRATCH_AT;
  /** Whether the guest takes what is queued for it. */
  reading = true;
  /** Frames that came out, of which none was more than the input can have asked for. */
  framesOut = 0;
  readonly #owners: RigOwners;
  readonly #facts: LinkFacts;
  readonly #trace: CountTrace;
  readonly #bugs: unknown[] = [];
  #pushed = 0;

  constructor(signal: Signal, owners: RigOwners = {}, options: RigOptions = {}) {
    this.#owners = owners;
    const memory = rigMemory();
    this.memory = memory;
    const idle = () => {};
    const { large = "never" } = options;
    const hasHeaders = large === "headers";
    this.queues = new NetworkFrameQueues(memory, 0, { write: idle, turn: idle }, hasHeaders);
    const device = new VirtioNetworkDevice(this.queues, this.counters, large !== "never");
    this.link = new Link(memory, LINK_AT, device, this.counters, {
      ...PLAIN_LINK,
      ...options.link,
    });
    const mtu = large === "bare" ? PACKET_MAX_BYTES : this.link.mtu;
    this.#facts = { sourceMac: mac(GATEWAY_MAC), mtu };
    const limits = FUZZ_LIMITS;
    this.stack = new GatewayStack({
      link: this.link,
      at: STACK_AT,
      limits,
      advertisement: { ipv6Upstream: true, search: SEARCH },
    });
    this.quota = new BufferPool(memory, POOL_AT, POOL_BYTES).quota(QUOTA_BYTES);
    this.tcp = this.#makeTcp();
    this.udpFlows = new UdpFlows({
      memory,
      at: FLOWS_AT,
      counters: this.counters,
      limits,
      seed: SEED,
      nowMs: this.nowMs,
    });
    this.udpOutput = new UdpOutput(this.link, OUTPUT_AT);
    const dhcp4 = new Dhcp4(this.link, DHCP_AT, { search: SEARCH });
    const { addresses } = this.stack;
    const dhcp6 = new Dhcp6(this.link, { at: DHCP6_AT, addresses, search: SEARCH });
    const udp = new UdpInput(this.link, this.udpFlows, this.stack.errors, {
      dhcp4: (packet) => dhcp4.process(packet),
      dhcp6: (packet) => dhcp6.process(packet),
      dns: (packet, port, at, bytes) => owners.dns?.(packet, port, at, bytes),
      open: (packet, port) => owners.open?.(packet, port) ?? null,
    });
    const { l4 } = owners;
    if (l4 === undefined) this.stack.attach(this.tcp, udp);
    else if (l4 !== null) this.stack.attach(l4, l4);
    this.#trace = new CountTrace(signal, this.counters.values);
  }

  #makeTcp(): TcpEndpoint {
    const limits = FUZZ_LIMITS;
    return new TcpEndpoint({
      link: this.link,
      pool: this.quota,
      at: TCP_AT,
      flows: limits.tcpFlows,
      halfOpen: limits.tcpHalfOpen,
      timeWaitMs: limits.tcpTimeWaitMs,
      idleMs: limits.tcpIdleMs,
      bufferMinBytes: limits.tcpBufferMinBytes,
      bufferMaxBytes: limits.tcpBufferMaxBytes,
      seed: SEED,
      nowMs: this.nowMs,
      onOffer: (connection, nowMs) => {
        if (this.#owners.offer === undefined) connection.refuse();
        else this.#owners.offer(connection, nowMs);
      },
      onBug: (error) => this.#bugs.push(error),
    });
  }

  /** One frame of the guest, without a turn. */
  push(frame: Uint8Array): void {
    this.pushWhole(this.link.device.hasHeaders ? concat(headerOf(), frame) : frame);
  }

  /** As `push`, with the header in front where the link has one. */
  pushWhole(frame: Uint8Array): void {
    const queue = this.queues.guestToHost;
    this.memory.view.setUint32(queue.fillAt, frame.length);
    this.memory.bytes.set(frame, queue.fillAt + LENGTH_BYTES);
    queue.filled(LENGTH_BYTES + frame.length);
    this.#pushed++;
    hold(this.stack.poll(2, this.nowMs) === Polled.empty, "every whole frame is walked");
    hold(queue.pendingBytes === 0, "nothing of a frame stays");
    queue.compact();
  }

  /** Timers, events to the owners, segments out; the guest takes what there is. */
  turn(): void {
    this.stack.advance(this.nowMs);
    this.tcp.advance(this.nowMs);
    this.udpFlows.advance(this.nowMs);
    for (let turns = 0;; turns++) {
      hold(turns < TURNS_MAX, "a turn comes to its end");
      this.tcp.handOver();
      const more = this.tcp.dispatch(this.nowMs);
      if (!this.reading) break;
      if (this.#take() === 0 && !more) break;
    }
    this.#throwBug();
    this.#trace.step();
  }

  /** Lets the guest stop taking frames: what fits into its device is `bytes`. */
  stopReading(bytes: number): void {
    this.reading = false;
    for (const lane of this.#lanes()) lane.fillLimitBytes = bytes;
  }

  /** The guest takes frames again. */
  readOn(): void {
    this.reading = true;
    for (const lane of this.#lanes()) lane.fillLimitBytes = LANE_BYTES;
  }

  #lanes() {
    return [this.queues.hostToGuest, this.queues.streams];
  }

  #take(): number {
    let frames = 0;
    const { bytes, view } = this.memory;
    for (const lane of this.#lanes()) {
      const size = lane.queuedBytes;
      if (size === 0) continue;
      const at = lane.take();
      for (let i = at; i < at + size; frames++) {
        const length = view.getUint32(i);
        const entry = bytes.subarray(i + LENGTH_BYTES, i + LENGTH_BYTES + length);
        for (const frame of this.link.device.hasHeaders ? delivered(entry) : [entry]) {
          this.#owners.sent?.(frame, checkFrame(frame, this.#facts));
        }
        i += LENGTH_BYTES + length;
      }
    }
    this.framesOut += frames;
    return frames;
  }

  /** Turns the clock on by `ms`, by the deadlines that come due on the way. */
  wait(ms: number): void {
    const endMs = this.nowMs + ms;
    for (let steps = 0; this.pollAt() <= endMs; steps++) {
      hold(steps < STEPS_MAX, "pollAt makes progress");
      this.nowMs = Math.max(this.nowMs, this.pollAt());
      this.turn();
    }
    this.nowMs = endMs;
    this.turn();
  }

  /** The earliest deadline. */
  pollAt(): number {
    return Math.min(this.stack.pollAt(), this.tcp.pollAt(), this.udpFlows.pollAt());
  }

  /** What holds at any time. */
  check(): void {
    const { counters, stack, tcp, udpFlows, quota } = this;
    const { reassembly, addresses } = stack;
    hold(
      counters.get("rx.frames") + counters.get("drop.eth.short") ===
        this.#pushed,
      "all frames are counted",
    );
    hold(reassembly.sets <= FUZZ_LIMITS.fragmentSets, "fragment sets are bounded");
    hold(reassembly.heldBytes <= FUZZ_LIMITS.fragmentBytes, "fragments' octets are bounded");
    hold(reassembly.heldBytes >= 0, "fragments' octets are not negative");
    hold(addresses.count <= 16, "addresses are bounded");
    hold(tcp.size <= FUZZ_LIMITS.tcpFlows, "TCP flows are bounded");
    hold(tcp.timers <= tcp.size, "timers belong to flows");
    hold(udpFlows.size <= FUZZ_LIMITS.udpFlows, "UDP flows are bounded");
    hold(quota.usedBytes <= QUOTA_BYTES, "buffer memory is bounded");
    let offered = 0;
    let halfOpen = 0;
    for (const connection of tcp.connections()) {
      if (connection.state === TcpState.offered) offered++;
      if (HALF_OPEN.has(connection.state)) halfOpen++;
      hold(connection.receiver.earlyRanges <= 256, "early ranges are bounded");
      hold(connection.sender.recovery.runs.count <= 256, "runs in flight are bounded");
    }
    hold(tcp.halfOpen === halfOpen, () => `${halfOpen} half-open flows, counted ${tcp.halfOpen}`);
    // Those that hosts open count too, and have a limit of their own above this one.
    hold(offered <= FUZZ_LIMITS.tcpHalfOpen, "handshakes of the guest are bounded");
    for (const name of BUGS) {
      hold(counters.values[name] === 0, () => `${COUNTER_NAMES[name]} is 0`);
    }
    this.#throwBug();
  }

  /** Ends everything and holds that nothing stays behind. */
  close(): void {
    this.readOn();
    this.tcp.closeAll();
    this.turn();
    this.udpFlows.closeAll();
    this.wait(120_000);
    const { counters, tcp, udpFlows, quota, stack } = this;
    hold(tcp.size === 0 && tcp.halfOpen === 0 && tcp.timers === 0, "no TCP flow stays");
    hold(udpFlows.size === 0 && udpFlows.pollAt() === Infinity, "no UDP flow stays");
    hold(stack.reassembly.sets === 0 && stack.reassembly.heldBytes === 0, "no fragment stays");
    hold(tcp.pollAt() === Infinity, "TCP waits for nothing");
    hold(quota.usedBytes === 0, () => `${quota.usedBytes} octets of buffers stay`);
    const opened = counters.get("tcp.opened") + counters.get("tcp.accepted");
    hold(counters.get("tcp.closed") === opened, "every flow that was opened was closed");
    this.check();
  }

  #throwBug(): void {
    if (this.#bugs.length === 0) return;
    const [first] = this.#bugs;
    throw first instanceof Error ? first : new Broken(String(first));
  }
}

const LANE_BYTES = 256 * 1024;
const PACKET_MAX_BYTES = 65_535;
const BUGS = COUNTER_NAMES.filter((name) => name.startsWith("bug.")).map((
  name,
) => Counter[name]);
const HALF_OPEN: ReadonlySet<TcpState> = new Set([
  TcpState.offered,
  TcpState.synSent,
  TcpState.synReceived,
]);
const SEED = Uint32Array.of(1, 2, 3, 4);
const SEARCH = encodeDomainNames(["vm.internal"])!;
/** Sends a datagram of a host to the guest, as a relay does. */
export function sendToGuest(rig: Rig, flow: UdpFlow, data: Uint8Array): void {
  const { family, peerAt, guestAt, peerPort, guestPort } = flow;
  if (flow.closed) return;
  rig.udpOutput.sendFromBytes(family, peerAt, guestAt, peerPort, guestPort, data);
  rig.udpFlows.usedByPeer(flow, rig.nowMs);
}
