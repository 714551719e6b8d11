/**
 * Where spans go: what the gateway does for its guest and for who controls it, as OpenTelemetry has it.
 *
 * The parts that do something take a `Tracer` or `null`, and know nothing of who is behind it. Whoever
 * implements it bounds texts and numbers of spans: names and paths come from guests and clients.
 *
 * @module
 */

/**
 * What is traced: a connect to a host, a guest's question, a request to the control interface. For
 * a {@linkcode Tracer}.
 */
export type TraceKind = "dial" | "question" | "request";

/**
 * What is said about a span; names are those of OpenTelemetry's semantic conventions. For a
 * {@linkcode Tracer}.
 */
export type TraceAttributes = Readonly<Record<string, string | number>>;

/**
 * Something that has begun, and ends once. As a {@linkcode Tracer} yields it.
 */
export interface TraceSpan {
  /**
   * Begins a part of it that asks somebody else.
   *
   * @returns `null` where it has too many parts already.
   */
  child(name: string, attributes: TraceAttributes): TraceSpan | null;
  /** Says something about it. */
  set(name: string, value: string | number): void;
  /** Ends it, well. */
  end(): void;
  /**
   * Ends it as one that failed.
   *
   * @param errorType A word of few: a system's code, a response code, `timeout`.
   * @param message What a person reads; empty for nothing.
   */
  fail(errorType: string, message?: string): void;
}

/**
 * Begins spans.
 *
 * @example Count requests to the control interface
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 * import { serveControl, type Tracer, type TraceSpan } from "@virtio/gateway/control";
 * import { GatewayClient } from "@virtio/gateway/client";
 * import { assertEquals } from "@std/assert";
 *
 * const span: TraceSpan = { child: () => null, set: () => {}, end: () => {}, fail: () => {} };
 * const begun: string[] = [];
 * const tracer: Tracer = {
 *   start(kind) {
 *     begun.push(kind);
 *     return span;
 *   },
 * };
 * const token = "0".repeat(64); // of 32 random octets, in a program that matters
 * const anyPort = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(anyPort);
 * await using control = await serveControl(server, anyPort, { version: "1.0.0", token, tracer });
 * await new GatewayClient(control.endpoint, { token }).status();
 * assertEquals(begun, ["request"]);
 * ```
 */
export interface Tracer {
  /**
   * Begins something.
   *
   * @param name The same for all that are alike: nothing of a guest's or client's is in it.
   * @returns `null` where this one is left out, for the number of them or by sampling.
   */
  start(kind: TraceKind, name: string, attributes: TraceAttributes): TraceSpan | null;
}
