/** The control interface of a real gateway: every route, every fault, its limits and its end. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import { CONNECTIONS_MAX, serveControl } from "../../lib/control/control_server.ts";
import { READERS_MAX } from "../../lib/control/event_feed.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { until } from "../support/guest_rig.ts";
import { GATEWAY4 } from "../support/packets.ts";
import { connectTo, ControlRig, parseAnswer, readAll } from "./control_rig.ts";

const encoder = new TextEncoder();

Deno.test("both kinds of socket answer; a unix socket's file is private and goes at the end", async () => {
  for (const control of ["unix", "tcp"] as const) {
    const rig = await ControlRig.open({ control });
    const { endpoint } = rig.control;
    const answer = await rig.ask("GET", "/healthz");
    assertEquals([answer.status, answer.text], [200, `{"status":"ok"}\n`]);
    assertEquals(answer.headers.get("content-type"), "application/json");
    assertEquals(answer.headers.get("cache-control"), "no-store");
    if (endpoint.transport === "unix") {
      assertEquals((await Deno.lstat(endpoint.path)).mode! & 0o777, 0o600);
      const again = serveControl(rig.gateway, endpoint, { version: "1" });
      const error = await assertRejects(() => again, GatewayError) as GatewayError;
      assertEquals(error.code, "socket-in-use");
      await rig.control.close();
      await assertRejects(() => Deno.lstat(endpoint.path), Deno.errors.NotFound);
    }
    await rig[Symbol.asyncDispose]();
    await assertRejects(() => connectTo(endpoint));
  }
});

Deno.test("a stale file is replaced, one that is no socket is left alone", async () => {
  await using rig = await ControlRig.open();
  const folder = await Deno.makeTempDir({ prefix: "vgctl-" });
  try {
    const path = `${folder}/c.sock`;
    const stale = Deno.listen({ transport: "unix", path });
    await Deno.rename(path, `${path}.kept`);
    stale.close();
    await Deno.rename(`${path}.kept`, path);
    const control = await serveControl(rig.gateway, { transport: "unix", path }, { version: "1" });
    using conn = await Deno.connect({ transport: "unix", path });
    await conn.write(encoder.encode("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"));
    assertEquals(parseAnswer(await readAll(conn)).status, 200);
    await control.close();
    await Deno.writeTextFile(path, "precious");
    const wrong = serveControl(rig.gateway, { transport: "unix", path }, { version: "1" });
    await assertRejects(() => wrong, GatewayError, "a file is in the way");
    assertEquals(await Deno.readTextFile(path), "precious");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("TCP without a token is refused before anything is opened", async () => {
  await using rig = await ControlRig.open();
  const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
  const error = await assertRejects(
    () => serveControl(rig.gateway, endpoint, { version: "1" }),
    GatewayError,
  ) as GatewayError;
  assertEquals([error.code, error.hint], [
    "config",
    "Name its file with --control-token, or use unix:/path",
  ]);
});

Deno.test("status, denials and counts follow the guest", async () => {
  await using rig = await ControlRig.open({
    policy: { deny: ["10.1.2.3", "evil.test"], origins: { deny: ["a:1", "a:2"] } },
  });
  const idle = await rig.client.status();
  assertEquals([idle.version, idle.guest, idle.readers], ["1.2.3", null, 0]);
  assertEquals(idle.policy, { protect: "metadata", default: "allow", allowRules: 0, denyRules: 2 });
  assertMatch(idle.endpoint, /^tcp:127\.0\.0\.1:\d+$/);
  const guest = await rig.attach();
  await assertRejects(() => guest.connect("10.1.2.3", 443), GuestError, "prohibited");
  assertEquals((await guest.resolve("evil.test", "A")).code, "REFUSED");
  const { guest: attached } = await rig.client.status();
  assertEquals(attached!.counters["policy.refused"], 2);
  assertEquals([attached!.dns.questions, attached!.dns.denied], [1, 1]);
  const check = async () => {
    const groups = await rig.client.denials();
    assertEquals(groups.map(({ denial, count }) => [denial.protocol, denial.name, count]), [
      ["dns", "evil.test", 1],
      ["tcp", null, 1],
    ]);
    assert(Math.abs(groups[0]!.lastMs - Date.now()) < 60_000);
    assertEquals(Object.fromEntries(await rig.client.denialsByRule()), {
      "evil.test": 1,
      "10.1.2.3": 1,
    });
  };
  await check();
  await guest.close();
  await until("the guest has left", () => rig.gateway.guest === null);
  await check();
});

Deno.test("a policy is replaced whole or not at all, and flows end that it does not allow", async () => {
  await using rig = await ControlRig.open({ hostLoopback: true });
  const guest = await rig.attach();
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = host.accept();
  const flow = await guest.connect(GATEWAY4, host.addr.port);
  using _peer = await accepted;
  const before = await rig.client.policy();
  assertEquals(before.allow, []);
  for (
    const [body, message] of [
      [`{"deny":["nonsense:::"]}`, /^policy\.deny\[0\]: "nonsense:::"/],
      [`{"alow":["a.test"]}`, /^policy\.alow: unknown key "alow"; did you mean "allow"\?$/],
      [`{"allow":["a.test"],"deny":"b.test"}`, /^policy\.deny: is not a list of texts$/],
      [`[]`, /^policy: is not an object$/],
      [`null`, /^policy: is not an object$/],
      [`"a"`, /^policy: is not an object$/],
    ] as const
  ) {
    const answer = await rig.ask("PUT", "/v1/policy", { body });
    const { error } = JSON.parse(answer.text);
    assertEquals([answer.status, error.code], [422, "invalid"], body);
    assertMatch(error.message, message);
    assertEquals(await rig.client.policy(), before);
  }
  const set = await rig.client.setPolicy({ deny: ["Loopback"], allow: ["*.A.test:443"] });
  assertEquals(set, {
    protect: "metadata",
    allow: ["*.a.test:443"],
    deny: ["loopback"],
    denyPage: true,
    ech: "refuse",
    origins: { allow: ["control:allow[0]"], deny: ["control:deny[0]"] },
  });
  await assertRejects(() => flow.read(new Uint8Array(1)), GuestError, "reset");
  const [group] = await rig.client.denials();
  assertEquals([group!.denial.rule, group!.denial.origin], ["loopback", "control:deny[0]"]);
  assertEquals(await rig.client.setPolicy(before), before, "what was read can be written back");
  await guest.close();
});

Deno.test("explain answers with the guest's pins where it has looked a name up", async () => {
  await using rig = await ControlRig.open({
    policy: { allow: ["db.test:5432"] },
    dns: { upstreams: ["127.0.0.1:1"], records: { "db.test": ["192.0.2.7"] } },
  });
  const before = await rig.client.explain("db.test:5432");
  assertEquals([before.allowed, before.hasGuest], [true, false]);
  assertEquals(await rig.client.pins(), []);
  assertStringIncludes(before.findings[1]!.detail, "once the guest has looked the name up");
  const guest = await rig.attach();
  await guest.resolve("db.test", "A");
  const live = await rig.client.explain("db.test:5432");
  const [pin, ...others] = await rig.client.pins();
  assertEquals([pin!.name, pin!.address, others], ["db.test", "192.0.2.7", []]);
  assert(pin!.untilMs > Date.now() && pin!.untilMs < Date.now() + 3_700_000);
  assertEquals(live.hasGuest, true);
  assertEquals(live.findings[1]!.what, "tcp db.test at 192.0.2.7:5432");
  const no = await rig.client.explain("https://other.test/");
  assertEquals([no.allowed, no.findings[0]!.hint], [false, `policy: { allow: ["other.test"] }`]);
  const error = await assertRejects(() => rig.client.explain("a b"), GatewayError) as GatewayError;
  assertEquals(error.code, "config");
  assertStringIncludes(error.message, `"a b" is neither a name nor an address`);
  for (const body of [`{}`, `{"target":1}`, `{"target":"a.test","more":1}`, `[]`, `null`]) {
    assertEquals((await rig.ask("POST", "/v1/explain", { body })).status, 422, body);
  }
  await guest.close();
});

Deno.test("events reach a reader, who goes on where it broke off", async () => {
  await using rig = await ControlRig.open();
  using conn = await rig.connect();
  await conn.write(encoder.encode("GET /v1/events HTTP/1.1\r\nHost: a\r\n\r\n"));
  let text = "";
  const reading = readAll(conn).then((all) => text = all);
  await until("it reads", () => rig.gateway.guest === null);
  const status = async () => (await rig.client.status()).readers;
  while (await status() === 0);
  await rig.client.setPolicy({ deny: ["a.test"] });
  await rig.client.setPolicy({ deny: ["a.test", "b.test"] });
  const again = await rig.connect();
  await again.write(
    encoder.encode("GET /v1/events HTTP/1.1\r\nHost: a\r\nLast-Event-ID: other-0\r\n\r\n"),
  );
  const buffer = new Uint8Array(65_536);
  let replayed = "";
  while (!replayed.includes(`"rules":2`)) {
    replayed += new TextDecoder().decode(buffer.subarray(0, (await again.read(buffer))!));
  }
  assertMatch(replayed, /^HTTP\/1\.1 200 OK\r\nContent-Type: text\/event-stream\r\n/);
  assertEquals([...replayed.matchAll(/^data: .*"rules":(\d)/gm)].map(([, n]) => n), ["1", "2"]);
  again.close();
  while (await status() !== 1);
  await rig.gateway.close();
  await reading;
  assertEquals([...text.matchAll(/^id: [0-9a-z]+-(\d)$/gm)].map(([, n]) => n), ["0", "1", "2"]);
});

Deno.test("a client's events end with the gateway, and survive a connection that breaks", async () => {
  await using rig = await ControlRig.open();
  const seen: string[] = [];
  const listening = (async () => {
    for await (const event of rig.client.events()) seen.push(event.type);
  })();
  while ((await rig.client.status()).readers === 0);
  const guest = await rig.attach();
  await until("it hears", () => seen.length === 1);
  await guest.close();
  await until("it hears", () => seen.length === 2);
  await rig.gateway.close();
  await listening;
  assertEquals(seen, ["guest-attached", "guest-left"]);
});

Deno.test("a client's events end with its signal", async () => {
  await using rig = await ControlRig.open();
  const controller = new AbortController();
  const listening = Array.fromAsync(rig.client.events(controller.signal));
  while ((await rig.client.status()).readers === 0);
  controller.abort();
  assertEquals(await listening, []);
  while ((await rig.client.status()).readers !== 0);
});

Deno.test("readiness ends where the gateway says so", async () => {
  let isReady = true;
  await using rig = await ControlRig.open({ control: "tcp", isReady: () => isReady });
  assertEquals(await rig.client.isReady(), true);
  const withoutToken = await rig.ask("GET", "/readyz", { headers: { Authorization: "" } });
  assertEquals(withoutToken.status, 200);
  isReady = false;
  assertEquals(await rig.client.isReady(), false);
  const answer = await rig.ask("GET", "/readyz");
  assertEquals([answer.status, JSON.parse(answer.text).error.code], [503, "not-ready"]);
  assertEquals((await rig.ask("GET", "/healthz")).status, 200);
});

Deno.test("each fault has its status, its word and its way out", async () => {
  await using rig = await ControlRig.open();
  const cases: [() => Promise<{ status: number; text: string }>, number, string, RegExp][] = [
    [() => rig.raw("nonsense\r\n\r\n"), 400, "bad-request", /request line/],
    [() => rig.ask("GET", "/v1/nothing"), 404, "not-found", /no such path/],
    [() => rig.ask("DELETE", "/v1/policy"), 405, "method-not-allowed", /DELETE is not for this/],
    [() => rig.ask("HEAD", "/v1/events"), 405, "", /^$/],
    [() => rig.ask("GET", "/v1/status", { body: "{}" }), 400, "bad-request", /takes no body/],
    [() => rig.ask("PUT", "/v1/policy", { body: "{" }), 400, "bad-request", /is not JSON/],
    [
      () => rig.ask("PUT", "/v1/policy", { body: "{}", headers: { "Content-Type": "" } }),
      415,
      "unsupported-media-type",
      /not said to be JSON/,
    ],
    [
      () => rig.ask("PUT", "/v1/policy", { headers: { "Transfer-Encoding": "chunked" } }),
      411,
      "length-required",
      /no length/,
    ],
    [
      () => rig.ask("PUT", "/v1/policy", { body: `"${"x".repeat(1024 * 1024)}"` }),
      413,
      "too-large",
      /1048578 bytes/,
    ],
    [
      () => rig.raw(`GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(20_000)}\r\n\r\n`),
      431,
      "head-too-large",
      /over 16384 bytes/,
    ],
  ];
  for (const [ask, status, code, message] of cases) {
    const answer = await ask();
    assertEquals(answer.status, status, answer.text);
    if (code === "") continue;
    const { error } = JSON.parse(answer.text);
    assertEquals(error.code, code);
    assertMatch(error.message, message);
    assertMatch(error.hint, /^[A-Z].*[^.]$/, "the way out");
  }
  const latin1 = encoder.encode(
    "PUT /v1/policy HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" +
      'Content-Length: 3\r\n\r\n"_"',
  ).with(-2, 0xff);
  assertEquals((await rig.raw(latin1)).status, 400, "not UTF-8");
  assertEquals((await rig.ask("HEAD", "/v1/status")).text, "");
});

Deno.test("a bug behind a route is logged and survived, and its words stay here", async () => {
  const errors: Record<string, unknown>[] = [];
  const logger: GatewayLogger = {
    ...silentLogger,
    error: (message, fields) => void errors.push({ message, ...fields }),
  };
  await using rig = await ControlRig.open({ logger });
  rig.gateway.denials = () => {
    throw new TypeError("secret");
  };
  const { status, text } = await rig.ask("GET", "/v1/denials");
  assertEquals([status, JSON.parse(text).error.code, text.includes("secret")], [500, "bug", false]);
  assertEquals(errors.length, 1);
  assertMatch(String(errors[0]!.error), /^TypeError: secret\n.*control_server_test/);
  assertEquals((await rig.ask("GET", "/v1/status")).status, 200);
});

Deno.test("Expect: 100-continue is answered, and a body may come octet by octet", async () => {
  await using rig = await ControlRig.open();
  using conn = await rig.connect();
  await conn.write(
    encoder.encode(
      "PUT /v1/policy HTTP/1.1\r\nHost: a\r\nContent-Type: application/json; charset=utf-8\r\n" +
        "Content-Length: 17\r\nExpect: 100-continue\r\n\r\n",
    ),
  );
  const buffer = new Uint8Array(100);
  const count = await conn.read(buffer);
  assertEquals(
    new TextDecoder().decode(buffer.subarray(0, count!)),
    "HTTP/1.1 100 Continue\r\n\r\n",
  );
  for (const char of `{"deny":["a.bc"]}`) await conn.write(encoder.encode(char));
  assertEquals(parseAnswer(await readAll(conn)).status, 200);
  assertEquals(rig.gateway.policy.deny, ["a.bc"]);
});

Deno.test("a thousand who would read events: 32 do, the others are told why not", async () => {
  await using rig = await ControlRig.open();
  const outcomes: number[] = [];
  const conns: Deno.Conn[] = [];
  const buffers = new Uint8Array(4096);
  const ask = async (): Promise<number> => {
    const conn = await rig.connect();
    conns.push(conn);
    await conn.write(encoder.encode("GET /v1/events HTTP/1.1\r\nHost: a\r\n\r\n")).catch(() => {});
    const buffer = buffers.slice();
    const count = await conn.read(buffer).catch(() => null);
    const text = new TextDecoder().decode(buffer.subarray(0, count ?? 0));
    return parseAnswer(text).status;
  };
  await Promise.all(Array.from({ length: 1000 }, async () => {
    let status = 0;
    // Whose words are not read within a second, as where all of this stalls, has to make way.
    while (status === 0) status = await ask();
    outcomes.push(status);
  }));
  const tally = Map.groupBy(outcomes, (status) => status);
  assertEquals(tally.get(200)!.length, READERS_MAX);
  assertEquals(tally.get(503)!.length, 1000 - READERS_MAX);
  for (const conn of conns) conn.close();
  while ((await rig.client.status()).readers > 0);
});

Deno.test("connections that say nothing make way for those that do", async () => {
  await using rig = await ControlRig.open();
  const silent: Deno.Conn[] = [];
  for (let i = 0; i < 3 * CONNECTIONS_MAX; i++) {
    const conn = await rig.connect();
    await conn.write(encoder.encode("GET /v1/st"));
    silent.push(conn);
  }
  // Who comes while none of them has been silent for long enough is told to ask again.
  while ((await rig.ask("GET", "/healthz")).status !== 200);
  assertEquals(await readAll(silent[0]!), "");
  for (const conn of silent) conn.close();
});

Deno.test("a reader that takes nothing is shed, the others hear everything", async () => {
  await using rig = await ControlRig.open();
  using stuck = await rig.connect();
  await stuck.write(encoder.encode("GET /v1/events HTTP/1.1\r\nHost: a\r\n\r\n"));
  while ((await rig.client.status()).readers === 0);
  const counts: number[] = [];
  const controller = new AbortController();
  const listening = (async () => {
    for await (const event of rig.client.events(controller.signal)) {
      if (event.type === "policy-changed") counts.push(event.rules);
    }
  })();
  while ((await rig.client.status()).readers < 2);
  const { rounds, each } = { rounds: 60, each: 100 };
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < each; i++) rig.gateway.setPolicy({ deny: [`h${i}.test`] });
    await until("it hears", () => counts.length === (round + 1) * each);
  }
  assertEquals((await rig.client.status()).readers, 1);
  controller.abort();
  await listening;
  assertEquals(counts.length, rounds * each);
});

Deno.test("beyond so many requests who asks is told so, until one of them ends", async () => {
  await using rig = await ControlRig.open();
  const held: Deno.Conn[] = [];
  for (let i = 0; i < CONNECTIONS_MAX; i++) {
    const conn = await rig.connect();
    const head = "PUT /v1/policy HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    await conn.write(encoder.encode(`${head}Content-Length: 2\r\n\r\n{`));
    held.push(conn);
  }
  const busy = await rig.ask("GET", "/healthz");
  assertEquals([busy.status, busy.headers.get("retry-after")], [503, "1"]);
  assertEquals(JSON.parse(busy.text).error, {
    code: "busy",
    message: "64 requests are under way",
    hint: "Ask again in a moment; who reads events or captures holds one all the time",
  });
  await held[0]!.write(encoder.encode("}"));
  assertEquals(parseAnswer(await readAll(held[0]!)).status, 200);
  assertEquals((await rig.ask("GET", "/healthz")).status, 200);
  for (const conn of held) conn.close();
});
