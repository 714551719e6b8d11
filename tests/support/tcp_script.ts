/**
 * Packet scripts for the TCP endpoint: a guest's segments and what the gateway must answer, line by
 * line, on a clock that only the script turns.
 *
 *     scripted("a SYN is answered once the host has connected", (s) => {
 *       s.at(100).guest("S 0:0 win 64240 <mss 1460,sackOK,TS 1 0,wscale 7>").nothingElse();
 *       s.at(130).accept().expect("S. 0:0 ack 1 win 65535 <mss 1460,sackOK,TS 130 1,wscale 7>");
 *     });
 *
 * Both initial sequence numbers stand just below 2^32. Every segment of the gateway is held against
 * what holds for all: checksums, the octets of the stream at their place, the guest's window, its
 * own window's edge, which never moves left, and an ACK that never goes back. Time is only moved
 * where nothing is left unexpected, by the endpoint's own deadlines and in a bounded number of
 * steps. At the end of a script all tables must be empty.
 *
 * @module
 */
import { assert, assertEquals, AssertionError } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { BufferPool, type BufferQuota } from "../../lib/stack/buffer_pool.ts";
import type { CounterName } from "../../lib/stack/counters.ts";
import type { HostToGuestQueue } from "../../lib/stack/queues.ts";
import type { TcpConnection } from "../../lib/stack/tcp/connection.ts";
import type { TcpState } from "../../lib/stack/tcp/state.ts";
import { endpointBytes, TcpEndpoint } from "../../lib/stack/tcp/endpoint.ts";
import { GUEST, HOST, ISN, ScriptFlow } from "./tcp_flow.ts";
import { matches, type Sent, shiftOf, show } from "./tcp_sent.ts";
import {
  concat,
  ethernet,
  GUEST4,
  GUEST6,
  ip,
  ip4,
  ip6,
  read,
  sealed,
  u16,
  u32,
  WORLD4,
  WORLD6,
} from "./packets.ts";
import { StackHarness } from "./stack_harness.ts";
import {
  flagBits,
  flagLetters,
  octet,
  octets,
  type Option,
  optionBytes,
  parseSegment,
  readOptions,
  type SegmentText,
} from "./tcp_segments.ts";

/** How a script differs from the plain one. */
export interface ScriptOptions {
  family?: 4 | 6;
  mtu?: number;
  flows?: number;
  halfOpen?: number;
  poolBytes?: number;
  bufferMinBytes?: number;
  bufferMaxBytes?: number;
  timeWaitMs?: number;
  idleMs?: number;
}

/** How a named state's handshake differs from the plain one. */
export interface Handshake {
  mss?: number;
  sack?: boolean;
  timestamps?: boolean;
  wscale?: number | null;
  /** The guest's window in bytes. */
  windowBytes?: number;
  /** How long the SYN-ACK and its answer take together. */
  rttMs?: number;
}

const PEER_PORT = 80;
const GUEST_PORT = 40000;
/** Steps that may pass without the clock moving, and on the way to one point in time. */
const STEPS_AT_ONCE = 64;
const STEPS_MAX = 20_000;

/** The script. */
export class TcpScript extends StackHarness {
  readonly endpoint: TcpEndpoint;
  readonly pool: BufferQuota;
  readonly family: 4 | 6;
  readonly startMs: number;
  /** The flow that the verbs are about. */
  flow: ScriptFlow;
  /** What the guest has not been expected to get yet. */
  outbox: Sent[] = [];
  /** Whether the guest takes frames from its device. */
  guestReading = true;
  readonly #flows = new Map<number, ScriptFlow>();
  readonly #peerAt: number;
  readonly #limitBytes: readonly number[];

  constructor(options: ScriptOptions = {}) {
    const { flows = 8, poolBytes = 8 * 1024 * 1024 } = options;
    const ownBytes = endpointBytes(flows);
    super({
      scratchBytes: 64 + ownBytes + poolBytes,
      ...(options.mtu === undefined ? {} : { link: { mtu: options.mtu } }),
    });
    this.family = options.family ?? 4;
    this.#peerAt = this.scratchAt;
    this.memory.bytes.set(ip(this.family === 4 ? WORLD4 : WORLD6), this.#peerAt);
    this.pool = new BufferPool(this.memory, this.scratchAt + 64 + ownBytes, poolBytes)
      .quota(poolBytes);
    this.#limitBytes = this.#lanes().map((lane) => lane.fillLimitBytes);
    const make = () => this.#makeEndpoint(options, flows);
    let endpoint = make();
    this.stack.attach({ process: (packet) => endpoint.process(packet, this.nowMs) }, {
      process: () => {},
    });
    this.flow = new ScriptFlow(this.memory, GUEST_PORT);
    this.#flows.set(GUEST_PORT, this.flow);
    this.#moveClock();
    endpoint = make();
    this.endpoint = endpoint;
    this.startMs = this.nowMs;
    this.counters.values.fill(0);
  }

  /** Milliseconds since the script's start. */
  get elapsedMs(): number {
    return this.nowMs - this.startMs;
  }

  // ---- Time -------------------------------------------------------------------------------

  /** Turns the clock to `ms` after the script's start, by the endpoint's deadlines. */
  at(ms: number): this {
    this.nothingElse();
    const endMs = this.startMs + ms;
    assert(endMs >= this.nowMs, `the script is past ${ms} ms already`);
    let atOnce = 0;
    for (let steps = 0; this.endpoint.pollAt() <= endMs; steps++) {
      const nextMs = Math.max(this.nowMs, this.endpoint.pollAt());
      atOnce = nextMs > this.nowMs ? 0 : atOnce + 1;
      assert(atOnce < STEPS_AT_ONCE && steps < STEPS_MAX, "pollAt makes progress");
      this.nowMs = nextMs;
      this.endpoint.advance(nextMs);
      this.run();
    }
    this.nowMs = endMs;
    return this;
  }

  /** Turns the clock on by `ms`. */
  after(ms: number): this {
    return this.at(this.elapsedMs + ms);
  }

  /** One turn: events to the owners, segments out, and the guest takes them. */
  run(): this {
    this.endpoint.handOver();
    for (let i = 0; i < STEPS_AT_ONCE; i++) {
      const more = this.endpoint.dispatch(this.nowMs);
      if (!this.guestReading) return this;
      for (const frame of this.sent()) this.outbox.push(this.#take(frame));
      if (!more) return this;
    }
    throw new AssertionError("dispatch comes to an end");
  }

  #lanes(): HostToGuestQueue[] {
    return [this.queues.hostToGuest, this.queues.streams];
  }

  /** The guest takes no frames from now on; its device has room for `bytes`. */
  guestStopsReading(bytes = 1): this {
    this.guestReading = false;
    for (const lane of this.#lanes()) lane.fillLimitBytes = bytes;
    return this;
  }

  /** The guest takes what waits, and goes on doing so. */
  guestReadsOn(): this {
    this.guestReading = true;
    this.#lanes().forEach((lane, i) => lane.fillLimitBytes = this.#limitBytes[i]!);
    return this.run();
  }

  // ---- The guest --------------------------------------------------------------------------

  /** The flow of another port of the guest's is the one that the verbs are about. */
  port(guestPort: number): this {
    this.flow = this.#flows.get(guestPort) ?? new ScriptFlow(this.memory, guestPort);
    this.#flows.set(guestPort, this.flow);
    return this;
  }

  /** A new connection from the same port. */
  renew(isn: number = ISN): this {
    const { guestPort } = this.flow;
    this.#flows.delete(guestPort);
    this.port(guestPort);
    this.flow.isn = isn;
    return this;
  }

  /** The guest sends segments, all in one turn. */
  guest(...lines: string[]): this {
    for (const line of lines) this.pushSegment(parseSegment(line));
    return this.run();
  }

  /** Puts one segment of the guest into the stack, without a turn. */
  pushSegment(segment: SegmentText): void {
    this.push(this.frameOf(segment));
  }

  /** The frame of a guest's segment. */
  frameOf(segment: SegmentText): Uint8Array {
    const { flow } = this;
    const options = this.#guestOptions(segment);
    const bytes = optionBytes(options, flow.iss, Math.max(0, flow.tsBase));
    if (segment.win !== undefined) flow.win = segment.win;
    const syn = segment.flags.includes("S");
    if (syn && this.#isOpening()) {
      flow.guestShift = shiftOf(options);
      flow.timestamps = options.some((option) => option.kind === "TS");
    }
    if (segment.ack !== undefined || syn) {
      const shift = syn || flow.gatewayShift < 0 ? 0 : Math.max(0, flow.guestShift);
      flow.allowedEnd = Math.max(flow.allowedEnd, (segment.ack ?? 1) + flow.win * 2 ** shift);
    }
    const data = segment.fill === undefined
      ? octets(segment.seq - 1, segment.dataBytes, GUEST)
      : new Uint8Array(segment.dataBytes).fill(segment.fill);
    const headerBytes = 20 + bytes.length;
    const [source, destination] = this.family === 4 ? [GUEST4, WORLD4] : [GUEST6, WORLD6];
    const l4 = concat(
      u16(flow.guestPort),
      u16(PEER_PORT),
      u32((flow.isn + segment.seq) >>> 0),
      u32(segment.ack === undefined ? 0 : (flow.iss + segment.ack) >>> 0),
      [headerBytes << 2, flagBits(segment.flags)],
      u16(flow.win),
      [0, 0],
      u16(segment.urg ?? 0),
      bytes,
      data,
    );
    const payload = sealed(l4, 16, source, destination, 6);
    return ethernet(
      this.family === 4
        ? ip4(payload, { source, destination, protocol: 6 })
        : ip6(payload, { source, destination, next: 6 }),
    );
  }

  /** The guest acknowledges all that it is sent, until nothing more comes: the number it is at. */
  guestDrains(line = ""): number {
    const { flow } = this;
    for (let turns = 0; this.outbox.length > 0; turns++) {
      assert(turns < STEPS_MAX, "the transfer comes to an end");
      this.segments();
      const seq = Number.isFinite(flow.acked) ? flow.acked : 1;
      this.guest(`. ${seq}:${seq} ack ${flow.sentEnd} ${line}`);
    }
    return flow.sentEnd;
  }

  // ---- The gateway's side -----------------------------------------------------------------

  get connection(): TcpConnection {
    assert(this.flow.connection !== null, "the flow has a connection");
    return this.flow.connection;
  }

  /** The host has connected. */
  accept(): this {
    this.connection.accept(this.nowMs);
    return this.run();
  }

  /** The host has refused. */
  refuse(): this {
    this.connection.refuse();
    return this.run();
  }

  /** The SYN stays without an answer. */
  drop(): this {
    this.connection.drop();
    return this.run();
  }

  /** A host's client opens a connection to the guest. */
  connect(): this {
    const guestAt = this.family === 4 ? this.link.guestIp4At : this.link.guestIp6At;
    const { guestPort } = this.flow;
    const connection = this.endpoint
      .connect(this.family, this.#peerAt, PEER_PORT, guestAt, guestPort, this.nowMs);
    assert(connection !== null, "the endpoint has room");
    this.#join(connection);
    return this.run();
  }

  /** The host sends so many octets of its stream, at once or as room comes. */
  hostSends(bytes: number): this {
    this.flow.waiting += bytes;
    this.flow.pump();
    return this.run();
  }

  /** The host sends nothing more after what it has sent. */
  hostFinishes(): this {
    this.flow.finishes = true;
    this.flow.pump();
    return this.run();
  }

  /** The host takes exactly so many octets, all `fill` where that is given. */
  hostReads(bytes: number, fill?: number): this {
    assertEquals(this.flow.take(bytes, fill), bytes, "octets that the host could take");
    return this.run();
  }

  /** The host takes whatever comes, at once. */
  hostReadsAll(): this {
    this.flow.reads = true;
    this.flow.take(Infinity);
    return this.run();
  }

  /** The relay gives up: RST. */
  abort(): this {
    this.connection.abort();
    return this.run();
  }

  // ---- Expectations -----------------------------------------------------------------------

  /** These are the next segments that the guest gets; `@ms` in front says when. */
  expect(...lines: string[]): this {
    for (const line of lines) {
      const [, time, text] = /^(?:@(\d+(?:\.\d+)?)\s+)?(.*)$/.exec(line)!;
      const got = this.outbox.shift();
      const right = got !== undefined && matches(got, parseSegment(text!)) &&
        (time === undefined || Math.abs(got.atMs - Number(time)) < 0.001) &&
        got.guestPort === this.flow.guestPort;
      if (right) continue;
      const rest = this.outbox.slice(0, 8).map(show);
      throw new AssertionError(
        [`expected ${line}`, `got      ${got ? show(got) : "nothing"}`, ...rest].join("\n  "),
      );
    }
    return this;
  }

  /** Nothing but what was expected was sent. */
  nothingElse(): this {
    assertEquals(this.outbox.map(show), [], "nothing else is sent");
    return this;
  }

  /** Everything that the guest was sent and nobody has expected yet. */
  segments(): Sent[] {
    return this.outbox.splice(0);
  }

  /** These are the events of the flow since they were last asked for. */
  told(...events: string[]): this {
    assertEquals(this.flow.events.splice(0), events, "events of the flow");
    return this;
  }

  /** The flow is in this state. */
  inState(state: TcpState): this {
    assertEquals(this.connection.state, state);
    return this;
  }

  /** These counters, and no others but the device's and the table's, grew since the last call. */
  counts(expected: Partial<Record<CounterName, number>>): this {
    const grown = this.counted();
    for (const name of ["tcp.opened", "tcp.accepted", "tcp.closed"] as const) delete grown[name];
    assertEquals(grown, expected);
    return this;
  }

  /** Ends what is left and holds that nothing stays behind. */
  end(): void {
    this.nothingElse();
    if (!this.guestReading) this.guestReadsOn();
    this.endpoint.closeAll();
    this.run();
    this.nowMs += 1000;
    this.endpoint.advance(this.nowMs);
    this.run();
    this.outbox = [];
    for (const { connection } of this.#flows.values()) connection?.receiver.release();
    const { endpoint, pool, counters } = this;
    assertEquals(
      {
        flows: endpoint.size,
        halfOpen: endpoint.halfOpen,
        timers: endpoint.timers,
        pollAt: endpoint.pollAt(),
        usedBytes: pool.usedBytes,
      },
      { flows: 0, halfOpen: 0, timers: 0, pollAt: Infinity, usedBytes: 0 },
      "what is left at the end",
    );
    const opened = counters.get("tcp.opened") + counters.get("tcp.accepted");
    assertEquals(counters.get("tcp.closed"), opened, "all connections are closed");
    assertEquals(counters.get("bug.turn"), 0);
  }

  // ---- States by name ---------------------------------------------------------------------

  /** A connection of the guest's that is established; its handshake's events are over. */
  established(handshake: Handshake = {}): this {
    const { mss = 1460, sack = true, timestamps = false, rttMs = 0 } = handshake;
    const wscale = handshake.wscale === undefined ? 7 : handshake.wscale;
    const windowBytes = handshake.windowBytes ?? (wscale === null ? 65535 : 65535 << wscale);
    const win = windowBytes >> (wscale ?? 0);
    const options = [
      `mss ${mss}`,
      ...(sack ? ["sackOK"] : []),
      ...(timestamps ? ["TS 1000 0"] : []),
      ...(wscale === null ? [] : [`wscale ${wscale}`]),
    ];
    this.guest(`S 0:0 win ${Math.min(65535, windowBytes)} <${options}>`).accept();
    this.expect("S. 0:0 ack 1");
    if (rttMs > 0) this.after(rttMs);
    return this.guest(`. 1:1 ack 1 win ${win}`).told("established").inState("established");
  }

  /** Both sides have opened, the host has finished, the guest has not acknowledged that. */
  finWait1(handshake: Handshake = {}): this {
    return this.established(handshake).hostFinishes().expect("F. 1:1 ack 1").inState("finWait1");
  }

  /** The host has finished, the guest has acknowledged that. */
  finWait2(handshake: Handshake = {}): this {
    return this.finWait1(handshake).guest(". 1:1 ack 2").nothingElse().inState("finWait2");
  }

  /** The guest has finished. */
  closeWait(handshake: Handshake = {}): this {
    this.established(handshake).guest("F. 1:1 ack 1").expect(". 1:1 ack 2").told("readable");
    return this.inState("closeWait");
  }

  /** Both have finished, the guest first, and has not acknowledged the host's FIN. */
  lastAck(handshake: Handshake = {}): this {
    return this.closeWait(handshake).hostFinishes().expect("F. 1:1 ack 2").inState("lastAck");
  }

  /** Both have finished at once; neither FIN was acknowledged. */
  closing(handshake: Handshake = {}): this {
    this.finWait1(handshake).guest("F. 1:1 ack 1").expect(". 2:2 ack 2").told("readable");
    return this.inState("closing");
  }

  /** Both have finished, the host first. */
  timeWait(handshake: Handshake = {}): this {
    this.finWait2(handshake).guest("F. 1:1 ack 2").expect(". 2:2 ack 2").told("readable");
    return this.inState("timeWait");
  }

  // ---- Inside -----------------------------------------------------------------------------

  #makeEndpoint(options: ScriptOptions, flows: number): TcpEndpoint {
    return new TcpEndpoint({
      link: this.link,
      pool: this.pool,
      at: this.scratchAt + 64,
      flows,
      halfOpen: options.halfOpen ?? flows,
      timeWaitMs: options.timeWaitMs ?? DEFAULT_LIMITS.tcpTimeWaitMs,
      idleMs: options.idleMs ?? DEFAULT_LIMITS.tcpIdleMs,
      bufferMinBytes: options.bufferMinBytes ?? DEFAULT_LIMITS.tcpBufferMinBytes,
      bufferMaxBytes: options.bufferMaxBytes ?? DEFAULT_LIMITS.tcpBufferMaxBytes,
      seed: Uint32Array.of(1, 2, 3, 4),
      nowMs: this.nowMs,
      onOffer: (connection) => this.#join(connection),
    });
  }

  /** The initial number depends on the clock: begin when it is just below the wrap. */
  #moveClock(): void {
    this.pushSegment(parseSegment("S 0"));
    const { connection } = this;
    this.nowMs += Math.floor(((ISN - connection.sender.iss) >>> 0) / 250);
    connection.drop();
    this.renew();
  }

  #join(connection: TcpConnection): void {
    const { guestPort } = connection.template;
    const known = this.#flows.get(guestPort);
    const flow = known === undefined || known.connection !== null
      ? new ScriptFlow(this.memory, guestPort)
      : known;
    if (known !== undefined) flow.isn = known.isn;
    if (known === this.flow) this.flow = flow;
    this.#flows.set(guestPort, flow);
    flow.connection = connection;
    flow.iss = connection.sender.iss;
    connection.owner = flow;
  }

  /** Whether options of the guest's SYN still count. */
  #isOpening(): boolean {
    const state = this.flow.connection?.state ?? "closed";
    return ["offered", "synSent", "synReceived", "closed"].includes(state);
  }

  #guestOptions(segment: SegmentText): readonly Option[] {
    const given = segment.options ?? [];
    const { flow } = this;
    const wants = flow.timestamps && !/[SR]/.test(segment.flags);
    if (!wants || given.some((option) => option.kind === "TS")) return given;
    const value = 1000 + Math.floor(this.elapsedMs);
    return [{ kind: "TS", value, echo: flow.tsSeen }, ...given];
  }

  /** Takes a segment of the gateway apart and holds it against what holds for all. */
  #take(frame: Uint8Array): Sent {
    const { payload, source, destination, protocol } = read(frame);
    const [guest, world] = this.family === 4 ? [GUEST4, WORLD4] : [GUEST6, WORLD6];
    assertEquals([protocol, source, destination], [6, world, guest]);
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const flow = this.#flows.get(view.getUint16(2))!;
    const flags = flagLetters(payload[13]!);
    const headerBytes = (payload[12]! >> 4) * 4;
    const dataBytes = payload.length - headerBytes;
    this.#setTsBase(flow, payload.subarray(20, headerBytes));
    const sent: Sent = {
      flags,
      seq: (view.getUint32(4) - flow.iss) | 0,
      dataBytes,
      ack: flags.includes(".") ? (view.getUint32(8) - flow.isn) | 0 : undefined,
      win: view.getUint16(14),
      options: readOptions(payload.subarray(20, headerBytes), flow.isn, Math.max(0, flow.tsBase)),
      atMs: this.elapsedMs,
      guestPort: flow.guestPort,
    };
    if (flags.includes("R")) {
      // One against a SYN that was never answered has no number.
      if (view.getUint32(4) === 0) sent.seq = 0;
      return sent;
    }
    for (let i = 0; i < dataBytes; i++) {
      const right = octet(sent.seq - 1 + i, HOST);
      if (payload[headerBytes + i] !== right) {
        throw new AssertionError(`${show(sent)}: octet ${i} is wrong`);
      }
    }
    this.#hold(flow, sent);
    return sent;
  }

  #setTsBase(flow: ScriptFlow, options: Uint8Array): void {
    const stamp = readOptions(options, 0, 0).find((option) => option.kind === "TS");
    if (stamp === undefined) return;
    if (flow.tsBase < 0) flow.tsBase = (stamp.value - Math.floor(this.elapsedMs)) >>> 0;
    flow.tsSeen = (stamp.value - flow.tsBase) | 0;
  }

  #hold(flow: ScriptFlow, sent: Sent): void {
    const syn = sent.flags.includes("S");
    if (syn) flow.gatewayShift = shiftOf(sent.options);
    const end = sent.seq + sent.dataBytes;
    if (sent.dataBytes > 0) {
      assert(end <= flow.allowedEnd, `${show(sent)}: beyond the guest's window`);
    }
    const fin = sent.flags.includes("F") ? 1 : 0;
    flow.sentEnd = Math.max(flow.sentEnd, end + fin + (syn ? 1 : 0));
    if (sent.ack === undefined) return;
    assert(sent.ack >= flow.acked, `${show(sent)}: an ACK that goes back`);
    flow.acked = sent.ack;
    const scaled = flow.guestShift >= 0 && flow.gatewayShift > 0 && !syn;
    const grain = scaled ? 2 ** flow.gatewayShift : 1;
    const edge = sent.ack + sent.win * grain;
    assert(edge > flow.edge - grain, `${show(sent)}: the window's edge moves left`);
    flow.edge = Math.max(flow.edge, edge);
  }
}

/** A test that is one script; `body` gets it at the time 0. */
export function scripted(name: string, body: (s: TcpScript) => void): void;
/** A test that is one script, with a network that differs from the plain one. */
export function scripted(name: string, options: ScriptOptions, body: (s: TcpScript) => void): void;
export function scripted(
  name: string,
  first: ScriptOptions | ((s: TcpScript) => void),
  second?: (s: TcpScript) => void,
): void {
  const [options, body] = typeof first === "function" ? [{}, first] : [first, second!];
  Deno.test(name, () => {
    const s = new TcpScript(options);
    body(s);
    s.end();
  });
}
