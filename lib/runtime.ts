/**
 * One guest's network on a connection.
 *
 *     startVirtioNetwork(conn)      a VMM is connected already
 *
 * Configuration is checked before anything is opened. Nothing here prints, exits or reads the
 * environment.
 *
 * @module
 */
import { ConfigError } from "./config/errors.ts";
import type { Limits } from "./config/limits.ts";
import type { GatewayLogger } from "./config/logger.ts";
import type { PolicyConfig } from "./config/options.ts";
import { ownPortSets, publishedOwnPorts } from "./config/own_ports.ts";
import type { PublishedPort } from "./config/published.ts";
import type { CapturedNetwork, CaptureOptions, CaptureSet } from "./host/capture_set.ts";
import { DayTime } from "./host/day_time.ts";
import { withReserve } from "./host/descriptor_reserve.ts";
import type { DnsCounts } from "./host/dns_counts.ts";
import type { EventHub } from "./host/event_hub.ts";
import type { FlowInfo } from "./host/flow_info.ts";
import type { FrameTransport } from "./host/frame_transport.ts";
import { Arena, sharedPool } from "./host/gateway_memory.ts";
import { type EventStream, type GatewayEvent, gatewayEvents } from "./host/gateway_event.ts";
import type { HostClient } from "./host/guest_clients.ts";
import { type GuestFigures, type GuestLink, GuestNetwork } from "./host/guest_network.ts";
import type { GuestPolicy } from "./host/guest_options.ts";
import { compilePolicy } from "./host/guest_policy.ts";
import type { LinkChange } from "./host/link_life.ts";
import { type PublishedHandlers, PublishedPorts } from "./host/published_ports.ts";
import type { PublishedSocket } from "./host/published_udp.ts";
import { Waiters } from "./host/waiters.ts";
import type { Denial } from "./policy/denial.ts";
import type { DenialGroup } from "./policy/denial_log.ts";
import { type Explanation, parseTarget } from "./policy/explain.ts";
import type { Pin } from "./policy/pins.ts";
import { prepare, type Prepared, type VirtioNetworkOptions } from "./prepared.ts";
import type { CounterName } from "./stack/counters.ts";

export type { DnsCounts, FlowInfo, GuestFigures, GuestLink, PublishedPort };

/**
 * How an orderly end may be hurried, for `close` of a runtime and of a server. As
 * {@linkcode VirtioNetworkServer} shows.
 */
export interface CloseOptions {
  /** Ends the grace period: what is left then ends at once, as by `abort`. */
  signal?: AbortSignal;
}

/** How long an orderly end may take where nothing is said, in milliseconds. */
export const DEFAULT_GRACE_MS = 5_000;

/** What a runtime is made of beside its guest. */
interface RuntimeOptions {
  readonly logger: GatewayLogger;
  readonly graceMs: number;
  readonly limits: Limits;
  readonly events: EventHub<GatewayEvent>;
  readonly captures: CaptureSet;
  readonly published: readonly PublishedPort[];
  readonly onEnd: () => void | Promise<void>;
}

/**
 * The running network of one guest.
 *
 * @example What a guest holds and has done
 * ```ts
 * import { startVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const vmm = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
 * await using network = await startVirtioNetwork(await listener.accept());
 *
 * assertEquals(network.figures().tcpFlows, 0);
 * assertEquals(network.dnsCounts().questions, 0);
 * assertEquals([network.flows(), network.denials(), network.pins()], [[], [], []]);
 *
 * vmm.close(); // the guest is gone, and all of it
 * await network.finished;
 * ```
 */
export class VirtioNetworkRuntime implements AsyncDisposable {
  /** The ports that lead to the guest; empty where a server holds them. */
  readonly published: readonly PublishedPort[];
  /** Resolves when the stream has ended and everything of the guest is freed. */
  readonly finished: Promise<void>;
  readonly #guest: GuestNetwork;
  readonly #logger: GatewayLogger;
  readonly #graceMs: number;
  readonly #limits: Limits;
  readonly #events: EventHub<GatewayEvent>;
  readonly #captures: CaptureSet;
  readonly #ending = new AbortController();
  #reason = "";
  #isLost = false;
  /** Who waits for the loss of the link that there is. */
  readonly #waiters = new Waiters();

  /** For `startVirtioNetwork` and `serveVirtioNetwork`. */
  constructor(guest: GuestNetwork, options: RuntimeOptions) {
    this.#guest = guest;
    this.#logger = options.logger;
    this.#graceMs = options.graceMs;
    this.#limits = options.limits;
    this.#events = options.events;
    this.#captures = options.captures;
    this.published = options.published;
    this.finished = this.#run(options.onEnd);
  }

  /** Why the stream ended; empty while it runs. */
  get endReason(): string {
    return this.#reason;
  }

  /** Whether the VMM is there, or away while everything of the guest is kept for it. */
  get link(): GuestLink {
    return this.#guest.link;
  }

  /** What the guest's stack has counted; kinds that never happened are left out. */
  counters(): Partial<Record<CounterName, number>> {
    return this.#guest.counters.snapshot();
  }

  /** How many flows, timers and bytes the guest holds. */
  figures(): GuestFigures {
    return this.#guest.figures();
  }

  /** The guest's flows as they are at this moment. */
  flows(): FlowInfo[] {
    return this.#guest.flows().map((flow) => ({ ...flow, startedMs: timeOfDay(flow.startedMs) }));
  }

  /**
   * Ends a flow at once: a TCP flow with a reset.
   *
   * @param id Its number in `flows`.
   * @returns Whether there was one.
   */
  endFlow(id: number): boolean {
    return this.#guest.endFlow(id);
  }

  /** What became of the guest's questions. */
  dnsCounts(): DnsCounts {
    return { ...this.#guest.dnsCounts };
  }

  /** How many answers of upstreams are kept for the guest. */
  keptAnswers(): number {
    return this.#guest.keptAnswers;
  }

  /** Forgets the answers that are kept for the guest; what it has looked up stays reachable. */
  flushDns(): void {
    this.#guest.flushDns();
  }

  /** Which names lead to which addresses for the guest, and until when, in milliseconds since 1970. */
  pins(): Pin[] {
    return this.#guest.pins().map((pin) => ({ ...pin, untilMs: timeOfDay(pin.untilMs) }));
  }

  /** What was refused: alike refusals together, the latest first. */
  denials(): DenialGroup[] {
    return this.#guest.denials.groups().map((group) => ({
      ...group,
      firstMs: timeOfDay(group.firstMs),
      lastMs: timeOfDay(group.lastMs),
    }));
  }

  /** How often each rule has refused something; `default-deny` and `protect LEVEL` are rules too. */
  denialsByRule(): ReadonlyMap<string, number> {
    return this.#guest.denials.countsByRule();
  }

  /**
   * What happens from now on, until the iteration is left or the runtime ends.
   *
   * @param signal Ends the iteration.
   */
  events(signal?: AbortSignal): EventStream {
    return gatewayEvents(this.#events, signal);
  }

  /**
   * The guest's frames from this call on, as blocks of pcapng: the first array is the head of a file,
   * and all of them together are one. Ends with the guest, the signal, or the iteration. Frames are
   * lost where they are not read fast enough, and the next packet says how many.
   *
   * @param options Which frames, how much of each, and what ends it.
   * @throws {ConfigError} Where the filter is none.
   * @throws {GatewayError} Where four such streams are read already.
   */
  capture(options: CaptureOptions = {}): AsyncIterableIterator<Uint8Array> {
    const signals = options.signal === undefined ? [] : [options.signal];
    const signal = AbortSignal.any([...signals, this.#ending.signal]);
    return this.#captures.stream({ ...options, signal });
  }

  /**
   * Would the guest reach a target, by which rule, and what would change that.
   *
   * @param target `pypi.org`, `pypi.org:443`, `10.0.0.5:5432/tcp` or a URL.
   * @throws {ConfigError} Where the target is none.
   */
  explain(target: string): Explanation {
    const parsed = parseTarget(target);
    if (typeof parsed === "string") throw new ConfigError([{ key: "", text: parsed }]);
    return this.#guest.explain(parsed);
  }

  /**
   * Puts another policy into force. Flows that it does not allow end at once.
   *
   * @param policy The whole policy; what is absent has its default.
   * @throws {ConfigError} Where it is wrong; the old one then stays in force.
   */
  setPolicy(policy: PolicyConfig): void {
    this.enforce(compilePolicy(policy, this.#limits));
  }

  /**
   * For a server, whose policy is compiled already.
   *
   * @internal
   */
  enforce(policy: GuestPolicy): void {
    this.#guest.setPolicy(policy);
    publishPolicy(this.#events, policy);
  }

  /**
   * For a server, whose names of services are others.
   *
   * @internal
   */
  placesChanged(): void {
    this.#guest.placesChanged();
  }

  /**
   * Lets queued bytes drain for the grace period, then ends.
   *
   * @param options What cuts the grace period short.
   */
  async close({ signal }: CloseOptions = {}): Promise<void> {
    const onAbort = (): void => void this.#guest.close(0);
    signal?.addEventListener("abort", onAbort);
    try {
      await this.#guest.close(signal?.aborted ? 0 : Math.max(1, this.#graceMs));
      await this.finished;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
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

  /**
   * For a published port's listener.
   *
   * @internal
   */
  acceptPublished(conn: Deno.TcpConn | Deno.UnixConn, guestPort: number): boolean {
    return this.#guest.acceptPublished(conn, guestPort);
  }

  /**
   * For a published port's socket.
   *
   * @internal
   */
  receivePublished(socket: PublishedSocket, client: HostClient, data: Uint8Array): void {
    this.#guest.receivePublished(socket, client, data);
  }

  /**
   * For a published port's socket.
   *
   * @internal
   */
  endPublished(socket: PublishedSocket): void {
    this.#guest.endPublished(socket);
  }

  /**
   * For a published port's listener.
   *
   * @internal
   */
  noteDenial(denial: Denial): void {
    this.#guest.noteDenial(denial);
  }

  /**
   * For a server: resolves when the link that there is at the call has been lost, or at the signal.
   *
   * @internal
   */
  linkLost(signal?: AbortSignal): Promise<void> {
    return this.#isLost ? Promise.resolve() : this.#waiters.wait(signal);
  }

  #loseLink(): void {
    this.#isLost = true;
    this.#waiters.wake();
  }

  /**
   * For a server: whether the VMM is gone for good, and all is about to end.
   *
   * @internal
   */
  get isLeaving(): boolean {
    return this.#guest.isLeaving;
  }

  /**
   * For a server: takes another link in the place of one that was lost; false where none was.
   *
   * @internal
   */
  reattach(conn: FrameTransport): boolean {
    if (!this.#guest.reattach(conn)) return false;
    this.#isLost = false;
    return true;
  }

  /**
   * For the guest's network, of which everything stays.
   *
   * @internal
   */
  linkChanged(change: LinkChange): void {
    const timeMs = Date.now();
    const { tcpFlows, udpFlows } = this.#guest.figures();
    const flows = tcpFlows + udpFlows;
    switch (change.kind) {
      case "detached": {
        const { reason, fault } = change;
        this.#logger.info("guest detached: its flows are kept for the VMM's return", {
          reason,
          ...(fault === "" ? {} : { fault }),
          flows,
        });
        this.#events.publish({ type: "guest-detached", timeMs, reason });
        return this.#loseLink();
      }
      case "returned": {
        const awayMs = Math.round(change.awayMs);
        this.#logger.info("guest returned", { awayMs, flows });
        this.#events.publish({ type: "guest-returned", timeMs, awayMs });
        return;
      }
      case "freed":
        this.#logger.info("the guest does not have its kept flows any more; they are freed", {
          reason: change.reason,
          flows: change.flows,
        });
        return;
      default:
        change satisfies never;
    }
  }

  async #run(onEnd: () => void | Promise<void>): Promise<void> {
    try {
      this.#reason = await this.#guest.run();
    } catch (error) {
      this.#reason = "failed";
      this.#logger.error("the guest's network failed", { error: String(error) });
    } finally {
      const { tcpFlows, udpFlows, timers } = this.#guest.figures();
      const { fault } = this.#guest;
      this.#logger.info("guest left", {
        reason: this.#reason,
        ...(fault === "" ? {} : { fault }),
        flows: tcpFlows + udpFlows,
        timers,
      });
      this.#logger.debug("what the guest did", this.counters());
      this.#logger.debug("what became of its questions", { ...this.dnsCounts() });
      this.#events.publish({ type: "guest-left", timeMs: Date.now(), reason: this.#reason });
      this.#ending.abort();
      await onEnd();
      this.#loseLink();
    }
  }
}

/** The time of day of a moment on the process's clock, in milliseconds since 1970. */
function timeOfDay(nowMs: number): number {
  dayTime ??= new DayTime(performance.now(), Date.now());
  dayTime.check(performance.now(), Date.now());
  return dayTime.of(nowMs);
}

let dayTime: DayTime | null = null;

/**
 * Serves the guest behind a connection that carries its frames.
 *
 * @param conn The frame stream: 4-byte big-endian length, then the Ethernet frame. A `Deno.Conn`, or
 * something of your own that carries the same. Closed with the runtime.
 * @param options Everything has a default.
 * @returns The running network.
 * @throws {GatewayError} Where the configuration is wrong or a published port can't be had.
 *
 * @example A VMM asks who the gateway is (ARP, RFC 826)
 * ```ts
 * import { startVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * using vmm = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
 * await using network = await startVirtioNetwork(await listener.accept());
 *
 * const [guestMac, guestIp] = [[0x02, 0x53, 0x4d, 0, 0, 0x02], [100, 96, 0, 2]];
 * const [gatewayMac, gatewayIp] = [[0x02, 0x53, 0x4d, 0, 0, 0x01], [100, 96, 0, 1]];
 * const anyone = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
 * const arp = [0, 1, 0x08, 0x00, 6, 4]; // Ethernet, IPv4, the lengths of their addresses
 * const ethernet = [...anyone, ...guestMac, 0x08, 0x06];
 * const question = [...arp, 0, 1, ...guestMac, ...guestIp, 0, 0, 0, 0, 0, 0, ...gatewayIp];
 * await vmm.write(Uint8Array.of(0, 0, 0, 42, ...ethernet, ...question));
 *
 * const stream = vmm.readable.getReader();
 * let bytes: number[] = [];
 * while (bytes.length < 46) bytes = [...bytes, ...(await stream.read()).value ?? []];
 * stream.releaseLock();
 * assertEquals(bytes.slice(0, 4), [0, 0, 0, 42]);
 * assertEquals(bytes.slice(16, 36), [0x08, 0x06, ...arp, 0, 2, ...gatewayMac, ...gatewayIp]);
 * ```
 */
export async function startVirtioNetwork(
  conn: FrameTransport,
  options: VirtioNetworkOptions = {},
): Promise<VirtioNetworkRuntime> {
  const prepared = await prepare(options);
  using unowned = new DisposableStack();
  unowned.use(prepared.reserve);
  unowned.defer(() => void prepared.captures.close());
  let runtime: VirtioNetworkRuntime | null = null;
  const listeners = unowned.use(
    new PublishedPorts(
      options.publishedPorts ?? [],
      publishedHandlers(() => runtime),
      prepared.logger,
    ),
  );
  const { published } = listeners;
  unowned.defer(() => prepared.events.close());
  const ownPorts = ownPortSets([publishedOwnPorts(published)]);
  runtime = startGuest(
    conn,
    prepared,
    (protocol) => ownPorts[protocol],
    published,
    DEFAULT_GRACE_MS,
    () => {
      owned.dispose();
      options.signal?.removeEventListener("abort", onAbort);
      prepared.logger.flush();
      return prepared.captures.close();
    },
  );
  const owned = unowned.move(); // the guest's from here on
  function onAbort(): void {
    void runtime?.abort();
  }
  options.signal?.addEventListener("abort", onAbort);
  if (options.signal?.aborted) onAbort();
  return runtime;
}

/** What published ports do with clients: they are the guest's of the moment. */
export function publishedHandlers(guest: () => VirtioNetworkRuntime | null): PublishedHandlers {
  return {
    onConnection: (conn, guestPort) => guest()?.acceptPublished(conn, guestPort) ?? false,
    onDatagram: (socket, client, data) => guest()?.receivePublished(socket, client, data),
    onClosed: (socket) => guest()?.endPublished(socket),
    onRefused: (denial) => guest()?.noteDenial(denial),
  };
}

/** Tells who listens that another policy is in force. */
export function publishPolicy(events: EventHub<GatewayEvent>, { rules }: GuestPolicy): void {
  events.publish({ type: "policy-changed", timeMs: Date.now(), rules: rules.rules.length });
}

/** Starts the network of the guest behind `conn`, which is the runtime's from then on. */
export function startGuest(
  conn: FrameTransport,
  prepared: Prepared,
  ownPorts: (protocol: "tcp" | "udp") => ReadonlySet<number>,
  published: readonly PublishedPort[],
  graceMs: number,
  onEnd: () => void | Promise<void>,
  hasHeaders = false,
  lingerMs = 0,
): VirtioNetworkRuntime {
  const { config, network, limits, logger, ipv6Upstream, policy, events, reserve } = prepared;
  const { captures, system, proxy, judge } = prepared;
  const pool = sharedPool(limits.bufferBytes);
  const arena = new Arena(pool);
  let runtime: VirtioNetworkRuntime | null = null;
  try {
    const guest = new GuestNetwork({
      system: withReserve(system, reserve),
      conn,
      pool,
      arena,
      network,
      hasHeaders,
      limits,
      dns: config.dns ?? {},
      names: prepared.names,
      policy,
      ...(config.rate === undefined ? {} : { rate: config.rate }),
      ...(judge === undefined ? {} : { judge }),
      isProxied: proxy !== null,
      ...(proxy === null
        ? {}
        : { isProxy: (hostname: string, port: number) => proxy.isProxy(hostname, port) }),
      hostLoopback: config.hostLoopback ?? false,
      hostServices: config.hostServices ?? [],
      ...(prepared.lan === null ? {} : { lan: prepared.lan }),
      guestSubnets: prepared.guestSubnets,
      ipv6Upstream,
      ownPorts,
      logger,
      lingerMs,
      onLink: (change) => runtime?.linkChanged(change),
      onDenial: (denial, nowMs) => {
        captures.denied(denial);
        events.publish({ type: "denial", timeMs: timeOfDay(nowMs), ...denial });
      },
    });
    const captured: CapturedNetwork = {
      memory: pool.memory,
      setTap: (tap) => guest.setTap(tap),
      pins: () => guest.pins(),
    };
    captures.attach(captured);
    events.publish({ type: "guest-attached", timeMs: Date.now() });
    return runtime = new VirtioNetworkRuntime(guest, {
      logger,
      graceMs,
      limits,
      events,
      captures,
      published,
      onEnd: () => {
        captures.detach(captured);
        return onEnd();
      },
    });
  } catch (error) {
    arena[Symbol.dispose]();
    throw error;
  }
}
