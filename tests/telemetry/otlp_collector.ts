/**
 * A collector of spans: takes what comes over OTLP/HTTP as JSON, and keeps it.
 *
 * @module
 */
import { until } from "../guest/program.ts";

/** A span as it was exported. */
export interface CollectedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for one that stands below none. */
  readonly parentSpanId: string;
  /** Of the API: 2 is a server's, 3 a client's. */
  readonly kind: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** 2 where it failed. */
  readonly statusCode: number;
  readonly statusMessage: string;
  /** Name of the service, and of who made it. */
  readonly service: unknown;
  readonly scope: string;
}

interface OtlpAttribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

/** A running collector. */
export class OtlpCollector implements AsyncDisposable {
  /** What came so far. */
  readonly spans: CollectedSpan[] = [];
  /** Paths that were posted to. */
  readonly paths = new Set<string>();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  /** Listens on a port of the loopback. */
  constructor() {
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      (request) => this.#take(request),
    );
  }

  /** What a program is told to have it export here; it waits for as long as a test does. */
  get environment(): string[] {
    const { port } = this.#server.addr;
    return exportTo(`http://127.0.0.1:${port}`, 30_000);
  }

  /** Waits for the first span that is so. */
  async span(
    what: string,
    isIt: (span: CollectedSpan) => boolean,
  ): Promise<CollectedSpan> {
    let found: CollectedSpan | undefined;
    await until(what, () => (found = this.spans.find(isIt)) !== undefined, 30_000);
    return found!;
  }

  /** Those below a span, in the order of their coming. */
  below({ traceId, spanId }: CollectedSpan): CollectedSpan[] {
    return this.spans.filter((one) => one.traceId === traceId && one.parentSpanId === spanId);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  async #take(request: Request): Promise<Response> {
    this.paths.add(new URL(request.url).pathname);
    const document = await request.json();
    for (const { resource, scopeSpans } of document.resourceSpans ?? []) {
      const service = valuesOf(resource.attributes)["service.name"];
      for (const { scope, spans } of scopeSpans) {
        for (const span of spans) {
          this.spans.push({
            name: span.name,
            traceId: span.traceId,
            spanId: span.spanId,
            parentSpanId: span.parentSpanId ?? "",
            kind: span.kind,
            attributes: valuesOf(span.attributes),
            statusCode: span.status?.code ?? 0,
            statusMessage: span.status?.message ?? "",
            service,
            scope: scope?.name ?? "",
          });
        }
      }
    }
    return Response.json({});
  }
}

/** The variables that have Deno export spans as JSON, and nothing else, soon. */
export function exportTo(endpoint: string, timeoutMs: number): string[] {
  return [
    "OTEL_DENO=true",
    "OTEL_SERVICE_NAME=vm1",
    "OTEL_EXPORTER_OTLP_PROTOCOL=http/json",
    `OTEL_EXPORTER_OTLP_ENDPOINT=${endpoint}`,
    "OTEL_BSP_SCHEDULE_DELAY=100",
    // Spans of an answer that comes later are lost; at its end Deno waits as long for a collector.
    `OTEL_EXPORTER_OTLP_TIMEOUT=${timeoutMs}`,
  ];
}

function valuesOf(attributes: readonly OtlpAttribute[] = []): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => {
    return [key, "intValue" in value ? Number(value.intValue) : Object.values(value)[0]];
  }));
}
