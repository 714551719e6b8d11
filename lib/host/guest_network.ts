/**
 * One guest's network, put together: stack, endpoint, relays, resolver, and the turn that drives
 * them.
 *
 *     turn:   frames (256 or 1 ms) → timers → events to the relays → segments out, and frames of
 *             other guests → flush
 *
 * A turn runs when frames have come, when a host socket has made progress, when the writer has
 * room again, or when the stack's one timer is due. A turn that leaves frames over yields to the
 * event loop before the next one. An exception in a turn is our own bug: it is counted, logged and
 * survived.
 *
 * Where it lingers, a link that is lost leaves everything in its place for the next one
 * (`link_life.ts`, `stack/tcp/silence.ts`). Frames that were on their way either way are dropped.
 *
 * @module
 */
import type { Limits } from "../config/limits.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { MTU_MAX, type ParsedNetwork } from "../config/network.ts";
import type { DnsConfig, EchMode, HostService, RateConfig } from "../config/options.ts";
import type { Denial } from "../policy/denial.ts";
import type { DenialLog } from "../policy/denial_log.ts";
import {
  explain,
  type ExplainTarget,
  type ExplainWorld,
  type Explanation,
} from "../policy/explain.ts";
import { type Pin, Pins } from "../policy/pins.ts";
import { Policy } from "../policy/policy.ts";
import type { ProtectLevel } from "../policy/protect.ts";
import type { RuleSet } from "../policy/rule_set.ts";
import type { BufferPool } from "../stack/buffer_pool.ts";
import { Counter, Counters } from "../stack/counters.ts";
import { type FrameTap, VirtioNetworkDevice } from "../stack/device.ts";
import { Dhcp4, DHCP4_BYTES } from "../stack/dhcp4.ts";
import { Dhcp6 } from "../stack/dhcp6.ts";
import { DHCP6_REPLY_BYTES } from "../stack/dhcp6_reply.ts";
import { ECHO_OUTPUT_BYTES, EchoOutput } from "../stack/echo_output.ts";
import { Drained } from "../stack/lan_receiver.ts";
import { Link, LINK_BYTES } from "../stack/link.ts";
import { MAX_FRAME_BYTES, NetworkFrameQueues, QUEUES_BYTES } from "../stack/queues.ts";
import { GatewayStack, Polled, stackBytes } from "../stack/stack.ts";
import type { TcpConnection } from "../stack/tcp/connection.ts";
import { endpointBytes, TcpEndpoint } from "../stack/tcp/endpoint.ts";
import { UdpFlows, udpFlowsBytes } from "../stack/udp_flows.ts";
import { UdpInput } from "../stack/udp_input.ts";
import { UDP_OUTPUT_BYTES, UdpOutput } from "../stack/udp_output.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import { encodeDomainNames } from "../wire/domain_names.ts";
import { Denials } from "./denials.ts";
import { Destinations } from "./destinations.ts";
import { Dialer } from "./dialer.ts";
import { type DnsCounts, DnsGateway } from "./dns_gateway.ts";
import { DnsRelay, dnsRelayBytes } from "./dns_relay.ts";
import type { DatagramOpeners, HostSystem } from "./host_system.ts";
import { pause, type Timer } from "./host_clock.ts";
import { DnsTcpRelay } from "./dns_tcp_relay.ts";
import { type FlowInfo, FlowNumbers } from "./flow_info.ts";
import { closeQuietly } from "./close_quietly.ts";
import { FrameStreamBridge, type StreamEnd } from "./frame_stream.ts";
import type { FrameTransport } from "./frame_transport.ts";
import { LinkLife } from "./link_life.ts";
import { GUEST_CLIENTS_BYTES, GuestClients, type HostClient } from "./guest_clients.ts";
import { GuestLan, lanMembers } from "./guest_lan.ts";
import { GuestNames } from "./guest_names.ts";
import { GuestRates } from "./guest_rates.ts";
import { GuestSubnets, type Subnet } from "./guest_subnets.ts";
import { type JudgeFunction, JudgeHook } from "./judge_hook.ts";
import type { Arena } from "./gateway_memory.ts";
import type { LanAttachment } from "./lan_attachment.ts";
import { PingRelay } from "./ping_relay.ts";
import { type PublishedSocket, PublishedUdp } from "./published_udp.ts";
import { TcpRelayTable } from "./tcp_relay_table.ts";
import { UdpRelayTable } from "./udp_relay.ts";

/** What a guest may reach, compiled. */
export interface GuestPolicy {
  readonly protect: ProtectLevel;
  readonly rules: RuleSet;
  /** Whether a refused HTTP request is told why. */
  readonly denyPage: boolean;
  /** What becomes of a TLS hello that may hide another name than it shows. */
  readonly ech: EchMode;
}

/** What a guest's network is made from; everything is checked already. */
export interface GuestNetworkOptions {
  readonly conn: FrameTransport;
  /** The machine. */
  readonly system: HostSystem;
  readonly pool: BufferPool;
  /** Where the guest's parts are laid out; given back when the network has ended. */
  readonly arena: Arena;
  readonly network: ParsedNetwork;
  /** Whether each frame has a virtio-net header in front. */
  readonly hasHeaders?: boolean;
  readonly limits: Limits;
  readonly dns: DnsConfig;
  /** What the gateway answers itself, shared with other guests; as configured when absent. */
  readonly names?: GuestNames;
  readonly policy: GuestPolicy;
  /** How much of the host's network the guest gets; all of it when absent. */
  readonly rate?: RateConfig;
  /** The embedding program's own judge. */
  readonly judge?: JudgeFunction;
  /** Whether connects go through a proxy. */
  readonly isProxied?: boolean;
  /** Whether a literal and a port are where that proxy itself listens. */
  readonly isProxy?: (hostname: string, port: number) => boolean;
  readonly hostLoopback: boolean;
  readonly hostServices: readonly HostService[];
  /** Whether the host can reach the IPv6 world. */
  readonly ipv6Upstream: boolean;
  /** Ports of the gateway's own sockets on the host. */
  readonly ownPorts: (protocol: "tcp" | "udp") => ReadonlySet<number>;
  readonly logger: GatewayLogger;
  /** Hears of each refusal, with the time of the system's clock. */
  readonly onDenial?: (denial: Denial, nowMs: number) => void;
  /** Sees every frame of the link. */
  readonly tap?: FrameTap;
  /** How long everything stays for a VMM that has left; 0 when absent. */
  readonly lingerMs?: number;
  /** Hears what becomes of the link while everything stays. */
  readonly onLink?: (change: LinkChange) => void;
  /** The guest's place in a network that it shares with others. */
  readonly lan?: LanAttachment;
  /** The networks of other guests: nothing there is dialled. */
  readonly guestSubnets?: readonly Subnet[];
}

/**
 * Whether a guest's VMM is there, or away while everything of the guest is kept for it. As
 * {@linkcode VirtioNetworkServer} tells in its snapshots.
 */
export type GuestLink = "attached" | "detached";

/** What became of the link of a guest that stays. */
export type LinkChange =
  | { readonly kind: "detached"; readonly reason: StreamEnd; readonly fault: string }
  | { readonly kind: "returned"; readonly awayMs: number }
  | { readonly kind: "freed"; readonly reason: string; readonly flows: number };

/** How many flows and timers a guest has. As {@linkcode VirtioNetworkRuntime.figures} yields them. */
export interface GuestFigures {
  /** TCP flows in any state, those in TIME_WAIT included. */
  readonly tcpFlows: number;
  /** UDP flows. */
  readonly udpFlows: number;
  /** TCP flows with a timer. */
  readonly timers: number;
  /** TCP flows with a socket of the host, or on the way to one. */
  readonly relays: number;
  /** Host connects under way or waiting. */
  readonly dials: number;
  /** DNS questions that wait for an upstream. */
  readonly dnsInFlight: number;
  /** Addresses that DNS answers have tied to names. */
  readonly pins: number;
  /** Pings of the world that are under way. */
  readonly pings: number;
  /** Datagrams of which fragments are missing. */
  readonly fragmentSets: number;
  /** Buffer memory of the TCP flows, in bytes. */
  readonly bufferBytes: number;
}

const TURN_FRAMES = 256;
const TURN_MS = 1;
const WALK_FRAMES = 64;
/** How long hosts have to take the last bytes of a guest that has left. */
const DELIVERY_MS = 800;
const DELIVERY_POLL_MS = 10;
/** How long the last frames of an orderly end may take. */
const FLUSH_MS = 1_000;
const DNS_PORT = 53;
/** A client of a unix socket. */
const NO_ADDRESS: HostClient = { hostname: "", port: 0 };
const BUG = Counter["bug.turn"];
const DROP_PUBLISHED = Counter["drop.tcp.flows"];

/** The network of the guest behind one stream. */
export class GuestNetwork {
  readonly counters: Counters = new Counters();
  readonly #options: GuestNetworkOptions;
  readonly #queues: NetworkFrameQueues;
  readonly #device: VirtioNetworkDevice;
  readonly #link: Link;
  readonly #stack: GatewayStack;
  readonly #tcp: TcpEndpoint;
  readonly #udpFlows: UdpFlows;
  #bridge: FrameStreamBridge;
  readonly #life: LinkLife;
  readonly #relays: TcpRelayTable;
  readonly #udpRelays: UdpRelayTable;
  readonly #pings: PingRelay;
  readonly #published: PublishedUdp;
  readonly #lan: GuestLan | null;
  readonly #destinations: Destinations;
  readonly #pins: Pins;
  readonly #denials: Denials;
  readonly #rates: GuestRates;
  readonly #hook: JudgeHook | null;
  readonly #dialer: Dialer;
  readonly #names: GuestNames;
  readonly #dns: DnsGateway;
  readonly #dnsRelay: DnsRelay;
  readonly #sockets: DatagramOpeners;
  readonly #clients: GuestClients;
  readonly #system: HostSystem;
  readonly #now: () => number;
  readonly #wake: () => void;
  readonly #scheduledTurn = (): void => {
    this.#turnScheduled = false;
    this.#runTurn();
  };
  #timer: Timer | undefined;
  #timerMs = Infinity;
  #turnScheduled = false;
  #walked: (() => void) | null = null;
  #walkedPromise: Promise<void> | null = null;
  #polled: Polled = Polled.empty;
  /** Whether TCP or other guests have more to send than the queue had room for. */
  #blocked = false;
  /** Whether frames of other guests come before TCP in this turn. */
  #isLanFirst = false;
  #bugLogged = false;
  #partialLogged = false;
  #policy: GuestPolicy;
  /** Whether there may be names of before the link was away. */
  #hasKeptNames = false;
  #closed = false;
  #freed: Promise<void> | null = null;
  /** An orderly end that is under way. */
  #closing: Promise<void> | null = null;

  constructor(options: GuestNetworkOptions) {
    this.#options = options;
    this.#policy = options.policy;
    const { system } = options;
    this.#system = system;
    this.#now = system.now;
    const { network, limits, logger, pool } = options;
    const { memory } = pool;
    const nowMs = this.#now();
    const seed = Uint32Array.from(
      { length: 4 },
      () => system.randomWord() << 16 | system.randomWord(),
    );
    const { arena } = options;
    this.#queues = new NetworkFrameQueues(memory, arena.take(QUEUES_BYTES), {
      write: () => this.#flush(),
      turn: () => queueMicrotask(() => this.#runTurn()),
    }, options.hasHeaders);
    this.#wake = () => this.#queues.relayWake.set();
    const device = this.#device = new VirtioNetworkDevice(
      this.#queues,
      this.counters,
      network.offload,
    );
    device.tap = options.tap ?? null;
    this.#link = new Link(memory, arena.take(LINK_BYTES), device, this.counters, {
      ...network,
      verifyChecksums: network.checksums === "verify",
    });
    const search = options.dns.search === undefined
      ? new Uint8Array(0)
      : encodeDomainNames([options.dns.search])!;
    const members = options.lan === undefined ? null : lanMembers(options.lan, network.prefix6);
    this.#stack = new GatewayStack({
      link: this.#link,
      at: arena.take(stackBytes(limits)),
      limits,
      advertisement: { ipv6Upstream: options.ipv6Upstream, search },
      ...(members === null ? {} : { members }),
    });
    this.#tcp = new TcpEndpoint({
      link: this.#link,
      pool: pool.quota(limits.bufferBytes),
      at: arena.take(endpointBytes(limits.tcpFlows)),
      flows: limits.tcpFlows,
      halfOpen: limits.tcpHalfOpen,
      timeWaitMs: limits.tcpTimeWaitMs,
      idleMs: limits.tcpIdleMs,
      bufferMinBytes: limits.tcpBufferMinBytes,
      bufferMaxBytes: limits.tcpBufferMaxBytes,
      seed,
      nowMs,
      admits: (packet, peerPort, now) => this.#relays.admits(packet, peerPort, now),
      onOffer: (connection, now) => this.#offer(connection, now),
      onBug: (error) => this.#logBug(error),
    });
    this.#clients = new GuestClients({
      link: this.#link,
      at: arena.take(GUEST_CLIENTS_BYTES),
      addresses: this.#stack.addresses,
      endpoint: this.#tcp,
      now: this.#now,
      randomWord: system.randomWord,
    });
    this.#pins = new Pins(limits.policyPins);
    this.#denials = new Denials({
      kept: limits.denialsKept,
      counters: this.counters,
      logger,
      now: this.#now,
      onDenial: options.onDenial ?? (() => {}),
    });
    const onDenial = (denial: Denial): void => this.#denials.note(denial);
    const destinations = this.#destinations = new Destinations({
      policy: new Policy({ ...options.policy, pins: this.#pins }),
      hostLoopback: options.hostLoopback,
      hostServices: options.hostServices,
      gatewayIp4: network.gatewayIp4,
      gatewayIp6: network.gatewayIp6,
      gatewayLinkLocal: memory.bytes.slice(
        this.#link.gatewayLinkLocalAt,
        this.#link.gatewayLinkLocalAt + 16,
      ),
      ownPorts: options.ownPorts,
      isProxied: options.isProxied ?? false,
      ...(options.isProxy === undefined ? {} : { isProxy: options.isProxy }),
      now: this.#now,
      canBind: system.canBind,
      guestSubnets: new GuestSubnets(guestSubnets(options)),
      pingObstacle: (address) => system.pings.obstacle(address),
    });
    this.#lan = options.lan === undefined || members === null ? null : new GuestLan({
      attachment: options.lan,
      members,
      link: this.#link,
      errors: this.#stack.errors,
      limits,
      seed,
      policy: () => destinations.policy,
      onDenial,
      onFrames: this.#wake,
      now: this.#now,
    });
    if (this.#lan !== null) this.#stack.join(this.#lan.port);
    this.#rates = new GuestRates(options.rate ?? {}, system);
    const numbers = new FlowNumbers();
    this.#hook = options.judge === undefined
      ? null
      : new JudgeHook({ ...limits, judge: options.judge, clock: system, logger });
    this.#dialer = new Dialer(limits, system, () => this.#tcp.isCrowded(this.#now()));
    this.#relays = new TcpRelayTable({
      endpoint: this.#tcp,
      errors: this.#stack.errors,
      destinations,
      dialer: this.#dialer,
      relaysMax: limits.tcpFlows,
      clientsPending: limits.publishedPending,
      rates: this.#rates,
      numbers,
      hook: this.#hook,
      inspectMs: limits.inspectMs,
      inspectPending: limits.inspectPending,
      denyPage: () => this.#policy.denyPage,
      believesOuterName: () => this.#policy.ech === "outer",
      onDenial,
      halfOpenPerDestination: Math.max(1, limits.tcpHalfOpen >> 2),
      wake: this.#wake,
      clock: system,
    });
    const names = this.#names = options.names ?? new GuestNames(options);
    this.#dns = new DnsGateway({
      config: options.dns,
      limits,
      own: () => names.current,
      policy: () => destinations.policy,
      remembersNames: options.judge !== undefined,
      onDenial,
      logger,
      system,
    });
    const output = new UdpOutput(this.#link, arena.take(UDP_OUTPUT_BYTES));
    const questions = 2 * limits.dnsInFlight;
    this.#dnsRelay = new DnsRelay({
      link: this.#link,
      at: arena.take(dnsRelayBytes(questions)),
      questions,
      perSecond: limits.dnsPerSecond,
      output,
      gateway: this.#dns,
      logger,
      wake: this.#wake,
      now: this.#now,
    });
    this.#udpFlows = new UdpFlows({
      memory,
      at: arena.take(udpFlowsBytes(limits)),
      counters: this.counters,
      limits,
      seed,
      nowMs,
    });
    this.#sockets = system.datagramSockets({ sockets: limits.udpFlows });
    const udpRelays = this.#udpRelays = new UdpRelayTable({
      link: this.#link,
      flows: this.#udpFlows,
      output,
      errors: this.#stack.errors,
      sockets: this.#sockets,
      opensPerSecond: limits.udpOpensPerSecond,
      destinations,
      rates: this.#rates,
      numbers,
      hook: this.#hook,
      onDenial,
      logger,
      wake: () => this.#wakeLater(),
      now: this.#now,
    });
    this.#pings = new PingRelay({
      bytes: memory.bytes,
      counters: this.counters,
      output: new EchoOutput(this.#link, this.#stack.errors, arena.take(ECHO_OUTPUT_BYTES)),
      limits,
      program: system.pings,
      destinations,
      rates: this.#rates,
      hook: this.#hook,
      onDenial,
      logger,
      clock: system,
      wake: () => this.#wakeLater(),
    });
    this.#published = new PublishedUdp({
      link: this.#link,
      flows: this.#udpFlows,
      output,
      errors: this.#stack.errors,
      clients: this.#clients,
      rates: this.#rates,
      numbers,
      flowsMax: limits.publishedUdpFlows,
      wake: () => this.#wakeLater(),
      now: this.#now,
    });
    const dhcp4 = new Dhcp4(this.#link, arena.take(DHCP4_BYTES), {
      search,
      onDiscover: () => this.#startedAgain(),
    });
    const dhcp6 = new Dhcp6(this.#link, {
      at: arena.take(DHCP6_REPLY_BYTES),
      addresses: this.#stack.addresses,
      search,
    });
    const udp = new UdpInput(this.#link, this.#udpFlows, this.#stack.errors, {
      dhcp4: (packet) => dhcp4.process(packet),
      dhcp6: (packet) => dhcp6.process(packet),
      dns: (packet, guestPort, dataAt, dataBytes) =>
        this.#dnsRelay.ask(packet, guestPort, dataAt, dataBytes),
      open: (packet, peerPort) => udpRelays.open(packet, peerPort),
    }, options.dns.intercept ?? true);
    this.#stack.attach(this.#tcp, udp, (packet, now) => this.#pings.open(packet, now));
    this.#life = new LinkLife(options.lingerMs ?? 0, system);
    this.#link.onGuest = (isSame) => this.#heard(isSame);
    this.#bridge = this.#bridgeOf(options.conn);
  }

  #bridgeOf(conn: FrameTransport): FrameStreamBridge {
    const { pool: { memory }, network } = this.#options;
    const largestBytes = network.offload ? MTU_MAX : network.mtu;
    return new FrameStreamBridge(conn, memory, this.#queues, largestBytes, {
      onFrames: () => this.#onFrames(),
      onRoom: () => {
        if (this.#blocked) this.#wake();
      },
    }, this.#system);
  }

  /** Serves until the guest has left for good; resolves with why, when everything of it is freed. */
  async run(): Promise<StreamEnd> {
    this.#lan?.attach();
    let end = await this.#bridge.run();
    while (this.#mayReturn(end)) {
      const lostMs = this.#now();
      const conn = await this.#detach(end);
      if (conn === null) break;
      if (this.#closing !== null || this.#freed !== null) { // in the moment of the return
        closeQuietly(conn);
        break;
      }
      this.#attach(conn, lostMs);
      end = await this.#bridge.run();
    }
    this.#life.end();
    this.#lan?.leave();
    await this.#deliver();
    await (this.#closing ?? this.#free(0));
    return end;
  }

  /** What the system said where the stream ended by a fault; empty otherwise. */
  get fault(): string {
    return this.#bridge.fault;
  }

  // ---- A link that goes away and comes back ---------------------------------------------------

  /** Whether another link may take the place of one that has ended so. */
  #mayReturn(end: StreamEnd): boolean {
    if (this.#closing !== null || this.#freed !== null) return false;
    switch (end) {
      case "closed by the VMM":
      case "read failed":
      case "write failed":
        // Who was never heard has nothing to be kept.
        return (this.#link.guestMacKnown || this.#link.hadGuest) && this.#life.lost();
      case "broken framing":
      case "stopped":
        return false;
      default:
        return end satisfies never;
    }
  }

  /** Whether the VMM is there. */
  get link(): GuestLink {
    return this.#life.isDetached || this.#life.isOver ? "detached" : "attached";
  }

  /** Whether no VMM is waited for any more: the guest's last bytes go to hosts, and then all ends. */
  get isLeaving(): boolean {
    return this.#life.isOver;
  }

  /** Takes another link in the place of the one that was lost; false where none was. */
  reattach(conn: FrameTransport): boolean {
    if (this.#closing !== null || this.#freed !== null) return false;
    return this.#life.offer(conn);
  }

  /** Nothing of the old stream may get into the next: frames on their way either way are dropped. */
  async #detach(reason: StreamEnd): Promise<FrameTransport | null> {
    this.#device.isAway = true;
    this.#lan?.leave();
    this.#blocked = false;
    this.#tcp.hush(this.#now());
    this.#udpFlows.keepAll();
    this.#pins.markAll();
    this.#pings.closeAll();
    this.#stack.reassembly.closeAll();
    await this.#bridge.close(0);
    if (this.#freed !== null) return null;
    this.#queues.reset();
    this.#polled = Polled.empty;
    const next = this.#life.next(); // who hears of it may offer one at once
    this.#tellLink({ kind: "detached", reason, fault: this.fault });
    return await next;
  }

  #attach(conn: FrameTransport, lostMs: number): void {
    const nowMs = this.#now();
    this.#bridge = this.#bridgeOf(conn); // the device stays away until somebody is heard on it
    this.#link.forgetGuest();
    this.#hasKeptNames = true;
    this.#tcp.back(nowMs);
    this.#life.back(nowMs);
    this.#tellLink({ kind: "returned", awayMs: nowMs - lostMs });
    this.#wake();
  }

  /** The first frame of a link, before anything is done with it. */
  #heard(isSame: boolean): void {
    this.#life.heard();
    if (!isSame) this.#otherGuest();
    this.#tcp.readdress();
    if (this.#device.isAway) {
      this.#device.isAway = false;
      if (this.#closing === null) this.#lan?.attach();
    }
    this.#tcp.heard(this.#now());
  }

  /** Another guest's flows, addresses and names are not this one's. */
  #otherGuest(): void {
    this.#stack.addresses.clear();
    this.#hasKeptNames = false;
    this.#pins.clear();
    this.#dnsRelay.nextGuest();
    this.#dns.forget();
    this.#udpFlows.keepAll(); // those too that clients have opened meanwhile, to its addresses
    this.#endKept("another MAC came back");
  }

  /** The guest looks for an address: it may know nothing of what was before the link was away. */
  #startedAgain(): void {
    if (this.#hasKeptNames) {
      this.#hasKeptNames = false; // once: what it has asked for since is its own
      this.#pins.clearMarked();
      this.#dns.policyChanged();
    }
    this.#endKept("it looked for an address as one that was started");
  }

  /** Frees the flows for which the guest has not spoken since the link was away: it lacks them. */
  #endKept(reason: string): void {
    if (!this.#link.hadGuest) return;
    const flows = this.#tcp.endSilent() + this.#udpFlows.closeKept();
    if (flows > 0) this.#tellLink({ kind: "freed", reason, flows });
  }

  /** Who listens may fail; the guest goes on. */
  #tellLink(change: LinkChange): void {
    try {
      this.#options.onLink?.(change);
    } catch (error) {
      this.counters.values[BUG]!++;
      this.#logBug(error);
    }
  }

  /** A guest that uploads, closes and powers off has been told that its bytes are there: they go. */
  #deliver(): Promise<void> {
    return this.#waitWhile(() => this.#relays.delivering, this.#now() + DELIVERY_MS);
  }

  /**
   * Lets what is under way to the guest and to hosts arrive, for at most `graceMs`, and ends the
   * stream; `run` resolves. Without grace the frame in flight is finished, and nothing else.
   */
  close(graceMs: number): Promise<void> {
    if (graceMs <= 0) return this.#free(0);
    return this.#closing ??= this.#closeInOrder(this.#now() + graceMs);
  }

  async #closeInOrder(endMs: number): Promise<void> {
    this.#lan?.leave(); // what others send would never end
    const isBusy = () => this.#bridge.ended ? this.#relays.delivering : this.#isBusy();
    await this.#waitWhile(isBusy, endMs);
    await this.#free(Math.max(1, Math.min(FLUSH_MS, endMs - this.#now())));
  }

  async #waitWhile(unfinished: () => boolean, endMs: number): Promise<void> {
    while (this.#freed === null && unfinished() && this.#now() < endMs) {
      await pause(this.#system, DELIVERY_POLL_MS);
    }
  }

  /** Whether bytes of a flow are still on their way to the guest or the host. */
  #isBusy(): boolean {
    for (const { sender, receiver } of this.#tcp.connections()) {
      if (sender.ring.lengthBytes > 0 || receiver.ring.lengthBytes > 0) return true;
    }
    return this.#queues.queuedBytes > 0 || this.#relays.delivering;
  }

  /** What the guest uses. */
  figures(): GuestFigures {
    return {
      tcpFlows: this.#tcp.size,
      udpFlows: this.#udpFlows.size,
      timers: this.#tcp.timers,
      relays: this.#relays.size,
      dials: this.#dialer.active + this.#dialer.waiting,
      dnsInFlight: this.#dns.inFlight,
      pins: this.#pins.size,
      pings: this.#pings.size,
      fragmentSets: this.#stack.reassembly.sets,
      bufferBytes: this.#tcp.pool.usedBytes,
    };
  }

  /** What became of the guest's questions. */
  get dnsCounts(): Readonly<DnsCounts> {
    return this.#dns.counts;
  }

  /** How many answers of upstreams are kept. */
  get keptAnswers(): number {
    return this.#dns.cachedAnswers;
  }

  /** Which names lead to which addresses, and until when on the system's clock. */
  pins(): Pin[] {
    return [...this.#pins.list(this.#now())];
  }

  /** What was refused. */
  get denials(): DenialLog {
    return this.#denials.log;
  }

  /** The guest's flows, with times on the system's clock. */
  flows(): FlowInfo[] {
    return [...this.#relays.flows(), ...this.#udpRelays.flows(), ...this.#published.flows()];
  }

  /** Ends a flow at once; false where there is none of this number. */
  endFlow(id: number): boolean {
    const isEnded = this.#relays.endFlow(id) || this.#udpRelays.endFlow(id) ||
      this.#published.endFlow(id);
    if (isEnded) this.#wake();
    return isEnded;
  }

  /** Sees every frame of the link from here on; `null` for nobody. */
  setTap(tap: FrameTap | null): void {
    this.#device.tap = tap;
  }

  /** Forgets the answers that are kept; the pins stay. */
  flushDns(): void {
    this.#dns.policyChanged();
  }

  /** Notes what was refused outside of the guest's network. */
  noteDenial(denial: Denial): void {
    this.#denials.note(denial);
  }

  /** What becomes of a flow or lookup, and why; a name's addresses are those that are known here. */
  explain(target: ExplainTarget): Explanation {
    const nowMs = this.#now();
    const { name } = target;
    const pinned = [...this.#pins.list(nowMs)].filter((pin) => pin.name === name);
    const addresses = [
      ...target.addresses,
      ...this.#lan?.addressesOf(name) ?? [],
      ...pinned.map(({ address }) => parseIp(address)!),
    ];
    const world: ExplainWorld = {
      isHost: (address) => this.#destinations.isOwn(formatIp(address)),
      isOwnName: (own) => this.#names.current.has(own),
      door: (flow) => this.#destinations.explainDoor(flow),
      neighbor: (flow) => this.#lan?.explain(flow) ?? null,
    };
    return explain(this.#destinations.policy, { ...target, addresses }, world, nowMs);
  }

  /** Puts another policy into force: flows that are under way are judged by it too. */
  setPolicy(policy: GuestPolicy): void {
    const { protect, rules } = policy;
    this.#policy = policy;
    this.#destinations.policy = new Policy({ protect, rules, pins: this.#pins });
    this.#denials.log.rulesChanged();
    this.#dns.policyChanged();
    this.#relays.judgeAgain();
    this.#udpRelays.judgeAgain();
    this.#pings.judgeAgain();
    this.#lan?.port.judgeAgain();
    this.#wake();
  }

  /** Opens a connection to the guest for a client of a published port; false refuses it. */
  acceptPublished(conn: Deno.TcpConn | Deno.UnixConn, guestPort: number): boolean {
    if (this.#closed) return false;
    const { remoteAddr } = conn;
    const client = "hostname" in remoteAddr ? remoteAddr : NO_ADDRESS;
    if (this.#relays.adopt(conn, this.#clients.attempts(client, guestPort))) return true;
    this.counters.add(DROP_PUBLISHED);
    return false;
  }

  /** Brings a datagram of a client of a published port to the guest; `data` stays for the call. */
  receivePublished(socket: PublishedSocket, client: HostClient, data: Uint8Array): void {
    if (this.#closed) return;
    try {
      this.#published.received(socket, client, data);
    } catch (error) {
      this.counters.values[BUG]!++;
      this.#logBug(error);
    }
  }

  /** Ends the flows of a published port's socket, which is closed. */
  endPublished(socket: PublishedSocket): void {
    this.#published.endFlows(socket);
  }

  #offer(connection: TcpConnection, nowMs: number): void {
    const { template } = connection;
    if (template.peerPort === DNS_PORT && this.#answersDns(connection)) {
      new DnsTcpRelay(connection, {
        endpoint: this.#tcp,
        dns: this.#dns,
        wake: this.#wake,
        now: this.#now,
      });
      return;
    }
    this.#relays.offer(connection, nowMs);
  }

  #answersDns(connection: TcpConnection): boolean {
    if (this.#options.dns.intercept ?? true) return true;
    const { bytes } = this.#link.memory;
    const { at, family } = connection.template;
    const link = this.#link;
    if (family === 4) return sameRange(bytes, at + 26, link.gatewayIp4At, 4);
    return sameRange(bytes, at + 22, link.gatewayIp6At, 16) ||
      sameRange(bytes, at + 22, link.gatewayLinkLocalAt, 16);
  }

  /** A turn for all datagrams that the event loop brings in one go, so that one write has them all. */
  #wakeLater(): void {
    if (this.#turnScheduled) return;
    this.#turnScheduled = true;
    this.#system.soon(this.#scheduledTurn);
  }

  #onFrames(): Promise<void> | null {
    this.#queues.hostWake.clear();
    this.#runTurn();
    if (this.#polled !== Polled.more) return null;
    this.#walkedPromise ??= new Promise((resolve) => this.#walked = resolve);
    return this.#walkedPromise;
  }

  #runTurn(): void {
    this.#queues.relayWake.clear();
    if (this.#closed) return;
    try {
      this.#turn();
    } catch (error) {
      this.counters.values[BUG]!++;
      this.#logBug(error);
      this.#lan?.port.forget();
    }
    this.#afterWalk();
    this.#flush();
    this.#arm();
  }

  /** Our own fault: said once, counted always. */
  #logBug(error: unknown): void {
    if (this.#bugLogged) return;
    this.#bugLogged = true;
    this.#options.logger.error("the gateway caught a bug of its own; please report it", {
      error: (error as Error).stack ?? String(error),
    });
  }

  #turn(): void {
    const nowMs = this.#now();
    this.#polled = Polled.more; // stays so if a frame shows a bug: the rest is walked next
    this.#polled = this.#walk(nowMs);
    this.#lan?.port.flush();
    this.#advanceLink(nowMs);
    this.#tcp.advance(nowMs);
    this.#udpFlows.advance(nowMs);
    this.#tcp.handOver();
    this.#blocked = this.#dispatch(nowMs);
    this.#logPartial();
  }

  #advanceLink(nowMs: number): void {
    if (this.#life.askMs <= nowMs) {
      this.#life.asked(nowMs);
      this.#device.isAway = false; // for the question alone: it tells nothing of what is kept
      try {
        this.#stack.askGuest();
      } finally {
        this.#device.isAway = true;
      }
    }
    if (!this.#device.isAway) this.#stack.advance(nowMs);
  }

  /** Fills the guest's lane; TCP and other guests take turns at being first. True where it is full. */
  #dispatch(nowMs: number): boolean {
    const lan = this.#lan;
    if (lan === null) return this.#tcp.dispatch(nowMs);
    const isFirst = this.#isLanFirst = !this.#isLanFirst;
    const early = isFirst ? lan.drain(nowMs) : Drained.empty;
    const isBlocked = this.#tcp.dispatch(nowMs);
    const drained = isFirst ? early : lan.drain(nowMs);
    if (drained === Drained.more) this.#wakeLater();
    return isBlocked || drained === Drained.blocked;
  }

  #walk(nowMs: number): Polled {
    let polled: Polled = Polled.more;
    for (let frames = 0; frames < TURN_FRAMES && polled === Polled.more; frames += WALK_FRAMES) {
      polled = this.#stack.poll(WALK_FRAMES, nowMs);
      if (this.#now() - nowMs >= TURN_MS) break;
    }
    return polled;
  }

  #afterWalk(): void {
    if (this.#polled === Polled.more) {
      this.#wakeLater();
      return;
    }
    if (this.#polled === Polled.broken && !this.#bridge.ended) {
      this.#options.logger.warn(
        "closing the link: a frame's length is beyond what the framing allows",
        {
          frameBytes: this.#queues.guestToHost.frameBytes,
          maxFrameBytes: MAX_FRAME_BYTES + this.#queues.headerBytes,
        },
      );
      this.#bridge.end("broken framing");
    }
    this.#walked?.();
    this.#walked = null;
    this.#walkedPromise = null;
  }

  #flush(): void {
    this.#queues.guestWake.clear();
    this.#bridge.flush();
  }

  /** Keeps the one timer at the earliest deadline. */
  #arm(): void {
    const stackMs = this.#device.isAway ? Infinity : this.#stack.pollAt();
    const atMs = Math.min(
      stackMs,
      this.#life.askMs,
      this.#tcp.pollAt(),
      this.#udpFlows.pollAt(),
    );
    if (this.#timer !== undefined && atMs >= this.#timerMs) return;
    this.#system.clearTimer(this.#timer);
    this.#timer = undefined;
    this.#timerMs = atMs;
    if (atMs === Infinity || this.#closed) return;
    const delayMs = Math.min(60_000, Math.max(1, Math.ceil(atMs - this.#now())));
    this.#timer = this.#system.setTimer(() => {
      this.#timer = undefined;
      this.#timerMs = Infinity;
      this.#runTurn();
    }, delayMs);
  }

  #logPartial(): void {
    if (this.#partialLogged || this.counters.values[PARTIAL] === 0) return;
    this.#partialLogged = true;
    this.#options.logger.info("the guest leaves checksums to the device; they are completed here");
  }

  #free(graceMs: number): Promise<void> {
    return this.#freed ??= this.#freeAll(graceMs);
  }

  async #freeAll(graceMs: number): Promise<void> {
    this.#life.end();
    this.#lan?.leave();
    this.#tcp.closeAll();
    this.#tcp.handOver();
    this.#relays.closeAll();
    this.#udpFlows.closeAll();
    this.#pings.closeAll();
    this.#stack.reassembly.closeAll();
    if (graceMs > 0) this.#flush();
    this.#closed = true;
    this.#pins.clear();
    this.#system.clearTimer(this.#timer);
    this.#timer = undefined;
    this.#walked?.();
    this.#hook?.[Symbol.dispose]();
    this.#rates[Symbol.dispose]();
    this.#dialer[Symbol.dispose]();
    this.#dnsRelay[Symbol.dispose]();
    const dnsClosed = this.#dns.close();
    await this.#bridge.close(graceMs);
    await this.#sockets.settled();
    await this.#relays.settled();
    await this.#pings.settled();
    await dnsClosed;
    this.#options.arena[Symbol.dispose]();
  }
}

const PARTIAL = Counter["csum.partial"];

/** The networks of others, and the guest's own where it is not alone there. */
function guestSubnets({ lan, network, guestSubnets = [] }: GuestNetworkOptions): Subnet[] {
  if (lan === undefined) return [...guestSubnets];
  const { guestIp4, prefix4, guestIp6, prefix6 } = network;
  const own = [{ address: guestIp4, bits: prefix4 }, { address: guestIp6, bits: prefix6 }];
  return [...guestSubnets, ...own];
}

function sameRange(bytes: Uint8Array, aAt: number, bAt: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[aAt + i] !== bytes[bAt + i]) return false;
  return true;
}
