/** The tracer in front of a provider that a program has registered: what it is given, and how much. */
import { assertEquals } from "@std/assert";
import { silentLogger } from "../../lib/config/logger.ts";
import type { Tracer } from "../../lib/config/tracer.ts";
import type { Connect } from "../../lib/host/dialer.ts";
import {
  CHILDREN_MAX,
  LEFT_OUT,
  openTelemetry,
  SPANS_PER_SECOND,
  TEXT_MAX,
} from "../../lib/host/open_telemetry.ts";
import { tracedConnect } from "../../lib/host/traced_connect.ts";

const REGISTRY = Symbol.for("opentelemetry.js.api.1");
const SPAN_KEY = Symbol.for("OpenTelemetry Context Key SPAN");

interface Context {
  getValue(key: symbol): unknown;
  setValue(key: symbol, value: unknown): Context;
  deleteValue(key: symbol): Context;
}

interface Started {
  readonly name: string;
  readonly parent: unknown;
  readonly attributes: Record<string, unknown>;
  status?: { code: number; message?: string };
  ends: number;
}

/** A provider that keeps what it is given, in the registry as long as it is used. */
class Provider implements Disposable {
  readonly spans: Started[] = [];
  readonly lines: string[] = [];
  nowMs = 0;
  isRecording = true;
  fault: Error | null = null;
  readonly tracer: Tracer;
  readonly #before = (globalThis as Record<symbol, unknown>)[REGISTRY];

  constructor() {
    const trace = { getTracer: () => ({ startSpan: this.#start.bind(this) }) };
    (globalThis as Record<symbol, unknown>)[REGISTRY] = { version: "1.9.0", trace };
    const warn = (message: string) => void this.lines.push(message);
    this.tracer = openTelemetry({ logger: { ...silentLogger, warn }, now: () => this.nowMs })!;
  }

  #start(
    name: string,
    options: { attributes: Record<string, unknown>; root?: boolean },
    context?: Context,
  ) {
    if (this.fault !== null) throw this.fault;
    const parent = options.root === true ? "root" : context?.getValue(SPAN_KEY);
    const started: Started = { name, parent, attributes: { ...options.attributes }, ends: 0 };
    this.spans.push(started);
    const may = (): void => {
      if (this.fault !== null) throw this.fault;
    };
    const span = {
      started,
      isRecording: () => this.isRecording,
      setAttribute: (key: string, value: unknown) => (may(), started.attributes[key] = value),
      setStatus: (status: { code: number }) => (may(), started.status = status),
      end: () => (may(), started.ends++),
    };
    return span;
  }

  [Symbol.dispose](): void {
    (globalThis as Record<symbol, unknown>)[REGISTRY] = this.#before;
  }
}

Deno.test("tracer: there is none where nobody has registered a provider", () => {
  assertEquals(openTelemetry({ logger: silentLogger }), null);
});

Deno.test("tracer: a span, its part, its end and its failure", () => {
  using provider = new Provider();
  const { tracer, spans } = provider;
  const span = tracer.start("question", "dns question", { "dns.question.name": "a.test" })!;
  const part = span.child("dns upstream", { "server.port": 53 })!;
  part.fail("timeout", "no answer");
  span.set("dns.response_code", "NOERROR");
  span.end();
  assertEquals((spans[1]!.parent as { started: Started }).started, spans[0]);
  assertEquals(
    spans.map(({ name, attributes, status, ends }) => [name, attributes, status, ends]),
    [
      [
        "dns question",
        { "dns.question.name": "a.test", "dns.response_code": "NOERROR" },
        undefined,
        1,
      ],
      [
        "dns upstream",
        { "server.port": 53, "error.type": "timeout" },
        { code: 2, message: "no answer" },
        1,
      ],
    ],
  );
  assertEquals(spans[0]!.parent, "root");
});

Deno.test("tracer: texts are cut, and have no control characters", () => {
  using provider = new Provider();
  const span = provider.tracer.start("request", "GET", { "url.path": "/\x1b[2J".repeat(10_000) })!;
  span.fail("x".repeat(10_000), "y\n".repeat(10_000));
  const [{ attributes, status }] = provider.spans as [Started];
  for (const text of [attributes["url.path"], attributes["error.type"], status!.message]) {
    assertEquals((text as string).length <= TEXT_MAX, true);
    assertEquals((text as string).includes("\x1b") || (text as string).includes("\n"), false);
  }
});

Deno.test("tracer: a second has so many spans of a kind, and the next one says what is missing", () => {
  using provider = new Provider();
  const { tracer, spans, lines } = provider;
  for (let i = 0; i < 1_000; i++) tracer.start("question", "dns question", {})?.end();
  assertEquals([spans.length, lines.length], [SPANS_PER_SECOND, 1]);
  // Another kind has its own share: a guest's flood hides no request of an operator's.
  tracer.start("request", "GET", {})!.end();
  assertEquals(spans.at(-1)!.attributes, {});
  provider.nowMs = 10_000;
  for (let i = 0; i < 1_000; i++) tracer.start("question", "dns question", {})?.end();
  assertEquals(spans.length, 2 * SPANS_PER_SECOND + 1);
  assertEquals(spans[SPANS_PER_SECOND + 1]!.attributes, { [LEFT_OUT]: 900 });
  assertEquals(spans.at(-1)!.attributes, {});
});

Deno.test("tracer: a span has so many parts", () => {
  using provider = new Provider();
  const span = provider.tracer.start("question", "dns question", {})!;
  for (let i = 0; i < 100; i++) span.child("dns upstream", {})?.end();
  assertEquals(provider.spans.length, 1 + CHILDREN_MAX);
});

Deno.test("tracer: what is not recorded costs nothing more", () => {
  using provider = new Provider();
  provider.isRecording = false;
  assertEquals(provider.tracer.start("dial", "dial", {}), null);
});

Deno.test("tracer: a provider that throws is said once, and nobody else's trouble", () => {
  using provider = new Provider();
  const span = provider.tracer.start("dial", "dial", {})!;
  provider.fault = new Error("no");
  span.set("a", 1);
  assertEquals(span.child("part", {}), null);
  span.fail("x");
  assertEquals(provider.tracer.start("dial", "dial", {}), null);
  assertEquals(provider.lines, ["spans are lost: their provider fails"]);
});

Deno.test("traced connect: a dial that is taken back, and one without a span, end as they would", async () => {
  using provider = new Provider();
  const hanging: Connect = ({ signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const connect = tracedConnect(hanging, provider.tracer);
  for (let i = 0; i <= SPANS_PER_SECOND; i++) {
    const abort = new AbortController();
    const options = { hostname: "2001:db8::1", port: 443, transport: "tcp" } as const;
    const dial = connect({ ...options, signal: abort.signal }).catch((error) => error.name);
    abort.abort();
    assertEquals(await dial, "AbortError");
  }
  assertEquals(provider.spans.length, SPANS_PER_SECOND);
  const { attributes, status, ends } = provider.spans[0]!;
  assertEquals([attributes["network.type"], attributes["error.type"]], ["ipv6", "cancelled"]);
  assertEquals([status!.code, ends], [2, 1]);
});
