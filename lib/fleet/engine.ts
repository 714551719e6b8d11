/**
 * The one connection that a gateway has to the fleet's engine (NATS): opened in the background, kept
 * for ever, and never waited for by a guest.
 *
 * Nothing is handed to the client while it is not connected, as its own buffer has no bound: whoever
 * publishes asks for {@linkcode Engine.connection} each time. The log has one line when the engine is
 * lost, one when it is back, and one for each reason why it refuses the gateway.
 *
 * @module
 */
import type { ConnectionOptions, NatsConnection, Status } from "@nats-io/nats-core";
import {
  AuthorizationError,
  PermissionViolationError,
  UserAuthenticationExpiredError,
} from "@nats-io/nats-core";
import { type GatewayLogger, silentLogger } from "../config/logger.ts";
import { mayUseAnyAddress } from "../host/permissions.ts";
import type { Credentials } from "./credentials.ts";
import { type EngineAddress, EngineAddresses } from "./engine_addresses.ts";
import { authOptions } from "./engine_auth.ts";
import { refusalOf } from "./engine_fault.ts";
import {
  type Attempt,
  ATTEMPT_MS,
  connectEngine,
  type DialObserver,
  restoreServers,
} from "./engine_transport.ts";

export { type EngineAddress, placeOf } from "./engine_addresses.ts";

/**
 * Where the connection stands: `refused` where the engine answers and does not let the gateway in.
 * A property of an {@linkcode Engine}.
 */
export type EngineState = "connecting" | "connected" | "refused" | "closed";

/** How an {@linkcode Engine} is opened. */
export interface EngineOptions {
  /** Its servers, `nats://HOST:PORT` or `tls://HOST:PORT`; others of a cluster are learnt. */
  readonly servers: readonly string[];
  /** What the engine's own tools call this connection. */
  readonly name: string;
  /** What subjects of answers begin with; `_INBOX` when absent. */
  readonly inbox?: string;
  /** What is shown to it. */
  readonly auth?: Credentials | null;
  /** Where to say what. */
  readonly logger?: GatewayLogger;
}

/** Between two attempts, and how much more at random, so that a fleet does not come all at once. */
const RETRY_MS = 500;
const RETRY_JITTER_MS = 250;

/** The same where the engine refuses: nothing gets better by asking often. */
const REFUSED_RETRY_MS = 5_000;
const REFUSED_JITTER_MS = 2_500;

const PING_INTERVAL_MS = 5_000;
const PINGS_MISSED_MAX = 2;

/** How long what was published last may take to leave at the end. */
const FLUSH_MS = 500;

const TOLD_MAX = 64;

/**
 * A connection to a fleet's engine.
 *
 * @example An engine that does not answer stops nobody
 * ```ts
 * import { Engine } from "@virtio/gateway/fleet";
 * import { assertEquals } from "@std/assert";
 *
 * await using engine = Engine.open({ servers: ["nats://127.0.0.1:9"], name: "example" });
 * assertEquals(engine.state, "connecting");
 * assertEquals(engine.server, null);
 * assertEquals(engine.addresses(), [{ address: "127.0.0.1", port: 9 }]);
 * ```
 */
export class Engine implements AsyncDisposable {
  readonly #options: EngineOptions;
  readonly #auth: ConnectionOptions;
  readonly #log: GatewayLogger;
  readonly #listeners = new Set<(state: EngineState) => void>();
  readonly #addresses = new EngineAddresses();
  readonly #observer: DialObserver;
  /** Reasons that were logged since the gateway was let in last. */
  readonly #told = new Set<string>();
  #state: EngineState = "connecting";
  #lastError: string | null = null;
  #connection: NatsConnection | null = null;
  #attempt: Attempt | null = null;
  #reconnects = 0;
  #failures = 0;
  #wasConnected = false;
  #isClosing = false;
  #wake = (): void => {};
  #running: Promise<void> = Promise.resolve();

  private constructor(options: EngineOptions) {
    this.#options = options;
    this.#auth = authOptions(options.auth ?? null);
    this.#log = options.logger ?? silentLogger;
    this.#observer = {
      dialling: (attempt, address, port) => {
        this.#attempt = attempt;
        this.#addresses.meet(address, port);
      },
      met: (address, port) => this.#addresses.meet(address, port),
      failed: (error) => this.#attemptFailed(error),
      isLetIn: () => this.#isClosing || this.#state === "connected",
    };
    this.#addresses.meetAll(options.servers, () => this.#tell());
  }

  /**
   * Opens a connection; returns at once, and goes on trying until it is closed.
   *
   * @param options The servers and what is shown to them.
   * @returns The connection, which is not there yet.
   * @throws {GatewayError} Where the credentials can't be used at all.
   */
  static open(options: EngineOptions): Engine {
    const engine = new Engine(options);
    engine.#running = engine.#run();
    return engine;
  }

  /** Where it stands. */
  get state(): EngineState {
    return this.#state;
  }

  /** Why it is not connected, or was not the last time; `null` where nothing went wrong. */
  get lastError(): string | null {
    return this.#lastError;
  }

  /** The server that it is connected to, `HOST:PORT`. */
  get server(): string | null {
    return this.connection()?.getServer() ?? null;
  }

  /** How often it was lost and came back. */
  get reconnects(): number {
    return this.#reconnects;
  }

  /** How many attempts have come to nothing since it was connected last. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * The client's connection, only while it is there.
   *
   * @internal
   */
  connection(): NatsConnection | null {
    return this.#state === "connected" ? this.#connection : null;
  }

  /**
   * Tells of changes of the state, of attempts that came to nothing, and of servers that were met.
   *
   * @param listener Called after each.
   * @returns Ends that.
   */
  onState(listener: (state: EngineState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Waits until it is connected.
   *
   * @param signal Ends the wait.
   * @returns The client's connection.
   * @throws {Error} Where it is closed, or the signal says so.
   * @internal
   */
  async whenConnected(signal?: AbortSignal): Promise<NatsConnection> {
    const { promise, resolve, reject } = Promise.withResolvers<NatsConnection>();
    const look = () => {
      const connection = this.connection();
      if (connection !== null) resolve(connection);
      else if (signal?.aborted) reject(signal.reason);
      else if (this.#state === "closed") reject(new Error("the engine's connection is closed"));
    };
    const end = this.onState(look);
    signal?.addEventListener("abort", look);
    look();
    try {
      return await promise;
    } finally {
      end();
      signal?.removeEventListener("abort", look);
    }
  }

  /**
   * Addresses of the servers that it may dial, as far as they are known: no guest may reach these.
   * Read it again after {@linkcode Engine.onState} has told of a change.
   */
  addresses(): readonly EngineAddress[] {
    return this.#addresses.list();
  }

  /** Ends it; what was published is given a moment to leave. */
  async close(): Promise<void> {
    if (this.#isClosing) return await this.#running;
    this.#isClosing = true;
    const connection = this.#connection;
    if (this.connection() !== null) await flushed(connection!);
    this.#become("closed");
    this.#wake();
    if (connection === null) this.#attempt?.discard();
    else await connection.close();
    await this.#running;
  }

  /** Closes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run(): Promise<void> {
    while (!this.#isClosing) {
      const before = this.#failures;
      try {
        const connection = await this.#connect();
        if (this.#isClosing) await connection.close();
        else await this.#follow(connection);
      } catch (error) {
        // What an attempt came to is known; the name of a server may lead nowhere before there is one.
        if (this.#failures === before) this.#attemptFailed(error as Error);
      }
      this.#connection = null;
      if (this.#isClosing) return;
      await this.#pause(this.#retryMs());
    }
  }

  async #connect(): Promise<NatsConnection> {
    const { servers, name, inbox } = this.#options;
    const mayDialAny = mayUseAnyAddress();
    const wantsTls = servers.some((server) => server.startsWith("tls:"));
    const connection = await connectEngine({
      ...(wantsTls ? { tls: {} } : {}),
      ...this.#auth,
      observer: this.#observer,
      servers: [...servers],
      name,
      ...(inbox === undefined ? {} : { inboxPrefix: inbox }),
      maxReconnectAttempts: -1,
      reconnectDelayHandler: () => this.#retryMs(),
      ignoreAuthErrorAbort: true,
      timeout: ATTEMPT_MS,
      pingInterval: PING_INTERVAL_MS,
      maxPingOut: PINGS_MISSED_MAX,
      noAsyncTraces: true,
      // A permission for names or for some addresses covers neither what names lead to nor what a
      // cluster announces.
      resolve: mayDialAny,
      ignoreClusterUpdates: !mayDialAny,
    });
    restoreServers(connection, servers);
    return connection;
  }

  /** Until it is closed. */
  async #follow(connection: NatsConnection): Promise<void> {
    this.#connection = connection;
    this.#connected(connection);
    for await (const status of connection.status()) this.#heard(connection, status);
  }

  #heard(connection: NatsConnection, status: Status): void {
    switch (status.type) {
      case "disconnect":
        return this.#lost(status.server);
      case "reconnect":
        this.#reconnects++;
        return this.#connected(connection);
      case "update":
        for (const server of status.added ?? []) this.#addresses.meetServer(server);
        return this.#tell();
      case "error":
        return this.#complained(status.error);
    }
  }

  #connected(connection: NatsConnection): void {
    const server = connection.getServer();
    for (const { hostname, port } of connection.getServers()) this.#addresses.meet(hostname, port);
    this.#addresses.meetAll(this.#options.servers, () => this.#tell());
    this.#told.clear();
    this.#failures = 0;
    this.#lastError = null;
    this.#log.info(
      this.#wasConnected ? "the fleet's engine is back" : "connected to the fleet's engine",
      { server },
    );
    this.#wasConnected = true;
    this.#become("connected");
  }

  #lost(server: string): void {
    if (this.#state !== "connected") return;
    this.#log.warn("the fleet's engine is lost; guests go on as they are", {
      server,
      ...(this.#lastError === null ? {} : { why: this.#lastError }),
    });
    this.#become("connecting");
  }

  /** What the engine says of this connection. */
  #complained(error: Error): void {
    if (error instanceof PermissionViolationError) {
      const { operation, subject } = error;
      const what = operation === "publish" ? "publish" : "subscribe to";
      const text = `the fleet's engine does not permit to ${what} ${subject}`;
      this.#lastError = text;
      this.#say("warn", text);
    } else if (
      error instanceof AuthorizationError || error instanceof UserAuthenticationExpiredError
    ) this.#failed(error);
    else this.#lastError = error.message;
  }

  #attemptFailed(error: Error): void {
    if (this.#isClosing) return;
    this.#failures++;
    this.#failed(error);
    this.#tell();
  }

  #failed(error: Error): void {
    const { text, hint, isRefusal } = refusalOf(error, this.#options.auth ?? null);
    this.#lastError = text;
    // A connection that ended by an error is told of as lost.
    if (this.#state === "connected" && !isRefusal) return;
    if (isRefusal) {
      this.#say("error", `the fleet's engine does not let this gateway in: ${text}. ${hint}`);
      this.#become("refused");
      return;
    }
    if (!this.#wasConnected) {
      this.#say("warn", `the fleet's engine is not reached: ${text}; guests go on as they are`);
    }
    this.#become("connecting");
  }

  /** Says the same only once until the gateway is let in again. */
  #say(level: "warn" | "error", text: string): void {
    if (this.#told.has(text) || this.#told.size >= TOLD_MAX) return;
    this.#told.add(text);
    this.#log[level](text);
  }

  #become(state: EngineState): void {
    if (this.#state === state || this.#state === "closed") return;
    this.#state = state;
    this.#tell();
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(this.#state);
      } catch (error) {
        // It is called from the middle of a connection, which has to go on.
        this.#log.error("the gateway caught a bug of its own; please report it", {
          error: (error as Error).stack ?? String(error),
        });
      }
    }
  }

  #retryMs(): number {
    return this.#state === "refused"
      ? REFUSED_RETRY_MS + Math.random() * REFUSED_JITTER_MS
      : RETRY_MS + Math.random() * RETRY_JITTER_MS;
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Waits a moment for what was published to leave. */
async function flushed(connection: NatsConnection): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, FLUSH_MS));
  await Promise.race([connection.flush().catch(() => {}), late]);
  clearTimeout(timer);
}
