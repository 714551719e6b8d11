import { assert, assertEquals, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import packet from "dns-packet";
import { frameMessage } from "../../lib/dns/stream.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import { decode } from "../dns/vectors.ts";
import { GuestRig, type RigOptions, until } from "../support/guest_rig.ts";
import { concat, GATEWAY4, GATEWAY6, GATEWAY_LL, u16 } from "../support/packets.ts";
import { FakeUpstream, type Received } from "./dns_fake_upstream.ts";
import { answerTo, saying } from "./dns_support.ts";

const MANY = Array.from({ length: 1000 }, (_, i) => `198.51.${i >> 8}.${i & 255}`);

function question(id: number, name: string): Uint8Array {
  const message = packet.encode({
    type: "query",
    id,
    flags: packet.RECURSION_DESIRED,
    questions: [{ type: "A", name }],
  });
  return frameMessage(new Uint8Array(message));
}

/** Answers as they come, each whole. */
class Answers {
  readonly #connection: GuestTcp;
  #held = new Uint8Array(0);

  constructor(connection: GuestTcp) {
    this.#connection = connection;
  }

  /** The next answer; `null` at the end. */
  async next() {
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      const length = this.#held.length < 2 ? Infinity : (this.#held[0]! << 8) | this.#held[1]!;
      if (this.#held.length >= 2 + length) {
        const message = this.#held.slice(2, 2 + length);
        this.#held = this.#held.slice(2 + length);
        return packet.decode(Buffer.from(message));
      }
      const count = await this.#connection.read(buffer);
      if (count === null) {
        assertEquals(this.#held.length, 0, "the end is not inside an answer");
        return null;
      }
      const larger = new Uint8Array(this.#held.length + count);
      larger.set(this.#held);
      larger.set(buffer.subarray(0, count), this.#held.length);
      this.#held = larger;
    }
  }

  /** The identifiers of the next answers. */
  async ids(count: number): Promise<number[]> {
    const ids: number[] = [];
    while (ids.length < count) ids.push((await this.next())!.id);
    return ids;
  }
}

async function ask(
  options: RigOptions,
  address = GATEWAY4,
): Promise<[GuestRig, GuestTcp, Answers]> {
  // A question waits for its answer, however long the test is held up.
  const limits = { dnsTimeoutMs: 300_000, ...options.limits };
  const rig = await GuestRig.start({ ...options, limits });
  const connection = await rig.guest.connect(address, 53);
  return [rig, connection, new Answers(connection)];
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

Deno.test("dns over tcp: the gateway's own names, at each of its addresses and any other", async () => {
  for (const address of [GATEWAY4, GATEWAY6, GATEWAY_LL, "8.8.8.8", "169.254.169.254"]) {
    const [started, connection, answers] = await ask({}, address);
    await using rig = started;
    await connection.write(question(77, "gateway.internal"));
    const answer = await answers.next();
    assertEquals(answer!.id, 77);
    assertEquals(answer!.answers!.map((record: { data: unknown }) => record.data), [GATEWAY4]);
    connection.finish();
    assertEquals(await answers.next(), null);
    await rig.idle();
  }
});

Deno.test("dns over tcp: without intercept only the gateway's own addresses answer", async () => {
  const options: RigOptions = { dns: { upstreams: ["127.0.0.1:1"], intercept: false } };
  for (const address of [GATEWAY4, GATEWAY6, GATEWAY_LL]) {
    const [started, connection, answers] = await ask(options, address);
    await using _rig = started;
    await connection.write(question(5, "gateway.internal"));
    assertEquals(await answers.ids(1), [5]);
  }
  await using rig = await GuestRig.start(options);
  await assertRejects(() => rig.guest.connect("169.254.169.254", 53), GuestError, "prohibited");
});

Deno.test("dns over tcp: questions come in pieces of any size", async () => {
  const stream = concat(...numbers(20).map((id) => question(id, "gateway.internal")));
  for (const size of [1, 2, 7, 31, stream.length]) {
    const [started, connection, answers] = await ask({});
    await using _rig = started;
    for (let at = 0; at < stream.length; at += size) {
      await connection.write(stream.subarray(at, at + size));
      if (size < 7) await new Promise<void>((resolve) => queueMicrotask(resolve));
    }
    assertEquals(await answers.ids(20), numbers(20));
  }
});

Deno.test("dns over tcp: answers go out in the order in which they come, 16 at once", async () => {
  await using upstream = await FakeUpstream.start();
  const [started, connection, answers] = await ask({ dns: { upstreams: [upstream.address] } });
  await using rig = started;
  await connection.write(concat(...numbers(20).map((id) => question(id, `${id}.example`))));
  await until("16 are under way", () => upstream.received.length === 16);
  assertEquals(rig.network.figures().dnsInFlight, 16);
  upstream.behaviour = saying("192.0.2.1");
  // Each is asked in a connection of its own, so the order in which they came says nothing.
  const isLast = ({ message }: Received) => decode(message).questions[0].name === "15.example";
  const held = upstream.received.slice();
  for (const { message, reply } of held.filter(isLast)) reply(answerTo(message));
  const [first] = await answers.ids(1);
  assertEquals(first, 15, "the later question had the earlier answer");
  for (const one of held) if (!isLast(one)) one.reply(answerTo(one.message));
  const ids = [first!, ...await answers.ids(19)];
  assertEquals(ids.sort((a, b) => a - b), numbers(20));
  connection.finish();
  assertEquals(await answers.next(), null);
  await rig.idle();
});

Deno.test("dns over tcp: a guest that finishes after its questions still gets the answers", async () => {
  await using upstream = await FakeUpstream.start();
  const [started, connection, answers] = await ask({ dns: { upstreams: [upstream.address] } });
  await using rig = started;
  await connection.write(concat(question(1, "one.example"), question(2, "two.example")));
  connection.finish();
  await until("both are asked", () => upstream.received.length === 2);
  for (const { message, reply } of upstream.received) reply(answerTo(message, "192.0.2.7"));
  assertEquals((await answers.ids(2)).sort(), [1, 2]);
  assertEquals(await answers.next(), null);
  await rig.idle();
});

Deno.test("dns over tcp: the end inside a question ends the connection in order", async () => {
  const [started, connection, answers] = await ask({});
  await using rig = started;
  await connection.write(question(1, "gateway.internal"));
  await connection.write(question(2, "gateway.internal").slice(0, 9));
  connection.finish();
  assertEquals(await answers.ids(1), [1]);
  assertEquals(await answers.next(), null);
  await rig.idle();
});

Deno.test("dns over tcp: broken framing is a reset", async () => {
  for (const length of [0, 1, 11]) {
    const [started, connection, answers] = await ask({});
    await using rig = started;
    await connection.write(concat(u16(length), new Uint8Array(20)));
    await assertRejects(() => answers.next(), GuestError, "reset");
    await rig.idle();
  }
});

Deno.test("dns over tcp: a dead upstream is SERVFAIL, and the connection goes on", async () => {
  const [started, connection, answers] = await ask({ limits: { dnsTimeoutMs: 100 } });
  await using _rig = started;
  await connection.write(question(1, "example.com"));
  assertEquals((await answers.next() as { rcode?: string }).rcode, "SERVFAIL");
  await connection.write(question(2, "gateway.internal"));
  assertEquals(await answers.ids(1), [2]);
});

Deno.test("dns over tcp: a guest that does not read bounds what waits for it", async () => {
  const count = 600;
  const [started, connection, answers] = await ask({
    dns: { upstreams: ["127.0.0.1:1"], records: { "many.internal": MANY } },
    limits: { tcpBufferMaxBytes: 256 * 1024 },
  });
  await using rig = started;
  const writing = connection.write(
    concat(...numbers(count).map((id) => question(id, "many.internal"))),
  );
  const taken = () => rig.counters["rx.bytes"];
  for (let before = -1; before !== taken();) {
    before = taken()!;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert(rig.network.figures().bufferBytes <= 512 * 1024);
  assertEquals(await answers.ids(count), numbers(count));
  await writing;
  connection.finish();
  assertEquals(await answers.next(), null);
  await rig.idle();
});

Deno.test("dns over tcp: a guest that resets while a question is under way leaves nothing", async () => {
  await using upstream = await FakeUpstream.start();
  const [started, connection] = await ask({ dns: { upstreams: [upstream.address] } });
  await using rig = started;
  await connection.write(question(1, "one.example"));
  await until("it is asked", () => upstream.received.length === 1);
  connection.abort();
  await until("the flow is gone", () => rig.network.figures().tcpFlows === 0);
  for (const { message, reply } of upstream.received) reply(answerTo(message));
  await rig.idle();
});

Deno.test("dns over tcp: the link goes while questions are under way", async () => {
  await using upstream = await FakeUpstream.start();
  const [started, connection] = await ask({ dns: { upstreams: [upstream.address] } });
  await using rig = started;
  await connection.write(concat(question(1, "one.example"), question(2, "two.example")));
  await until("both are asked", () => upstream.received.length === 2);
  rig.vmm.close();
  assertEquals(await rig.ended, "closed by the VMM");
});
