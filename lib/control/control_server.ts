/**
 * The control interface of a gateway: HTTP and JSON on a socket of its own, which no guest reaches.
 *
 * Limits: `CONNECTIONS_MAX` at a time, and as many again that are told that it is busy; others wait in
 * the system's queue. Where there is no place, one that has said nothing for a second makes way, the
 * longest silent first.
 *
 * @module
 */
import { type Endpoint, formatEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import { type GatewayLogger, silentLogger } from "../config/logger.ts";
import type { Tracer } from "../config/tracer.ts";
import type { FleetReport } from "../host/fleet_report.ts";
import type { ServedGateway } from "../host/served_gateway.ts";
import type { ListensBeside, ServedGuests } from "../host/served_guests.ts";
import type { VmmListener } from "../host/vmm_endpoint.ts";
import { Admission } from "./admission.ts";
import type { ReloadReport } from "./api.ts";
import { CONNECTIONS_MAX, ControlService } from "./control_service.ts";
import { EventFeed } from "./event_feed.ts";
import { GuestChoice } from "./guest_choice.ts";
import { HttpConnection, type HttpService } from "./http_connection.ts";
import { openApiDocument } from "./openapi.ts";
import { ANSWER_MS } from "./patience.ts";
import type { ControlContext } from "./route.ts";
import { documentRoutes, SERVED_ROUTES } from "./routes.ts";

export { CONNECTIONS_MAX } from "./control_service.ts";

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
  /** How the gateway stands in its fleet; it is in none, when absent. */
  readonly fleet?: () => FleetReport;
  /** How long an answer of a guest's gateway is waited for, in milliseconds. Default 5,000. */
  readonly answerMs?: number;
}

/** So long nobody has to make way. */
const SILENT_MS = 1_000;
/** So often it is looked whether somebody has to. */
const LOOK_MS = 100;

/** How long answers that are under way may take at the end. */
const LAST_WORDS_MS = 200;

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

/**
 * Opens the control interface of a gateway, or of several, each with a guest that has a name.
 *
 * @param gateways The gateway, or all of them; the interface ends with them.
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
  gateways: (ServedGateway & ListensBeside) | ServedGuests,
  endpoint: Endpoint,
  options: ControlOptions,
): Promise<ControlServer> {
  const { version, token, logger = silentLogger, isReady = () => true, tracer = null } = options;
  const { reload = null, stop = () => void gateways.close(), answerMs = ANSWER_MS } = options;
  const { fleet = null } = options;
  if (endpoint.transport === "tcp" && token === undefined) {
    throw new GatewayError(
      "config",
      `cannot open the control interface on ${formatEndpoint(endpoint)} without a token`,
      { hint: "Name its file with --control-token, or use unix:/path" },
    );
  }
  const use = { peer: "a client of the control interface", flag: "--control" };
  const listener = await gateways.listenBeside(endpoint, use);
  const startedMs = Date.now();
  const guests = new GuestChoice(gateways);
  const asksToken = token !== undefined;
  const document = openApiDocument(documentRoutes(guests.areSeveral), { version, asksToken });
  const context: ControlContext = {
    guests,
    feed: new EventFeed(startedMs.toString(36)),
    version,
    startedMs,
    isReady,
    reload,
    stop,
    fleet,
    openApi: () => document,
    answerMs,
  };
  const admission = new Admission(SERVED_ROUTES, listener.endpoint, token ?? null);
  const { transport } = endpoint;
  const service = new ControlService(context, admission, { logger, tracer, transport });
  return new ControlServer(listener, service);
}
