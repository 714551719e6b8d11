/**
 * The guest's UDP flows: who talks to whom, for how long, and which one makes way.
 *
 * RFC 4787 as far as a gateway without port mapping needs it: a flow is one guest address and port
 * with one peer address and port, traffic in either direction keeps it (REQ-6), a reply keeps it
 * longer. A flow to port 53 ends with the answer to its last question. Both addresses of a flow
 * stand at fixed positions of the frame memory, so that datagrams for the guest are made by
 * position.
 *
 * A client of a published port opens a flow from the other side; the guest is then who replies. Those
 * have places of their own, so neither side's flood costs the other a flow. Who among clients makes
 * way is their owner's to say.
 *
 * Limits: `udpFlows` flows that the guest opened, of which the least recently used makes way
 * (`udp.evicted`); `publishedUdpFlows` of clients; `udpUnrepliedMs`, `udpRepliedMs`, `udpDnsMs`. A deadline is moved when it comes due, not with
 * every datagram, so a flow in use costs one wheel entry and no timer work.
 *
 * Knows no sockets: whoever owns a flow is told when it ends.
 *
 * @module
 */
import { Counter, type Counters } from "./counters.ts";
import { FlowTable } from "./flow_table.ts";
import type { Packet } from "./packet.ts";
import type { QuotedError } from "./quoted_error.ts";
import { TimingWheel, type WheelEntry } from "./timing_wheel.ts";
import type { FrameMemory } from "../wire/memory.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { udpDestinationPort, udpSourcePort } from "../wire/udp.ts";

/** Octets of frame memory that the two addresses of a flow take. */
export const UDP_FLOW_BYTES = 32;

const DNS_PORT = 53;
const OPENED = Counter["udp.opened"];
const ACCEPTED = Counter["udp.accepted"];
const EVICTED = Counter["udp.evicted"];

/** How many flows, and how long they last without traffic. */
export interface UdpFlowLimits {
  readonly udpFlows: number;
  readonly publishedUdpFlows: number;
  readonly udpUnrepliedMs: number;
  readonly udpRepliedMs: number;
  readonly udpDnsMs: number;
}

/** Octets of frame memory that all flows take. */
export function udpFlowsBytes(
  { udpFlows, publishedUdpFlows }: Pick<UdpFlowLimits, "udpFlows" | "publishedUdpFlows">,
): number {
  return (udpFlows + publishedUdpFlows) * UDP_FLOW_BYTES;
}

/** Who talks to whom; addresses are positions. */
export interface UdpEnds {
  readonly family: 4 | 6;
  readonly guestAt: number;
  readonly guestPort: number;
  /** The peer as the guest sees it. */
  readonly peerAt: number;
  readonly peerPort: number;
}

/** The host's side of a flow. */
export interface UdpFlowOwner {
  /** Called once, before the first datagram. */
  opened(flow: UdpFlow): void;
  /** Takes a datagram's data, which is in the read buffer and stays only for this call. */
  send(dataAt: number, dataBytes: number): void;
  /** The flow has ended, by itself or by `UdpFlows.close`; called once. */
  close(): void;
  /** The guest says that nothing takes the client's datagrams there; asked of those flows only. */
  unreachable?(): void;
}

/** One flow. Only `UdpFlows` writes to it. */
export class UdpFlow implements WheelEntry {
  /** 4 or 6. */
  readonly family: 4 | 6;
  /** Position of the guest's address. */
  readonly guestAt: number;
  /** Position of the peer's address as the guest sees it. */
  readonly peerAt: number;
  readonly guestPort: number;
  readonly peerPort: number;
  /** Who sent the first datagram. */
  readonly opener: "guest" | "host";
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
    ends: Pick<UdpEnds, "family" | "guestPort" | "peerPort">,
    place: number,
    at: number,
    opener: "guest" | "host",
    owner: UdpFlowOwner,
  ) {
    this.family = ends.family;
    this.place = place;
    this.guestAt = at;
    this.peerAt = at + 16;
    this.guestPort = ends.guestPort;
    this.peerPort = ends.peerPort;
    this.opener = opener;
    this.owner = owner;
  }

  /** Whether the side that did not open the flow has sent something. */
  get isReplied(): boolean {
    return (this.opener === "guest" ? this.received : this.sent) > 0;
  }
}

/** What `UdpFlows` is made of. */
export interface UdpFlowsOptions {
  readonly memory: FrameMemory;
  /** A region of `udpFlowsBytes` in `memory`. */
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
  /** Flows that clients opened. */
  #published = 0;
  #oldest: UdpFlow | null = null;
  #newest: UdpFlow | null = null;
  #nowMs: number;

  constructor(options: UdpFlowsOptions) {
    const { udpFlows, publishedUdpFlows } = options.limits;
    const places = udpFlows + publishedUdpFlows;
    this.#memory = options.memory;
    this.#at = options.at;
    this.#counters = options.counters;
    this.#limits = options.limits;
    this.#table = new FlowTable(places, options.seed);
    this.#wheel = new TimingWheel(options.nowMs);
    this.#freePlaces = Int32Array.from({ length: places }, (_, i) => places - 1 - i);
    this.#freeCount = places;
    this.#nowMs = options.nowMs;
  }

  /** Number of flows. */
  get size(): number {
    return this.#table.size;
  }

  /** Number of those that clients of published ports opened. */
  get published(): number {
    return this.#published;
  }

  /** The flow that a datagram of the guest belongs to. */
  find(packet: Packet, guestPort: number, peerPort: number): UdpFlow | undefined {
    const { family, sourceAt, destinationAt } = packet;
    this.#key(family, sourceAt, destinationAt, guestPort, peerPort);
    return this.#table.find();
  }

  /** The flow of the datagram that an ICMP error of the guest quotes. */
  findQuoted({ family, guestAt, peerAt, l4At }: QuotedError): UdpFlow | undefined {
    const { view } = this.#memory;
    this.#key(family, guestAt, peerAt, udpDestinationPort(view, l4At), udpSourcePort(view, l4At));
    return this.#table.find();
  }

  /** Whether no flow has these ends. */
  isFree({ family, guestAt, peerAt, guestPort, peerPort }: UdpEnds): boolean {
    this.#key(family, guestAt, peerAt, guestPort, peerPort);
    return this.#table.find() === undefined;
  }

  /** Makes a flow of a datagram that has none; where all are in use the oldest ends. */
  insert(
    packet: Packet,
    guestPort: number,
    peerPort: number,
    owner: UdpFlowOwner,
    nowMs: number,
  ): UdpFlow {
    if (this.size - this.#published === this.#limits.udpFlows) {
      this.#counters.values[EVICTED]!++;
      this.close(this.#oldest!);
    }
    const { family, sourceAt, destinationAt } = packet;
    const ends: UdpEnds = { family, guestAt: sourceAt, peerAt: destinationAt, guestPort, peerPort };
    const flow = this.#add(ends, "guest", owner, nowMs);
    this.#append(flow);
    this.#counters.values[OPENED]!++;
    return flow;
  }

  /** Makes a flow that a client opens to free ends; `null` where all places for those are in use. */
  insertPublished(ends: UdpEnds, owner: UdpFlowOwner, nowMs: number): UdpFlow | null {
    if (this.#published === this.#limits.publishedUdpFlows) return null;
    const flow = this.#add(ends, "host", owner, nowMs);
    this.#published++;
    this.#counters.values[ACCEPTED]!++;
    return flow;
  }

  #add(ends: UdpEnds, opener: "guest" | "host", owner: UdpFlowOwner, nowMs: number): UdpFlow {
    const { family, guestAt, peerAt, guestPort, peerPort } = ends;
    const place = this.#freePlaces[--this.#freeCount]!;
    const at = this.#at + place * UDP_FLOW_BYTES;
    const addressBytes = family === 4 ? 4 : 16;
    this.#memory.copy(at, guestAt, addressBytes);
    this.#memory.copy(at + 16, peerAt, addressBytes);
    const flow = new UdpFlow(ends, place, at, opener, owner);
    this.#key(family, at, at + 16, guestPort, peerPort);
    flow.handle = this.#table.insert(flow);
    flow.lastUsedMs = nowMs;
    this.#wheel.schedule(flow, this.#deadlineOf(flow));
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
    const isAnswered = flow.opener === "guest" && flow.peerPort === DNS_PORT &&
      flow.received >= flow.sent;
    if (isAnswered) this.close(flow);
    else this.#use(flow, nowMs);
  }

  /** Ends a flow and tells its owner; nothing where it has ended already. */
  close(flow: UdpFlow): void {
    if (flow.closed) return;
    flow.closed = true;
    this.#table.remove(flow.handle);
    this.#wheel.cancel(flow);
    if (flow.opener === "guest") this.#unlink(flow);
    else this.#published--;
    this.#freePlaces[this.#freeCount++] = flow.place;
    flow.owner.close();
  }

  /** The link is gone: notes which flows are from before that. */
  keepAll(): void {
    for (const flow of this.#table.values()) flow.isKept = true;
  }

  /** Ends the flows that the guest has not used since the link was away: how many there were. */
  closeKept(): number {
    const before = this.size;
    for (const flow of this.#table.values()) if (flow.isKept) this.close(flow);
    return before - this.size;
  }

  /** Ends all flows. */
  closeAll(): void {
    for (const flow of this.#table.values()) this.close(flow);
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
    const isDns = flow.opener === "guest" && flow.peerPort === DNS_PORT;
    if (isDns) return flow.lastUsedMs + udpDnsMs;
    return flow.lastUsedMs + (flow.isReplied ? udpRepliedMs : udpUnrepliedMs);
  }

  #key(
    family: 4 | 6,
    guestAt: number,
    peerAt: number,
    guestPort: number,
    peerPort: number,
  ): void {
    const { view } = this.#memory;
    if (family === 4) {
      this.#table.key4(view, IpProtocol.udp, guestAt, peerAt, guestPort, peerPort);
    } else {
      this.#table.key6(view, IpProtocol.udp, guestAt, peerAt, guestPort, peerPort);
    }
  }

  #use(flow: UdpFlow, nowMs: number): void {
    flow.lastUsedMs = nowMs;
    if (flow === this.#newest || flow.opener === "host") return;
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
