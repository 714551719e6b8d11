/** Downloads of one guest beside each other, and beside flows of small pieces. */
import { assert } from "@std/assert";
import { pattern } from "../support/packets.ts";
import { ACK } from "../support/hand_guest.ts";
import { type FakeSocket, ISN, RelayBench } from "../support/relay_bench.ts";

/** One flow of a guest that reads at once, or not at all. */
class Flow {
  readonly port: number;
  readonly socket: FakeSocket;
  readonly isRead: boolean;
  /** What the guest has got, and what it has acknowledged. */
  gotBytes = 0;
  #ack: number;
  #toldBytes = 0;

  constructor(port: number, socket: FakeSocket, iss: number, isRead: boolean) {
    this.port = port;
    this.socket = socket;
    this.isRead = isRead;
    this.#ack = (iss + 1) >>> 0;
  }

  take(seq: number, bytes: number): void {
    if (!this.isRead || seq !== this.#ack) return;
    this.#ack = (this.#ack + bytes) >>> 0;
    this.gotBytes += bytes;
  }

  acknowledge(bench: RelayBench): void {
    if (this.gotBytes === this.#toldBytes) return;
    this.#toldBytes = this.gotBytes;
    bench.segment(ACK, ISN + 1, this.#ack, { guestPort: this.port });
  }
}

/** Flows of one guest behind a narrow lane. */
class Downloads {
  readonly bench = new RelayBench();
  readonly flows: Flow[] = [];

  constructor() {
    this.bench.queues.streams.fillLimitBytes = 64 * 1024;
  }

  async open(isRead = true): Promise<Flow> {
    const port = 40_000 + this.flows.length;
    const [socket, iss] = await this.bench.open({ guestPort: port });
    const flow = new Flow(port, socket, iss, isRead);
    this.flows.push(flow);
    return flow;
  }

  /** The host of a flow sends so much, as far as it is read. */
  give({ socket }: Flow, bytes: number): void {
    if (socket.readsPending > 0) socket.arrive(pattern(Math.min(bytes, socket.roomBytes)));
  }

  /** One turn, whose segments the guest answers. */
  async turn(): Promise<void> {
    const { bench } = this;
    bench.nowMs++;
    bench.endpoint.advance(bench.nowMs);
    for (const { seq, data, guestPort } of await bench.turn()) {
      this.flows[guestPort - 40_000]?.take(seq, data.length);
    }
    for (const flow of this.flows) flow.acknowledge(bench);
    await new Promise((resolve) => setImmediate(resolve));
  }

  async turns(count: number, each: () => void): Promise<void> {
    for (let i = 0; i < count; i++) {
      each();
      await this.turn();
    }
  }
}

Deno.test("downloads: each gets its share, whatever their number", async () => {
  const rig = new Downloads();
  using _ = rig.bench;
  for (let i = 0; i < 12; i++) await rig.open();
  await rig.turns(600, () => rig.flows.forEach((flow) => rig.give(flow, 64 * 1024)));
  const got = rig.flows.map(({ gotBytes }) => gotBytes);
  assert(Math.min(...got) > 64 * 1024, `${got}`);
  assert(Math.max(...got) < 2 * Math.min(...got), `${got}`);
});

Deno.test("downloads: flows of small pieces that fill the lane hold none up", async () => {
  const rig = new Downloads();
  using _ = rig.bench;
  const download = await rig.open();
  const other = await rig.open();
  await rig.turns(30, () => [download, other].forEach((flow) => rig.give(flow, 64 * 1024)));
  const before = download.gotBytes;
  const small: Flow[] = [];
  for (let i = 0; i < 24; i++) small.push(await rig.open());
  await rig.turns(600, () => {
    rig.give(download, 64 * 1024);
    rig.give(other, 64 * 1024);
    for (const flow of small) rig.give(flow, 6000);
  });
  const gotBytes = download.gotBytes - before;
  const mean = small.reduce((sum, flow) => sum + flow.gotBytes, 0) / small.length;
  assert(gotBytes >= mean, `${gotBytes} beside ${mean}`);
});

Deno.test("downloads: those that a guest does not read hold none up", async () => {
  const rig = new Downloads();
  using _ = rig.bench;
  for (let i = 0; i < 8; i++) await rig.open(false);
  const download = await rig.open();
  await rig.turns(300, () => rig.flows.forEach((flow) => rig.give(flow, 64 * 1024)));
  assert(download.gotBytes > 4 * 1024 * 1024, `${download.gotBytes}`);
});

Deno.test("downloads: one whose reads have become small holds no other one up", async () => {
  const rig = new Downloads();
  using _ = rig.bench;
  const lane = rig.bench.queues.streams;
  const first = await rig.open();
  const second = await rig.open();
  const giveAll = () => rig.flows.forEach((flow) => rig.give(flow, 64 * 1024));
  lane.fillLimitBytes = 256 * 1024;
  await rig.turns(60, giveAll);
  lane.fillLimitBytes = 20 * 1024; // its ring stays full, and reads bring what was acknowledged
  await rig.turns(100, () => rig.give(first, 64 * 1024));
  const before = [first.gotBytes, second.gotBytes];
  await rig.turns(600, giveAll);
  const got = [first.gotBytes - before[0]!, second.gotBytes - before[1]!];
  assert(Math.max(...got) < 2 * Math.min(...got), `${got}`);
});
