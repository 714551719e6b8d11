/** What a guest's SYN leads to and how a relay ends, frame by frame. */
import { setImmediate } from "node:timers";
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { ACK, FIN, RST, SYN } from "../support/hand_guest.ts";
import { concat, GATEWAY4, ip, pattern, u16, u32 } from "../support/packets.ts";
import {
  type Answer,
  type BenchOptions,
  type FakeSocket,
  ISN,
  kinds,
  OWN4,
  PUBLIC4,
  PUBLIC6,
  RelayBench,
} from "../support/relay_bench.ts";

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

Deno.test("tcp dial: of many that fail at once those that get no ICMP error get an RST", async () => {
  using bench = new RelayBench({ limits: { icmpErrorBurst: 2 } });
  for (let i = 0; i < 5; i++) bench.segment(SYN, ISN, 0, { guestPort: 10_000 + i });
  await bench.turn();
  for (const attempt of bench.attempts) attempt.failed("EHOSTUNREACH");
  const answers = kinds(await bench.turn());
  assertEquals(answers, ["icmp 3/1", "icmp 3/1", "rst+ack", "rst+ack", "rst+ack"]);
  const { "drop.icmp.limit": limited, "tcp.refused": refused } = bench.counters.snapshot();
  assertEquals([limited, refused], [3, 3]);
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
  using bench = new RelayBench({ limits: { tcpDialsPerSecond: 1_000_000 } });
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

Deno.test("tcp dial: a flow that is connected keeps its share until the guest has answered", async () => {
  using bench = new RelayBench({ halfOpenPerDestination: 1 });
  bench.segment(SYN, ISN, 0);
  await bench.turn();
  bench.attempts[0]!.connected();
  const [answer] = await bench.turn();
  bench.segment(SYN, ISN, 0, { guestPort: 10_001 });
  await bench.turn();
  assertEquals(bench.attempts.length, 1);
  assertEquals(bench.counters.snapshot()["drop.tcp.halfopen"], 1);
  bench.segment(ACK, ISN + 1, answer!.seq + 1);
  await bench.turn();
  bench.segment(SYN, ISN, 0, { guestPort: 10_001 });
  await bench.turn();
  assertEquals(bench.attempts.length, 2);
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

/** Brings a flow to where the guest is done while the host has taken nothing of 100 bytes. */
async function lingering(bench: RelayBench): Promise<FakeSocket> {
  const [socket, iss] = await bench.open();
  socket.isSlow = true;
  socket.arrive(null);
  await bench.turn();
  bench.segment(FIN | ACK, ISN + 1, iss + 2, { data: pattern(100) });
  await bench.turn();
  bench.nowMs += 1_001;
  bench.endpoint.advance(bench.nowMs); // TIME_WAIT is over
  await bench.turn();
  assertEquals([bench.endpoint.size, bench.relays.size], [0, 1]);
  assert(!socket.closed);
  return socket;
}

Deno.test("tcp relay: what a host has not taken when the flow is over still goes to it", async () => {
  using bench = new RelayBench();
  const socket = await lingering(bench);
  socket.take(40);
  await bench.turn();
  assertEquals([bench.relays.size, socket.closed], [1, false]);
  socket.take(60);
  await bench.turn();
  assertEquals(concat(...socket.written), pattern(100));
  assert(socket.closed);
  await bench.isEmpty();
});

Deno.test("tcp relay: a host that fails after the flow is over ends the relay", async () => {
  using bench = new RelayBench();
  const socket = await lingering(bench);
  socket.close();
  await bench.isEmpty();
});

Deno.test("tcp relay: the guest is gone, but a lent buffer stays until the write has settled", async () => {
  using bench = new RelayBench();
  const [socket, iss] = await bench.open();
  socket.isSlow = true;
  bench.segment(ACK, ISN + 1, iss + 1, { data: pattern(100) });
  await bench.turn();
  bench.segment(RST, ISN + 101, 0);
  bench.endpoint.handOver();
  assert(socket.closed);
  assertEquals([bench.relays.size, bench.pool.lentBlocks], [0, 2]); // a read and a write
  let settled = false;
  void bench.relays.settled().then(() => settled = true);
  await bench.isEmpty();
  assert(settled);
});

Deno.test("tcp relay: relays are bounded, also by those that only wait for a slow host", async () => {
  using bench = new RelayBench({ relaysMax: 1 });
  const socket = await lingering(bench);
  bench.segment(SYN, ISN, 0, { guestPort: 40_001 });
  assertEquals(kinds(await bench.turn()), ["rst+ack"]);
  assertEquals([bench.attempts.length, bench.counters.snapshot()["drop.tcp.flows"]], [1, 1]);
  socket.take(100);
  await bench.turn();
  bench.segment(SYN, ISN, 0, { guestPort: 40_001 });
  await bench.turn();
  assertEquals(bench.attempts.length, 2);
});

Deno.test("tcp relay: a bug of our own costs one flow", async () => {
  using bench = new RelayBench();
  const [broken] = await bench.open();
  const [healthy, iss] = await bench.open({ guestPort: 40_001 });
  broken.misbehave();
  assertEquals(kinds(await bench.turn()), ["rst+ack"]);
  assert(broken.closed);
  assertEquals(bench.counters.snapshot()["bug.tcp"], 1);
  bench.segment(ACK, ISN + 1, iss + 1, { guestPort: 40_001, data: pattern(10) });
  await bench.turn();
  assertEquals(healthy.written, [pattern(10)]);
  assertEquals([bench.endpoint.size, bench.relays.size], [1, 1]);
});

/** What a guest sends on one flow, and the writes in which its host gets it. */
class Upload {
  /** The next octet's number. */
  seq = ISN + 1;
  readonly #bench: RelayBench;
  readonly #socket: FakeSocket;
  readonly #ack: number;

  constructor(bench: RelayBench, socket: FakeSocket, iss: number) {
    this.#bench = bench;
    this.#socket = socket;
    this.#ack = iss + 1;
  }

  send(bytes: number): void {
    this.#bench.segment(ACK, this.seq, this.#ack, { data: pattern(bytes) });
    this.seq += bytes;
  }

  /** The lengths of the writes since the last call. */
  written(): number[] {
    return this.#socket.written.splice(0).map(({ length }) => length);
  }
}

Deno.test("tcp relay: a small piece of a transfer waits for what the link brings next", async () => {
  using bench = new RelayBench();
  const [socket, iss] = await bench.open();
  const upload = new Upload(bench, socket, iss);
  upload.send(100);
  await bench.turn();
  assertEquals(upload.written(), [100], "a request never waits");
  for (let i = 0; i < 8; i++) {
    for (let j = 0; j < 20; j++) upload.send(1400);
    await bench.turn();
    await new Promise((resolve) => setImmediate(resolve));
    await bench.turn();
  }
  assertEquals(upload.written().reduce((sum, bytes) => sum + bytes), 8 * 28_000);
  upload.send(1400);
  await bench.turn();
  assertEquals(upload.written(), []);
  upload.send(1400);
  await new Promise((resolve) => setImmediate(resolve));
  assertEquals(upload.written(), [2800]);
  for (let j = 0; j < 23; j++) upload.send(1400);
  await bench.turn();
  assertEquals(upload.written(), []);
  for (let j = 0; j < 23; j++) upload.send(1400);
  upload.send(1136);
  await bench.turn();
  assertEquals(upload.written(), [65_536], "enough for a write");
  await bench.turn(); // opens the window again
  bench.segment(FIN | ACK, upload.seq, iss + 1, { data: pattern(10) });
  await bench.turn();
  assertEquals(upload.written(), [10], "the end does not wait");
  await bench.turn();
  assert(socket.writeClosed);
  bench.segment(RST, upload.seq + 11, 0);
  await bench.isEmpty();
});

Deno.test("tcp relay: a large segment of a transfer waits for nothing", async () => {
  using bench = new RelayBench({ mtu: 65_520 });
  const mss = 40_000;
  const [socket, iss] = await bench.open({ mss });
  const upload = new Upload(bench, socket, iss);
  for (let i = 0; i < 8; i++) {
    upload.send(mss);
    await bench.turn();
    await bench.turn(); // opens the window again
    assertEquals(upload.written(), [mss]);
  }
  upload.send(mss - 1);
  await bench.turn();
  assertEquals(upload.written(), []);
  await new Promise((resolve) => setImmediate(resolve));
  assertEquals(upload.written(), [mss - 1]);
  bench.segment(RST, upload.seq, 0);
  await bench.isEmpty();
});
