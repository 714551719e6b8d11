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
import { ScriptFlow } from "./tcp_flow.ts";
import { GUEST_PORT, guestFrame, guestPortOf, ISN, PEER_PORT, takeSegment } from "./tcp_guest.ts";
import { isCollected } from "./tcp_recording.ts";
import { matches, type Sent, show } from "./tcp_sent.ts";
import { ip, read, WORLD4, WORLD6 } from "./packets.ts";
import { StackHarness } from "./stack_harness.ts";
import { parseSegment, type SegmentText } from "./tcp_segments.ts";
import {
  type Difference,
  type Handshake,
  REACH,
  type ScriptOptions,
  type ScriptVerbs,
} from "./tcp_verbs.ts";

export type { Handshake, ScriptOptions } from "./tcp_verbs.ts";

/** Steps that may pass without the clock moving, and on the way to one point in time. */
const STEPS_AT_ONCE = 64;
const STEPS_MAX = 20_000;

/** The script. */
export class TcpScript extends StackHarness implements ScriptVerbs {
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
      ...(options.large === undefined || options.large === "never" ? {} : { large: options.large }),
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
    this.stack.attach({
      process: (packet) => endpoint.process(packet, this.nowMs),
      processError: (error) => endpoint.processError(error, this.nowMs),
    }, { process: () => {} });
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
    return guestFrame(this.flow, segment, this.family, this.elapsedMs);
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

  /** The guest acknowledges all that it is sent until it is at the number `end`. */
  guestTakes(end: number): this {
    assertEquals(this.guestDrains(), end, "the number that the guest is at");
    return this;
  }

  /** The guest fills the gateway's window; from then on the next number of its stream is 1 again. */
  guestFills(segmentBytes = 1460): this {
    const { flow } = this;
    for (let from = flow.acked; flow.acked < flow.edge; from = flow.acked) {
      while (from < flow.edge) {
        const to = Math.min(from + segmentBytes, flow.edge);
        this.guest(`. ${from}:${to} ack ${flow.sentEnd}`).segments();
        from = to;
      }
      this.after(50).segments();
      assertEquals(flow.acked, from, "the gateway takes what its window allows");
    }
    flow.events.length = 0;
    flow.countAfresh();
    return this;
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

  /** Nothing is sent for so long. */
  quiet(ms: number): this {
    return this.after(ms).nothingElse();
  }

  /** Everything that the guest was sent and nobody has expected yet: passed over from now on. */
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

  /** Something about the gateway itself. */
  gateway(holds: (own: TcpScript) => void): this {
    holds(this);
    return this;
  }

  /** Another kind of peer differs here. */
  differs(_why: string, { gateway }: Difference): this {
    gateway(this);
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
    REACH.established(this, handshake);
    return this;
  }

  /** Both sides have opened, the host has finished, the guest has not acknowledged that. */
  finWait1(handshake: Handshake = {}): this {
    REACH.finWait1(this, handshake);
    return this;
  }

  /** The host has finished, the guest has acknowledged that. */
  finWait2(handshake: Handshake = {}): this {
    REACH.finWait2(this, handshake);
    return this;
  }

  /** The guest has finished. */
  closeWait(handshake: Handshake = {}): this {
    REACH.closeWait(this, handshake);
    return this;
  }

  /** Both have finished, the guest first, and has not acknowledged the host's FIN. */
  lastAck(handshake: Handshake = {}): this {
    REACH.lastAck(this, handshake);
    return this;
  }

  /** Both have finished at once; neither FIN was acknowledged. */
  closing(handshake: Handshake = {}): this {
    REACH.closing(this, handshake);
    return this;
  }

  /** Both have finished, the host first. */
  timeWait(handshake: Handshake = {}): this {
    REACH.timeWait(this, handshake);
    return this;
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

  #take(frame: Uint8Array): Sent {
    const packet = read(frame);
    const flow = this.#flows.get(guestPortOf(packet))!;
    return takeSegment(flow, packet, this.family, this.elapsedMs);
  }
}

/** A test that is one script; `body` gets it at the time 0. */
export function scripted(name: string, body: (s: TcpScript) => void): void;
/** A test that is one script which Linux shares: it also runs against a kernel. */
export function scripted(
  name: string,
  options: ScriptOptions & { linux: true },
  body: (s: ScriptVerbs) => void,
): void;
/** A test that is one script, with a network that differs from the plain one. */
export function scripted(
  name: string,
  options: ScriptOptions & { linux?: never },
  body: (s: TcpScript) => void,
): void;
export function scripted(
  name: string,
  first: ScriptOptions | ((s: TcpScript) => void),
  second?: (s: TcpScript) => void,
): void {
  const [options, body] = typeof first === "function" ? [{}, first] : [first, second!];
  // A shared script's body knows no more than the shared words: the overload holds that.
  if (isCollected({ name, options, body: body as (s: ScriptVerbs) => void })) return;
  const { large } = options;
  const variants: ScriptOptions[] = large === undefined
    ? [options, { ...options, large: "headers" }]
    : [options];
  for (const variant of variants) {
    const isCut = variant !== options;
    Deno.test(isCut ? `${name} (in large frames, cut by the device)` : name, () => {
      const s = new TcpScript(variant);
      body(s);
      s.end();
    });
  }
}
