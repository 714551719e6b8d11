/** The real program under `OTEL_DENO`: what a collector gets of a guest's doings, and what not. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { GatewayClient } from "../../lib/control/client.ts";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { fakeResolver } from "../guest/fake_resolver.ts";
import { GatewayProcess } from "../guest/gateway_process.ts";
import { tcpPair } from "../support/guest_rig.ts";
import { type CollectedSpan, exportTo, OtlpCollector } from "./otlp_collector.ts";

const GATEWAY_IP = "100.96.0.1";
const GUEST_MEMORY = new FrameMemory(64 * 1024 * 1024);
const SERVER = 2;
const CLIENT = 3;
const ERROR = 2;

async function attach(gateway: GatewayProcess): Promise<EmbeddedGuest> {
  const conn = await Deno.connect({ transport: "unix", path: gateway.endpoint.slice(5) });
  const guest = EmbeddedGuest.attach(conn, { memory: GUEST_MEMORY });
  await guest.lease();
  return guest;
}

/** A port of the loopback that nobody can listen on while it is held: the near one of a connection. */
async function closedPort(): Promise<{ port: number } & Disposable> {
  const ends = await tcpPair();
  return {
    port: ends[0].localAddr.port,
    [Symbol.dispose]: () => ends.forEach((end) => end.close()),
  };
}

/** The answer to a request without a body, whole. */
async function ask(path: string, line: string): Promise<string> {
  using conn = await Deno.connect({ transport: "unix", path });
  await conn.write(new TextEncoder().encode(`${line} HTTP/1.1\r\nHost: gateway\r\n\r\n`));
  return await new Response(conn.readable).text();
}

async function codeOf(attempt: Promise<Disposable>): Promise<string> {
  try {
    (await attempt)[Symbol.dispose]();
    return "open";
  } catch (error) {
    if (error instanceof GuestError) return error.code;
    throw error;
  }
}

const isQuestion = (name: string) => ({ name: span, attributes }: CollectedSpan) =>
  span === "dns question" && attributes["dns.question.name"] === name;

Deno.test("telemetry: dials, questions and requests come to an OTLP collector as spans", async () => {
  await using collector = new OtlpCollector();
  await using resolver = await fakeResolver();
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = host.addr as Deno.NetAddr;
  using closed = await closedPort();
  const silent = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const silentPort = (silent.addr as Deno.NetAddr).port;
  await using gateway = await GatewayProcess.start({
    hasControl: true,
    prefix: ["env", ...collector.environment],
    gatewayArgs: [
      ...["--host-loopback", "--deny", "evil.test"],
      ...["--dns", `127.0.0.1:${silentPort}`, "--dns", `127.0.0.1:${resolver.port}`],
    ],
  });
  const guest = await attach(gateway);

  const accepted = host.accept();
  assertEquals(await codeOf(guest.connect(GATEWAY_IP, port)), "open");
  (await accepted).close();
  assertEquals(await codeOf(guest.connect(GATEWAY_IP, closed.port)), "refused");
  assertEquals((await guest.resolve("a.test", "A")).code, "NOERROR");
  assertEquals((await guest.resolve("none.test", "AAAA", { transport: "tcp" })).code, "NXDOMAIN");
  assertEquals((await guest.resolve("evil.test", "A")).code, "REFUSED");
  const longName = `${`${"x".repeat(60)}.`.repeat(4)}test`;
  await guest.resolve(longName, "A");
  await new GatewayClient({ transport: "unix", path: gateway.control }).status();
  assertMatch(await ask(gateway.control, "GET /v1/flows/7?secret=1"), /^HTTP\/1\.1 405 /);
  assertMatch(await ask(gateway.control, "GET /nothing"), /^HTTP\/1\.1 404 /);
  assertMatch(await ask(gateway.control, "BREW /v1/status"), /^HTTP\/1\.1 405 /);

  const spanOf = (name: string, isIt: (attributes: CollectedSpan["attributes"]) => boolean) =>
    collector.span(name, (span) => span.name === name && isIt(span.attributes));

  const dial = await spanOf("dial", (has) => has["server.port"] === port);
  assertEquals([dial.kind, dial.parentSpanId, dial.statusCode], [CLIENT, "", 0]);
  assertEquals([dial.service, dial.scope], ["vm1", "virtio-gateway"]);
  assertEquals(dial.attributes, {
    "network.transport": "tcp",
    "network.type": "ipv4",
    "server.address": "127.0.0.1",
    "server.port": port,
    "network.peer.address": "127.0.0.1",
    "network.peer.port": port,
  });
  const failed = await spanOf("dial", (has) => has["server.port"] === closed.port);
  assertEquals([failed.statusCode, failed.attributes["error.type"]], [ERROR, "ECONNREFUSED"]);
  assertMatch(failed.statusMessage, /refused/i);

  const question = await collector.span("a.test", isQuestion("a.test"));
  assertEquals([question.kind, question.parentSpanId, question.statusCode], [SERVER, "", 0]);
  assertEquals(question.attributes, {
    "network.transport": "udp",
    "network.protocol.name": "dns",
    "dns.question.name": "a.test",
    "dns.question.type": "A",
    "dns.response_code": "NOERROR",
  });
  // Where the resolver is late both are asked again, and what is left over is cancelled.
  const upstream = (port: number, error: string | undefined) =>
    collector.span(
      `the upstream at ${port}`,
      (span) =>
        collector.below(question).includes(span) && span.attributes["server.port"] === port &&
        span.attributes["error.type"] === error,
    );
  assertEquals((await upstream(silentPort, "timeout")).statusCode, ERROR);
  const answered = await upstream(resolver.port, undefined);
  assertEquals(answered.statusCode, 0);
  assertEquals([answered.name, answered.kind], ["dns upstream", CLIENT]);
  assertEquals(answered.attributes, {
    "network.transport": "udp",
    "network.protocol.name": "dns",
    "server.address": "127.0.0.1",
    "server.port": resolver.port,
    "dns.response_code": "NOERROR",
  });

  const missing = await collector.span("none.test", isQuestion("none.test"));
  assertEquals([missing.statusCode, missing.attributes["network.transport"]], [0, "tcp"]);
  assertEquals(missing.attributes["dns.response_code"], "NXDOMAIN");
  const refused = await collector.span("evil.test", isQuestion("evil.test"));
  assertEquals([refused.statusCode, refused.attributes["error.type"]], [ERROR, "REFUSED"]);
  assertEquals(collector.below(refused), []);
  const long = await collector.span("a long name", isQuestion(longName));
  assert((long.attributes["dns.question.name"] as string).length <= 256);

  const status = await spanOf("GET /v1/status", () => true);
  assertEquals([status.kind, status.parentSpanId, status.statusCode], [SERVER, "", 0]);
  assertEquals(status.attributes, {
    "http.request.method": "GET",
    "http.route": "/v1/status",
    "url.path": "/v1/status",
    "url.scheme": "http",
    "network.transport": "unix",
    "http.response.status_code": 200,
  });
  const flow = await spanOf("GET /v1/flows/{id}", () => true);
  assertEquals(
    [flow.attributes["url.path"], flow.attributes["http.response.status_code"]],
    ["/v1/flows/7", 405],
  );
  const unknown = await spanOf("GET", () => true);
  assertEquals([unknown.attributes["url.path"], unknown.statusCode], ["/nothing", 0]);
  const odd = await spanOf("HTTP /v1/status", () => true);
  assertEquals(odd.attributes["http.request.method_original"], "BREW");

  assertEquals(JSON.stringify(collector.spans).includes("secret"), false);
  assertEquals([...collector.paths].filter((path) => path === "/v1/logs"), []);
  await guest.close();
  await gateway.stop();
  silent.close();
});

Deno.test("telemetry: a guest that floods its resolver is bounded, and told how much is missing", async () => {
  await using collector = new OtlpCollector();
  await using gateway = await GatewayProcess.start({
    prefix: ["env", ...collector.environment],
    gatewayArgs: ["--deny", "evil.test"],
  });
  const guest = await attach(gateway);
  // Many at once: one after the other they might be no more in a second than have their place.
  const flood = Array.from({ length: 60 }, async () => {
    for (let i = 0; i < 20; i++) await guest.resolve("evil.test", "A");
  });
  await Promise.all(flood);
  await gateway.log.line(/spans of kind question are left out/);
  // Enough time for the next one to have its place.
  await new Promise((resolve) => setTimeout(resolve, 200));
  await guest.resolve("evil.test", "TXT");
  const last = await collector.span("the last question", ({ attributes }) => {
    return attributes["dns.question.type"] === "TXT";
  });
  const { length } = collector.spans.filter(({ name }) => name === "dns question");
  const leftOut = collector.spans.reduce(
    (sum, { attributes }) => sum + Number(attributes["virtio_gateway.spans_left_out"] ?? 0),
    0,
  );
  assert(length >= 100, `${length} spans`);
  assert(leftOut > 0);
  assertEquals(length + leftOut, 1_201);
  assertEquals(last.statusCode, ERROR);
  await guest.close();
  await gateway.stop();
});

for (const kind of ["gone", "silent"] as const) {
  Deno.test(`telemetry: a collector that is ${kind} is not the guest's trouble`, async () => {
    // One that is silent takes connections and what comes over them.
    using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = host.addr as Deno.NetAddr;
    using closed = await closedPort();
    const collectorPort = kind === "gone" ? closed.port : (silent.addr as Deno.NetAddr).port;
    await using gateway = await GatewayProcess.start({
      prefix: ["env", ...exportTo(`http://127.0.0.1:${collectorPort}`, 1_000)],
      gatewayArgs: ["--host-loopback", "--deny", "evil.test"],
    });
    const guest = await attach(gateway);
    for (let i = 0; i < 20; i++) {
      const accepted = host.accept();
      assertEquals(await codeOf(guest.connect(GATEWAY_IP, port)), "open");
      (await accepted).close();
      assertEquals((await guest.resolve("evil.test", "A")).code, "REFUSED");
    }
    await guest.close();
    await gateway.stop();
  });
}
