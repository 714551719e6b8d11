/** A guest's rates over the flows of a whole network, on virtual time. */
import { assert, assertEquals } from "@std/assert";
import type { RateConfig } from "../../lib/config/options.ts";
import { type Flow, guestBytes, hostBytes, HostileGuest } from "../hostile/hostile_guest.ts";
import { SYN } from "../hostile/inspection.ts";
import { ethernet, GUEST4, ip4, pattern, udp } from "../support/packets.ts";
import { HOST4, source } from "../support/virtual_host.ts";
import type { VirtualPeer } from "../support/virtual_socket.ts";

/** A transfer from the guest, as fast as windows let it. */
class Upload {
  at = 1;
  readonly #flow: Flow;
  readonly #peer: VirtualPeer;
  readonly #totalBytes: number;
  #edge = 1 + 65_535;
  #taken: number[] = [];

  constructor(flow: Flow, peer: VirtualPeer, totalBytes: number) {
    this.#flow = flow;
    this.#peer = peer;
    this.#totalBytes = totalBytes;
  }

  /** The guest sends what it may, the host takes what has come: how much it has now. */
  async step(): Promise<number> {
    for (const { ack = 0, win } of this.#flow.sent()) {
      this.#edge = Math.max(this.#edge, ack + win);
    }
    const lines: string[] = [];
    for (let i = 0; i < 16; i++) {
      const end = Math.min(this.at + 1_000, this.#edge, this.#totalBytes + 1);
      if (end <= this.at) break;
      lines.push(`. ${this.at}:${end} ack 1`);
      this.at = end;
    }
    await this.#flow.guest(...lines);
    this.#taken.push(...this.#peer.take());
    return this.#taken.length;
  }

  /** All of it has come, in order. */
  isRight(): void {
    assertEquals(Uint8Array.from(this.#taken), guestBytes(this.#totalBytes));
  }
}

async function start(rate: RateConfig): Promise<HostileGuest> {
  return await HostileGuest.start({ rate });
}

/** Steps of 5 ms until `done`: how long that took, in seconds. */
async function secondsUntil(gw: HostileGuest, done: () => Promise<boolean>): Promise<number> {
  const startMs = gw.host.now();
  while (!await done()) {
    await gw.run(5);
    assert(gw.host.now() - startMs < 60_000, "the transfer comes to an end");
  }
  return (gw.host.now() - startMs) / 1000;
}

function assertNear(actual: number, expected: number, by: number): void {
  assert(Math.abs(actual - expected) <= by, `${actual} is not ${expected} ± ${by}`);
}

/** The guest takes all that it is sent: how much it has. */
async function drain(flow: Flow): Promise<number> {
  if (flow.sent().some(({ dataBytes }) => dataBytes > 0)) {
    await flow.guest(`. 1:1 ack ${flow.sentEnd}`);
  }
  return flow.sentEnd - 1;
}

function datagram(bytes: number, guestPort = 5_000): Uint8Array {
  const data = udp(GUEST4, guestPort, HOST4, 123, pattern(bytes));
  return ethernet(ip4(data, { destination: HOST4 }));
}

const PLAIN_OPTIONS = "mss 1460";
const TOTAL = 300_000;

Deno.test("rates: what a guest uploads comes at the rate, whole and in order; no frame is lost to it", async () => {
  await using gw = await start({ up: 100_000, upBurst: 10_000 });
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  const upload = new Upload(flow, await flow.opens(PLAIN_OPTIONS), TOTAL);
  const seconds = await secondsUntil(gw, async () => await upload.step() === TOTAL);
  assertNear(seconds, (TOTAL - 10_000) / 100_000, 0.1);
  upload.isRight();
  await flow.guest(`R ${TOTAL + 1}:${TOTAL + 1}`);
  flow.sent();
  gw.silent().counts({ "tcp.reset.received": 1 });
  await gw.empties(0);
});

Deno.test("rates: several uploads share the rate in equal parts", async () => {
  await using gw = await start({ up: 400_000 });
  gw.host.listen(HOST4, 80);
  const uploads: Upload[] = [];
  const flows = [0, 1, 2, 3].map((i) => gw.flow({ guestPort: 40_000 + i }));
  for (const flow of flows) uploads.push(new Upload(flow, await flow.opens(PLAIN_OPTIONS), TOTAL));
  const came = [0, 0, 0, 0];
  for (let ms = 0; ms < 2_000; ms += 5) {
    for (const [i, upload] of uploads.entries()) came[i] = await upload.step();
    await gw.run(5);
  }
  const total = came.reduce((sum, each) => sum + each);
  assertNear(total, 840_000, 40_000);
  for (const each of came) assertNear(each, total / 4, 20_000);
  // Those that end, whatever they owe, leave the rest to the others, and no timer behind.
  for (const [i, flow] of flows.entries()) {
    await flow.guest(`R ${uploads[i]!.at}:${uploads[i]!.at}`);
  }
  for (const flow of flows) flow.sent();
  assertEquals(gw.grown(), { "tcp.reset.received": 4 });
  await gw.empties(0);
});

Deno.test("rates: what a guest downloads comes at the rate, and the host's socket waits meanwhile", async () => {
  await using gw = await start({ down: 100_000, downBurst: 10_000 });
  gw.host.listen(HOST4, 80, source(hostBytes(TOTAL)));
  const flow = gw.flow();
  const peer = await flow.opens(PLAIN_OPTIONS);
  const seconds = await secondsUntil(gw, async () => await drain(flow) >= TOTAL);
  assertNear(seconds, (TOTAL - 10_000) / 100_000, 0.15);
  gw.silent().counts({});
  await gw.run(100);
  flow.sent();
  await flow.guest(`F. 1:1 ack ${TOTAL + 2}`);
  await gw.run(10);
  assert(peer.isClosed);
  gw.forget();
  await gw.empties();
});

Deno.test("rates: a slow direction does not hold up the other", async () => {
  for (const [up, down] of [[2_000_000, 1_000], [1_000, 2_000_000]] as const) {
    await using gw = await start({ up, down });
    gw.host.listen(HOST4, 80);
    gw.host.listen(HOST4, 81, source(hostBytes(1_000_000)));
    const uphill = gw.flow();
    const downhill = gw.flow({ hostPort: 81, guestPort: 40_001 });
    const upload = new Upload(uphill, await uphill.opens(PLAIN_OPTIONS), 1_000_000);
    await downhill.opens(PLAIN_OPTIONS);
    const came = [0, 0];
    for (let ms = 0; ms < 1_000; ms += 5) {
      came[0] = await upload.step();
      came[1] = await drain(downhill);
      await gw.run(5);
    }
    const [fast, slow] = up > down ? came : came.toReversed();
    assert(fast! > 900_000, `${came}`);
    assert(slow! < 10_000, `${came}`);
    await uphill.guest(`R ${upload.at}:${upload.at}`);
    await downhill.guest("R 1:1");
    uphill.sent();
    downhill.sent();
    gw.forget();
    await gw.empties();
  }
});

Deno.test("rates: datagrams beyond the rate are dropped and counted, each way", async () => {
  for (const direction of ["up", "down"] as const) {
    await using gw = await start({ [direction]: 100_000, [`${direction}Burst`]: 10_000 });
    let got = 0;
    gw.host.udp(HOST4, 123, (data, reply) => {
      got += data.length;
      reply(data);
    });
    let came = 0;
    for (let i = 0; i < 2_000; i++) {
      gw.send(datagram(1_000));
      await gw.run(1);
      came += gw.taken(({ protocol, payload }) => protocol === 17 ? payload.length - 8 : null)
        .reduce((sum, bytes) => sum + bytes, 0);
    }
    assertNear(came, 210_000, 5_000);
    assertEquals(got, direction === "up" ? came : 2_000_000);
    const lost = (2_000_000 - came) / 1_000;
    const passed = got / 1_000;
    gw.silent().counts({
      "udp.opened": 1,
      "udp.up": passed,
      "udp.down": came / 1_000,
      [`drop.rate.${direction}`]: lost,
    });
    await gw.empties();
  }
});

Deno.test("rates: flows that begin too fast are dropped without a word, and begin when they try again", async () => {
  await using gw = await start({ flowsPerSecond: 10, flowsBurst: 5 });
  gw.host.listen(HOST4, 80);
  gw.host.udp(HOST4, 123, (data, reply) => reply(data));
  const flows = Array.from({ length: 20 }, (_, i) => gw.flow({ guestPort: 40_000 + i }));
  for (const flow of flows) await flow.guest(SYN);
  await gw.settle();
  const answered = () => flows.filter((flow) => flow.sent().length > 0).length;
  assertEquals(answered(), 5);
  gw.silent().counts({ "drop.rate.flows": 15 });
  await gw.run(1_000);
  for (const flow of flows.slice(5)) await flow.guest(SYN);
  await gw.settle();
  // SYN-ACKs that nobody has acknowledged came again, too.
  assertEquals(flows.slice(5).filter((flow) => flow.sent().length > 0).length, 5);
  gw.forget();
  // Datagrams of flows that are there already are no new flows.
  await gw.run(1_000);
  for (let i = 0; i < 10; i++) await gw.sends(datagram(10, 5_000 + i));
  assertEquals(gw.figures().udpFlows, 5);
  assertEquals(gw.taken(({ protocol }) => protocol === 17 ? true : null).length, 5);
  const { "drop.rate.flows": dropped } = gw.grown();
  assertEquals(dropped, 5);
  for (let i = 0; i < 5; i++) await gw.sends(datagram(10, 5_000 + i));
  assertEquals(gw.grown()["drop.rate.flows"], undefined);
  for (const flow of flows) flow.sent();
  for (const flow of flows) await flow.guest("R. 1:1 ack 1");
  gw.forget();
  await gw.empties();
});

Deno.test("rates: a link that ends amid transfers that wait leaves nothing behind", async () => {
  const gw = await start({ up: 10_000, down: 10_000, flowsPerSecond: 1_000 });
  gw.host.listen(HOST4, 80, source(hostBytes(100_000)));
  for (let i = 0; i < 20; i++) {
    const flow = gw.flow({ guestPort: 40_000 + i });
    const peer = await flow.opens(PLAIN_OPTIONS);
    await new Upload(flow, peer, 50_000).step();
    await gw.sends(datagram(1_000, 5_000 + i));
  }
  await gw.run(50);
  await gw.end();
});
