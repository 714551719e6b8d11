/**
 * A request to the control interface as a span: from its head to its answer, or to the head of one
 * that goes on, such as events and captures: those are read for days.
 *
 * Neither the query nor a header is in it, so no token is. A path that is none of the table's stands
 * as it was sent, and the tracer cuts it.
 *
 * @module
 */
import type { Tracer, TraceSpan } from "../config/tracer.ts";
import type { RequestHead } from "./http_head.ts";

/** Methods that the conventions know by name; others are one. */
const METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

/** Ends a request's span. */
export interface RequestTrace {
  /** It was answered. */
  answered(status: number): void;
  /** Its client went away before it was answered; nothing where that was done. */
  close(): void;
}

/**
 * Begins a request's span.
 *
 * @param tracer Where it goes.
 * @param head The request.
 * @param route The path of its line in the table; `null` where there is none.
 * @param transport How it came.
 */
export function traceRequest(
  tracer: Tracer,
  { method, path }: RequestHead,
  route: string | null,
  transport: "unix" | "tcp",
): RequestTrace | null {
  const known = METHODS.includes(method) ? method : null;
  const name = `${known ?? "HTTP"}${route === null ? "" : ` ${route}`}`;
  const span = tracer.start("request", name, {
    "http.request.method": known ?? "_OTHER",
    ...(known === null ? { "http.request.method_original": method } : {}),
    ...(route === null ? {} : { "http.route": route }),
    "url.path": path,
    "url.scheme": "http",
    "network.transport": transport,
  });
  return span === null ? null : new SpanOfRequest(span);
}

class SpanOfRequest implements RequestTrace {
  #span: TraceSpan | null;

  constructor(span: TraceSpan) {
    this.#span = span;
  }

  answered(status: number): void {
    const span = this.#span;
    this.#span = null;
    if (span === null) return;
    span.set("http.response.status_code", status);
    // What a client did wrong is no fault of who answers.
    if (status >= 500) span.fail(String(status));
    else span.end();
  }

  close(): void {
    this.#span?.fail("client_gone");
    this.#span = null;
  }
}
