import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import type { DnsGateway } from "../../lib/host/dns_gateway.ts";
import { ask, decode, vector } from "../dns/vectors.ts";
import { FakeUpstream, until } from "./dns_fake_upstream.ts";
import { policyOf } from "../support/policy.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { answerTo, failing, gatewayTo, LINK_BYTES, saying } from "./dns_support.ts";

/** What the gateway answers over UDP, as dns-packet reads it. */
async function resolve(gateway: DnsGateway, message: Uint8Array, transport: "udp" | "tcp" = "udp") {
  const answer = await gateway.answer(message, transport, LINK_BYTES);
  assert(answer !== null);
  return decode(answer);
}

Deno.test("DnsGateway passes question and answer on as they are, but for the id", async () => {
  const whole = vector("answer_https");
  await using upstream = await FakeUpstream.start(({ message, reply }) => {
    reply(new Uint8Array([...message.subarray(0, 2), ...whole.subarray(2)]));
  });
  using gateway = gatewayTo([upstream]);
  for (const transport of ["udp", "tcp"] as const) {
    const answer = await gateway.answer(vector("question_edns"), transport, LINK_BYTES);
    assertEquals(answer, whole);
    const [received] = upstream.over(transport);
    assertEquals(received!.message.subarray(2), vector("question_edns").subarray(2));
  }
  assertEquals([gateway.counts.answered, gateway.counts.forwarded], [2, 2]);
});

Deno.test("DnsGateway asks under random ids out of many ports", async () => {
  await using upstream = await FakeUpstream.start(saying("192.0.2.1"));
  using gateway = gatewayTo([upstream]);
  for (let i = 0; i < 64; i++) await resolve(gateway, ask(`n${i}.example`, { id: 7 }));
  const ids = new Set(upstream.received.map(({ message }) => (message[0]! << 8) | message[1]!));
  const ports = new Set(upstream.received.map(({ port }) => port));
  // 64 draws from 65,536 and from 32; fewer have a chance of less than 1 in 10^9.
  assert(ids.size >= 55, `${ids.size} ids`);
  assert(ports.size >= 15 && ports.size <= 32, `${ports.size} ports`);
  assertEquals(gateway.openSockets, ports.size);
});

Deno.test("DnsGateway replaces its sockets after a while", async () => {
  await using upstream = await FakeUpstream.start(saying("192.0.2.1"));
  const clock = new VirtualClock();
  using gateway = gatewayTo([upstream], { clock });
  const ports: Set<number>[] = [];
  for (const round of [0, 1]) {
    upstream.received.length = 0;
    for (let i = 0; i < 40; i++) await resolve(gateway, ask(`n${i}.r${round}.example`));
    ports.push(new Set(upstream.received.map(({ port }) => port)));
    await clock.run(60_000);
  }
  const [first, second] = ports;
  // A port that was closed may be drawn by the system again.
  assert([...second!].filter((port) => first!.has(port)).length <= 2);
  assert(gateway.openSockets <= 32);
});

Deno.test("DnsGateway asks the next upstream where one is silent, and that first for a while", async () => {
  await using silent = await FakeUpstream.start();
  await using other = await FakeUpstream.start(saying("192.0.2.2"));
  const clock = new VirtualClock();
  using gateway = gatewayTo([silent, other], { clock, limits: { dnsTimeoutMs: 1_500 } });
  const first = resolve(gateway, ask("one.example"));
  await until(() => silent.received.length === 1);
  await clock.run(250); // a sixth
  assertEquals((await first).answers[0].data, "192.0.2.2");
  await resolve(gateway, ask("two.example"));
  assertEquals([silent.received.length, other.received.length], [1, 2]);
  await clock.run(15_000);
  silent.behaviour = saying("192.0.2.1");
  const third = await resolve(gateway, ask("three.example"));
  assertEquals(third.answers[0].data, "192.0.2.1");
  assertEquals(gateway.counts.triesFailed, 1);
});

Deno.test("DnsGateway takes a late answer of the upstream that it asked first", async () => {
  await using late = await FakeUpstream.start();
  await using silent = await FakeUpstream.start(({ message }) => {
    const [first] = late.received;
    assertNotEquals(message.subarray(0, 2), first!.message.subarray(0, 2));
    first!.reply(answerTo(first!.message, "192.0.2.1"));
  });
  const clock = new VirtualClock();
  using gateway = gatewayTo([late, silent], { clock, limits: { dnsTimeoutMs: 1_500 } });
  const answer = resolve(gateway, ask("one.example"));
  await until(() => late.received.length === 1);
  await clock.run(250);
  assertEquals((await answer).answers[0].data, "192.0.2.1");
});

Deno.test("DnsGateway asks the same upstream again where a datagram was lost", async () => {
  await using upstream = await FakeUpstream.start(({ message, reply }) => {
    if (upstream.received.length > 1) reply(answerTo(message));
  });
  const clock = new VirtualClock();
  using gateway = gatewayTo([upstream], { clock, limits: { dnsTimeoutMs: 900 } });
  const answer = resolve(gateway, ask("one.example"));
  await until(() => upstream.received.length === 1);
  await clock.run(300);
  assertEquals((await answer).rcode, "NOERROR");
  assertEquals(upstream.received.length, 2);
});

Deno.test("DnsGateway asks the next upstream where one could not answer", async () => {
  await using broken = await FakeUpstream.start();
  await using other = await FakeUpstream.start(saying("192.0.2.2"));
  using gateway = gatewayTo([broken, other]);
  for (const transport of ["udp", "tcp"] as const) {
    for (const rcode of [1, 2, 4, 5]) {
      broken.behaviour = failing(rcode);
      const answer = await resolve(gateway, ask(`r${rcode}.example`), transport);
      assertEquals(answer.answers[0].data, "192.0.2.2");
    }
  }
  broken.behaviour = failing(3);
  assertEquals((await resolve(gateway, ask("nx.example"))).rcode, "NXDOMAIN");
  other.behaviour = failing(2);
  broken.behaviour = failing(5);
  for (const transport of ["udp", "tcp"] as const) {
    const answer = await resolve(gateway, ask("refused.example", { id: 9 }), transport);
    assertEquals([answer.rcode, answer.id], ["REFUSED", 9]);
  }
});

Deno.test("DnsGateway ignores forged answers and goes on waiting", async () => {
  await using stranger = await FakeUpstream.start();
  await using upstream = await FakeUpstream.start(async ({ message, port, reply }) => {
    const wrongId = answerTo(message, "203.0.113.1");
    wrongId[0]! ^= 0xff;
    reply(wrongId);
    reply(answerTo(ask("other.example", { id: (message[0]! << 8) | message[1]! }), "203.0.113.2"));
    stranger.sendTo(port, answerTo(message, "203.0.113.3"));
    reply(Uint8Array.of(message[0]!));
    await until(() => gateway.counts.unmatched === 4);
    reply(answerTo(message, "192.0.2.1"));
  });
  using gateway = gatewayTo([upstream]);
  const answer = await resolve(gateway, ask("one.example"));
  assertEquals(answer.answers[0].data, "192.0.2.1");
  assertEquals(gateway.counts.unmatched, 4);
});

Deno.test("DnsGateway lets equal questions share one query, each under its own id", async () => {
  await using upstream = await FakeUpstream.start();
  using gateway = gatewayTo([upstream]);
  const answers = [1, 2, 3].map((id) => resolve(gateway, ask("one.example", { id })));
  answers.push(resolve(gateway, ask("ONE.example", { id: 4 })));
  answers.push(resolve(gateway, ask("one.example", { id: 5 }), "tcp"));
  await until(() => upstream.received.length === 3);
  assertEquals([gateway.inFlight, gateway.counts.shared], [5, 2]);
  for (const { message, reply } of upstream.received) reply(answerTo(message));
  const ids = (await Promise.all(answers)).map(({ id }) => id);
  assertEquals(ids, [1, 2, 3, 4, 5]);
  assertEquals([gateway.inFlight, upstream.received.length], [0, 3]);
  // None is in flight any more, so the same question is asked again.
  upstream.behaviour = saying("192.0.2.1");
  await resolve(gateway, ask("one.example"));
  assertEquals(upstream.received.length, 4);
});

Deno.test("DnsGateway says SERVFAIL at once where too many questions are in flight", async () => {
  await using upstream = await FakeUpstream.start();
  using gateway = gatewayTo([upstream], { limits: { dnsInFlight: 3, dnsInFlightPerUpstream: 2 } });
  const waiting = [1, 2].map((id) => resolve(gateway, ask(`n${id}.example`, { id })));
  const full = await resolve(gateway, ask("n3.example", { udpBytes: 1232 }));
  assertEquals(full.rcode, "SERVFAIL");
  assertEquals([...full.additionals[0].options[0].data.subarray(0, 2)], [0, 0]);
  assertEquals((await resolve(gateway, ask("n3.example"), "tcp")).rcode, "SERVFAIL");
  waiting.push(resolve(gateway, ask("n1.example", { id: 3 })));
  assertEquals((await resolve(gateway, ask("n1.example"))).rcode, "SERVFAIL");
  assertEquals(gateway.counts.failedBusy, 3);
  await until(() => upstream.received.length === 2);
  for (const { message, reply } of upstream.received) reply(answerTo(message));
  assertEquals((await Promise.all(waiting)).map(({ rcode }) => rcode), Array(3).fill("NOERROR"));
  upstream.behaviour = saying("192.0.2.1");
  assertEquals((await resolve(gateway, ask("n3.example"))).rcode, "NOERROR");
});

Deno.test("DnsGateway counts a question at an upstream once, however often it asks", async () => {
  await using upstream = await FakeUpstream.start(({ message, reply }) => {
    if (upstream.received.length === 2) reply(answerTo(message));
  });
  const clock = new VirtualClock();
  const limits = { dnsTimeoutMs: 900, dnsInFlight: 8, dnsInFlightPerUpstream: 1 };
  using gateway = gatewayTo([upstream], { clock, limits });
  for (const name of ["one.example", "two.example"]) {
    upstream.received.length = 0;
    const answer = resolve(gateway, ask(name));
    await until(() => upstream.received.length === 1);
    await clock.run(300);
    assertEquals((await answer).rcode, "NOERROR");
  }
});

Deno.test("DnsGateway says SERVFAIL and why where nobody answers in time", async () => {
  await using upstream = await FakeUpstream.start();
  const clock = new VirtualClock();
  using gateway = gatewayTo([upstream], { clock, limits: { dnsTimeoutMs: 300 } });
  for (const transport of ["udp", "tcp"] as const) {
    const waiting = resolve(gateway, ask("one.example", { udpBytes: 1232 }), transport);
    await until(() => upstream.over(transport).length === 1);
    await clock.run(300);
    const answer = await waiting;
    assertEquals(answer.rcode, "SERVFAIL");
    assertEquals([...answer.additionals[0].options[0].data.subarray(0, 2)], [0, 22]);
  }
  assertEquals(gateway.counts.failedTimeout, 2);
  upstream.behaviour = saying("192.0.2.1");
  assertEquals((await resolve(gateway, ask("one.example"))).rcode, "NOERROR");
});

Deno.test("DnsGateway gives a truncated answer over UDP and the whole one over TCP", async () => {
  const whole = vector("answer_txt_long");
  const question = (id: number) => {
    const message = vector("question_a");
    message.set([id >> 8, id & 0xff]);
    message[26] = 16; // TXT
    return message;
  };
  await using upstream = await FakeUpstream.start(({ message, over, reply }) => {
    const answer = whole.slice();
    answer.set(message.subarray(0, 2));
    if (over === "tcp") return reply(answer);
    answer[2]! |= 2;
    answer[7] = answer[11] = 0;
    reply(answer.slice(0, 29));
  });
  using gateway = gatewayTo([upstream]);
  const cut = await resolve(gateway, question(1));
  assertEquals([cut.id, cut.flag_tc, cut.answers.length], [1, true, 0]);
  const answer = await gateway.answer(question(0x1234), "tcp", LINK_BYTES);
  assertEquals(answer, whole);
});

Deno.test("DnsGateway cuts what fits neither the question's size nor the link's", async () => {
  await using upstream = await FakeUpstream.start(({ message, reply }) => {
    const answer = vector("answer_txt_long");
    answer.set(message.subarray(0, 2));
    reply(answer);
  });
  using gateway = gatewayTo([upstream]);
  const message = () => {
    const edns = new Uint8Array([...vector("question_a"), 0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    edns[11] = 1;
    edns[26] = 16;
    return edns;
  };
  const fits = await gateway.answer(message(), "udp", LINK_BYTES);
  assertEquals(fits?.length, vector("answer_txt_long").length);
  const link = await gateway.answer(message(), "udp", 548);
  assertEquals([link!.length, decode(link!).flag_tc], [40, true]);
  assertEquals(gateway.counts.truncated, 1);
});

Deno.test("DnsGateway puts an answer over TCP together from pieces", async () => {
  await using upstream = await FakeUpstream.start();
  upstream.behaviour = async (received) => {
    for (const octet of framed(answerTo(received.message))) {
      await upstream.sendRaw(Uint8Array.of(octet));
    }
  };
  using gateway = gatewayTo([upstream]);
  assertEquals((await resolve(gateway, ask("one.example"), "tcp")).rcode, "NOERROR");
});

Deno.test("DnsGateway asks the next upstream where a TCP connection ends or says nonsense", async () => {
  await using broken = await FakeUpstream.start();
  await using other = await FakeUpstream.start(saying("192.0.2.2"));
  const nonsense: ((message: Uint8Array) => Uint8Array)[] = [
    () => new Uint8Array(0),
    () => Uint8Array.of(0, 200, 1),
    () => Uint8Array.of(0, 0),
    () => framed(answerTo(ask("other.example"))),
  ];
  for (const [i, bytes] of nonsense.entries()) {
    using gateway = gatewayTo([broken, other]);
    broken.behaviour = async ({ message }) => {
      await broken.sendRaw(bytes(message));
      broken.hangUp();
    };
    const answer = await resolve(gateway, ask(`n${i}.example`), "tcp");
    assertEquals(answer.answers[0].data, "192.0.2.2");
  }
});

Deno.test("DnsGateway says SERVFAIL where the upstream's TCP port is closed", async () => {
  // None that was free a moment ago: it may be another test's by now.
  using gateway = gatewayTo(["127.0.0.1:1"]);
  const answer = await resolve(gateway, ask("one.example", { udpBytes: 1232 }), "tcp");
  assertEquals(answer.rcode, "SERVFAIL");
  assertEquals([...answer.additionals[0].options[0].data.subarray(0, 2)], [0, 23]);
});

Deno.test("DnsGateway asks an upstream at ::1 too", async () => {
  const listener = Deno.listen({ hostname: "::1", port: 0 });
  const serving = (async () => {
    const conn = await listener.accept();
    const bytes = new Uint8Array(512);
    const n = await conn.read(bytes);
    await conn.write(framed(answerTo(bytes.slice(2, n!))));
    conn.close();
  })();
  using gateway = gatewayTo([`[::1]:${listener.addr.port}`]);
  assertEquals((await resolve(gateway, ask("one.example"), "tcp")).rcode, "NOERROR");
  await serving;
  listener.close();
});

Deno.test("DnsGateway leaves nothing behind when it is closed", async () => {
  await using upstream = await FakeUpstream.start();
  const gateway = gatewayTo([upstream]);
  const waiting = [
    gateway.answer(ask("one.example"), "udp", LINK_BYTES),
    gateway.answer(ask("two.example"), "udp", LINK_BYTES),
    gateway.answer(ask("one.example"), "tcp", LINK_BYTES),
  ];
  await until(() => upstream.received.length === 3);
  gateway.close();
  assertEquals(await Promise.all(waiting), [null, null, null]);
  assertEquals([gateway.inFlight, gateway.openSockets, gateway.counts.failedClosed], [0, 0, 3]);
  assertEquals(await gateway.answer(ask("one.example"), "udp", LINK_BYTES), null);
  gateway.close();
});

Deno.test("DnsGateway can be closed before its sockets have sent anything", async () => {
  await using upstream = await FakeUpstream.start();
  const gateway = gatewayTo([upstream]);
  const udp = gateway.answer(ask("one.example"), "udp", LINK_BYTES);
  const tcp = gateway.answer(ask("one.example"), "tcp", LINK_BYTES);
  gateway.close();
  assertEquals([await udp, await tcp], [null, null]);
  assertEquals(gateway.openSockets, 0);
});

Deno.test("DnsGateway answers own names and wrong questions without an upstream", async () => {
  using gateway = gatewayTo([]);
  const own = gateway.answer(ask("gateway.internal"), "udp", LINK_BYTES) as Uint8Array;
  assertEquals(decode(own).answers[0].data, "100.96.0.1");
  assertEquals((await resolve(gateway, ask("gateway.internal"))).answers.length, 1);
  assertEquals((await resolve(gateway, vector("qdcount_2"))).rcode, "FORMERR");
  assertEquals((await resolve(gateway, vector("axfr"), "tcp")).rcode, "REFUSED");
  assertEquals(await gateway.answer(vector("response"), "udp", LINK_BYTES), null);
  assertEquals(gateway.answer(new Uint8Array(3), "udp", LINK_BYTES), null);
  assertEquals((await resolve(gateway, ask("a.example"))).rcode, "SERVFAIL");
  const { questions, own: owned, malformed, refused, ignored, failedNetwork } = gateway.counts;
  assertEquals([questions, owned, malformed, refused, ignored, failedNetwork], [7, 2, 1, 1, 2, 1]);
});

Deno.test("DnsGateway refuses upstreams that are no address", () => {
  for (const wrong of ["dns.example", "1.2.3.4:0", "::1:53:x", "0.0.0.0", "224.0.0.1", ""]) {
    assertThrows(() => gatewayTo([wrong]), ConfigError, "dns.upstreams[0]");
  }
});

Deno.test({
  name: "DnsGateway fails at once where the permissions allow no upstream, and asks nobody",
  permissions: { net: ["127.0.0.1"], read: true },
  async fn() {
    await using upstream = await FakeUpstream.start(saying("192.0.2.1"));
    using alone = gatewayTo(["192.0.2.53"]);
    for (const transport of ["udp", "tcp"] as const) {
      assertEquals((await resolve(alone, ask("one.example"), transport)).rcode, "SERVFAIL");
    }
    assertEquals(alone.counts.failedNetwork, 2);
    // The loopback's own upstream needs no more than its address.
    using gateway = gatewayTo(["192.0.2.53", upstream]);
    for (const transport of ["udp", "tcp"] as const) {
      assertEquals((await resolve(gateway, ask("one.example"), transport)).rcode, "NOERROR");
    }
  },
});

function framed(message: Uint8Array): Uint8Array {
  return new Uint8Array([message.length >> 8, message.length & 0xff, ...message]);
}

Deno.test("DnsGateway gives its own names whole, also where no private address may be reached", async () => {
  await using upstream = await FakeUpstream.start(saying("10.0.0.1"));
  using gateway = gatewayTo([upstream], { policy: policyOf({ protect: "strict" }) });
  const own = await resolve(gateway, ask("gateway.internal"));
  assertEquals([own.answers.length, own.answers[0].data], [1, "100.96.0.1"]);
  const foreign = await resolve(gateway, ask("one.example"));
  assertEquals(foreign.answers, []);
  assertEquals(gateway.counts.stripped, 1);
});
