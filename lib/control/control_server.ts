/**
 * The control interface of a gateway: HTTP and JSON on a socket of its own, which no guest reaches.
 *
 * Limits: `CONNECTIONS_MAX` at a time, and as many again that are told that it is busy; others wait in
 * the system's queue. Where there is no place, one that has said nothing for a second makes way, the
 * longest silent first. A bug behind a route is logged, answered with 500 and survived.
 *
 * @module
 */
import { type Endpoint, formatEndpoint } from "../config/endpoint.ts";
import { ConfigError, GatewayError, type GatewayErrorCode } from "../config/errors.ts";
import { type GatewayLogger, silentLogger } from "../config/logger.ts";
import type { Tracer } from "../config/tracer.ts";
import type { ServedGateway } from "../host/served_gateway.ts";
import type { ListensBeside } from "../host/served_guests.ts";
import type { VmmListener } from "../host/vmm_endpoint.ts";
import { Admission } from "./admission.ts";
import type { ControlErrorBody, ReloadReport } from "./api.ts";
import { ControlFault, type ControlFaultCode } from "./control_fault.ts";
import { EventFeed } from "./event_feed.ts";
import { HttpConnection, type HttpReply, type HttpService } from "./http_connection.ts";
import type { RequestHead } from "./http_head.ts";
import { openApiDocument } from "./openapi.ts";
import { type RequestTrace, traceRequest } from "./request_trace.ts";
import type { ControlContext, Media, MediaAnswer, Route } from "./route.ts";
import { ROUTES } from "./routes.ts";

/**
 * How a control interface is opened. For {@linkcode serveControl}.
 */
export interface ControlOptions {
  /** The module's version. */
  readonly version: string;
  /** What who asks over TCP has to know; see `token_file.ts`. */
  readonly token?: string;
  /** Where log lines go; nowhere when absent. */
  readonly logger?: GatewayLogger;
  /** Whether guests are taken; they are, when absent. */
  readonly isReady?: () => boolean;
  /** Reads the configuration's file again; where it is absent, a reload is refused. */
  readonly reload?: () => Promise<ReloadReport>;
  /** Lets queued bytes drain, and ends; the gateway's `close`, when absent. */
  readonly stop?: () => void;
  /** Where spans of requests go; nowhere when absent. */
  readonly tracer?: Tracer | null;
}

/** Connections that are served at a time. */
export const CONNECTIONS_MAX = 64;

/** So long nobody has to make way. */
const SILENT_MS = 1_000;
/** So often it is looked whether somebody has to. */
const LOOK_MS = 100;

/** How long answers that are under way may take at the end. */
const LAST_WORDS_MS = 200;

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

/** What answers behind the socket. */
interface ServedControl extends HttpService {
  /** For connections beyond the bound: says that there is no place. */
  readonly busy: HttpService;
  /** Hands the gateway's events on until it ends. */
  follow(): Promise<void>;
  /** Ends all streams. */
  close(): void;
}

/**
 * An open control interface. As {@linkcode serveControl} yields it.
 */
export class ControlServer implements AsyncDisposable {
  /** Where it is; a TCP port of 0 is replaced by the one that was chosen. */
  readonly endpoint: Endpoint;
  /** Resolves when it has ended, with the gateway or by itself. */
  readonly finished: Promise<void>;
  readonly #listener: VmmListener;
  readonly #service: ServedControl;
  readonly #connections = new Map<HttpConnection, Promise<void>>();
  #accepted = 0;

  /** For `serveControl`. */
  constructor(listener: VmmListener, service: ServedControl) {
    this.#listener = listener;
    this.#service = service;
    this.endpoint = listener.endpoint;
    this.finished = this.#accept();
  }

  /** How many connections have come so far. */
  get connections(): number {
    return this.#accepted;
  }

  /** Ends it at once; the gateway goes on. */
  async close(): Promise<void> {
    this.#listener.close();
    await this.finished;
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #accept(): Promise<void> {
    const following = this.#service.follow();
    for (;;) {
      const conn = await this.#listener.accept();
      if (conn === null) break;
      this.#take(conn);
      await this.#room();
    }
    this.#service.close();
    await following;
    // Readers of events are told what has happened last.
    await within(LAST_WORDS_MS, Promise.all(this.#connections.values()));
    for (const connection of this.#connections.keys()) connection.close();
    await Promise.all(this.#connections.values());
  }

  #take(conn: Deno.Conn): void {
    this.#accepted++;
    const isFull = this.#connections.size >= CONNECTIONS_MAX && !this.#forgetSilent();
    const connection = new HttpConnection(conn, isFull ? this.#service.busy : this.#service);
    this.#connections.set(
      connection,
      connection.run().finally(() => this.#connections.delete(connection)),
    );
  }

  /** Waits until another connection can be taken, be it to tell it that there is no time. */
  async #room(): Promise<void> {
    while (this.#connections.size >= 2 * CONNECTIONS_MAX && !this.#forgetSilent()) {
      await within(LOOK_MS, Promise.race(this.#connections.values()));
    }
  }

  /** Makes room; false where everybody has a right to be there. */
  #forgetSilent(): boolean {
    const nowMs = performance.now();
    for (const connection of this.#connections.keys()) {
      if (!connection.isIdle || nowMs - connection.startMs < SILENT_MS) continue;
      connection.close();
      this.#connections.delete(connection);
      return true;
    }
    return false;
  }
}

/** Waits for something, but not for long. */
async function within(ms: number, what: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  await Promise.race([what, new Promise((resolve) => timer = setTimeout(resolve, ms))]);
  clearTimeout(timer);
}

/** What a service works with beside its gateway. */
interface ServiceOptions {
  readonly logger: GatewayLogger;
  readonly tracer: Tracer | null;
  readonly transport: "unix" | "tcp";
}

/** Answers requests out of the table. */
class ControlService implements HttpService {
  /** Answers that there is no time. */
  readonly busy: HttpService;
  readonly #context: ControlContext;
  readonly #logger: GatewayLogger;
  readonly #admission: Admission;
  readonly #tracer: Tracer | null;
  readonly #transport: "unix" | "tcp";
  readonly #stop = new AbortController();

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

  /** Hands the gateway's events to their readers, until either ends. */
  follow(): Promise<void> {
    const { feed, gateway } = this.#context;
    return feed.follow(gateway.events(this.#stop.signal));
  }

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
      return replyOf(route, await route.run(this.#context, request));
    } catch (error) {
      if (route.isGvproxy !== true) throw error;
      const { status, message, hint } = this.#faultOf(error);
      const text = hint === "" ? message : `${message}. ${hint}`;
      return { status, headers: TEXT_HEADERS, body: encoder.encode(`${text}\n`) };
    }
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

/**
 * Opens the control interface of a gateway.
 *
 * @param gateway The gateway; the interface ends with it.
 * @param endpoint A unix socket's path, or a TCP address of the loopback.
 * @param options The version and, for TCP, the token.
 * @returns The interface, listening already.
 * @throws {GatewayError} Where the socket is in use, a permission is missing, or TCP has no token.
 *
 * @example On a TCP port, with a token
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 * import { serveControl } from "@virtio/gateway/control";
 * import { assertEquals } from "@std/assert";
 *
 * const token = crypto.getRandomValues(new Uint8Array(32)).toHex();
 * const anyPort = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(anyPort);
 * await using control = await serveControl(server, anyPort, { version: "1.0.0", token });
 * if (control.endpoint.transport !== "tcp") throw new Error("a TCP port was asked for");
 *
 * const url = `http://127.0.0.1:${control.endpoint.port}/v1/policy`;
 * const answer = await fetch(url, { headers: { Authorization: `Bearer ${token}` } });
 * assertEquals((await answer.json()).protect, "metadata");
 * ```
 */
export async function serveControl(
  gateway: ServedGateway & ListensBeside,
  endpoint: Endpoint,
  options: ControlOptions,
): Promise<ControlServer> {
  const { version, token, logger = silentLogger, isReady = () => true, tracer = null } = options;
  const { reload = null, stop = () => void gateway.close() } = options;
  if (endpoint.transport === "tcp" && token === undefined) {
    throw new GatewayError(
      "config",
      `cannot open the control interface on ${formatEndpoint(endpoint)} without a token`,
      { hint: "Name its file with --control-token, or use unix:/path" },
    );
  }
  const use = { peer: "a client of the control interface", flag: "--control" };
  const listener = await gateway.listenBeside(endpoint, use);
  const startedMs = Date.now();
  const feed = new EventFeed(startedMs.toString(36));
  const document = openApiDocument(ROUTES, { version, asksToken: token !== undefined });
  const openApi = () => document;
  const context = { gateway, feed, version, startedMs, isReady, reload, stop, openApi };
  const admission = new Admission(ROUTES, listener.endpoint, token ?? null);
  const { transport } = endpoint;
  const service = new ControlService(context, admission, { logger, tracer, transport });
  return new ControlServer(listener, service);
}
