/**
 * The guest's UDP flows: who talks to whom, for how long, and which one makes way.
 *
 * RFC 4787 as far as a gateway without port mapping needs it: a flow is one guest address and port
 * with one peer address and port, traffic in either direction keeps it (REQ-6), a reply keeps it
 * longer. A flow to port 53 ends with the answer to its last question. Both addresses of a flow
 * stand at fixed positions of the frame memory, so that datagrams for the guest are made by
 * position.
 *
 * Limits: `udpFlows` flows, of which the least recently used makes way (`udp.evicted`);
 * `udpUnrepliedMs`, `udpRepliedMs`, `udpDnsMs`. A deadline is moved when it comes due, not with
 * every datagram, so a flow in use costs one wheel entry and no timer work.
 *
 * Knows no sockets: whoever owns a flow is told when it ends.
 *
 * @module
 */
import { Counter, type Counters } from "./counters.ts";
import { FlowTable } from "./flow_table.ts";
import type { Packet } from "./packet.ts";
import { TimingWheel, type WheelEntry } from "./timing_wheel.ts";
import type { FrameMemory } from "../wire/memory.ts";
import { IpProtocol } from "../wire/ipv4.ts";

/** Octets of frame memory that the two addresses of a flow take. */
export const UDP_FLOW_BYTES = 32;

const DNS_PORT = 53;
const OPENED = Counter["udp.opened"];
const EVICTED = Counter["udp.evicted"];

/** How many flows, and how long they last without traffic. */
export interface UdpFlowLimits {
  readonly udpFlows: number;
  readonly udpUnrepliedMs: number;
  readonly udpRepliedMs: number;
  readonly udpDnsMs: number;
}

/** The host's side of a flow. */
export interface UdpFlowOwner {
  /** Called once, before the first datagram. */
  opened(flow: UdpFlow): void;
  /** Takes a datagram's data, which is in the read buffer and stays only for this call. */
  send(dataAt: number, dataBytes: number): void;
  /** The flow has ended, by itself or by `UdpFlows.close`; called once. */
  close(): void;
}

/** One flow. Only `UdpFlows` writes to it. */
export class UdpFlow implements WheelEntry {
  /** 4 or 6. */
  readonly family: 4 | 6;
  /** Position of the guest's address. */
  readonly guestAt: number;
  /** Position of the address that the guest asked for. */
  readonly peerAt: number;
  readonly guestPort: number;
  readonly peerPort: number;
  readonly owner: UdpFlowOwner;
  /** Whether the flow has ended: its positions may belong to another by now. */
  closed = false;
  /** Whether the link was away since the guest used the flow last. */
  isKept = false;
  /** Datagrams from the guest. */
  sent = 0;
  /** Datagrams from the peer. */
  received = 0;
  lastUsedMs = 0;
  /** The flow's handle in the table. */
  handle = -1;
  /** Its place among the addresses. */
  readonly place: number;
  older: UdpFlow | null = null;
  newer: UdpFlow | null = null;
  deadlineMs = 0;
  wheelSlot = -1;
  wheelPrevious: WheelEntry | null = null;
  wheelNext: WheelEntry | null = null;

  constructor(
    packet: Packet,
    place: number,
    at: number,
    guestPort: number,
    peerPort: number,
    owner: UdpFlowOwner,
  ) {
    this.family = packet.family;
    this.place = place;
    this.guestAt = at;
    this.peerAt = at + 16;
    this.guestPort = guestPort;
    this.peerPort = peerPort;
    this.owner = owner;
  }
}

/** What `UdpFlows` is made of. */
export interface UdpFlowsOptions {
  readonly memory: FrameMemory;
  /** A region of `udpFlows` times `UDP_FLOW_BYTES` in `memory`. */
  readonly at: number;
  readonly counters: Counters;
  readonly limits: UdpFlowLimits;
  /** Random words for the table's hash. */
  readonly seed: Uint32Array;
  readonly nowMs: number;
}

/** All UDP flows of one guest. */
export class UdpFlows {
  readonly #memory: FrameMemory;
  readonly #at: number;
  readonly #counters: Counters;
  readonly #limits: UdpFlowLimits;
  readonly #table: FlowTable<UdpFlow>;
  readonly #wheel: TimingWheel<UdpFlow>;
  readonly #freePlaces: Int32Array;
  #freeCount: number;
  #oldest: UdpFlow | null = null;
  #newest: UdpFlow | null = null;
  #nowMs: number;

  constructor(options: UdpFlowsOptions) {
    const { udpFlows } = options.limits;
    this.#memory = options.memory;
    this.#at = options.at;
    this.#counters = options.counters;
    this.#limits = options.limits;
    this.#table = new FlowTable(udpFlows, options.seed);
    this.#wheel = new TimingWheel(options.nowMs);
    this.#freePlaces = Int32Array.from({ length: udpFlows }, (_, i) => udpFlows - 1 - i);
    this.#freeCount = udpFlows;
    this.#nowMs = options.nowMs;
  }

  /** Number of flows. */
  get size(): number {
    return this.#table.size;
  }

  /** The flow that a datagram of the guest belongs to. */
  find(packet: Packet, guestPort: number, peerPort: number): UdpFlow | undefined {
    this.#key(packet, guestPort, peerPort);
    return this.#table.find();
  }

  /** Makes a flow of a datagram that has none; where all are in use the oldest ends. */
  insert(
    packet: Packet,
    guestPort: number,
    peerPort: number,
    owner: UdpFlowOwner,
    nowMs: number,
  ): UdpFlow {
    if (this.#freeCount === 0) {
      this.#counters.values[EVICTED]!++;
      this.close(this.#oldest!);
    }
    const place = this.#freePlaces[--this.#freeCount]!;
    const at = this.#at + place * UDP_FLOW_BYTES;
    const addressBytes = packet.family === 4 ? 4 : 16;
    this.#memory.copy(at, packet.sourceAt, addressBytes);
    this.#memory.copy(at + 16, packet.destinationAt, addressBytes);
    const flow = new UdpFlow(packet, place, at, guestPort, peerPort, owner);
    this.#key(packet, guestPort, peerPort);
    flow.handle = this.#table.insert(flow);
    flow.lastUsedMs = nowMs;
    this.#append(flow);
    this.#wheel.schedule(flow, this.#deadlineOf(flow));
    this.#counters.values[OPENED]!++;
    return flow;
  }

  /** Takes note of a datagram from the guest. */
  usedByGuest(flow: UdpFlow, nowMs: number): void {
    flow.sent++;
    flow.isKept = false;
    this.#use(flow, nowMs);
  }

  /** Takes note of a datagram from the peer, which may be the last of the flow. */
  usedByPeer(flow: UdpFlow, nowMs: number): void {
    flow.received++;
    if (flow.peerPort === DNS_PORT && flow.received >= flow.sent) this.close(flow);
    else this.#use(flow, nowMs);
  }

  /** Ends a flow and tells its owner; nothing where it has ended already. */
  close(flow: UdpFlow): void {
    if (flow.closed) return;
    flow.closed = true;
    this.#table.remove(flow.handle);
    this.#wheel.cancel(flow);
    this.#unlink(flow);
    this.#freePlaces[this.#freeCount++] = flow.place;
    flow.owner.close();
  }

  /** The link is gone: notes which flows are from before that. */
  keepAll(): void {
    for (let flow = this.#newest; flow !== null; flow = flow.older) flow.isKept = true;
  }

  /** Ends the flows that the guest has not used since the link was away: how many there were. */
  closeKept(): number {
    let count = 0;
    for (let flow = this.#oldest; flow !== null;) {
      const { newer } = flow;
      if (flow.isKept) {
        count++;
        this.close(flow);
      }
      flow = newer;
    }
    return count;
  }

  /** Ends all flows. */
  closeAll(): void {
    while (this.#oldest !== null) this.close(this.#oldest);
  }

  /** Ends the flows whose time is over. */
  advance(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#wheel.advance(nowMs, this.#due);
  }

  /** When `advance` is due next; `Infinity` for never. */
  pollAt(): number {
    return this.#wheel.nextMs();
  }

  readonly #due = (flow: UdpFlow): void => {
    const deadlineMs = this.#deadlineOf(flow);
    if (deadlineMs <= this.#nowMs) this.close(flow);
    else this.#wheel.schedule(flow, deadlineMs);
  };

  #deadlineOf(flow: UdpFlow): number {
    const { udpDnsMs, udpRepliedMs, udpUnrepliedMs } = this.#limits;
    if (flow.peerPort === DNS_PORT) return flow.lastUsedMs + udpDnsMs;
    return flow.lastUsedMs + (flow.received > 0 ? udpRepliedMs : udpUnrepliedMs);
  }

  #key(packet: Packet, guestPort: number, peerPort: number): void {
    const { view } = this.#memory;
    const { sourceAt, destinationAt } = packet;
    if (packet.family === 4) {
      this.#table.key4(view, IpProtocol.udp, sourceAt, destinationAt, guestPort, peerPort);
    } else {
      this.#table.key6(view, IpProtocol.udp, sourceAt, destinationAt, guestPort, peerPort);
    }
  }

  #use(flow: UdpFlow, nowMs: number): void {
    flow.lastUsedMs = nowMs;
    if (flow === this.#newest) return;
    this.#unlink(flow);
    this.#append(flow);
  }

  #append(flow: UdpFlow): void {
    flow.older = this.#newest;
    flow.newer = null;
    if (this.#newest === null) this.#oldest = flow;
    else this.#newest.newer = flow;
    this.#newest = flow;
  }

  #unlink(flow: UdpFlow): void {
    if (flow.older === null) this.#oldest = flow.newer;
    else flow.older.newer = flow.newer;
    if (flow.newer === null) this.#newest = flow.older;
    else flow.newer.older = flow.older;
    flow.older = null;
    flow.newer = null;
  }
}
