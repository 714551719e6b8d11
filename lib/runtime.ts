/**
 * The module's functions: one guest's network on a connection, or an endpoint that serves one
 * guest after another.
 *
 *     startVirtioNetwork(conn)      a VMM is connected already
 *     serveVirtioNetwork(endpoint)  listen for the VMM or go to it, accept the next one when it left
 *
 * Configuration is checked before anything is opened. Nothing here prints, exits or reads the
 * environment. One VMM at a time: while one is attached a second is turned away.
 *
 * @module
 */
import { DescriptorReserve, withReserve } from "./host/descriptor_reserve.ts";
import { hostSystem } from "./host/host_system.ts";
import { type Endpoint, formatEndpoint } from "./config/endpoint.ts";
import { GatewayError } from "./config/errors.ts";
import { type Limits, resolveLimits } from "./config/limits.ts";
import { type GatewayLogger, silentLogger } from "./config/logger.ts";
import { checkNetworkConfig } from "./config/network_config.ts";
import { type ParsedNetwork, parseGuestNetwork } from "./config/network.ts";
import type { VirtioNetworkConfig } from "./config/options.ts";
import { closeQuietly } from "./host/close_quietly.ts";
import { type GuestFigures, GuestNetwork } from "./host/guest_network.ts";
import { Arena, sharedPool } from "./host/gateway_memory.ts";
import { hasIpv6Route } from "./host/ipv6_route.ts";
import { requireEndpoint, requirePublished } from "./host/permissions.ts";
import { connectVmm, listenForVmm, type VmmListener } from "./host/vmm_endpoint.ts";
import { type PublishedPort, TcpPortListeners } from "./host/tcp_listeners.ts";
import type { CounterName } from "./stack/counters.ts";

export type { GuestFigures, PublishedPort };

/** Configuration, logger and signal of one guest's network. All but the last two is plain data. */
export interface VirtioNetworkOptions extends VirtioNetworkConfig {
  /** Where log lines go; nowhere when absent. */
  logger?: GatewayLogger;
  /** Ends everything at once. */
  signal?: AbortSignal;
}

/** How an endpoint is served. */
export interface ServeOptions extends VirtioNetworkOptions {
  /** Whether to wait for the VMM or to go to it. Default `listen`. */
  mode?: "listen" | "connect";
  /** Whether to stop when the guest disconnects. Default false. */
  once?: boolean;
  /** How long `close` lets queued bytes drain, in milliseconds. Default 5,000. */
  graceMs?: number;
}

const DEFAULT_GRACE_MS = 5_000;
/** A VMM that starts again at once may connect before its old connection's end was read. */
const LEAVING_MS = 100;
const BACK_OFF_MS: readonly number[] = [50, 100, 200, 500, 1_000, 2_000];
/** A guest that stays for so long was no mistake: the next attempt comes soon. */
const SETTLED_MS = 1_000;

interface Prepared {
  readonly config: VirtioNetworkConfig;
  readonly network: ParsedNetwork;
  readonly limits: Limits;
  readonly logger: GatewayLogger;
  readonly ipv6Upstream: boolean;
  /** Descriptors for others than flows; disposed of with what serves. */
  readonly reserve: DescriptorReserve;
}

/** What a runtime is made of beside its guest. */
interface RuntimeOptions {
  readonly logger: GatewayLogger;
  readonly graceMs: number;
  readonly published: readonly PublishedPort[];
  readonly onEnd: () => void;
}

/** The running network of one guest. */
export class VirtioNetworkRuntime implements AsyncDisposable {
  /** The ports that lead to the guest; empty where a server holds them. */
  readonly published: readonly PublishedPort[];
  /** Resolves when the stream has ended and everything of the guest is freed. */
  readonly finished: Promise<void>;
  readonly #guest: GuestNetwork;
  readonly #logger: GatewayLogger;
  readonly #graceMs: number;
  #reason = "";

  /** For `startVirtioNetwork` and `serveVirtioNetwork`. */
  constructor(guest: GuestNetwork, options: RuntimeOptions) {
    this.#guest = guest;
    this.#logger = options.logger;
    this.#graceMs = options.graceMs;
    this.published = options.published;
    this.finished = this.#run(options.onEnd);
  }

  /** Why the stream ended; empty while it runs. */
  get endReason(): string {
    return this.#reason;
  }

  /** What the guest's stack has counted; kinds that never happened are left out. */
  counters(): Partial<Record<CounterName, number>> {
    return this.#guest.counters.snapshot();
  }

  /** How many flows, timers and bytes the guest holds. */
  figures(): GuestFigures {
    return this.#guest.figures();
  }

  /** Lets queued bytes drain for the grace period, then ends. */
  async close(): Promise<void> {
    await this.#guest.close(Math.max(1, this.#graceMs));
    await this.finished;
  }

  /** Ends at once. */
  async abort(): Promise<void> {
    await this.#guest.close(0);
    await this.finished;
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** For a published port's listener. */
  acceptPublished(conn: Deno.TcpConn, guestPort: number): boolean {
    return this.#guest.acceptPublished(conn, guestPort);
  }

  async #run(onEnd: () => void): Promise<void> {
    try {
      this.#reason = await this.#guest.run();
    } catch (error) {
      this.#reason = "failed";
      this.#logger.error("the guest's network failed", { error: String(error) });
    } finally {
      const { tcpFlows, udpFlows, timers } = this.#guest.figures();
      this.#logger.info("guest left", { reason: this.#reason, flows: tcpFlows + udpFlows, timers });
      this.#logger.debug("what the guest did", this.counters());
      this.#logger.debug("what became of its questions", { ...this.#guest.dnsCounts });
      onEnd();
    }
  }
}

/**
 * Serves the guest behind a connection that carries its frames.
 *
 * @param conn The frame stream: 4-byte big-endian length, then the Ethernet frame. Closed with the
 * runtime.
 * @param options Everything has a default.
 * @returns The running network.
 * @throws {GatewayError} Where the configuration is wrong or a published port can't be had.
 *
 * @example Serve a VMM that has connected
 * ```ts no-assert
 * import { startVirtioNetwork } from "@virtio/gateway";
 *
 * const listener = Deno.listen({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
 * const vmm = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
 *
 * await using network = await startVirtioNetwork(await listener.accept());
 * console.log(network.figures().tcpFlows); // 0
 *
 * vmm.close();
 * listener.close();
 * await network.finished;
 * ```
 */
export async function startVirtioNetwork(
  conn: Deno.Conn,
  options: VirtioNetworkOptions = {},
): Promise<VirtioNetworkRuntime> {
  const prepared = await prepare(options);
  using unowned = new DisposableStack();
  unowned.use(prepared.reserve);
  let runtime: VirtioNetworkRuntime | null = null;
  const listeners = unowned.use(
    new TcpPortListeners(
      options.publishedPorts ?? [],
      (client, guestPort) => runtime?.acceptPublished(client, guestPort) ?? false,
      prepared.logger,
    ),
  );
  const { published } = listeners;
  const ownPorts = new Set(published.map((port) => port.hostPort));
  runtime = startGuest(conn, prepared, () => ownPorts, published, DEFAULT_GRACE_MS, () => {
    owned.dispose();
    options.signal?.removeEventListener("abort", onAbort);
  });
  const owned = unowned.move(); // the guest's from here on
  function onAbort(): void {
    void runtime?.abort();
  }
  options.signal?.addEventListener("abort", onAbort);
  if (options.signal?.aborted) onAbort();
  return runtime;
}

/** An endpoint that serves guests, one after another. */
export class VirtioNetworkServer implements AsyncDisposable {
  /** Where the VMM is met; a TCP port of 0 is replaced by the one that was chosen. */
  readonly endpoint: Endpoint;
  /** The ports that lead to the guest. */
  readonly published: readonly PublishedPort[];
  /** Resolves when the server has ended; rejects when it could not go on. */
  readonly finished: Promise<void>;
  readonly #prepared: Prepared;
  readonly #options: ServeOptions;
  readonly #listener: VmmListener | null;
  readonly #ports: TcpPortListeners;
  readonly #ownPorts: Set<number>;
  readonly #stop = new AbortController();
  readonly #onAbort = (): void => void this.abort();
  #runtime: VirtioNetworkRuntime | null = null;

  /** For `serveVirtioNetwork`. */
  constructor(
    endpoint: Endpoint,
    prepared: Prepared,
    options: ServeOptions,
    listener: VmmListener | null,
  ) {
    this.#prepared = prepared;
    this.#options = options;
    this.#listener = listener;
    this.endpoint = listener?.endpoint ?? endpoint;
    try {
      this.#ports = new TcpPortListeners(
        options.publishedPorts ?? [],
        (conn, guestPort) => this.#runtime?.acceptPublished(conn, guestPort) ?? false,
        prepared.logger,
      );
    } catch (error) {
      listener?.close();
      throw error;
    }
    this.published = this.#ports.published;
    this.#ownPorts = new Set(this.published.map((port) => port.hostPort));
    if (this.endpoint.transport === "tcp") this.#ownPorts.add(this.endpoint.port);
    options.signal?.addEventListener("abort", this.#onAbort);
    this.finished = this.#serve().finally(() => this.#cleanUp());
    if (options.signal?.aborted) this.#onAbort();
  }

  /** The guest that is attached, if any. */
  get guest(): VirtioNetworkRuntime | null {
    return this.#runtime;
  }

  /** Stops accepting, lets queued bytes drain for the grace period, and ends. */
  close(): Promise<void> {
    return this.#end((runtime) => runtime.close());
  }

  /** Ends at once. */
  abort(): Promise<void> {
    return this.#end((runtime) => runtime.abort());
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #end(how: (runtime: VirtioNetworkRuntime) => Promise<void>): Promise<void> {
    this.#stop.abort();
    this.#ports[Symbol.dispose]();
    this.#listener?.close();
    if (this.#runtime !== null) await how(this.#runtime);
    await this.finished.catch(() => {});
  }

  async #serve(): Promise<void> {
    if (this.#listener === null) return await this.#connectLoop();
    const { logger } = this.#prepared;
    while (!this.#stop.signal.aborted) {
      const conn = await this.#listener.accept();
      if (conn === null) break;
      if (await this.#isTaken()) {
        logger.warn("a second VMM was turned away: one is attached already", {
          endpoint: formatEndpoint(this.endpoint),
        });
        closeQuietly(conn);
        continue;
      }
      if (this.#stop.signal.aborted) {
        closeQuietly(conn);
        break;
      }
      const runtime = this.#tryAttach(conn);
      if (this.#options.once) {
        void runtime?.finished.then(() => {
          this.#stop.abort();
          this.#listener?.close();
        });
      }
    }
    await this.#runtime?.finished;
  }

  /** Whether a guest is attached, and stays so for a moment. */
  async #isTaken(): Promise<boolean> {
    const runtime = this.#runtime;
    if (runtime === null) return false;
    const moment = new AbortController();
    await Promise.race([runtime.finished, sleep(LEAVING_MS, moment.signal)]);
    moment.abort();
    return this.#runtime === runtime;
  }

  async #connectLoop(): Promise<void> {
    const { logger } = this.#prepared;
    const endpoint = formatEndpoint(this.endpoint);
    const { signal } = this.#stop;
    let isMissing = false;
    for (let attempt = 0; !signal.aborted;) {
      const conn = await connectVmm(this.endpoint, signal).catch((error: Error) => error);
      if (conn === null) return;
      if (conn instanceof Error) {
        if (conn instanceof GatewayError && conn.code === "permission") throw conn;
        if (!isMissing) {
          logger.warn(`${conn.message}; trying again until it is there`, { endpoint });
        }
        isMissing = true;
        await sleep(backOffMs(attempt++), signal);
        continue;
      }
      isMissing = false;
      const startMs = performance.now();
      await this.#tryAttach(conn)?.finished;
      if (this.#options.once) return;
      // One that takes connections only to end them is no reason for twenty a second.
      if (performance.now() - startMs >= SETTLED_MS) attempt = 0;
      await sleep(backOffMs(attempt++), signal);
    }
  }

  /** A guest for which there is no memory is turned away; the server goes on. */
  #tryAttach(conn: Deno.Conn): VirtioNetworkRuntime | null {
    try {
      return this.#attach(conn);
    } catch (error) {
      this.#prepared.logger.error("cannot serve the guest", { error: (error as Error).message });
      closeQuietly(conn);
      return null;
    }
  }

  #attach(conn: Deno.Conn): VirtioNetworkRuntime {
    const { logger } = this.#prepared;
    logger.info("guest attached", { endpoint: formatEndpoint(this.endpoint) });
    const runtime = startGuest(
      conn,
      this.#prepared,
      () => this.#ownPorts,
      [],
      this.#options.graceMs ?? DEFAULT_GRACE_MS,
      () => {
        if (this.#runtime === runtime) this.#runtime = null;
      },
    );
    this.#runtime = runtime;
    return runtime;
  }

  async #cleanUp(): Promise<void> {
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.#ports[Symbol.dispose]();
    this.#listener?.close();
    await this.#runtime?.abort();
    await this.#ports.ended();
    this.#prepared.reserve[Symbol.dispose]();
  }
}

/**
 * Serves an endpoint: waits for the VMM there, or goes to it with back-off, and serves the next
 * guest when one has left.
 *
 * @param endpoint A unix socket's path or a TCP address.
 * @param options Everything has a default.
 * @returns The server, listening already (or, in mode `connect`, on its way).
 * @throws {GatewayError} Where the configuration is wrong, the socket is in use, a permission is
 * missing, or a published port can't be had.
 *
 * @example Serve on a TCP port
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 *
 * await using server = await serveVirtioNetwork({ transport: "tcp", hostname: "127.0.0.1", port: 0 });
 * if (server.endpoint.transport !== "tcp" || server.endpoint.port === 0) throw new Error("no port");
 * ```
 */
export async function serveVirtioNetwork(
  endpoint: Endpoint,
  options: ServeOptions = {},
): Promise<VirtioNetworkServer> {
  requireEndpoint(endpoint, options.mode === "connect" ? "connect to" : "listen on");
  const prepared = await prepare(options);
  try {
    const listener = options.mode === "connect"
      ? null
      : await listenForVmm(endpoint, prepared.logger, prepared.reserve);
    return new VirtioNetworkServer(endpoint, prepared, options, listener);
  } catch (error) {
    prepared.reserve[Symbol.dispose]();
    throw error;
  }
}

async function prepare(options: VirtioNetworkOptions): Promise<Prepared> {
  const { logger = silentLogger, signal: _signal, ...config } = options;
  checkNetworkConfig(config);
  requirePublished(config.publishedPorts ?? []);
  const network = parseGuestNetwork(config.guestNetwork);
  if (!network.ipv6 && (config.guestNetwork?.ipv6 ?? true)) {
    logger.info("IPv6 is off: the MTU is below 1280", { mtu: network.mtu });
  }
  const limits = resolveLimits(config.limits);
  const ipv6Upstream = network.ipv6 && await hasIpv6Route();
  const reserve = new DescriptorReserve({ count: limits.descriptorsKept, logger });
  return { config, network, limits, logger, ipv6Upstream, reserve };
}

function startGuest(
  conn: Deno.Conn,
  prepared: Prepared,
  ownPorts: () => ReadonlySet<number>,
  published: readonly PublishedPort[],
  graceMs: number,
  onEnd: () => void,
): VirtioNetworkRuntime {
  const { config, network, limits, logger, ipv6Upstream, reserve } = prepared;
  const pool = sharedPool(limits.bufferBytes);
  const arena = new Arena(pool);
  try {
    const guest = new GuestNetwork({
      system: withReserve(hostSystem, reserve),
      conn,
      pool,
      arena,
      network,
      limits,
      dns: config.dns ?? {},
      protect: config.protect ?? "metadata",
      hostLoopback: config.hostLoopback ?? false,
      hostServices: config.hostServices ?? [],
      ipv6Upstream,
      ownPorts,
      logger,
    });
    return new VirtioNetworkRuntime(guest, {
      logger,
      graceMs,
      published,
      onEnd,
    });
  } catch (error) {
    arena[Symbol.dispose]();
    throw error;
  }
}

function backOffMs(attempt: number): number {
  return BACK_OFF_MS[Math.min(attempt, BACK_OFF_MS.length - 1)]!;
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
