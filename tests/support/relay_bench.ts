/**
 * The relays of one guest on a clock of the test's own, with a made-up host: connects that take as
 * long as the test says, sockets of which the test is the peer, and every frame of the answer.
 *
 * @module
 */
import { Counter } from "../../lib/stack/counters.ts";
import { FlowNumbers } from "../../lib/host/flow_info.ts";
import { GuestRates } from "../../lib/host/guest_rates.ts";
import { policyOf } from "./policy.ts";
import { systemClock } from "../../lib/host/host_clock.ts";
import { assertEquals } from "@std/assert";
import { DEFAULT_LIMITS, type Limits } from "../../lib/config/limits.ts";
import type { ProtectLevel } from "../../lib/config/options.ts";
import { Destinations } from "../../lib/host/destinations.ts";
import { Dialer } from "../../lib/host/dialer.ts";
import { TcpRelayTable } from "../../lib/host/tcp_relay_table.ts";
import { BufferPool } from "../../lib/stack/buffer_pool.ts";
import { endpointBytes, TcpEndpoint } from "../../lib/stack/tcp/endpoint.ts";
import { ACK, FIN, RST, SYN } from "./hand_guest.ts";
import {
  concat,
  ethernet,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_LL,
  GUEST4,
  GUEST6,
  ip,
  ip4,
  ip6,
  pattern,
  type Read,
  read,
  sealed,
  u16,
  u32,
} from "./packets.ts";
import { StackHarness } from "./stack_harness.ts";

const FLOWS = 64;
const POOL_BYTES = 8 * 1024 * 1024;
/** Destinations that the policy allows. */
export const PUBLIC4 = "8.8.4.4";
export const PUBLIC6 = "2001:4860:4860::8844";
/** An address that the made-up host says is its own. */
export const OWN4 = "8.8.4.100";
/** The guest's initial sequence number. */
export const ISN = 1000;

/** A host's socket of which the test is the peer. */
export class FakeSocket {
  readonly options: string[] = [];
  readonly localAddr: Deno.NetAddr;
  readonly remoteAddr: Deno.NetAddr;
  readonly written: Uint8Array[] = [];
  closed = false;
  writeClosed = false;
  readsPending = 0;
  /** Whether writes wait for `take`. */
  isSlow = false;
  #writer: PromiseWithResolvers<number> | null = null;
  #reader: PromiseWithResolvers<number | null> | null = null;
  #into: Uint8Array = new Uint8Array(0);
  #from: Uint8Array = new Uint8Array(0);

  constructor(remote: string, port: number) {
    const local = remote === OWN4 || remote === "127.0.0.1" ? remote : "10.9.9.9";
    this.localAddr = { transport: "tcp", hostname: local, port: 50_000 };
    this.remoteAddr = { transport: "tcp", hostname: remote, port };
  }

  /** How much the read that is under way has room for. */
  get roomBytes(): number {
    return this.#into.length;
  }

  setNoDelay(on: boolean): void {
    this.options.push(`nodelay ${on}`);
  }

  setKeepAlive(on: boolean): void {
    this.options.push(`keepalive ${on}`);
  }

  read(into: Uint8Array): Promise<number | null> {
    this.readsPending++;
    this.#into = into;
    this.#reader = Promise.withResolvers();
    return this.#reader.promise;
  }

  write(from: Uint8Array): Promise<number> {
    if (this.isSlow) {
      this.#from = from;
      this.#writer = Promise.withResolvers();
      return this.#writer.promise;
    }
    this.written.push(from.slice());
    return Promise.resolve(from.length);
  }

  closeWrite(): Promise<void> {
    this.writeClosed = true;
    return Promise.resolve();
  }

  close(): void {
    this.closed = true;
    this.#reader?.reject(new Deno.errors.Interrupted("closed"));
    this.#writer?.reject(new Deno.errors.Interrupted("closed"));
  }

  /** The system takes so many bytes of the write that waits. */
  take(bytes: number): void {
    this.written.push(this.#from.slice(0, bytes));
    this.#writer!.resolve(bytes);
    this.#writer = null;
  }

  /** The read ends with a number of bytes that can't be. */
  misbehave(): void {
    this.#reader!.resolve(1 << 30);
    this.#reader = null;
  }

  /** The peer sends, or finishes with `null`. */
  arrive(bytes: Uint8Array | null): void {
    if (bytes !== null) this.#into.set(bytes);
    this.readsPending--;
    this.#reader!.resolve(bytes === null ? null : bytes.length);
    this.#reader = null;
  }
}

/** A connect that waits for the test to settle it. */
export interface Attempt {
  readonly name: string;
  connected(): FakeSocket;
  failed(code: string): void;
  aborted: boolean;
}

/** How a bench differs from the plain one. */
export interface BenchOptions {
  limits?: Partial<Limits>;
  protect?: ProtectLevel;
  halfOpenPerDestination?: number;
  relaysMax?: number;
  ownPorts?: readonly number[];
  mtu?: number;
}

/** Stack, endpoint and relays of one guest, with a made-up host. */
export class RelayBench extends StackHarness implements Disposable {
  readonly attempts: Attempt[] = [];
  readonly endpoint: TcpEndpoint;
  readonly dialer: Dialer;
  readonly relays: TcpRelayTable;
  /** Why flows were refused. */
  readonly denials: string[] = [];
  readonly pool: BufferPool;

  constructor(options: BenchOptions = {}) {
    const ownBytes = endpointBytes(FLOWS);
    super({
      limits: options.limits ?? {},
      scratchBytes: ownBytes + POOL_BYTES,
      link: { mtu: options.mtu ?? 1500 },
    });
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.pool = new BufferPool(this.memory, this.scratchAt + ownBytes, POOL_BYTES);
    this.endpoint = new TcpEndpoint({
      link: this.link,
      pool: this.pool.quota(POOL_BYTES),
      at: this.scratchAt,
      flows: FLOWS,
      halfOpen: FLOWS,
      timeWaitMs: 1000,
      idleMs: limits.tcpIdleMs,
      bufferMinBytes: 16 * 1024,
      bufferMaxBytes: 64 * 1024,
      seed: Uint32Array.of(1, 2, 3, 4),
      nowMs: this.nowMs,
      onOffer: (connection, nowMs) => this.relays.offer(connection, nowMs),
    });
    const now = () => this.nowMs;
    this.dialer = new Dialer(
      limits,
      {
        ...systemClock,
        now,
        connect: ({ hostname, port, signal }) => this.#connect(hostname!, port, signal),
      },
    );
    this.relays = new TcpRelayTable({
      endpoint: this.endpoint,
      relaysMax: options.relaysMax ?? 1_000,
      errors: this.stack.errors,
      destinations: new Destinations({
        policy: policyOf({ protect: options.protect ?? "metadata" }),
        isProxied: false,
        hostLoopback: true,
        hostServices: [],
        gatewayIp4: ip(GATEWAY4),
        gatewayIp6: ip(GATEWAY6),
        gatewayLinkLocal: ip(GATEWAY_LL),
        ownPorts: () => new Set(options.ownPorts ?? []),
        now,
        canBind: () => false, // so that only the dial itself shows it
      }),
      dialer: this.dialer,
      rates: new GuestRates({}, systemClock),
      numbers: new FlowNumbers(),
      hook: null,
      inspectMs: 5_000,
      inspectPending: 16,
      denyPage: () => true,
      believesOuterName: () => false,
      onDenial: ({ reason }) => {
        this.denials.push(reason);
        this.endpoint.counters.add(Counter["policy.refused"]);
      },
      clientsPending: 16,
      halfOpenPerDestination: options.halfOpenPerDestination ?? 32,
      wake: () => {},
      clock: { ...systemClock, now },
    });
    this.stack.attach(
      { process: (packet) => this.endpoint.process(packet, this.nowMs) },
      { process: () => {} },
    );
  }

  #connect(hostname: string, port: number, signal: AbortSignal): Promise<Deno.TcpConn> {
    const { promise, resolve, reject } = Promise.withResolvers<Deno.TcpConn>();
    const attempt: Attempt = {
      name: `${hostname} ${port}`,
      aborted: false,
      connected: () => {
        const socket = new FakeSocket(hostname, port);
        resolve(socket as Partial<Deno.TcpConn> as Deno.TcpConn);
        return socket;
      },
      failed: (code) => reject(Object.assign(new Error(code), { code })),
    };
    signal.addEventListener("abort", () => {
      attempt.aborted = true;
      reject(signal.reason);
    });
    this.attempts.push(attempt);
    return promise;
  }

  /** A segment of the guest. */
  segment(flags: number, seq: number, ack: number, more: Partial<Segment> = {}): void {
    const { destination = PUBLIC4, guestPort = 40_000, port = 80, data = pattern(0) } = more;
    const options = (flags & SYN) !== 0 && more.mss !== undefined ? [2, 4, ...u16(more.mss)] : [];
    const source = destination.includes(":") ? GUEST6 : GUEST4;
    const bytes = concat(
      u16(guestPort),
      u16(port),
      u32(seq),
      u32(ack),
      [(5 + options.length / 4) << 4, flags],
      u16(60_000),
      [0, 0, 0, 0],
      options,
      data,
    );
    const payload = sealed(bytes, 16, source, destination, 6);
    this.push(ethernet(
      source === GUEST4
        ? ip4(payload, { protocol: 6, destination })
        : ip6(payload, { next: 6, destination }),
    ));
  }

  /** Lets what has settled be heard, runs a turn, and takes what was sent. */
  async turn(): Promise<Answer[]> {
    for (let i = 0; i < 10; i++) await Promise.resolve();
    this.endpoint.handOver();
    this.endpoint.dispatch(this.nowMs);
    this.relays.readHosts();
    return this.sent().map((frame) => answerOf(read(frame)));
  }

  /** A SYN whose connect has succeeded and which the guest has acknowledged: the host's socket. */
  async open(more: Partial<Segment> = {}): Promise<[FakeSocket, iss: number]> {
    this.segment(SYN, ISN, 0, more);
    await this.turn();
    const socket = this.attempts.at(-1)!.connected();
    const [answer] = await this.turn();
    assertEquals(answer!.flags, SYN | ACK);
    this.segment(ACK, ISN + 1, answer!.seq + 1, more);
    await this.turn();
    return [socket, answer!.seq];
  }

  [Symbol.dispose](): void {
    this.dialer[Symbol.dispose]();
  }

  /** Everything is freed. */
  async isEmpty(): Promise<void> {
    await this.turn();
    assertEquals([this.endpoint.size, this.relays.size, this.dialer.active], [0, 0, 0]);
    assertEquals([this.pool.usedBytes, this.pool.lentBlocks], [0, 0]);
  }
}

/** What a segment may differ in. */
export interface Segment {
  destination: string;
  guestPort: number;
  port: number;
  data: Uint8Array;
  /** What a SYN says of itself; it says nothing without it. */
  mss: number;
}

/** A frame of the gateway: a segment, or an ICMP error as `icmp T/C`. */
export interface Answer {
  kind: string;
  flags: number;
  seq: number;
  guestPort: number;
  data: Uint8Array;
}

function answerOf(packet: Read): Answer {
  const { payload, protocol } = packet;
  const view = new DataView(payload.buffer, payload.byteOffset);
  if (protocol !== 6) {
    return {
      kind: `icmp ${payload[0]}/${payload[1]}`,
      flags: 0,
      seq: 0,
      guestPort: 0,
      data: payload.slice(8),
    };
  }
  const flags = payload[13]!;
  const names = [[FIN, "fin"], [SYN, "syn"], [RST, "rst"], [ACK, "ack"]] as const;
  return {
    kind: names.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name).join("+"),
    flags,
    seq: view.getUint32(4),
    guestPort: view.getUint16(2),
    data: payload.slice((payload[12]! >> 4) * 4),
  };
}

/** What the frames are. */
export function kinds(answers: Answer[]): string[] {
  return answers.map((answer) => answer.kind);
}
