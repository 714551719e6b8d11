/**
 * An endpoint that serves one guest after another.
 *
 *     serveVirtioNetwork(endpoint)  listen for the VMM or go to it, accept the next one when it left
 *
 * One VMM at a time: while one is attached a second is turned away. The policy outlives the guests.
 *
 * @module
 */
import {
  type Endpoint,
  formatEndpoint,
  type Framing,
  lingerFault,
  meetingFault,
  offloadFault,
  type StreamEndpoint,
  type VmmEndpoint,
} from "./config/endpoint.ts";
import { ConfigError, GatewayError } from "./config/errors.ts";
import { checkNetworkConfig } from "./config/network_config.ts";
import type { PolicyConfig, PortMapping } from "./config/options.ts";
import { PUBLISHED_MAX } from "./config/port_spec.ts";
import {
  joinedPorts,
  NO_PORTS,
  type OwnPorts,
  type OwnPortSets,
  ownPortSets,
  publishedOwnPorts,
} from "./config/own_ports.ts";
import { placeOf, type PublishedPlace, type PublishedPort } from "./config/published.ts";
import type { RecordSpec } from "./dns/record_spec.ts";
import type { CaptureOptions } from "./host/capture_set.ts";
import { closeQuietly } from "./host/close_quietly.ts";
import type { FrameTransport } from "./host/frame_transport.ts";
import { HyperkitTransport } from "./host/hyperkit_transport.ts";
import { type EventStream, gatewayEvents } from "./host/gateway_event.ts";
import type { FlowInfo } from "./host/flow_info.ts";
import { GuestTally, type GuestTotals } from "./host/guest_totals.ts";
import type { OwnName } from "./host/guest_names.ts";
import { compilePolicy } from "./host/guest_policy.ts";
import { requireEndpoint, requirePublished } from "./host/permissions.ts";
import type { GatewayPulse, GatewaySnapshot, ServedGateway } from "./host/served_gateway.ts";
import type { ListensBeside } from "./host/served_guests.ts";
import { describePolicy, explainPolicy } from "./host/policy_view.ts";
import { acceptVmms, connectToVmms, type VmmSlot } from "./host/vmm_arrivals.ts";
import { listenForVmm, type SocketUse, type VmmListener } from "./host/vmm_endpoint.ts";
import { meetVmm, type VmmMeeting } from "./host/vmm_meeting.ts";
import type { DenialGroup } from "./policy/denial_log.ts";
import type { Explanation } from "./policy/explain.ts";
import type { Pin } from "./policy/pins.ts";
import { PublishedPorts } from "./host/published_ports.ts";
import {
  disposeOwn,
  prepare,
  type Prepared,
  type SharedParts,
  type VirtioNetworkOptions,
} from "./prepared.ts";
import {
  type CloseOptions,
  DEFAULT_GRACE_MS,
  publishedHandlers,
  publishPolicy,
  startGuest,
  type VirtioNetworkRuntime,
} from "./runtime.ts";
import { formatIp } from "./wire/address.ts";

/**
 * How an endpoint is served. For {@linkcode serveVirtioNetwork}.
 */
export interface ServeOptions extends VirtioNetworkOptions {
  /** Whether to wait for the VMM or to go to it. Default `listen`. */
  mode?: "listen" | "connect";
  /** How frames are told apart in a stream. Default `stream`: 4 bytes of length, big-endian. */
  framing?: Framing;
  /** Whether to stop when the guest disconnects. Default false. */
  once?: boolean;
  /**
   * How long the guest's flows and names are kept for a VMM that has left and comes again, in
   * milliseconds; an hour at most. Default 0: everything is freed when it leaves.
   */
  lingerMs?: number;
  /** How long `close` lets queued bytes drain, in milliseconds. Default 5,000. */
  graceMs?: number;
}

/** A VMM that starts again at once may connect before its old connection's end was read. */
const LEAVING_MS = 100;

/**
 * An endpoint that serves guests, one after another.
 *
 * @example Its life
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * const server = await serveVirtioNetwork(endpoint, { graceMs: 2_000 });
 * const [port] = await server.publish({ hostPort: 0, guestPort: 22, bind: ["127.0.0.1"] });
 * assertEquals(port!.guestPort, 22);
 * assertEquals([server.guest, server.flows(), server.denials()], [null, [], []]);
 * assertEquals(server.snapshot().policy.protect, "metadata");
 *
 * await server.close({ signal: AbortSignal.timeout(1_000) }); // a second of grace at most
 * await server.finished;
 * ```
 */
export class VirtioNetworkServer implements ServedGateway, ListensBeside, AsyncDisposable {
  /** Where the VMM is met; a TCP port of 0 is replaced by the one that was chosen. */
  readonly endpoint: VmmEndpoint;
  /** Resolves when the server has ended; rejects when it could not go on. */
  readonly finished: Promise<void>;
  readonly #prepared: Prepared;
  readonly #options: ServeOptions;
  readonly #listener: VmmMeeting | null;
  readonly #ports: PublishedPorts;
  /** Ports of the host that no guest is to reach. */
  #ownPorts: OwnPortSets = ownPortSets([]);
  /** Ports that others of the program listen on. */
  #avoided: OwnPorts = NO_PORTS;
  readonly #onOwnPorts: (ports: OwnPorts) => void;
  /** Those that it was told last, as text. */
  #saidPorts = "";
  /** Other listening sockets of the program. */
  readonly #beside = new Set<VmmListener>();
  readonly #stop = new AbortController();
  readonly #onAbort = (): void => void this.abort();
  #ended = false;
  #runtime: VirtioNetworkRuntime | null = null;
  readonly #tally = new GuestTally();
  /** What the guest that has left was refused. */
  #left: { groups: DenialGroup[]; byRule: ReadonlyMap<string, number> } = {
    groups: [],
    byRule: new Map(),
  };

  /** For `serveVirtioNetwork`. */
  constructor(
    endpoint: VmmEndpoint,
    prepared: Prepared,
    options: ServeOptions,
    listener: VmmMeeting | null,
    onOwnPorts: (ports: OwnPorts) => void = () => {},
  ) {
    this.#prepared = prepared;
    this.#onOwnPorts = onOwnPorts;
    this.#options = options;
    this.#listener = listener;
    this.endpoint = listener?.endpoint ?? endpoint;
    try {
      this.#ports = new PublishedPorts(
        options.publishedPorts ?? [],
        publishedHandlers(() => this.#runtime),
        prepared.logger,
      );
    } catch (error) {
      listener?.close();
      throw error;
    }
    this.#countOwnPorts();
    options.signal?.addEventListener("abort", this.#onAbort);
    this.finished = this.#serve().finally(() => this.#cleanUp());
    if (options.signal?.aborted) this.#onAbort();
  }

  /** The guest that is attached, if any. */
  get guest(): VirtioNetworkRuntime | null {
    return this.#runtime;
  }

  /**
   * What happens from now on, whichever guest is attached, until the iteration is left or the server
   * has ended.
   *
   * @param signal Ends the iteration.
   */
  events(signal?: AbortSignal): EventStream {
    return gatewayEvents(this.#prepared.events, signal);
  }

  /**
   * The frames of whichever guest is attached, from this call on, as blocks of pcapng: the first array
   * is the head of a file, and all of them together are one. Ends with the server, the signal, or the
   * iteration. Frames are lost where they are not read fast enough, and the next packet says how many.
   *
   * @param options Which frames, how much of each, and what ends it.
   * @throws {ConfigError} Where the filter is none.
   * @throws {GatewayError} Where four such streams are read already.
   */
  capture(options: CaptureOptions = {}): AsyncIterableIterator<Uint8Array> {
    return this.#prepared.captures.stream(options);
  }

  /** How many streams of captured frames are read. */
  get captures(): number {
    return this.#prepared.captures.streams;
  }

  /**
   * Puts another policy into force, for the guest that is attached and for those to come.
   *
   * @param policy The whole policy; what is absent has its default.
   * @throws {ConfigError} Where it is wrong; the old one then stays in force.
   */
  setPolicy(policy: PolicyConfig): void {
    const compiled = compilePolicy(policy, this.#prepared.limits);
    this.#prepared.policy = compiled;
    if (this.#runtime !== null) {
      this.#tally.rulesChange(this.#runtime);
      this.#runtime.enforce(compiled);
    } else publishPolicy(this.#prepared.events, compiled);
  }

  /**
   * For a fleet, as `setPolicy`.
   *
   * @internal
   */
  enforcePolicy(policy: PolicyConfig): void {
    this.setPolicy(policy);
  }

  /** The policy in force, whole, its rules in canonical form. */
  get policy(): Required<PolicyConfig> {
    return describePolicy(this.#prepared.policy);
  }

  /** What the guest was refused, or the one before it where none is attached; the latest first. */
  denials(): DenialGroup[] {
    return this.#runtime?.denials() ?? this.#left.groups;
  }

  /** How often each rule has refused something to the same guest. */
  denialsByRule(): ReadonlyMap<string, number> {
    return this.#runtime?.denialsByRule() ?? this.#left.byRule;
  }

  /** The attached guest's flows at this moment, the latest first; empty where none is attached. */
  flows(): FlowInfo[] {
    return (this.#runtime?.flows() ?? []).sort((a, b) => b.id - a.id);
  }

  /**
   * Ends a flow of the attached guest at once: a TCP flow with a reset.
   *
   * @param id Its number in `flows`.
   * @returns Whether there was one.
   */
  endFlow(id: number): boolean {
    return this.#runtime?.endFlow(id) ?? false;
  }

  /** Which names lead to which addresses for the attached guest; empty where none is attached. */
  pins(): Pin[] {
    return this.#runtime?.pins() ?? [];
  }

  /**
   * Forgets the answers that are kept for the guest.
   *
   * @returns Whether a guest is attached; without one nothing is kept.
   */
  flushDns(): boolean {
    this.#runtime?.flushDns();
    return this.#runtime !== null;
  }

  /** What all guests have counted, those that have left too. */
  totals(): GuestTotals {
    return this.#tally.totals(this.#runtime);
  }

  /** All of it that the control interface shows, at this moment. */
  snapshot(): GatewaySnapshot {
    const { endpoint, published, policy, guest, captures, guestAddresses, localZones } = this;
    return {
      endpoint,
      published,
      policy,
      guest: guest === null ? null : {
        link: guest.link,
        figures: guest.figures(),
        counters: guest.counters(),
        dns: guest.dnsCounts(),
        keptAnswers: guest.keptAnswers(),
      },
      totals: this.totals(),
      captures,
      guestAddresses,
      localZones,
    };
  }

  /**
   * For a fleet: what changes often.
   *
   * @internal
   */
  pulse(): GatewayPulse {
    const { published, guest } = this;
    const { tcpFlows = 0, udpFlows = 0 } = guest?.figures() ?? {};
    const { counters } = this.totals();
    return {
      published,
      attached: guest !== null,
      flows: tcpFlows + udpFlows,
      refused: counters["policy.refused"],
      upBytes: counters["rx.bytes"],
      downBytes: counters["tx.bytes"],
    };
  }

  /**
   * Would the guest reach a target, by which rule, and what would change that. Where none is
   * attached, nothing has been looked up.
   *
   * @param target `pypi.org`, `pypi.org:443`, `10.0.0.5:5432/tcp` or a URL.
   * @throws {ConfigError} Where the target is none.
   */
  explain(target: string): Explanation {
    const { policy, lan } = this.#prepared;
    const neighbors = lan?.members.filter((_, at) => at !== lan.self);
    return this.#runtime?.explain(target) ?? explainPolicy(policy, target, neighbors);
  }

  /**
   * Listens on another socket of the program: no guest reaches it, it has the descriptors that are
   * kept for the gateway's own, and it ends with the server.
   *
   * @param endpoint A unix socket's path or a TCP address.
   * @param use Whom it is for, in the words of messages.
   * @throws {GatewayError} Where the socket is in use or a permission is missing.
   */
  async listenBeside(endpoint: Endpoint, use: SocketUse): Promise<VmmListener> {
    requireEndpoint(endpoint, "listen on");
    const { logger, reserve } = this.#prepared;
    const listener = await listenForVmm(endpoint, logger, reserve, use);
    this.#beside.add(listener);
    this.#countOwnPorts();
    if (this.#ended) listener.close();
    return listener;
  }

  /** The names that the gateway answers itself, without local zones and reverse names. */
  ownNames(): OwnName[] {
    return this.#prepared.names.list();
  }

  /** The zones that are answered from own names alone, those that were added among them. */
  get localZones(): readonly string[] {
    return this.#prepared.names.localZones;
  }

  /**
   * Gives a name records of its own, in place of those that it had, for the guest that is attached and
   * for those to come. A guest may keep what it was told before for its time to live.
   *
   * @param name A host name, or `*.` and one for all below it that do not exist.
   * @param records Addresses, or records by type.
   * @returns The name and what it has, as `ownNames` says it.
   * @throws {ConfigError} Where one of them is wrong, or 4,096 names have records; nothing has then
   * changed.
   */
  setRecords(name: string, records: RecordSpec): OwnName {
    return this.#prepared.names.set(name, records);
  }

  /**
   * Takes the records of a name away: it is asked of the upstreams again or, in a local zone, does not
   * exist. The gateway's own names stay.
   *
   * @param name The name.
   * @returns The name and what it had; `null` where there was nothing to take away.
   */
  removeRecords(name: string): OwnName | null {
    return this.#prepared.names.remove(name);
  }

  /**
   * For the control interface, as gvproxy has it: makes a zone a local one, with addresses of names in
   * front of what they have, and those of all other names.
   *
   * @throws {ConfigError} Where something of it is wrong; nothing has then changed.
   *
   * @internal
   */
  addZone(
    zone: string,
    names: ReadonlyMap<string, readonly Uint8Array[]>,
    others: readonly Uint8Array[],
  ): void {
    this.#prepared.names.addZone(zone, names, others);
  }

  /**
   * For a fleet: gives a zone the names of services.
   *
   * @throws {ConfigError} Where the zone has upstreams.
   *
   * @internal
   */
  setZoneNames(zone: string, services: string): void {
    this.#prepared.names.setZoneNames(zone, services);
    this.#runtime?.placesChanged();
  }

  /** The guest's own addresses, as they are configured. */
  get guestAddresses(): readonly string[] {
    const { guestIp4, guestIp6, ipv6 } = this.#prepared.network;
    return [guestIp4, ...(ipv6 ? [guestIp6] : [])].map(formatIp);
  }

  /** The ports that lead to the guest. */
  get published(): readonly PublishedPort[] {
    return this.#ports.published;
  }

  /**
   * Publishes another port while the server runs.
   *
   * @param mapping The host's port, at whatever addresses, and the guest's.
   * @returns What is bound for it.
   * @throws {ConfigError} Where the mapping is wrong.
   * @throws {GatewayError} Where a place is in use or not permitted, or the server is stopping;
   * nothing is then bound.
   */
  async publish(mapping: PortMapping): Promise<readonly PublishedPort[]> {
    checkNetworkConfig({ publishedPorts: [mapping] });
    if (this.#stop.signal.aborted) {
      throw new GatewayError("closed", "cannot publish a port: the gateway is stopping");
    }
    const ports = this.published.map(({ protocol, bind, hostPort }) => {
      return `${protocol} ${protocol === "unix" ? bind : hostPort}`;
    });
    if (new Set(ports).size >= PUBLISHED_MAX) {
      const text = `at most ${PUBLISHED_MAX} ports can be published`;
      throw new ConfigError([{ key: "publishedPorts", text }]);
    }
    requirePublished([mapping]);
    const added = await this.#ports.add(mapping);
    this.#countOwnPorts();
    return added;
  }

  /**
   * Takes a published port back. Connections that came through it go on; flows of datagrams end.
   *
   * @param place The host's TCP port, or the place.
   * @param bind Beside a port: the one address that is meant; all when absent.
   * @returns What is no longer bound; empty where nothing was.
   */
  unpublish(place: number | PublishedPlace, bind?: string): readonly PublishedPort[] {
    const removed = this.#ports.remove(placeOf(place, bind));
    this.#countOwnPorts();
    return removed;
  }

  /**
   * For a program that serves several guests: ports of the host that others of it listen on, which the
   * guest is not to reach either.
   *
   * @internal
   */
  avoidPorts(ports: OwnPorts): void {
    this.#avoided = ports;
    this.#countOwnPorts();
  }

  #countOwnPorts(): void {
    const { endpoint } = this;
    const places = [endpoint, ...[...this.#beside].map((listener) => listener.endpoint)];
    const tcp = places.flatMap((place) => place.transport === "tcp" ? [place.port] : []);
    const ports = joinedPorts([publishedOwnPorts(this.published), { tcp, udp: [] }]);
    this.#ownPorts = ownPortSets([ports, this.#avoided]);
    const said = JSON.stringify(ports);
    if (said === this.#saidPorts) return;
    this.#saidPorts = said;
    this.#onOwnPorts(ports);
  }

  /**
   * Stops accepting, lets queued bytes drain for the grace period, and ends.
   *
   * @param options What cuts the grace period short.
   */
  close(options: CloseOptions = {}): Promise<void> {
    return this.#end((runtime) => runtime.close(options));
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
    const { logger } = this.#prepared;
    const { signal } = this.#stop;
    const slot: VmmSlot = {
      isTaken: () => this.#isTaken(),
      untilFree: () => this.#untilFree(),
      take: (conn) => this.#tryAttach(conn),
    };
    if (this.#listener !== null) await acceptVmms(this.#listener, slot, signal, logger);
    else await connectToVmms(this.endpoint as StreamEndpoint, slot, signal, logger);
    await this.#runtime?.finished;
  }

  /** Whether a guest is attached, and its link stays for a moment. */
  async #isTaken(): Promise<boolean> {
    const runtime = this.#runtime;
    if (runtime === null) return false;
    const moment = new AbortController();
    const timer = setTimeout(() => moment.abort(), LEAVING_MS);
    await runtime.linkLost(moment.signal);
    clearTimeout(timer);
    await this.#untilFree();
    return this.#runtime?.link === "attached";
  }

  /** A guest's last bytes go to hosts, for less than a second: then there is room. */
  async #untilFree(): Promise<void> {
    if (this.#runtime?.isLeaving) await this.#runtime.finished;
  }

  /** A guest for which there is no memory is turned away; the server goes on. */
  #tryAttach(conn: FrameTransport): VirtioNetworkRuntime | null {
    try {
      const transport = this.#options.framing === "hyperkit"
        ? new HyperkitTransport(conn, this.#prepared.network)
        : conn;
      if (this.#runtime?.reattach(transport)) return this.#runtime;
      return this.#attach(transport);
    } catch (error) {
      this.#prepared.logger.error("cannot serve the guest", { error: (error as Error).message });
      closeQuietly(conn);
      return null;
    }
  }

  #attach(conn: FrameTransport): VirtioNetworkRuntime {
    const { logger } = this.#prepared;
    logger.info("guest attached", { endpoint: formatEndpoint(this.endpoint) });
    const runtime = startGuest(
      conn,
      this.#prepared,
      (protocol) => this.#ownPorts[protocol],
      [],
      this.#options.graceMs ?? DEFAULT_GRACE_MS,
      () => {
        this.#left = { groups: runtime.denials(), byRule: runtime.denialsByRule() };
        this.#tally.left(runtime);
        if (this.#runtime === runtime) this.#runtime = null;
        if (this.#options.once || this.endpoint.transport === "stdio") {
          this.#stop.abort();
          this.#listener?.close();
        }
      },
      this.#options.framing === "stream-vnet",
      this.#options.lingerMs,
    );
    this.#runtime = runtime;
    this.#tally.attached();
    return runtime;
  }

  async #cleanUp(): Promise<void> {
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.#ports[Symbol.dispose]();
    this.#listener?.close();
    await this.#runtime?.abort();
    await this.#ports.ended();
    this.#ended = true;
    for (const listener of this.#beside) listener.close();
    disposeOwn(this.#prepared);
    this.#prepared.events.close();
    await this.#prepared.captures.close();
    this.#prepared.logger.flush();
  }
}

/**
 * Serves an endpoint: waits for the VMM there, or goes to it with back-off, and serves the next
 * guest when one has left.
 *
 * @param endpoint A unix socket's path, of streams or of datagrams, a TCP address, or standard input
 * and output.
 * @param options Everything has a default.
 * @returns The server, listening already (or, in mode `connect`, on its way).
 * @throws {GatewayError} Where the configuration is wrong, the socket is in use, a permission is
 * missing, or a published port can't be had.
 *
 * @example Serve on a TCP port until a signal
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * const ending = new AbortController();
 * const server = await serveVirtioNetwork({ transport: "tcp", hostname: "127.0.0.1", port: 0 }, {
 *   policy: { deny: ["9.9.9.0/24"] },
 *   signal: ending.signal,
 * });
 * if (server.endpoint.transport !== "tcp") throw new Error("a TCP port was asked for");
 * using vmm = await Deno.connect(server.endpoint);
 * assertEquals(server.explain("9.9.9.9:443").findings[0]!.rule, "9.9.9.0/24");
 *
 * ending.abort();
 * await server.finished;
 * ```
 */
export function serveVirtioNetwork(
  endpoint: VmmEndpoint,
  options: ServeOptions = {},
): Promise<VirtioNetworkServer> {
  return serveGuest(endpoint, options);
}

/** How a guest of several is served beside its options. */
export interface GuestParts extends SharedParts {
  /** Hears which ports of the host the server has sockets on, whenever they change. */
  readonly onOwnPorts?: (ports: OwnPorts) => void;
}

/** As `serveVirtioNetwork`, for one guest of several. */
export async function serveGuest(
  endpoint: VmmEndpoint,
  options: ServeOptions,
  parts: GuestParts = {},
): Promise<VirtioNetworkServer> {
  checkMeeting(endpoint, options);
  requireEndpoint(endpoint, options.mode === "connect" ? "connect to" : "listen on");
  const prepared = await prepare(options, parts);
  try {
    const listener = options.mode === "connect"
      ? null
      : await meetVmm(endpoint, prepared.logger, prepared.reserve);
    return new VirtioNetworkServer(endpoint, prepared, options, listener, parts.onOwnPorts);
  } catch (error) {
    disposeOwn(prepared);
    await prepared.captures.close();
    throw error;
  }
}

/** What an endpoint can't be. */
function checkMeeting(endpoint: VmmEndpoint, options: ServeOptions): void {
  const { mode = "listen", framing = "stream", guestNetwork, lingerMs = 0 } = options;
  const fault = meetingFault(endpoint, mode, framing);
  if (fault !== null) throw new ConfigError([{ key: "endpoint", text: fault }]);
  const isLarge = offloadFault(framing, guestNetwork?.offload ?? false);
  if (isLarge !== null) throw new ConfigError([{ key: "guestNetwork.offload", text: isLarge }]);
  const lingers = lingerFault(endpoint, lingerMs);
  if (lingers !== null) throw new ConfigError([{ key: "lingerMs", text: lingers }]);
}
