/**
 * What a guest's SYN leads to, on a clock of the test's own: connects that take as long as the test
 * says, and every frame of the answer looked at.
 */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS, type Limits } from "../../lib/config/limits.ts";
import type { ProtectLevel } from "../../lib/config/options.ts";
import { Destinations } from "../../lib/host/destinations.ts";
import { Dialer } from "../../lib/host/dialer.ts";
import { TcpRelayTable } from "../../lib/host/tcp_relay.ts";
import { BufferPool } from "../../lib/stack/buffer_pool.ts";
import { endpointBytes, TcpEndpoint } from "../../lib/stack/tcp/endpoint.ts";
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
} from "../support/packets.ts";
import { StackHarness } from "../support/stack_harness.ts";

const FLOWS = 64;
const POOL_BYTES = 8 * 1024 * 1024;
const PUBLIC4 = "8.8.4.4";
const PUBLIC6 = "2001:4860:4860::8844";
/** An address that the made-up host says is its own. */
const OWN4 = "8.8.4.100";
const ISN = 1000;
const [FIN, SYN, RST, ACK] = [1, 2, 4, 16];

/** A host's socket of which the test is the peer. */
class FakeSocket {
  readonly options: string[] = [];
  readonly localAddr: Deno.NetAddr;
  readonly remoteAddr: Deno.NetAddr;
  readonly written: Uint8Array[] = [];
  closed = false;
  writeClosed = false;
  readsPending = 0;
  #reader: PromiseWithResolvers<number | null> | null = null;
  #into: Uint8Array = new Uint8Array(0);

  constructor(remote: string, port: number) {
    const local = remote === OWN4 || remote === "127.0.0.1" ? remote : "10.9.9.9";
    this.localAddr = { transport: "tcp", hostname: local, port: 50_000 };
    this.remoteAddr = { transport: "tcp", hostname: remote, port };
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
  }

  /** The peer sends, or finishes with `null`. */
  arrive(bytes: Uint8Array | null): void {
    if (bytes !== null) this.#into.set(bytes);
    this.readsPending--;
    this.#reader!.resolve(bytes === null ? null : bytes.length);
    this.#reader = null;
  }
}

interface Attempt {
  readonly name: string;
  connected(): FakeSocket;
  failed(code: string): void;
  aborted: boolean;
}

interface BenchOptions {
  limits?: Partial<Limits>;
  protect?: ProtectLevel;
  halfOpenPerDestination?: number;
  ownPorts?: readonly number[];
}

/** Stack, endpoint and relays of one guest, with a made-up host. */
class RelayBench extends StackHarness implements Disposable {
  readonly attempts: Attempt[] = [];
  readonly endpoint: TcpEndpoint;
  readonly dialer: Dialer;
  readonly relays: TcpRelayTable;
  readonly pool: BufferPool;

  constructor(options: BenchOptions = {}) {
    const ownBytes = endpointBytes(FLOWS);
    super({ scratchBytes: ownBytes + POOL_BYTES });
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
      now,
      ({ hostname, port, signal }) => this.#connect(hostname!, port, signal),
    );
    this.relays = new TcpRelayTable({
      endpoint: this.endpoint,
      relaysMax: 1_000,
      errors: this.stack.errors,
      destinations: new Destinations({
        protect: options.protect ?? "metadata",
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
      clientsPending: 16,
      halfOpenPerDestination: options.halfOpenPerDestination ?? 32,
      wake: () => {},
      now,
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
    const source = destination.includes(":") ? GUEST6 : GUEST4;
    const bytes = concat(
      u16(guestPort),
      u16(port),
      u32(seq),
      u32(ack),
      [0x50, flags],
      u16(60_000),
      [0, 0, 0, 0],
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

interface Segment {
  destination: string;
  guestPort: number;
  port: number;
  data: Uint8Array;
}

/** A frame of the gateway: a segment, or an ICMP error as `icmp T/C`. */
interface Answer {
  kind: string;
  flags: number;
  seq: number;
  data: Uint8Array;
}

function answerOf(packet: Read): Answer {
  const { payload, protocol } = packet;
  const view = new DataView(payload.buffer, payload.byteOffset);
  if (protocol !== 6) {
    return { kind: `icmp ${payload[0]}/${payload[1]}`, flags: 0, seq: 0, data: payload.slice(8) };
  }
  const flags = payload[13]!;
  const names = [[FIN, "fin"], [SYN, "syn"], [RST, "rst"], [ACK, "ack"]] as const;
  return {
    kind: names.filter(([bit]) => (flags & bit) !== 0).map(([, name]) => name).join("+"),
    flags,
    seq: view.getUint32(4),
    data: payload.slice((payload[12]! >> 4) * 4),
  };
}

function kinds(answers: Answer[]): string[] {
  return answers.map((answer) => answer.kind);
}

Deno.test("tcp dial: a SYN is answered only when the host has connected", async () => {
  for (const destination of [PUBLIC4, PUBLIC6]) {
    using bench = new RelayBench();
    bench.segment(SYN, ISN, 0, { destination });
    assertEquals(await bench.turn(), []);
    assertEquals(bench.attempts.map(({ name }) => name), [`${destination} 80`]);
    bench.nowMs += 2_000;
    bench.segment(SYN, ISN, 0, { destination }); // the guest is impatient: one dial a SYN
    assertEquals(await bench.turn(), []);
    assertEquals(bench.attempts.length, 1);
    bench.attempts[0]!.connected();
    assertEquals(kinds(await bench.turn()), ["syn+ack"]);
  }
});

Deno.test("tcp dial: a host's socket sends at once and notices a peer that is gone", async () => {
  using bench = new RelayBench();
  const [socket] = await bench.open();
  assertEquals(socket.options, ["nodelay true", "keepalive true"]);
});

Deno.test("tcp dial: how it failed is what the guest hears", async () => {
  const table: Record<string, [four: string[], six: string[]]> = {
    ECONNREFUSED: [["rst+ack"], ["rst+ack"]],
    EMFILE: [["rst+ack"], ["rst+ack"]],
    EHOSTUNREACH: [["icmp 3/1"], ["icmp 1/3"]],
    ENETUNREACH: [["icmp 3/0"], ["icmp 1/0"]],
    ETIMEDOUT: [["icmp 3/1"], ["icmp 1/3"]],
  };
  for (const [code, expected] of Object.entries(table)) {
    for (const [i, destination] of [PUBLIC4, PUBLIC6].entries()) {
      using bench = new RelayBench();
      bench.segment(SYN, ISN, 0, { destination });
      await bench.turn();
      bench.attempts[0]!.failed(code);
      const answers = await bench.turn();
      assertEquals(kinds(answers), expected[i], `${code} ${destination}`);
      if (answers[0]!.flags === 0) assertQuotesSyn(answers[0]!, destination);
      await bench.isEmpty();
    }
  }
});

function assertQuotesSyn(error: Answer, destination: string): void {
  const headerBytes = destination === PUBLIC4 ? 20 : 40;
  const addressAt = destination === PUBLIC4 ? 16 : 24;
  const address = error.data.slice(addressAt, headerBytes);
  assertEquals(address, ip(destination), "the destination of the quoted packet");
  const quoted = error.data.slice(headerBytes, headerBytes + 8);
  assertEquals(quoted, concat(u16(40_000), u16(80), u32(ISN)));
}

Deno.test("tcp dial: one that takes too long is given up by ICMP", async () => {
  using bench = new RelayBench();
  bench.segment(SYN, ISN, 0);
  await bench.turn();
  bench.nowMs += DEFAULT_LIMITS.tcpDialTimeoutMs;
  let answers: Answer[] = [];
  while (answers.length === 0) { // the dialer's own timer looks at the clock
    await new Promise((resolve) => setTimeout(resolve, 20));
    answers = await bench.turn();
  }
  assertEquals(kinds(answers), ["icmp 3/1"]);
  assert(bench.attempts[0]!.aborted);
  await bench.isEmpty();
});

Deno.test("tcp dial: what the policy forbids is never dialled: ICMP, then RST", async () => {
  using bench = new RelayBench();
  bench.segment(SYN, ISN, 0, { destination: "169.254.169.254" });
  assertEquals(kinds(await bench.turn()), ["icmp 3/13", "rst+ack"]);
  bench.segment(SYN, ISN, 0, { destination: "fd00:ec2::254" });
  assertEquals(kinds(await bench.turn()), ["icmp 1/1", "rst+ack"]);
  assertEquals(bench.attempts, []);
  await bench.isEmpty();
});

Deno.test("tcp dial: an own address that only the dial shows is closed before an answer", async () => {
  const cases: [BenchOptions, number, boolean][] = [
    [{ ownPorts: [7654] }, 7654, false],
    [{ ownPorts: [7654] }, 7655, true],
    [{ protect: "strict" }, 7655, false],
  ];
  for (const [options, port, allowed] of cases) {
    using bench = new RelayBench(options);
    bench.segment(SYN, ISN, 0, { destination: OWN4, port });
    await bench.turn();
    const socket = bench.attempts[0]!.connected();
    const answers = await bench.turn();
    assertEquals(kinds(answers), allowed ? ["syn+ack"] : ["icmp 3/13", "rst+ack"]);
    assertEquals([socket.closed, socket.readsPending > 0], [!allowed, allowed]);
    if (!allowed) await bench.isEmpty();
  }
});

Deno.test("tcp dial: the gateway's address tries the host's loopback of both families", async () => {
  using bench = new RelayBench();
  bench.segment(SYN, ISN, 0, { destination: GATEWAY4 });
  await bench.turn();
  bench.attempts[0]!.failed("ECONNREFUSED");
  assertEquals(await bench.turn(), []);
  bench.attempts[1]!.connected();
  assertEquals(kinds(await bench.turn()), ["syn+ack"]);
  assertEquals(bench.attempts.map(({ name }) => name), ["127.0.0.1 80", "::1 80"]);
});

Deno.test("tcp dial: a guest that resets while it waits takes the dial back", async () => {
  using bench = new RelayBench();
  for (let i = 0; i < 1_000; i++) {
    const guestPort = 10_000 + i;
    bench.segment(SYN, ISN, 0, { guestPort });
    await bench.turn();
    bench.segment(RST, ISN + 1, 0, { guestPort });
    assertEquals(await bench.turn(), []);
    assert(bench.attempts[i]!.aborted);
  }
  await bench.isEmpty();
  assertEquals(bench.counters.snapshot()["drop.tcp.halfopen"], undefined);
});

Deno.test("tcp dial: a connect that comes after the guest's reset is closed", async () => {
  using bench = new RelayBench();
  bench.segment(SYN, ISN, 0);
  await bench.turn();
  const socket = bench.attempts[0]!.connected();
  bench.segment(RST, ISN + 1, 0);
  bench.endpoint.handOver();
  assertEquals(await bench.turn(), []);
  assert(socket.closed);
  await bench.isEmpty();
});

Deno.test("tcp dial: one destination gets no more than its share of half-open flows", async () => {
  using bench = new RelayBench({ halfOpenPerDestination: 4 });
  for (let i = 0; i < 10; i++) bench.segment(SYN, ISN, 0, { guestPort: 10_000 + i });
  assertEquals(await bench.turn(), []); // what is too much is dropped without a word
  assertEquals(bench.counters.snapshot()["drop.tcp.halfopen"], 6);
  assertEquals([bench.attempts.length, bench.endpoint.size, bench.relays.size], [4, 4, 4]);
  bench.segment(SYN, ISN, 0, { guestPort: 20_000, destination: PUBLIC6 });
  bench.segment(SYN, ISN, 0, { guestPort: 20_001, port: 81 });
  await bench.turn();
  assertEquals(bench.attempts.length, 6);
  bench.attempts[0]!.failed("ECONNREFUSED");
  await bench.turn();
  bench.segment(SYN, ISN, 0, { guestPort: 10_009 }); // the guest tries again, and there is room
  await bench.turn();
  assertEquals(bench.attempts.length, 7);
});

Deno.test("tcp dial: bytes that come with the handshake reach the host after it", async () => {
  using bench = new RelayBench();
  bench.segment(SYN, ISN, 0);
  await bench.turn();
  const socket = bench.attempts[0]!.connected();
  const [answer] = await bench.turn();
  assertEquals(socket.written, []);
  bench.segment(ACK, ISN + 1, answer!.seq + 1, { data: pattern(100) });
  await bench.turn();
  assertEquals(socket.written, [pattern(100)]);
});

Deno.test("tcp dial: a host that speaks first is read before the guest's ACK, and heard after it", async () => {
  using bench = new RelayBench();
  bench.segment(SYN, ISN, 0);
  await bench.turn();
  const socket = bench.attempts[0]!.connected();
  const [answer] = await bench.turn();
  socket.arrive(pattern(50));
  assertEquals(await bench.turn(), []);
  bench.segment(ACK, ISN + 1, answer!.seq + 1);
  assertEquals((await bench.turn()).map(({ data }) => data), [pattern(50)]);
});

Deno.test("tcp dial: a whole life, frame by frame", async () => {
  using bench = new RelayBench();
  const [socket, iss] = await bench.open();
  bench.segment(ACK, ISN + 1, iss + 1, { data: pattern(10) });
  await bench.turn();
  assertEquals(socket.written, [pattern(10)]);
  bench.segment(FIN | ACK, ISN + 11, iss + 1);
  assertEquals(kinds(await bench.turn()), ["ack"]);
  assert(socket.writeClosed && !socket.closed);
  socket.arrive(pattern(20));
  await bench.turn();
  bench.segment(ACK, ISN + 12, iss + 21);
  await bench.turn();
  socket.arrive(null);
  assertEquals(kinds(await bench.turn()), ["fin+ack"]);
  assert(socket.closed);
  bench.segment(ACK, ISN + 12, iss + 22);
  assertEquals(await bench.turn(), []);
  await bench.isEmpty();
});
