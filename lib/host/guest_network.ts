/**
 * One guest's network, as the runtime uses it: run, closed, asked and changed.
 *
 * Its parts are made in `guest_parts.ts` and driven by `guest_turn.ts`; `guest_life.ts` has its links
 * come and go. What is kept here is how it ends, and what only whole networks can say of themselves.
 *
 * @module
 */
import type { Denial } from "../policy/denial.ts";
import type { DenialLog } from "../policy/denial_log.ts";
import {
  explain,
  type ExplainTarget,
  type ExplainWorld,
  type Explanation,
} from "../policy/explain.ts";
import type { Pin } from "../policy/pins.ts";
import { Policy } from "../policy/policy.ts";
import { Counter, type Counters } from "../stack/counters.ts";
import type { FrameTap } from "../stack/device.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import type { DnsCounts } from "./dns_gateway.ts";
import type { FlowInfo } from "./flow_info.ts";
import type { StreamEnd } from "./frame_stream.ts";
import type { FrameTransport } from "./frame_transport.ts";
import type { HostClient } from "./guest_clients.ts";
import { GuestLife } from "./guest_life.ts";
import type { GuestNetworkOptions, GuestPolicy } from "./guest_options.ts";
import { type GuestParts, makeGuestParts } from "./guest_parts.ts";
import { GuestTurn } from "./guest_turn.ts";
import { pause } from "./host_clock.ts";
import type { HostSystem } from "./host_system.ts";
import { LinkLife } from "./link_life.ts";
import type { PublishedSocket } from "./published_udp.ts";

/**
 * Whether a guest's VMM is there, or away while everything of the guest is kept for it. As
 * {@linkcode VirtioNetworkServer} tells in its snapshots.
 */
export type GuestLink = "attached" | "detached";

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

/** How long hosts have to take the last bytes of a guest that has left. */
const DELIVERY_MS = 800;
const DELIVERY_POLL_MS = 10;
/** How long the last frames of an orderly end may take. */
const FLUSH_MS = 1_000;
/** A client of a unix socket. */
const NO_ADDRESS: HostClient = { hostname: "", port: 0 };
const DROP_PUBLISHED = Counter["drop.tcp.flows"];

/** The network of the guest behind one stream. */
export class GuestNetwork {
  readonly counters: Counters;
  readonly #options: GuestNetworkOptions;
  readonly #system: HostSystem;
  readonly #now: () => number;
  readonly #parts: GuestParts;
  readonly #turn: GuestTurn;
  readonly #life: GuestLife;
  #policy: GuestPolicy;
  #freed: Promise<void> | null = null;
  /** An orderly end that is under way. */
  #closing: Promise<void> | null = null;

  constructor(options: GuestNetworkOptions) {
    this.#options = options;
    this.#policy = options.policy;
    this.#system = options.system;
    this.#now = options.system.now;
    const parts = this.#parts = makeGuestParts(options, {
      flush: () => this.#turn.flush(),
      turn: () => this.#turn.run(),
      onDatagram: () => this.#turn.runForDatagram(),
      onBug: (error) => this.#turn.logBug(error),
      onDiscover: () => this.#life.startedAgain(),
      policy: () => this.#policy,
    });
    this.counters = parts.counters;
    const life = new LinkLife(options.lingerMs ?? 0, options.system);
    const turn = this.#turn = new GuestTurn({ ...options, parts, life });
    this.#life = new GuestLife({ ...options, parts, turn, life });
  }

  /** Serves until the guest has left for good; resolves with why, when everything of it is freed. */
  async run(): Promise<StreamEnd> {
    const end = await this.#life.serve();
    await this.#deliver();
    await (this.#closing ?? this.#free(0));
    return end;
  }

  /** What the system said where the stream ended by a fault; empty otherwise. */
  get fault(): string {
    return this.#turn.bridge.fault;
  }

  /** Whether the VMM is there. */
  get link(): GuestLink {
    return this.#life.isDetached ? "detached" : "attached";
  }

  /** Whether no VMM is waited for any more: the guest's last bytes go to hosts, and then all ends. */
  get isLeaving(): boolean {
    return this.#life.isOver;
  }

  /** Takes another link in the place of the one that was lost; false where none was. */
  reattach(conn: FrameTransport): boolean {
    return this.#life.reattach(conn);
  }

  /** A guest that uploads, closes and powers off has been told that its bytes are there: they go. */
  #deliver(): Promise<void> {
    return this.#waitWhile(() => this.#parts.relays.delivering, this.#now() + DELIVERY_MS);
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
    this.#life.close();
    const isBusy = () => this.#turn.bridge.ended ? this.#parts.relays.delivering : this.#isBusy();
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
    const { tcp, queues, relays } = this.#parts;
    for (const { sender, receiver } of tcp.connections()) {
      if (sender.ring.lengthBytes > 0 || receiver.ring.lengthBytes > 0) return true;
    }
    return queues.queuedBytes > 0 || relays.delivering;
  }

  /** What the guest uses. */
  figures(): GuestFigures {
    const { tcp, udpFlows, relays, dialer, dns, pins, pings, stack } = this.#parts;
    return {
      tcpFlows: tcp.size,
      udpFlows: udpFlows.size,
      timers: tcp.timers,
      relays: relays.size,
      dials: dialer.active + dialer.waiting,
      dnsInFlight: dns.inFlight,
      pins: pins.size,
      pings: pings.size,
      fragmentSets: stack.reassembly.sets,
      bufferBytes: tcp.pool.usedBytes,
    };
  }

  /** What became of the guest's questions. */
  get dnsCounts(): Readonly<DnsCounts> {
    return this.#parts.dns.counts;
  }

  /** How many answers of upstreams are kept. */
  get keptAnswers(): number {
    return this.#parts.dns.cachedAnswers;
  }

  /** Which names lead to which addresses, and until when on the system's clock. */
  pins(): Pin[] {
    return [...this.#parts.pins.list(this.#now())];
  }

  /** What was refused. */
  get denials(): DenialLog {
    return this.#parts.denials.log;
  }

  /** The guest's flows, with times on the system's clock. */
  flows(): FlowInfo[] {
    const { relays, udpRelays, published } = this.#parts;
    return [...relays.flows(), ...udpRelays.flows(), ...published.flows()];
  }

  /** Ends a flow at once; false where there is none of this number. */
  endFlow(id: number): boolean {
    const { relays, udpRelays, published, wake } = this.#parts;
    const isEnded = relays.endFlow(id) || udpRelays.endFlow(id) || published.endFlow(id);
    if (isEnded) wake();
    return isEnded;
  }

  /** Sees every frame of the link from here on; `null` for nobody. */
  setTap(tap: FrameTap | null): void {
    this.#parts.device.tap = tap;
  }

  /** Forgets the answers that are kept; the pins stay. */
  flushDns(): void {
    this.#parts.dns.policyChanged();
  }

  /** Notes what was refused outside of the guest's network. */
  noteDenial(denial: Denial): void {
    this.#parts.denials.note(denial);
  }

  /** What becomes of a flow or lookup, and why; a name's addresses are those that are known here. */
  explain(target: ExplainTarget): Explanation {
    const nowMs = this.#now();
    const { name } = target;
    const { pins, lan, destinations, names } = this.#parts;
    const pinned = [...pins.list(nowMs)].filter((pin) => pin.name === name);
    const addresses = [
      ...target.addresses,
      ...lan?.addressesOf(name) ?? [],
      ...(name === null ? [] : names.services?.addresses(name) ?? []),
      ...pinned.map(({ address }) => parseIp(address)!),
    ];
    const world: ExplainWorld = {
      isHost: (address) => destinations.isOwn(formatIp(address)),
      isOwnName: (own) => names.current.has(own),
      door: (flow) => destinations.explainDoor(flow),
      neighbor: (flow) => lan?.explain(flow) ?? null,
    };
    return explain(destinations.policy, { ...target, addresses }, world, nowMs);
  }

  /** Puts another policy into force: flows that are under way are judged by it too. */
  setPolicy(policy: GuestPolicy): void {
    const { pins, destinations, denials, dns, names, relays, udpRelays, pings, lan, wake } =
      this.#parts;
    this.#policy = policy;
    destinations.policy = new Policy({ ...policy, pins, places: names.places });
    denials.log.rulesChanged();
    dns.policyChanged();
    relays.judgeAgain();
    udpRelays.judgeAgain();
    pings.judgeAgain();
    lan?.port.judgeAgain();
    wake();
  }

  /** Names stand for other places: flows that are under way must not go to one that is denied. */
  placesChanged(): void {
    const { rules } = this.#policy.rules;
    if (!rules.some(({ action, target }) => action === "deny" && target.kind === "domain")) return;
    const { relays, udpRelays, wake } = this.#parts;
    relays.judgePlaces();
    udpRelays.judgePlaces();
    wake();
  }

  /** Opens a connection to the guest for a client of a published port; false refuses it. */
  acceptPublished(conn: Deno.TcpConn | Deno.UnixConn, guestPort: number): boolean {
    if (this.#turn.isClosed) return false;
    const { remoteAddr } = conn;
    const client = "hostname" in remoteAddr ? remoteAddr : NO_ADDRESS;
    const { relays, clients } = this.#parts;
    if (relays.adopt(conn, clients.attempts(client, guestPort))) return true;
    this.counters.add(DROP_PUBLISHED);
    return false;
  }

  /** Brings a datagram of a client of a published port to the guest; `data` stays for the call. */
  receivePublished(socket: PublishedSocket, client: HostClient, data: Uint8Array): void {
    if (this.#turn.isClosed) return;
    try {
      this.#parts.published.received(socket, client, data);
    } catch (error) {
      this.#turn.caught(error);
    }
  }

  /** Ends the flows of a published port's socket, which is closed. */
  endPublished(socket: PublishedSocket): void {
    this.#parts.published.endFlows(socket);
  }

  #free(graceMs: number): Promise<void> {
    return this.#freed ??= this.#freeAll(graceMs);
  }

  async #freeAll(graceMs: number): Promise<void> {
    const { tcp, relays, udpFlows, pings, stack, sockets, dns } = this.#parts;
    this.#life.free();
    tcp.closeAll();
    tcp.handOver();
    relays.closeAll();
    udpFlows.closeAll();
    pings.closeAll();
    stack.reassembly.closeAll();
    if (graceMs > 0) this.#turn.flush();
    this.#turn.close();
    this.#parts.pins.clear();
    this.#parts.hook?.[Symbol.dispose]();
    this.#parts.rates[Symbol.dispose]();
    this.#parts.dialer[Symbol.dispose]();
    this.#parts.dnsRelay[Symbol.dispose]();
    const dnsClosed = dns.close();
    await this.#turn.bridge.close(graceMs);
    await sockets.settled();
    await relays.settled();
    await pings.settled();
    await dnsClosed;
    this.#options.arena[Symbol.dispose]();
  }
}
