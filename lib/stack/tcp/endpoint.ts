/**
 * All TCP connections of one guest: finds the flow of a segment, offers the guest's SYNs to the
 * owner, keeps the timers, and gives every connection that has something to say its turn.
 *
 *     process(packet)   one segment in, in the read buffer
 *     handOver()        events to the owners, once a turn
 *     dispatch()        segments out, round robin, 64 KiB at most for each connection's turn
 *     advance(), pollAt()   one timing wheel for all
 *
 * Limits: flows and half-open flows (the rest of the SYNs is dropped and counted); a full table
 * makes room by ending the oldest TIME_WAIT. Knows neither sockets nor policy.
 *
 * @module
 */
import { ethernetDestinationAt } from "../../wire/ethernet.ts";
import { IpProtocol, writeIpv4Header } from "../../wire/ipv4.ts";
import { writeIpv6Header } from "../../wire/ipv6.ts";
import {
  TCP_HEADER_BYTES,
  tcpDestinationPort,
  TcpFlag,
  tcpSequence,
  tcpSourcePort,
} from "../../wire/tcp.ts";
import type { BufferQuota } from "../buffer_pool.ts";
import { Counter, type Counters } from "../counters.ts";
import { FlowTable } from "../flow_table.ts";
import type { QuotedError } from "../quoted_error.ts";
import type { Link } from "../link.ts";
import type { Packet } from "../packet.ts";
import { KeyedHash } from "../siphash.ts";
import { TimingWheel } from "../timing_wheel.ts";
import { TcpConnection } from "./connection.ts";
import { TcpState } from "./state.ts";
import { FlowQueue } from "./flow_queue.ts";
import { LaneQueue } from "./lane_queue.ts";
import { Dispatched } from "./output.ts";
import { MemoryRelief } from "./memory_relief.ts";
import type { ReceiverLimits } from "./receive.ts";
import { Segment } from "./segment.ts";
import {
  type HeaderTemplate,
  OutgoingSegment,
  sendSegment,
  TEMPLATE_BYTES,
  writeTemplate,
} from "./segment_writer.ts";
import type { SenderLimits } from "./send.ts";
import { seqAdd } from "./sequence.ts";
import { UnansweredHandshakes } from "./unanswered.ts";

/** Settings of an endpoint. */
export interface TcpEndpointOptions {
  readonly link: Link;
  readonly pool: BufferQuota;
  /** A region of `endpointBytes(flows)` in the link's memory. */
  readonly at: number;
  readonly flows: number;
  readonly halfOpen: number;
  readonly timeWaitMs: number;
  readonly idleMs: number;
  readonly bufferMinBytes: number;
  readonly bufferMaxBytes: number;
  /** Sixteen random octets as four words. */
  readonly seed: Uint32Array;
  readonly nowMs: number;
  /** Whether a SYN is looked at: asked before anything is made for it; a `false` counts as a drop. */
  readonly admits?: (packet: Packet, peerPort: number, nowMs: number) => boolean;
  /** Judges a new flow: it must accept, refuse or drop the connection, at once or later. */
  readonly onOffer: (connection: TcpConnection, nowMs: number) => void;
  /** Hears of our own bugs; each one has cost the flow that it showed in. */
  readonly onBug?: (error: unknown) => void;
}

const TAG_TCP = IpProtocol.tcp;
/** Octets of a flow's record in frame memory: its header template, then the SYN for ICMP errors. */
const RECORD_BYTES = 2 * TEMPLATE_BYTES;
/** Large enough for the largest ring at a window of 16 bits. */
const WINDOW_SHIFT = 7;
/** Bytes in flight to a guest beyond this overrun its receive queue at small MTUs. */
const SMALL_MTU_SEND_BYTES = 1024 * 1024;
/** Room for this is room enough to go on. */
const SMALL_FRAME_BYTES = 128;
const INITIAL_WINDOW_BYTES = 64 * 1024;

/** Octets of frame memory for an endpoint of so many flows. */
export function endpointBytes(flows: number): number {
  return (flows + 1) * RECORD_BYTES;
}

/** The TCP half of a guest's gateway. */
export class TcpEndpoint {
  readonly link: Link;
  readonly pool: BufferQuota;
  readonly counters: Counters;
  readonly receiverLimits: ReceiverLimits;
  readonly senderLimits: SenderLimits;
  readonly windowShift: number = WINDOW_SHIFT;
  readonly idleMs: number;
  readonly timeWaitMs: number;
  readonly #options: TcpEndpointOptions;
  readonly #flows: FlowTable<TcpConnection>;
  readonly #wheel: TimingWheel<TcpConnection>;
  readonly #hash: KeyedHash;
  readonly #words: Uint32Array = new Uint32Array(9);
  readonly #segment: Segment = new Segment();
  readonly #out: OutgoingSegment = new OutgoingSegment();
  readonly #fire: (connection: TcpConnection) => void;
  #nowMs: number;
  #halfOpen = 0;
  #dirtyHead: TcpConnection | null = null;
  #dirtyTail: TcpConnection | null = null;
  readonly #awaitingLane = new LaneQueue<TcpConnection>();
  #readyHead: TcpConnection | null = null;
  #readyTail: TcpConnection | null = null;
  readonly #timeWait = new FlowQueue<TcpConnection>();
  readonly #unanswered = new UnansweredHandshakes<TcpConnection>();
  readonly #relief: MemoryRelief;
  /** Whether the link is gone. */
  isAway = false;
  #awayFromMs = 0;
  #isHeard = true;

  constructor(options: TcpEndpointOptions) {
    this.#options = options;
    this.link = options.link;
    this.pool = options.pool;
    this.counters = options.link.counters;
    this.idleMs = options.idleMs;
    this.timeWaitMs = options.timeWaitMs;
    this.receiverLimits = {
      initialBytes: Math.min(INITIAL_WINDOW_BYTES, options.bufferMaxBytes),
      maxBytes: options.bufferMaxBytes,
    };
    this.senderLimits = {
      minBytes: options.bufferMinBytes,
      maxBytes: options.link.mtu < 9000 && !options.link.device.takesLarge
        ? Math.min(SMALL_MTU_SEND_BYTES, options.bufferMaxBytes)
        : options.bufferMaxBytes,
      longMaxBytes: options.bufferMaxBytes,
    };
    this.#relief = new MemoryRelief(options.pool, options.bufferMinBytes);
    this.#flows = new FlowTable(options.flows, options.seed);
    this.#wheel = new TimingWheel(options.nowMs);
    this.#hash = new KeyedHash(options.seed);
    this.#nowMs = options.nowMs;
    this.#fire = (connection) => this.#onTimer(connection);
  }

  /** Connections in any state. */
  get size(): number {
    return this.#flows.size;
  }

  /** Connections whose handshake is not complete. */
  get halfOpen(): number {
    return this.#halfOpen;
  }

  /** Whether no further handshake has room, also after those that nobody answers have gone. */
  isCrowded(nowMs: number): boolean {
    if (this.#halfOpen >= this.#options.halfOpen) this.endForsaken(nowMs);
    return this.#halfOpen >= this.#options.halfOpen;
  }

  /** Ends the handshakes that the guest will not complete; their owners hear of it at once. */
  endForsaken(nowMs: number): void {
    let forsaken = this.#unanswered.forsaken(nowMs);
    if (forsaken === null) return;
    for (; forsaken !== null; forsaken = this.#unanswered.forsaken(nowMs)) forsaken.forsake();
    this.handOver();
  }

  /** Connections in the timing wheel. */
  get timers(): number {
    return this.#wheel.size;
  }

  /** All connections. */
  connections(): Iterable<TcpConnection> {
    return this.#flows.values();
  }

  /** The most data that fits into one packet of the link, before options. */
  largestSegment(family: 4 | 6): number {
    return this.link.mtu - (family === 4 ? 40 : 60);
  }

  /** One segment of the guest; its checksum is right. */
  process(packet: Packet, nowMs: number): void {
    const { memory } = this.link;
    const segment = this.#segment;
    this.#nowMs = nowMs;
    if (!segment.parse(memory.view, packet.payloadAt, packet.payloadBytes)) {
      this.counters.values[DROP_HEADER]!++;
      return;
    }
    const guestPort = tcpSourcePort(memory.view, packet.payloadAt);
    const peerPort = tcpDestinationPort(memory.view, packet.payloadAt);
    this.#key(packet.family, packet.sourceAt, packet.destinationAt, guestPort, peerPort);
    let connection = this.#flows.find();
    if (connection?.isBuried) {
      this.exhume(connection);
      this.#key(packet.family, packet.sourceAt, packet.destinationAt, guestPort, peerPort);
      connection = undefined;
    }
    const opens =
      (segment.flags & (TcpFlag.syn | TcpFlag.ack | TcpFlag.rst | TcpFlag.fin)) === TcpFlag.syn;
    const reopens = connection !== undefined && opens && connection.mayReopen(segment);
    if (connection !== undefined && (reopens || (opens && connection.isForgotten(segment)))) {
      connection.abort(reopens ? "finished" : "reset");
      this.#key(packet.family, packet.sourceAt, packet.destinationAt, guestPort, peerPort);
      connection = undefined;
    }
    if (connection !== undefined) return this.#process(connection, segment, nowMs);
    if (opens && guestPort !== 0 && peerPort !== 0) {
      return this.#offer(packet, segment, guestPort, peerPort, nowMs);
    }
    this.#answerUnknown(packet, segment, guestPort, peerPort);
  }

  /** An ICMP error of the guest about a segment of ours (RFC 5927); false where it fits nothing. */
  processError(error: QuotedError, nowMs: number): boolean {
    const { view } = this.link.memory;
    const { family, guestAt, peerAt, l4At } = error;
    this.#nowMs = nowMs;
    this.#key(family, guestAt, peerAt, tcpDestinationPort(view, l4At), tcpSourcePort(view, l4At));
    const connection = this.#flows.find();
    if (connection === undefined) return false;
    try {
      return connection.processError(error, tcpSequence(view, l4At));
    } catch (bug) {
      this.#sacrifice(connection, bug);
      return true;
    }
  }

  /**
   * Opens a connection to the guest: addresses are positions. Its SYN is sent again for about a minute,
   * or so often as is said. `null` when the table is full.
   */
  connect(
    family: 4 | 6,
    peerAt: number,
    peerPort: number,
    guestAt: number,
    guestPort: number,
    nowMs: number,
    synRetransmissionsMax?: number,
  ): TcpConnection | null {
    this.#key(family, guestAt, peerAt, guestPort, peerPort);
    if (this.#flows.find() !== undefined) return null;
    const connection = this.#add(
      family,
      peerAt,
      guestAt,
      peerPort,
      guestPort,
      TcpState.synSent,
      nowMs,
    );
    if (connection === null) return null;
    if (!this.#isHeard) {
      connection.hush();
      if (!this.isAway) connection.back(0, nowMs);
    }
    this.counters.values[ACCEPTED]!++;
    connection.open(synRetransmissionsMax);
    return connection;
  }

  /** Whether no connection uses this four-tuple. */
  isFree(
    family: 4 | 6,
    peerAt: number,
    peerPort: number,
    guestAt: number,
    guestPort: number,
  ): boolean {
    this.#key(family, guestAt, peerAt, guestPort, peerPort);
    return this.#flows.find() === undefined;
  }

  /** Position and length of the SYN of an offered connection, as an ICMP error quotes it. */
  quoteAt(connection: TcpConnection): number {
    return connection.template.at + TEMPLATE_BYTES;
  }

  /** Octets at `quoteAt`. */
  quoteBytes(connection: TcpConnection): number {
    return connection.template.headerBytes - 14 + TCP_HEADER_BYTES;
  }

  /** Gives the gathered events to the connections' owners. */
  handOver(): void {
    for (;;) {
      const connection = this.#readyHead;
      if (connection === null) return;
      this.#readyHead = connection.nextReady;
      if (this.#readyHead === null) this.#readyTail = null;
      connection.nextReady = null;
      const events = connection.events;
      connection.events = 0;
      this.#tell(connection, events);
    }
  }

  /**
   * Sends what is due, while the device has room; true when a connection still has more. Those whose
   * data waits for the lane of streams are asked in their order, and only while it has room: with a
   * thousand of them most would be asked in vain each time.
   */
  dispatch(nowMs: number): boolean {
    this.#nowMs = nowMs;
    const { device } = this.link;
    const awaiting = this.#awaitingLane;
    while (awaiting.first !== null && device.hasRoomForStream(SMALL_FRAME_BYTES)) {
      const connection = awaiting.first;
      const result = this.#dispatch(connection, nowMs);
      if (result === Dispatched.blocked) {
        this.#schedule(connection);
        break;
      }
      awaiting.remove(connection);
      this.#dispatched(connection, result);
    }
    for (;;) {
      const connection = this.#dirtyHead;
      if (connection === null) return awaiting.first !== null;
      const result = this.#dispatch(connection, nowMs);
      if (result === Dispatched.blocked && !device.hasRoom(SMALL_FRAME_BYTES)) return true;
      this.#dirtyHead = connection.nextDirty;
      if (this.#dirtyHead === null) this.#dirtyTail = null;
      connection.nextDirty = null;
      connection.dirty = false;
      this.#dispatched(connection, result);
    }
  }

  /** A connection has had its turn. */
  #dispatched(connection: TcpConnection, result: Dispatched): void {
    if (connection.state === TcpState.closed) return;
    if (result === Dispatched.more) return this.touch(connection);
    if (result === Dispatched.blocked) this.#awaitingLane.push(connection);
    this.#schedule(connection);
  }

  /** What is due already is done in the connection's turn, if it awaits one. */
  #schedule(connection: TcpConnection): void {
    const pollAt = connection.pollAt();
    if (connection.awaitsLane && pollAt <= this.#nowMs) this.#wheel.cancel(connection);
    else this.#wheel.schedule(connection, pollAt);
  }

  /** Runs the timers that are due. */
  advance(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#wheel.advance(nowMs, this.#fire);
    this.#relief.advance(this.#flows.values(), nowMs);
  }

  /** When `advance` has something to do. */
  pollAt(): number {
    return Math.min(this.#wheel.nextMs(), this.#relief.pollAt());
  }

  /** Ends every connection, with an RST where the guest knows of it. */
  closeAll(): void {
    for (const connection of [...this.#flows.values()]) connection.abort();
    for (const buried of [...this.#flows.values()]) this.exhume(buried);
  }

  // ---- A link that goes away ----------------------------------------------------------------

  /** The link is gone: every flow is silent until the guest has spoken for it. */
  hush(nowMs: number): void {
    this.isAway = true;
    this.#isHeard = false;
    this.#awayFromMs = nowMs;
    this.#nowMs = nowMs;
    for (const connection of this.#flows.values()) {
      this.#awaitingLane.remove(connection);
      if (connection.state === TcpState.synReceived) this.#unanswered.remove(connection);
      connection.hush();
      this.#schedule(connection);
    }
  }

  /** There is a link again; whether it leads to the guest is yet to be heard. */
  back(nowMs: number): void {
    this.isAway = false;
    this.#nowMs = nowMs;
    for (const connection of this.#flows.values()) {
      connection.back(nowMs - this.#awayFromMs, nowMs);
      this.#schedule(connection);
    }
  }

  /** The guest has been heard: those flows may be asked about for which something waits. */
  heard(nowMs: number): void {
    if (this.#isHeard) return;
    this.#isHeard = true;
    let place = 0;
    for (const connection of this.#flows.values()) {
      connection.heard(connection.owesWord ? place++ : 0, nowMs);
      if (connection.state === TcpState.synReceived) {
        connection.synSentMs = nowMs; // as if it had gone again
        this.awaitsAnswer(connection);
      }
      this.#schedule(connection);
    }
  }

  /**
   * Ends the flows that are silent, as the guest does not have them: how many there were. Those that
   * no guest has answered yet stay: it is a port that they are for.
   */
  endSilent(): number {
    const silent = [...this.#flows.values()].filter(({ silence, state }) =>
      silence !== null && state !== TcpState.synSent
    );
    for (const connection of silent) {
      if (connection.isBuried) this.exhume(connection);
      else connection.abort("reset");
    }
    return silent.length;
  }

  /** The guest was heard: what goes out for flows that there are goes to the MAC that it has. */
  readdress(): void {
    const { memory, guestMacAt } = this.link;
    for (const { template } of this.#flows.values()) {
      memory.copy(ethernetDestinationAt(template.at), guestMacAt, 6);
    }
  }

  /** Keeps a flow that is over until the guest has been told. */
  bury(connection: TcpConnection): void {
    this.#awaitingLane.remove(connection);
    this.#relief.forget(connection, this.#flows.size);
    this.#schedule(connection);
  }

  /** The guest has spoken for a flow that is over, or never will. */
  exhume(connection: TcpConnection): void {
    connection.isBuried = false;
    this.remove(connection);
  }

  // ---- For the connections ----------------------------------------------------------------

  /** Puts a connection on the list of those that have something to send. */
  touch(connection: TcpConnection): void {
    if (connection.dirty || connection.state === TcpState.closed) return;
    connection.dirty = true;
    if (this.#dirtyTail === null) this.#dirtyHead = connection;
    else this.#dirtyTail.nextDirty = connection;
    this.#dirtyTail = connection;
  }

  /** Puts a connection on the list of those whose owner has something to hear. */
  ready(connection: TcpConnection): void {
    if (connection.nextReady !== null || connection === this.#readyTail) return;
    if (this.#readyTail === null) this.#readyHead = connection;
    else this.#readyTail.nextReady = connection;
    this.#readyTail = connection;
  }

  /** A connection found no memory for what the host sends: it is asked again soon. */
  starves(connection: TcpConnection): void {
    this.#relief.starves(connection, this.#nowMs);
  }

  /** Bytes of the guest were dropped for want of memory or of room in the window. */
  refusedForMemory(): void {
    this.counters.values[DROP_MEMORY]!++;
    this.#relief.refused(this.#nowMs);
  }

  /** A handshake is complete. */
  completed(connection: TcpConnection): void {
    this.#halfOpen--;
    this.#unanswered.answered(connection, this.#nowMs);
  }

  /** A handshake has failed. */
  failed(connection: TcpConnection): void {
    this.#halfOpen--;
    this.#unanswered.remove(connection);
  }

  /** The first SYN-ACK of a connection has gone, or the first since the link was away. */
  awaitsAnswer(connection: TcpConnection): void {
    this.#unanswered.remove(connection);
    this.#unanswered.push(connection);
  }

  /** Remembers the order of those in TIME_WAIT. */
  entersTimeWait(connection: TcpConnection): void {
    this.#timeWait.push(connection);
  }

  /** Takes a closed connection out of the tables. */
  remove(connection: TcpConnection): void {
    this.#flows.remove(connection.handle);
    this.#timeWait.remove(connection);
    this.#awaitingLane.remove(connection);
    this.#relief.forget(connection, this.#flows.size);
    this.#wheel.cancel(connection);
    this.counters.values[CLOSED]!++;
  }

  /** An RST for a segment that acknowledges what was never sent (RFC 9293 section 3.10.7.3). */
  resetAgainst(segment: Segment, template: HeaderTemplate): void {
    const out = this.#out;
    out.dataBytes = 0;
    out.window = 0;
    if (segment.has(TcpFlag.ack)) {
      out.seq = segment.ack;
      out.ack = 0;
      out.flags = TcpFlag.rst;
    } else {
      out.seq = 0;
      out.ack = seqAdd(segment.seq, segment.sequenceBytes);
      out.flags = TcpFlag.rst | TcpFlag.ack;
    }
    if (sendSegment(this.link, template, out, null)) this.counters.values[RESET_SENT]!++;
  }

  // ---- Our own bugs: each costs one flow, not the process --------------------------------

  #process(connection: TcpConnection, segment: Segment, nowMs: number): void {
    try {
      connection.process(segment, nowMs);
    } catch (error) {
      this.#sacrifice(connection, error);
    }
  }

  #onTimer(connection: TcpConnection): void {
    try {
      connection.onTimer(this.#nowMs);
      if (connection.isBuried) this.#schedule(connection);
    } catch (error) {
      this.#sacrifice(connection, error);
    }
  }

  #dispatch(connection: TcpConnection, nowMs: number): Dispatched {
    try {
      return connection.dispatch(nowMs);
    } catch (error) {
      this.#sacrifice(connection, error);
      return Dispatched.done;
    }
  }

  #tell(connection: TcpConnection, events: number): void {
    try {
      connection.owner?.onTcpEvents(connection, events);
      if (connection.state === TcpState.closed) connection.owner = null;
    } catch (error) {
      this.#sacrifice(connection, error);
    }
  }

  /** Counts and tells of a bug of ours. */
  reportBug(error: unknown): void {
    this.counters.values[BUG]!++;
    this.#options.onBug?.(error);
  }

  #sacrifice(connection: TcpConnection, error: unknown): void {
    this.reportBug(error);
    if (connection.isBuried) return this.exhume(connection);
    try {
      connection.abort();
    } catch {
      connection.vanish();
    }
  }

  // ---- Inside -----------------------------------------------------------------------------

  #offer(
    packet: Packet,
    segment: Segment,
    guestPort: number,
    peerPort: number,
    nowMs: number,
  ): void {
    const { admits } = this.#options;
    if (this.isCrowded(nowMs) || admits?.(packet, peerPort, nowMs) === false) {
      this.counters.values[DROP_HALF_OPEN]!++;
      return;
    }
    const { family, sourceAt, destinationAt } = packet;
    const connection = this.#add(
      family,
      destinationAt,
      sourceAt,
      peerPort,
      guestPort,
      TcpState.offered,
      nowMs,
    );
    if (connection === null) return;
    this.#writeQuote(connection, packet);
    this.counters.values[OPENED]!++;
    try {
      connection.takeSyn(segment, nowMs);
      this.#options.onOffer(connection, nowMs);
    } catch (error) {
      this.#sacrifice(connection, error);
    }
  }

  #add(
    family: 4 | 6,
    peerAt: number,
    guestAt: number,
    peerPort: number,
    guestPort: number,
    state: TcpState,
    nowMs: number,
  ): TcpConnection | null {
    if (this.#flows.size >= this.#options.flows && !this.#evictTimeWait()) {
      this.counters.values[DROP_FLOWS]!++;
      return null;
    }
    const iss = this.#initialSequence(family, peerAt, guestAt, peerPort, guestPort, nowMs);
    const tsOffset = this.#words[8]!;
    // The key is still the flow's: nothing was looked up since.
    this.#key(family, guestAt, peerAt, guestPort, peerPort);
    const connection = new TcpConnection(this, state, iss, nowMs, tsOffset);
    const handle = this.#flows.insert(connection);
    if (handle < 0) {
      this.counters.values[DROP_FLOWS]!++;
      return null;
    }
    const at = this.#options.at + handle * RECORD_BYTES;
    connection.handle = handle;
    connection.template = writeTemplate(
      this.link,
      at,
      family,
      peerAt,
      guestAt,
      peerPort,
      guestPort,
    );
    this.#halfOpen++;
    return connection;
  }

  #evictTimeWait(): boolean {
    const oldest = this.#timeWait.first;
    oldest?.abort("evicted");
    return oldest !== null;
  }

  /** RFC 6528: a keyed hash of the four-tuple plus a clock of 4 microseconds. */
  #initialSequence(
    family: 4 | 6,
    peerAt: number,
    guestAt: number,
    peerPort: number,
    guestPort: number,
    nowMs: number,
  ): number {
    const words = this.#words;
    const { view } = this.link.memory;
    const count = family === 4 ? 1 : 4;
    for (let i = 0; i < count; i++) {
      words[i] = view.getUint32(peerAt + 4 * i);
      words[4 + i] = view.getUint32(guestAt + 4 * i);
    }
    for (let i = count; i < 4; i++) words[i] = words[4 + i] = 0;
    words[8] = ((peerPort << 16) | guestPort) >>> 0;
    const hash = this.#hash.hash(words, 9);
    // The timestamps' offset: a hash of its own, or the two together would tell the clock.
    words[8] = (words[8]! ^ 0x5bd1e995) >>> 0;
    words[8] = this.#hash.hash(words, 9);
    return seqAdd(hash, Math.floor(nowMs * 250));
  }

  #key(family: 4 | 6, guestAt: number, peerAt: number, guestPort: number, peerPort: number): void {
    const { view } = this.link.memory;
    if (family === 4) this.#flows.key4(view, TAG_TCP, guestAt, peerAt, guestPort, peerPort);
    else this.#flows.key6(view, TAG_TCP, guestAt, peerAt, guestPort, peerPort);
  }

  #writeQuote(connection: TcpConnection, packet: Packet): void {
    const { memory } = this.link;
    const at = this.quoteAt(connection);
    const headerBytes = connection.template.headerBytes - 14;
    if (packet.family === 4) {
      writeIpv4Header(
        memory,
        at,
        headerBytes + packet.payloadBytes,
        0,
        0x4000,
        packet.ttl,
        IpProtocol.tcp,
        packet.sourceAt,
        packet.destinationAt,
      );
    } else {
      writeIpv6Header(
        memory,
        at,
        packet.payloadBytes,
        IpProtocol.tcp,
        packet.ttl,
        packet.sourceAt,
        packet.destinationAt,
      );
    }
    memory.copy(at + headerBytes, packet.payloadAt, TCP_HEADER_BYTES);
  }

  #answerUnknown(packet: Packet, segment: Segment, guestPort: number, peerPort: number): void {
    if (segment.has(TcpFlag.rst)) return;
    const at = this.#options.at + this.#options.flows * RECORD_BYTES;
    const { family, sourceAt, destinationAt } = packet;
    const template = writeTemplate(
      this.link,
      at,
      family,
      destinationAt,
      sourceAt,
      peerPort,
      guestPort,
    );
    this.counters.values[DROP_STATE]!++;
    this.resetAgainst(segment, template);
  }
}

const DROP_HEADER = Counter["drop.tcp.hdr"];
const DROP_STATE = Counter["drop.tcp.state"];
const DROP_HALF_OPEN = Counter["drop.tcp.halfopen"];
const DROP_FLOWS = Counter["drop.tcp.flows"];
const OPENED = Counter["tcp.opened"];
const ACCEPTED = Counter["tcp.accepted"];
const CLOSED = Counter["tcp.closed"];
const DROP_MEMORY = Counter["drop.tcp.memory"];
const BUG = Counter["bug.tcp"];
const RESET_SENT = Counter["tcp.reset.sent"];
