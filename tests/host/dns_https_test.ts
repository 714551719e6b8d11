/** Upstreams over HTTPS, with servers and certificates of the tests. */
import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { ask, decode } from "../dns/vectors.ts";
import { answerTo, saying } from "./dns_answers.ts";
import { FakeUpstream, until } from "./dns_fake_upstream.ts";
import { pem, type RigOptions, trustingSystem, UpstreamsRig } from "./dns_upstreams_rig.ts";

const MEDIA_TYPE = "application/dns-message";

/** What a server does with a question. */
type Behaviour = (message: Uint8Array) => Response | Promise<Response>;

function dnsResponse(message: BodyInit, headers: Record<string, string> = {}): Response {
  return new Response(message, { headers: { "content-type": MEDIA_TYPE, ...headers } });
}

const telling = (data: string): Behaviour => (message) =>
  dnsResponse(new Uint8Array(answerTo(message, data)));

/** A question as it came in. */
interface Received {
  readonly message: Uint8Array;
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
}

/** Begins an answer and says nothing more; calls back when the asker has gone. */
const silence = (onGone: () => void = () => {}): Behaviour => () =>
  dnsResponse(new ReadableStream({ cancel: onGone }));

/** A resolver on 127.0.0.1 that takes posted questions. */
class HttpsServer implements AsyncDisposable {
  readonly received: Received[] = [];
  behaviour: Behaviour;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(behaviour: Behaviour, certificate = "dns") {
    this.behaviour = behaviour;
    this.#server = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      cert: pem(`${certificate}.pem`),
      key: pem(`${certificate}.key`),
      onListen: () => {},
      onError: () => new Response(null, { status: 500 }),
    }, async (request) => {
      const message = await request.bytes();
      const { method, url } = request;
      const headers = new Headers(request.headers); // the request's own are gone with it
      this.received.push({ message, method, path: new URL(url).pathname, headers });
      return await this.behaviour(message);
    });
  }

  get port(): number {
    return this.#server.addr.port;
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}/dns-query`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** What the first upstream is answered with, and the line that the log has of it. */
async function fault(
  behaviour: Behaviour,
  options: RigOptions & { name?: string } = {},
): Promise<[outcome: string, line: string]> {
  await using server = new HttpsServer(behaviour);
  await using rig = new UpstreamsRig([server.url], options);
  const outcome = await rig.resolve(options.name ?? "one.example");
  assert(rig.lines.length <= 1);
  return [outcome, rig.lines[0] ?? ""];
}

Deno.test("HTTPS upstream: a question is posted under id 0, and answered under its own", async () => {
  await using server = new HttpsServer(telling("192.0.2.1"));
  await using rig = new UpstreamsRig([server.url]);
  const outcome = await rig.forward(ask("one.example", { id: 0x1234 }));
  const { id, answers } = decode(outcome as Uint8Array);
  assertEquals([id, answers[0].data], [0x1234, "192.0.2.1"]);
  const { message, method, path, headers } = server.received[0]!;
  assertEquals([...message.slice(0, 2)], [0, 0]);
  assertEquals(message.slice(2), ask("one.example").slice(2));
  assertEquals([method, path], ["POST", "/dns-query"]);
  assertEquals([headers.get("content-type"), headers.get("accept")], [MEDIA_TYPE, MEDIA_TYPE]);
  assertEquals([headers.get("cookie"), headers.get("referer")], [null, null]);
});

Deno.test("HTTPS upstream: many questions at once, over UDP and TCP alike", async () => {
  await using server = new HttpsServer((message) => {
    const { name } = decode(message).questions[0];
    return dnsResponse(new Uint8Array(answerTo(message, `192.0.2.${parseInt(name.slice(1))}`)));
  });
  await using rig = new UpstreamsRig([server.url]);
  const numbers = Array.from({ length: 64 }, (_, i) => i);
  const answers = await Promise.all(
    numbers.map((i) => rig.resolve(`n${i}.example`, { transport: i % 2 === 0 ? "udp" : "tcp" })),
  );
  assertEquals(answers, numbers.map((i) => `192.0.2.${i}`));
  assertEquals([rig.counts.triesFailed, rig.upstreams.inFlight], [0, 0]);
});

Deno.test("HTTPS upstream: no cookie is kept", async () => {
  await using server = new HttpsServer((message) =>
    dnsResponse(new Uint8Array(answerTo(message)), { "set-cookie": "who=guest; Path=/" })
  );
  await using rig = new UpstreamsRig([server.url]);
  for (const name of ["one.example", "two.example"]) await rig.resolve(name);
  assertEquals(server.received[1]!.headers.get("cookie"), null);
});

Deno.test("HTTPS upstream: questions with EDNS are padded, and answers come without padding", async () => {
  await using server = new HttpsServer((message) => {
    const answer = answerTo(message);
    answer[11] = 1;
    const opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 104, 0, 12, 0, 100, ...new Uint8Array(100)];
    return dnsResponse(Uint8Array.from([...answer, ...opt]));
  });
  await using rig = new UpstreamsRig([server.url]);
  const outcome = await rig.forward(ask("one.example", { udpBytes: 1232 }));
  assertEquals(server.received[0]!.message.length, 128);
  assertEquals(decode(outcome as Uint8Array).additionals[0].options, []);
});

Deno.test("HTTPS upstream: a redirect is not followed", async () => {
  await using other = new HttpsServer(telling("203.0.113.1"));
  for (const status of [301, 302, 303, 307, 308]) {
    const location = other.url;
    const [outcome, line] = await fault(() =>
      new Response(null, { status, headers: { location } })
    );
    assertEquals(outcome, "network");
    assertMatch(line, new RegExp(`: it sends elsewhere \\(status ${status}\\)$`));
  }
  assertEquals(other.received.length, 0);
});

Deno.test("HTTPS upstream: another status, or another type, is no answer", async () => {
  for (const status of [400, 404, 415, 429, 500, 503, 204]) {
    const [outcome, line] = await fault(() => new Response(null, { status }));
    assertEquals(outcome, "network");
    assertMatch(line, new RegExp(`it says status ${status}$`));
  }
  for (const type of ["text/html", "application/dns-json", "application/dns-messages", ""]) {
    const [outcome, line] = await fault((message) =>
      dnsResponse(new Uint8Array(answerTo(message)), { "content-type": type })
    );
    assertEquals(outcome, "network", type);
    assertMatch(line, /no DNS message by its type$/);
  }
  const [outcome] = await fault((message) =>
    dnsResponse(new Uint8Array(answerTo(message)), {
      "content-type": "Application/DNS-Message; charset=binary",
    })
  );
  assertEquals(outcome, "192.0.2.1");
});

Deno.test("HTTPS upstream: what answers another question is no answer", async () => {
  const forged: ((message: Uint8Array) => Uint8Array)[] = [
    () => answerTo(ask("evil.example", { id: 0 }), "203.0.113.1"),
    (message) => {
      const answer = answerTo(message, "203.0.113.1");
      answer[1] = 7; // another id
      return answer;
    },
    (message) => message, // a question
    () => new Uint8Array(0),
    () => new Uint8Array(11),
  ];
  for (const forge of forged) {
    const [outcome, line] = await fault((message) => dnsResponse(new Uint8Array(forge(message))));
    assertEquals(outcome, "network");
    assertMatch(line, /it answered another question$/);
  }
});

Deno.test("HTTPS upstream: no more is read than an answer can have", async () => {
  const [declared, line] = await fault(() => dnsResponse(new Uint8Array(65_536)));
  assertEquals(declared, "network");
  assertMatch(line, /more than 65535 octets$/);
  let sent = 0;
  let cancelled = false;
  const [endless, endlessLine] = await fault(() =>
    dnsResponse(
      new ReadableStream({
        pull(controller) {
          sent += 16_384;
          controller.enqueue(new Uint8Array(16_384));
        },
        cancel() {
          cancelled = true;
        },
      }),
    )
  );
  assertEquals(endless, "network");
  assertMatch(endlessLine, /more than 65535 octets$/);
  await until(() => cancelled);
  assertLess(sent, 64 * 1024 * 1024);
  const [longest] = await fault((message) => {
    const answer = new Uint8Array(65_535);
    answer.set(answerTo(message));
    return dnsResponse(answer);
  });
  assertEquals(longest, "192.0.2.1");
});

Deno.test("HTTPS upstream: an answer that is cut hands the question on", async () => {
  await using broken = new HttpsServer((message) =>
    dnsResponse(
      new ReadableStream({
        start(controller) {
          controller.enqueue(new Uint8Array(answerTo(message).slice(0, 20)));
        },
        pull(controller) {
          controller.error(new Error("cut"));
        },
      }),
    )
  );
  await using other = new HttpsServer(telling("192.0.2.2"));
  await using rig = new UpstreamsRig([broken.url, other.url]);
  assertEquals(await rig.resolve("one.example"), "192.0.2.2");
  assertEquals(rig.lines.length, 1);
});

Deno.test("HTTPS upstream: who says nothing gets their share, and the request is given up", async () => {
  let gone = 0;
  await using silent = new HttpsServer(silence(() => gone++));
  await using other = await FakeUpstream.start(saying("192.0.2.2"));
  await using rig = new UpstreamsRig([silent.url, other.address], {
    limits: { dnsTimeoutMs: 3_000 },
  });
  const outcome = rig.resolve("one.example");
  await until(() => silent.received.length === 1);
  await rig.clock.run(500); // a sixth
  assertEquals(await outcome, "192.0.2.2");
  await until(() => gone === 1);
  await using alone = new UpstreamsRig([silent.url], { limits: { dnsTimeoutMs: 600 } });
  const late = alone.resolve("one.example");
  for (const [received, shareMs] of [[2, 200], [3, 400]] as const) {
    await until(() => silent.received.length === received);
    await alone.clock.run(shareMs);
  }
  assertEquals(await late, "timeout");
  await until(() => gone === 3); // it was asked twice
  assertMatch(alone.lines.join(), /: no answer$/);
});

Deno.test("HTTPS upstream: a client whose questions were swallowed makes way for another", async () => {
  const { promise: end, resolve } = Promise.withResolvers<Response>();
  let clients = 0;
  await using server = new HttpsServer(() => end);
  const system = trustingSystem();
  await using rig = new UpstreamsRig([server.url], {
    limits: { dnsTimeoutMs: 1_200 },
    system: {
      openHttps: () => {
        clients++;
        return system.openHttps();
      },
    },
  });
  const outcome = rig.resolve("one.example");
  for (const [received, shareMs] of [[1, 400], [2, 800]] as const) {
    await until(() => server.received.length === received);
    await rig.clock.run(shareMs);
  }
  assertEquals(await outcome, "timeout");
  server.behaviour = telling("192.0.2.1");
  for (const name of ["two.example", "three.example"]) {
    assertEquals(await rig.resolve(name), "192.0.2.1");
  }
  assertEquals(clients, 2);
  resolve(new Response());
});

Deno.test("HTTPS upstream: the certificate must be for the host, and is told of once", async () => {
  await using server = new HttpsServer(telling("192.0.2.1"));
  await using stranger = new HttpsServer(telling("203.0.113.1"), "other");
  await using rig = new UpstreamsRig([stranger.url, server.url]);
  for (const name of ["one.example", "two.example"]) {
    assertEquals(await rig.resolve(name), "192.0.2.1");
  }
  assertEquals(rig.lines.length, 1);
  assertMatch(
    rig.lines[0]!,
    /^error upstream DNS https:.*\/dns-query is not trusted: invalid peer certificate/,
  );
  await using alone = new UpstreamsRig([stranger.url]);
  assertEquals(await alone.resolve("one.example"), "network");
  assertEquals([stranger.received.length, alone.lines.length], [0, 1]);
});

Deno.test("HTTPS upstream: where nobody listens the next one is asked", async () => {
  const closed = "https://127.0.0.1:2/dns-query"; // none that another test may be given
  await using server = new HttpsServer(telling("192.0.2.1"));
  await using rig = new UpstreamsRig([closed, server.url]);
  assertEquals(await rig.resolve("one.example"), "192.0.2.1");
  assertMatch(rig.lines.join(), /^warn upstream DNS https:.*refused/);
});

Deno.test("HTTPS upstream: closing ends what is under way", async () => {
  await using server = new HttpsServer(silence());
  const rig = new UpstreamsRig([server.url]);
  const waiting = [rig.resolve("one.example"), rig.resolve("two.example", { transport: "tcp" })];
  const early = rig.resolve("three.example");
  await until(() => server.received.length >= 2);
  await rig.upstreams.close();
  assertEquals(await Promise.all([...waiting, early]), ["closed", "closed", "closed"]);
  assertEquals(rig.upstreams.inFlight, 0);
});

Deno.test({
  name: "HTTPS upstream: a missing permission is a failure that names its flag, and no question",
  permissions: { net: ["127.0.0.1"], read: true },
  async fn() {
    const cases = [
      ["https://192.0.2.1/dns-query", "needs --allow-net=192.0.2.1:443"],
      ["https://dns.test:8443/dns-query", "needs --allow-net=dns.test:8443"],
      ["https://[2001:db8::1]/dns-query", "needs --allow-net=[2001:db8::1]:443"],
    ] as const;
    for (const [url, flag] of cases) {
      await using rig = new UpstreamsRig([url]);
      assertEquals(await rig.resolve("one.example"), "network");
      assertEquals(rig.lines.length, 1);
      assert(rig.lines[0]!.endsWith(flag), rig.lines[0]);
    }
    await using server = new HttpsServer(telling("192.0.2.1"));
    await using rig = new UpstreamsRig([server.url]);
    assertEquals(await rig.resolve("one.example"), "192.0.2.1");
  },
});
