/** Upstreams over TLS, with servers and certificates of the tests. */
import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { frameMessage } from "../../lib/dns/stream.ts";
import { FakeUpstream, until } from "./dns_fake_upstream.ts";
import { FakeTlsUpstream, type TlsBehaviour, type TlsReceived } from "./dns_fake_tls_upstream.ts";
import { answerTo, saying } from "./dns_answers.ts";
import { trustingSystem, UpstreamsRig } from "./dns_upstreams_rig.ts";
import { ask, decode, vector } from "../dns/vectors.ts";

/** Answers every question with the address. */
const telling = (data: string): TlsBehaviour => ({ message, reply }) =>
  reply(answerTo(message, data));

function padded(length: number): Uint8Array {
  return Uint8Array.from([0, 12, length >> 8, length & 0xff, ...new Uint8Array(length)]);
}

Deno.test("TLS upstream: many questions share a connection, each under an id of its own", async () => {
  await using server = FakeTlsUpstream.start(telling("192.0.2.1"));
  await using rig = new UpstreamsRig([server.address]);
  assertEquals(await rig.resolve("one.example"), "192.0.2.1");
  const names = Array.from({ length: 64 }, (_, i) => `n${i}.example`);
  for (const name of names.slice(0, 8)) assertEquals(await rig.resolve(name), "192.0.2.1");
  const all = await Promise.all(names.map((name) => rig.resolve(name, { transport: "tcp" })));
  assertEquals(new Set(all), new Set(["192.0.2.1"]));
  assertEquals([server.connections, server.received.length], [1, 1 + 8 + 64]);
  const ids = new Set(server.received.map(({ message }) => (message[0]! << 8) | message[1]!));
  assert(ids.size > 60, `${ids.size} ids`); // of 73 draws from 65,536
  assertEquals(rig.upstreams.openConnections, 1);
  assertEquals([rig.counts.unmatched, rig.counts.triesFailed, rig.lines], [0, 0, []]);
});

Deno.test("TLS upstream: the answer comes back under the question's id, whatever the order", async () => {
  const waiting: TlsReceived[] = [];
  await using server = FakeTlsUpstream.start((received) => {
    if (waiting.push(received) < 5) return;
    for (const { message, reply } of waiting.reverse()) {
      const { name } = decode(message).questions[0];
      reply(answerTo(message, `192.0.2.${name.slice(1, 2)}`));
    }
  });
  await using rig = new UpstreamsRig([server.address]);
  const outcomes = await Promise.all(
    [1, 2, 3, 4, 5].map((i) => rig.forward(ask(`n${i}.example`, { id: 100 + i }))),
  );
  const told = outcomes.map((outcome) => {
    const { id, answers } = decode(outcome as Uint8Array);
    return [id, answers[0].data];
  });
  assertEquals(told, [1, 2, 3, 4, 5].map((i) => [100 + i, `192.0.2.${i}`]));
  assertEquals(server.connections, 1);
});

Deno.test("TLS upstream: questions with EDNS are padded, and answers come without padding", async () => {
  await using server = FakeTlsUpstream.start(({ message, reply }) => {
    const { questions } = decode(message);
    const answer = answerTo(message, "192.0.2.1");
    if (questions[0].name === "bare.example") return reply(answer);
    // An OPT of the root's name, with a cookie, padding, and another option behind.
    const options = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, ...padded(300), 0, 15, 0, 2, 0, 0];
    const opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, options.length >> 8, options.length & 0xff];
    answer[11] = 1;
    reply(Uint8Array.from([...answer, ...opt, ...options]));
  });
  await using rig = new UpstreamsRig([server.address]);
  for (const name of ["a.example", `${"a".repeat(63)}.${"b".repeat(63)}.example`]) {
    const question = ask(name, { udpBytes: 1232 });
    const outcome = await rig.forward(question.slice());
    const { message } = server.received.at(-1)!;
    assertEquals(message.length % 128, 0);
    assertLess(message.length - question.length, 132);
    const [opt] = decode(message).additionals;
    assertEquals([opt.udpPayloadSize, opt.options.length, opt.options[0].code], [1232, 1, 12]);
    const { additionals } = decode(outcome as Uint8Array);
    assertEquals(additionals[0].options.map(({ code }: { code: number }) => code), [10, 15]);
  }
  const bare = ask("bare.example");
  await rig.forward(bare.slice());
  assertEquals(server.received.at(-1)!.message.length, bare.length);
});

Deno.test("TLS upstream: what comes in pieces is put together, and many answers from one read", async () => {
  await using server = FakeTlsUpstream.start(({ message, raw }) => {
    for (const octet of frameMessage(answerTo(message))) raw(Uint8Array.of(octet));
  });
  await using rig = new UpstreamsRig([server.address]);
  assertEquals(await rig.resolve("one.example"), "192.0.2.1");
  const held: TlsReceived[] = [];
  server.behaviour = (received) => {
    if (held.push(received) < 20) return;
    const frames = held.map(({ message }) => [...frameMessage(answerTo(message))]);
    received.raw(Uint8Array.from(frames.flat()));
  };
  const names = Array.from({ length: 20 }, (_, i) => `n${i}.example`);
  const all = await Promise.all(names.map((name) => rig.resolve(name)));
  assertEquals(all, names.map(() => "192.0.2.1"));
  assertEquals(server.connections, 1);
});

Deno.test("TLS upstream: the longest answer passes", async () => {
  await using server = FakeTlsUpstream.start(({ message, reply }) => {
    const answer = new Uint8Array(65_535);
    answer.set(answerTo(message));
    reply(answer);
  });
  await using rig = new UpstreamsRig([server.address]);
  const outcome = await rig.forward(ask("one.example"));
  assertEquals(outcome.length, 65_535);
});

Deno.test("TLS upstream: what breaks the framing, or answers another question, ends the connection", async () => {
  const faults: [string, TlsBehaviour][] = [
    ["no DNS message", ({ raw }) => raw(Uint8Array.of(0, 0))],
    ["no DNS message", ({ raw }) => raw(Uint8Array.of(0, 11, 1))],
    ["no DNS message", ({ raw }) => raw(new TextEncoder().encode("\0\x05GET / HTTP/1.1\r\n"))],
    ["another question", ({ message, reply }) => {
      reply(answerTo(ask("evil.example", { id: (message[0]! << 8) | message[1]! }), "203.0.113.1"));
    }],
    ["inside of an answer", ({ message, raw, hangUp }) => {
      raw(frameMessage(answerTo(message)).slice(0, 20));
      hangUp();
    }],
    ["inside of an answer", ({ raw, hangUp }) => {
      raw(Uint8Array.of(0));
      hangUp();
    }],
    ["closed the connection", ({ hangUp }) => hangUp()],
  ];
  for (const [reason, behaviour] of faults) {
    await using server = FakeTlsUpstream.start(behaviour);
    await using other = FakeTlsUpstream.start(telling("192.0.2.2"));
    await using rig = new UpstreamsRig([server.address, other.address]);
    const both = await Promise.all([rig.resolve("one.example"), rig.resolve("two.example")]);
    assertEquals(both, ["192.0.2.2", "192.0.2.2"], reason);
    assertEquals(rig.lines.length, 1);
    assertMatch(
      rig.lines[0]!,
      new RegExp(`^warn upstream DNS tls://127.*#dns\\.test: .*${reason}`),
    );
    await until(() => server.ended === server.connections);
  }
});

Deno.test("TLS upstream: an answer under an id that was not asked changes nothing", async () => {
  await using server = FakeTlsUpstream.start(({ message, reply }) => {
    const wrong = answerTo(message, "203.0.113.1");
    wrong[0]! ^= 0x55;
    reply(wrong);
    reply(answerTo(message, "192.0.2.1"));
    reply(answerTo(message, "203.0.113.2")); // and none is taken twice
  });
  await using rig = new UpstreamsRig([server.address]);
  assertEquals(await rig.resolve("one.example"), "192.0.2.1");
  assertEquals(await rig.resolve("two.example"), "192.0.2.1");
  await until(() => rig.counts.unmatched >= 3);
  assertEquals([server.connections, rig.lines], [1, []]);
});

Deno.test("TLS upstream: a peer that is done with a connection is asked again over another one", async () => {
  await using server = FakeTlsUpstream.start(telling("192.0.2.1"));
  await using rig = new UpstreamsRig([server.address]);
  assertEquals(await rig.resolve("one.example"), "192.0.2.1");
  // It goes while the next question is on its way.
  let asked = 0;
  server.behaviour = ({ message, reply, hangUp }) => {
    if (asked++ === 0) hangUp();
    else reply(answerTo(message, "192.0.2.2"));
  };
  for (const transport of ["tcp", "udp"] as const) {
    asked = 0;
    assertEquals(await rig.resolve(`${transport}.example`, { transport }), "192.0.2.2");
    assertEquals(asked, 2);
  }
  server.hangUp();
  await until(() => rig.upstreams.openConnections === 0);
  assertEquals(await rig.resolve("late.example"), "192.0.2.2");
  assertEquals([rig.counts.triesFailed, rig.lines], [0, []]);
});

Deno.test("TLS upstream: a server that only closes is left alone for a while", async () => {
  await using server = FakeTlsUpstream.start(({ hangUp }) => hangUp());
  await using rig = new UpstreamsRig([server.address]);
  for (let i = 0; i < 20; i++) assertEquals(await rig.resolve(`n${i}.example`), "network");
  assertEquals(server.connections, 2);
});

Deno.test("TLS upstream: who says nothing gets their share of the time, then the next is asked", async () => {
  await using silent = FakeTlsUpstream.start();
  await using other = await FakeUpstream.start(saying("192.0.2.2"));
  await using rig = new UpstreamsRig([silent.address, other.address], {
    limits: { dnsTimeoutMs: 3_000 },
  });
  const outcome = rig.resolve("one.example");
  await until(() => silent.received.length === 1);
  await rig.clock.run(500); // a sixth
  assertEquals(await outcome, "192.0.2.2");
  assertEquals(rig.lines.filter((line) => line.endsWith(": no answer")).length, 1);
  assertEquals([silent.received.length, other.received.length], [1, 1]);
  // The one that was asked in vain stands behind.
  assertEquals(await rig.resolve("two.example"), "192.0.2.2");
  assertEquals(silent.received.length, 1);
});

Deno.test("TLS upstream: alone and silent it is asked twice, and the question ends in time", async () => {
  await using silent = FakeTlsUpstream.start();
  await using rig = new UpstreamsRig([silent.address], { limits: { dnsTimeoutMs: 600 } });
  const outcome = rig.resolve("one.example");
  for (const [received, shareMs] of [[1, 200], [2, 400]] as const) {
    await until(() => silent.received.length === received);
    await rig.clock.run(shareMs);
  }
  assertEquals(await outcome, "timeout");
  assertEquals(silent.received.length, 2);
  assertEquals(rig.upstreams.inFlight, 0);
});

Deno.test("TLS upstream: a late answer is taken as long as the question waits", async () => {
  await using late = FakeTlsUpstream.start();
  await using silent = await FakeUpstream.start(() => {
    const [first] = late.received;
    first!.reply(answerTo(first!.message, "192.0.2.1"));
  });
  await using rig = new UpstreamsRig([late.address, silent.address], {
    limits: { dnsTimeoutMs: 3_000 },
  });
  const outcome = rig.resolve("one.example");
  await until(() => late.received.length === 1);
  await rig.clock.run(500);
  assertEquals(await outcome, "192.0.2.1");
});

Deno.test("TLS upstream: nothing goes out in the clear where the list names no plain upstream", async () => {
  await using plain = await FakeUpstream.start(saying("192.0.2.2"));
  await using server = FakeTlsUpstream.start(({ hangUp }) => hangUp());
  await using rig = new UpstreamsRig([server.address]);
  for (const transport of ["udp", "tcp"] as const) {
    assertEquals(await rig.resolve("one.example", { transport }), "network");
  }
  await using both = new UpstreamsRig([server.address, plain.address]);
  for (const transport of ["udp", "tcp"] as const) {
    assertEquals(await both.resolve("two.example", { transport }), "192.0.2.2");
    assertEquals(plain.over(transport).length, 1);
  }
});

Deno.test("TLS upstream: one that could not answer hands the question on", async () => {
  await using broken = FakeTlsUpstream.start(({ message, reply }) =>
    reply(answerTo(message, "", 2))
  );
  await using other = FakeTlsUpstream.start(telling("192.0.2.2"));
  await using rig = new UpstreamsRig([broken.address, other.address]);
  for (const transport of ["udp", "tcp"] as const) {
    assertEquals(await rig.resolve("one.example", { transport }), "192.0.2.2");
  }
  other.behaviour = broken.behaviour;
  assertEquals(await rig.resolve("two.example"), "SERVFAIL");
});

Deno.test("TLS upstream: the certificate must be for the name, or for the address", async () => {
  await using server = FakeTlsUpstream.start(telling("192.0.2.1"));
  await using server6 = FakeTlsUpstream.start(telling("192.0.2.1"), { hostname: "::1" });
  for (const place of [`tls://${server.place}`, `tls://${server6.place}`, server6.address]) {
    await using byAddress = new UpstreamsRig([place]);
    assertEquals(await byAddress.resolve("one.example"), "192.0.2.1");
  }
  await using stranger = FakeTlsUpstream.start(telling("203.0.113.1"), { certificate: "other" });
  const places = [
    stranger.address,
    `tls://${stranger.place}`,
    `tls://${server.place}#other.test`,
  ];
  for (const place of places) {
    await using rig = new UpstreamsRig([place, server.address]);
    for (const name of ["one.example", "two.example"]) {
      assertEquals(await rig.resolve(name), "192.0.2.1", place);
    }
    assertEquals(rig.lines.length, 1);
    assertMatch(
      rig.lines[0]!,
      /^error upstream DNS tls:.* is not trusted: invalid peer certificate/,
    );
    assert(rig.lines[0]!.includes(`${place} `));
  }
  assertEquals(stranger.received.length, 0);
});

Deno.test("TLS upstream: an authority that nobody trusts is told once, whatever was told before", async () => {
  await using server = FakeTlsUpstream.start(telling("203.0.113.1"));
  const { connectTls: trusting } = trustingSystem();
  const { connectTls: wary } = (await import("../../lib/host/host_system.ts")).hostSystem;
  let refuses = true;
  let nowMs = 1_000;
  await using rig = new UpstreamsRig([server.address], {
    system: {
      now: () => nowMs,
      connectTls: (options) =>
        refuses ? Promise.reject(new Error("refused")) : (nowMs > 1e9 ? trusting : wary)(options),
    },
  });
  assertEquals(await rig.resolve("one.example"), "network");
  refuses = false;
  nowMs += 5_000;
  for (let i = 0; i < 4; i++, nowMs += 5_000) {
    assertEquals(await rig.resolve(`n${i}.example`), "network");
  }
  assertEquals(rig.lines.map((line) => line.split(" ")[0]), ["warn", "error"]);
  assertMatch(rig.lines[1]!, /not trusted: .*UnknownIssuer/);
  assertEquals(server.received.length, 0);
  nowMs = 2e9;
  assertEquals(await rig.resolve("late.example"), "203.0.113.1");
  assertMatch(rig.lines[2]!, /^info .*answers again$/);
});

Deno.test("TLS upstream: zones have upstreams of their own", async () => {
  await using general = FakeTlsUpstream.start(telling("192.0.2.1"));
  await using corp = FakeTlsUpstream.start(telling("192.0.2.2"));
  await using lab = await FakeUpstream.start(saying("192.0.2.3"));
  await using rig = new UpstreamsRig([general.address], {
    zones: { "corp.example": [corp.address], "lab.corp.example": [lab.address] },
  });
  const cases = [
    ["example", "192.0.2.1"],
    ["acorp.example", "192.0.2.1"],
    ["corp.example", "192.0.2.2"],
    ["WWW.Corp.Example", "192.0.2.2"],
    ["lab.corp.example", "192.0.2.3"],
    ["a.b.lab.corp.example", "192.0.2.3"],
  ] as const;
  for (const [name, address] of cases) assertEquals(await rig.resolve(name), address, name);
  // A zone's upstreams are the only ones: its names are nobody else's business.
  corp.behaviour = ({ hangUp }) => hangUp();
  assertEquals(await rig.resolve("gone.corp.example"), "network");
  assertEquals(general.received.length, 2);
});

Deno.test("TLS upstream: closing leaves nothing behind, in whatever state connections are", async () => {
  await using server = FakeTlsUpstream.start();
  const deaf = Deno.listen({ hostname: "127.0.0.1", port: 0 }); // takes connections, says nothing
  const rig = new UpstreamsRig([server.address]);
  const opening = new UpstreamsRig([`tls://127.0.0.1:${deaf.addr.port}#dns.test`]);
  const waiting = [rig.resolve("one.example"), rig.resolve("two.example")];
  const early = opening.resolve("one.example");
  await until(() => server.received.length === 2);
  await Promise.all([rig.upstreams.close(), opening.upstreams.close()]);
  assertEquals(await Promise.all([...waiting, early]), ["closed", "closed", "closed"]);
  assertEquals([rig.upstreams.openConnections, opening.upstreams.openConnections], [0, 0]);
  await until(() => server.ended === 1);
  deaf.close();
});

Deno.test("TLS upstream: every record type passes as it is", async () => {
  const whole = vector("answer_https");
  await using server = FakeTlsUpstream.start(({ message, reply }) => {
    reply(new Uint8Array([...message.subarray(0, 2), ...whole.subarray(2)]));
  });
  await using rig = new UpstreamsRig([server.address]);
  assertEquals(await rig.forward(vector("question_edns")), whole);
});

Deno.test({
  name: "TLS upstream: a missing permission is a failure that names its flag, and no question",
  permissions: { net: ["127.0.0.1"], read: true },
  async fn() {
    await using server = FakeTlsUpstream.start(telling("192.0.2.1"));
    const cases = [
      ["tls://192.0.2.1#dns.test", "needs --allow-net=192.0.2.1:853"],
      ["tls://192.0.2.1:8853", "needs --allow-net=192.0.2.1:8853"],
      ["tls://[2001:db8::1]", "needs --allow-net=[2001:db8::1]:853"],
      ["tls://dns.test", "needs --allow-net=dns.test:853"],
    ] as const;
    for (const [place, flag] of cases) {
      await using rig = new UpstreamsRig([place]);
      assertEquals(await rig.resolve("one.example"), "network");
      assertEquals(rig.lines.length, 1);
      assert(rig.lines[0]!.endsWith(flag), rig.lines[0]);
    }
    await using rig = new UpstreamsRig([server.address]);
    assertEquals(await rig.resolve("one.example"), "192.0.2.1");
  },
});
