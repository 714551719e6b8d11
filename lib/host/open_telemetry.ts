/**
 * The tracer behind which OpenTelemetry is: spans go to whichever provider stands in the registry that
 * its JavaScript API keeps (`Symbol.for("opentelemetry.js.api.1")`). Deno puts its own there when it is
 * started with `OTEL_DENO=true`, and a program that embeds the gateway may have put another one. So
 * there is no package to import, no variable to read and no permission to have.
 *
 * A guest decides how many dials and questions there are, so of each kind `SPANS_PER_SECOND` are
 * begun, as many again at once, with `CHILDREN_MAX` parts each. Those left out are counted: the log
 * says it once a minute, and the next span of the kind has the number. Texts are cut, without control
 * characters. A provider that throws costs its span and nothing else.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import type { TraceAttributes, TraceKind, Tracer, TraceSpan } from "../config/tracer.ts";
import { TokenBucket } from "../stack/token_bucket.ts";
import { systemClock } from "./host_clock.ts";
import { printable } from "./log.ts";
import { QuietWarning } from "./quiet_warning.ts";

/** Spans of a kind that are begun in a second, and at once. */
export const SPANS_PER_SECOND = 100;

/** Most parts of one span. */
export const CHILDREN_MAX = 16;

/** Longest text of an attribute, in UTF-16 units. */
export const TEXT_MAX = 256;

/** The attribute that says how many of the kind were left out before. */
export const LEFT_OUT = "virtio_gateway.spans_left_out";

// The API's numbers: kinds of spans, and the status of one that failed.
const SERVER = 1;
const CLIENT = 2;
const STATUS_ERROR = 2;

const REGISTRY = Symbol.for("opentelemetry.js.api.1");
const SPAN_KEY = Symbol.for("OpenTelemetry Context Key SPAN");

/** As much of the API's span as is used here. */
interface ApiSpan {
  isRecording(): boolean;
  setAttribute(name: string, value: string | number): unknown;
  setStatus(status: { code: number; message?: string }): unknown;
  end(): void;
}

/** As much of the API's context: the span that others stand below. */
interface ApiContext {
  getValue(key: symbol): unknown;
  setValue(key: symbol, value: unknown): ApiContext;
  deleteValue(key: symbol): ApiContext;
}

/** As much of the API's tracer. */
interface ApiTracer {
  startSpan(
    name: string,
    options: { kind: number; attributes: TraceAttributes; root?: boolean },
    context?: ApiContext,
  ): ApiSpan;
}

/** As much of the API's registry. */
interface ApiRegistry {
  readonly trace?: { getTracer(name: string): ApiTracer };
}

/** What the tracer works with. */
export interface OpenTelemetryOptions {
  readonly logger: GatewayLogger;
  /** The clock, in milliseconds; the process's own when absent. */
  readonly now?: () => number;
}

/** The tracer; `null` where no provider is registered: nothing is then traced. */
export function openTelemetry(options: OpenTelemetryOptions): Tracer | null {
  const registry = (globalThis as { [REGISTRY]?: ApiRegistry })[REGISTRY];
  const tracer = registry?.trace?.getTracer("virtio-gateway");
  return tracer === undefined ? null : new OpenTelemetryTracer(tracer, options);
}

/** What is known of the spans of one kind. */
interface KindState {
  readonly kind: number;
  readonly rate: TokenBucket;
  readonly warning: QuietWarning;
  leftOut: number;
}

class OpenTelemetryTracer implements Tracer {
  readonly #tracer: ApiTracer;
  readonly #now: () => number;
  readonly #kinds: Readonly<Record<TraceKind, KindState>>;
  readonly #failed: QuietWarning;

  constructor(tracer: ApiTracer, { logger, now = systemClock.now }: OpenTelemetryOptions) {
    const state = (kind: number): KindState => ({
      kind,
      rate: new TokenBucket(SPANS_PER_SECOND, SPANS_PER_SECOND),
      warning: new QuietWarning(logger, now),
      leftOut: 0,
    });
    this.#tracer = tracer;
    this.#now = now;
    this.#kinds = { dial: state(CLIENT), question: state(SERVER), request: state(SERVER) };
    this.#failed = new QuietWarning(logger, now);
  }

  start(kind: TraceKind, name: string, attributes: TraceAttributes): TraceSpan | null {
    const state = this.#kinds[kind];
    if (!state.rate.take(this.#now())) {
      state.leftOut++;
      state.warning.warn(`spans of kind ${kind} are left out: there are too many in a second`);
      return null;
    }
    const span = this.begin(name, state.kind, attributes, null);
    if (span === null || state.leftOut === 0) return span;
    span.set(LEFT_OUT, state.leftOut);
    state.leftOut = 0;
    return span;
  }

  /** Begins a span; `null` where it is not recorded. */
  begin(
    name: string,
    kind: number,
    attributes: TraceAttributes,
    parent: ApiContext | null,
  ): OpenTelemetrySpan | null {
    try {
      const options = { kind, attributes: bounded(attributes) };
      const span = parent === null
        ? this.#tracer.startSpan(name, { ...options, root: true })
        : this.#tracer.startSpan(name, options, parent);
      return span.isRecording() ? new OpenTelemetrySpan(this, span) : null;
    } catch (error) {
      this.failed(error);
      return null;
    }
  }

  failed(error: unknown): void {
    this.#failed.warn("spans are lost: their provider fails", { error: String(error) });
  }
}

class OpenTelemetrySpan implements TraceSpan {
  readonly #tracer: OpenTelemetryTracer;
  readonly #span: ApiSpan;
  #children = 0;

  constructor(tracer: OpenTelemetryTracer, span: ApiSpan) {
    this.#tracer = tracer;
    this.#span = span;
  }

  child(name: string, attributes: TraceAttributes): TraceSpan | null {
    if (this.#children >= CHILDREN_MAX) return null;
    this.#children++;
    return this.#tracer.begin(name, CLIENT, attributes, new SpanContext(this.#span));
  }

  set(name: string, value: string | number): void {
    this.#guard(() => this.#span.setAttribute(name, boundedValue(value)));
  }

  end(): void {
    this.#guard(() => this.#span.end());
  }

  fail(errorType: string, message = ""): void {
    this.#guard(() => {
      this.#span.setAttribute("error.type", boundedValue(errorType));
      const said = message === "" ? {} : { message: boundedText(message) };
      this.#span.setStatus({ code: STATUS_ERROR, ...said });
    });
    this.end();
  }

  #guard(task: () => void): void {
    try {
      task();
    } catch (error) {
      this.#tracer.failed(error);
    }
  }
}

/** A context in which nothing is but a span. */
class SpanContext implements ApiContext {
  readonly #span: unknown;

  constructor(span: unknown) {
    this.#span = span;
  }

  getValue(key: symbol): unknown {
    return key === SPAN_KEY ? this.#span : undefined;
  }

  setValue(key: symbol, value: unknown): ApiContext {
    return key === SPAN_KEY ? new SpanContext(value) : this;
  }

  deleteValue(key: symbol): ApiContext {
    return key === SPAN_KEY ? new SpanContext(undefined) : this;
  }
}

function bounded(attributes: TraceAttributes): TraceAttributes {
  return Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [name, boundedValue(value)]),
  );
}

function boundedValue(value: string | number): string | number {
  return typeof value === "string" ? boundedText(value) : value;
}

/** Cut first: what is longer is not worth a look. */
function boundedText(text: string): string {
  const safe = printable(text.slice(0, TEXT_MAX));
  return safe.length > TEXT_MAX ? `${safe.slice(0, TEXT_MAX - 1)}…` : safe;
}
