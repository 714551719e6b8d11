/**
 * Answers requests to the control interface out of the table of routes: finds the guest that is meant,
 * waits for the answer for some time, and makes a fault of what goes wrong.
 *
 * A bug behind a route is logged, answered with 500 and survived.
 *
 * @module
 */
import { ConfigError, GatewayError, type GatewayErrorCode } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { Tracer } from "../config/tracer.ts";
import type { Admission } from "./admission.ts";
import type { ControlErrorBody } from "./api.ts";
import { ControlFault, type ControlFaultCode } from "./control_fault.ts";
import type { HttpReply, HttpService, ReplyStream } from "./http_connection.ts";
import type { RequestHead } from "./http_head.ts";
import { answerOf } from "./patience.ts";
import { type RequestTrace, traceRequest } from "./request_trace.ts";
import type { ControlContext, Media, MediaAnswer, Route, RouteRequest } from "./route.ts";

/** Connections that are served at a time. */
export const CONNECTIONS_MAX = 64;

const HEADERS: Readonly<Record<string, string>> = {
  "Cache-Control": "no-store",
  "Content-Security-Policy": "default-src 'none'",
  "Cross-Origin-Resource-Policy": "same-origin",
  "X-Content-Type-Options": "nosniff",
};
const JSON_HEADERS = { "Content-Type": "application/json", ...HEADERS };
const TEXT_HEADERS = { "Content-Type": "text/plain; charset=utf-8", ...HEADERS };
const EVENT_HEADERS = { "Content-Type": "text/event-stream", ...HEADERS };
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** What a service works with beside its context. */
export interface ServiceOptions {
  readonly logger: GatewayLogger;
  readonly tracer: Tracer | null;
  readonly transport: "unix" | "tcp";
}

/** Answers requests out of the table. */
export class ControlService implements HttpService {
  /** Answers that there is no time. */
  readonly busy: HttpService;
  readonly #context: ControlContext;
  readonly #logger: GatewayLogger;
  readonly #admission: Admission;
  readonly #tracer: Tracer | null;
  readonly #transport: "unix" | "tcp";
  readonly #stop = new AbortController();

  /** For `serveControl`. */
  constructor(
    context: ControlContext,
    admission: Admission,
    { logger, tracer, transport }: ServiceOptions,
  ) {
    this.#context = context;
    this.#admission = admission;
    this.#logger = logger;
    this.#tracer = tracer;
    this.#transport = transport;
    const fault = (error: unknown) => this.fault(error);
    const refuse = (): never => {
      throw new ControlFault("busy", `${CONNECTIONS_MAX} requests are under way`, {
        hint: "Ask again in a moment; who reads events or captures holds one all the time",
        headers: { "Retry-After": "1" },
      });
    };
    const trace = (head: RequestHead) => this.trace(head);
    this.busy = { admit: refuse, respond: refuse, fault, trace };
  }

  /** Hands the events of all guests to their readers, until either ends; never rejects. */
  async follow(): Promise<void> {
    const { feed, guests } = this.#context;
    try {
      await feed.follow(guests.events(this.#stop.signal));
    } catch (error) {
      this.#faultOf(error);
      feed.close();
    }
  }

  /** Ends all streams. */
  close(): void {
    this.#stop.abort();
  }

  admit(head: RequestHead): void {
    this.#admission.route(head);
  }

  trace(head: RequestHead): RequestTrace | null {
    if (this.#tracer === null) return null;
    return traceRequest(this.#tracer, head, this.#admission.pathOf(head), this.#transport);
  }

  async respond(head: RequestHead, bytes: Uint8Array): Promise<HttpReply> {
    const { route, params, query } = this.#admission.route(head);
    const { headers } = head;
    const lastEventId = headers.get("last-event-id");
    try {
      const body = readBody(route, bytes);
      const request = { body, lastEventId, params, query, headers };
      return replyOf(route, await this.#run(route, request));
    } catch (error) {
      if (route.isGvproxy !== true) throw error;
      const { status, message, hint } = this.#faultOf(error);
      const text = hint === "" ? message : `${message}. ${hint}`;
      return { status, headers: TEXT_HEADERS, body: encoder.encode(`${text}\n`) };
    }
  }

  /** What a route's function gives; one of a guest is waited for only so long. */
  #run(route: Route, request: RouteRequest): unknown {
    if (route.isOfGuest !== true) return route.run(this.#context, request);
    const { guests, answerMs } = this.#context;
    const { guest: name } = request.params;
    const chosen = name === undefined ? guests.unnamed() : guests.named(name);
    const context = { ...this.#context, ...chosen };
    const answer = (async () => await route.run(context, request))();
    return answerOf(answer, chosen.guest, answerMs, endUnread);
  }

  fault(error: unknown): HttpReply {
    const { status, code, message, hint, headers } = this.#faultOf(error);
    const body: ControlErrorBody = { error: { code, message, hint } };
    return jsonReply(status, body, headers);
  }

  #faultOf(error: unknown): ControlFault {
    if (error instanceof ControlFault) return error;
    if (error instanceof ConfigError) return new ControlFault("invalid", error.message);
    const code = error instanceof GatewayError ? GATEWAY_FAULTS[error.code] : undefined;
    if (code !== undefined) {
      const { message, hint } = error as GatewayError;
      return new ControlFault(code, message, { hint });
    }
    this.#logger.error("the control interface caught a bug of its own; please report it", {
      error: (error as Error).stack ?? String(error),
    });
    return new ControlFault("bug", "the gateway caught a bug of its own", {
      hint: "Its log says more; please report it",
    });
  }
}

/** What becomes of an error of the gateway that is no bug. */
const GATEWAY_FAULTS: Readonly<Partial<Record<GatewayErrorCode, ControlFaultCode>>> = {
  "config": "invalid",
  "permission": "not-permitted",
  "address-in-use": "conflict",
  "socket-in-use": "conflict",
  "busy": "busy",
  "closed": "not-ready",
};

function readBody(route: Route, bytes: Uint8Array): unknown {
  if (route.takes === undefined) return undefined;
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch (error) {
    const why = error instanceof SyntaxError ? `: ${error.message}` : "";
    throw new ControlFault("bad-request", `the body is not JSON in UTF-8${why}`, {
      hint: "GET /v1/openapi.json describes what is taken here",
    });
  }
}

/** Ends a stream that nobody reads: its function is called all the same, as it has something to close. */
function endUnread(said: unknown): void {
  const body = typeof said === "function" ? said : (said as Partial<MediaAnswer> | null)?.body;
  if (typeof body !== "function") return;
  const gone: ReplyStream = {
    write: () => Promise.reject(new Error("nobody reads this")),
    close: () => {},
    signal: AbortSignal.abort(),
  };
  void (async () => await body(gone))().catch(() => {});
}

/** What a route's function gave, as an answer. */
function replyOf({ says }: Route, said: unknown): HttpReply {
  if (typeof says === "object") return mediaReply(says, said as MediaAnswer);
  return typeof said === "function"
    ? { status: 200, headers: EVENT_HEADERS, body: said as HttpReply["body"] & (() => void) }
    : jsonReply(200, said);
}

function mediaReply(says: Media, { body, headers, isUnchanged }: MediaAnswer): HttpReply {
  return {
    status: isUnchanged === true ? 304 : 200,
    headers: { ...HEADERS, "Content-Type": says.media, ...says.headers, ...headers },
    body: typeof body === "string" ? encoder.encode(body) : body,
  };
}

function jsonReply(
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): HttpReply {
  return {
    status,
    headers: { ...JSON_HEADERS, ...headers },
    body: encoder.encode(`${JSON.stringify(value)}\n`),
  };
}
