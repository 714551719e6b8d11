/**
 * Datagrams of published ports: flows that clients of the host open to the guest.
 *
 *     client ─▶ published socket ─▶ received: a client's flow ─▶ UdpOutput ─▶ guest
 *     client ◀─ the same socket  ◀─ ClientFlow.send ◀─ UdpInput ◀─ guest
 *
 * A flow is one client at one published socket, and what it looks like to the guest is said in
 * guest_clients.ts. Sockets outlive guests, flows do not; the end of a published port ends its flows.
 *
 * Where the guest says that nothing listens (an ICMP error, before any answer), the client's first
 * datagram goes to the guest's address of the other family, and later clients of that port go there
 * for half a minute.
 *
 * Limits: `publishedUdpFlows` flows; of whoever has the most one makes way (client_shares.ts,
 * `udp.evicted`). A first datagram of up to 2 KiB is kept until the guest has answered. Nothing is
 * queued: what finds no room at the guest is dropped by the device (`drop.queue.full`), what the host
 * does not take is `drop.udp.host`, what a port does not let in `drop.udp.source`.
 *
 * @module
 */
import { Counter } from "../stack/counters.ts";
import type { IcmpErrors } from "../stack/icmp_errors.ts";
import type { Link } from "../stack/link.ts";
import type { RateShare } from "../stack/rate_limiter.ts";
import type { UdpEnds, UdpFlow, UdpFlowOwner, UdpFlows } from "../stack/udp_flows.ts";
import type { UdpOutput } from "../stack/udp_output.ts";
import { formatIp } from "../wire/address.ts";
import { type ClientShare, ClientShares } from "./client_shares.ts";
import { type FlowInfo, type FlowNumbers, udpEndsInfo } from "./flow_info.ts";
import { addressOf, familiesOf, type GuestClients, type HostClient } from "./guest_clients.ts";
import type { GuestRates } from "./guest_rates.ts";
import { icmpReasonOf, tellGuest } from "./udp_failure.ts";

const DROP_FLOWS = Counter["drop.udp.flows"];
const DROP_HOST = Counter["drop.udp.host"];
const DROP_SOURCE = Counter["drop.udp.source"];
const DROP_UP_RATE = Counter["drop.rate.up"];
const DROP_DOWN_RATE = Counter["drop.rate.down"];
const EVICTED = Counter["udp.evicted"];
const UP = Counter["udp.up"];
const DOWN = Counter["udp.down"];

/** Ports that the gateway itself answers at any or at its own address: no client is shown with one. */
const SERVER_PORTS: readonly number[] = [53, 67, 547];
/** Longest first datagram that is kept for the other family. */
const FIRST_MAX_BYTES = 2_048;
/** How long a guest's word holds that nothing listens. */
const DEAF_MS = 30_000;
/** Most of those words; as many as ports that can be published. */
const DEAF_MAX = 2_048;

/** A published port's socket, as a guest's network sees it. */
export interface PublishedSocket {
  /** Where it leads. */
  readonly guestPort: number;
  /** Whether a client is let in and may be answered; a no has been told where it belongs. */
  admits(client: HostClient): boolean;
  /**
   * Sends `length` octets at `at` of `from`, which are copied; `failed` hears why they did not go.
   *
   * @returns Whether they were taken; not where too much is under way.
   */
  send(
    to: HostClient,
    from: Uint8Array,
    at: number,
    length: number,
    failed: (error: unknown) => void,
  ): boolean;
}

/** What is needed for clients' flows. */
export interface PublishedUdpOptions {
  readonly link: Link;
  readonly flows: UdpFlows;
  readonly output: UdpOutput;
  readonly errors: IcmpErrors;
  readonly clients: GuestClients;
  readonly rates: GuestRates;
  readonly numbers: FlowNumbers;
  /** Flows at once, at most. */
  readonly flowsMax: number;
  /** Asks for a turn, so that frames for the guest are flushed. */
  wake(): void;
  /** The clock, in milliseconds. */
  now(): number;
}

/** The flows of one socket. */
interface SocketFlows {
  readonly socket: PublishedSocket;
  /** Tells its owners from those of other sockets. */
  readonly number: number;
  readonly byClient: Map<string, ClientFlow>;
}

/** All flows that clients have opened to one guest. */
export class PublishedUdp {
  readonly #options: PublishedUdpOptions;
  readonly #sockets = new Map<PublishedSocket, SocketFlows>();
  readonly #shares = new ClientShares<ClientFlow>();
  /** Guest ports of a family where nothing listens, and until when that is believed. */
  readonly #deaf = new Map<string, number>();
  #socketNumber = 0;

  constructor(options: PublishedUdpOptions) {
    this.#options = options;
  }

  /** How many sockets have flows. */
  get sockets(): number {
    return this.#sockets.size;
  }

  /** How many owners have flows. */
  get owners(): number {
    return this.#shares.owners;
  }

  /** Brings a client's datagram to the guest. */
  received(socket: PublishedSocket, client: HostClient, data: Uint8Array): void {
    const flow = this.#sockets.get(socket)?.byClient.get(keyOf(client)) ??
      this.#admit(socket, client);
    flow?.received(data);
  }

  /** Ends the flows of a port that is published no longer. */
  endFlows(socket: PublishedSocket): void {
    const flows = this.#sockets.get(socket)?.byClient.values() ?? [];
    for (const { flow } of [...flows]) if (flow !== null) this.#options.flows.close(flow);
  }

  /** The flows that are there. */
  flows(): FlowInfo[] {
    return this.#all().flatMap((flow) => flow.info() ?? []);
  }

  /** Ends a flow; false where there is none of this number. */
  endFlow(id: number): boolean {
    const flow = this.#all().find((each) => each.id === id)?.flow ?? null;
    if (flow !== null) this.#options.flows.close(flow);
    return flow !== null;
  }

  #all(): ClientFlow[] {
    return [...this.#sockets.values()].flatMap(({ byClient }) => [...byClient.values()]);
  }

  /** A new client's flow, where it is let in and there is a way to the guest. */
  #admit(socket: PublishedSocket, client: HostClient): ClientFlow | null {
    const { values } = this.#options.link.counters;
    if (client.port === 0 || !socket.admits(client)) { // from port 0 no answer is wanted
      values[DROP_SOURCE]!++;
      return null;
    }
    const families = familiesOf(client);
    const listening = families.filter((family) => !this.#isDeaf(family, socket.guestPort));
    const flow = this.#open(socket, client, listening.length > 0 ? listening : families);
    if (flow === null) values[DROP_FLOWS]!++;
    return flow;
  }

  /** Opens a flow over the first family in which the guest has an address. */
  #open(
    socket: PublishedSocket,
    client: HostClient,
    families: readonly (4 | 6)[],
  ): ClientFlow | null {
    const { clients, flows } = this.#options;
    const isFree = (ends: UdpEnds) => !SERVER_PORTS.includes(ends.peerPort) && flows.isFree(ends);
    for (const family of families) {
      const ends = clients.ends(family, client, socket.guestPort, isFree);
      if (ends !== null) return this.#insert(socket, client, ends);
    }
    return null;
  }

  #insert(socket: PublishedSocket, client: HostClient, ends: UdpEnds): ClientFlow | null {
    const { flows, flowsMax, link, now } = this.#options;
    const victim = flows.published < flowsMax ? null : this.#shares.victim()?.flow ?? null;
    if (victim !== null) {
      link.counters.values[EVICTED]!++;
      flows.close(victim);
    }
    let of = this.#sockets.get(socket);
    of ??= { socket, number: ++this.#socketNumber, byClient: new Map() };
    const relay = new ClientFlow(this.#options, socket, client, {
      used: (isAnswer) => this.#shares.use(share, relay, isAnswer),
      answered: (family) => this.#deaf.delete(deafKey(family, socket.guestPort)),
      unreachable: (family, first) => this.#turnToOther(socket, client, family, first),
      ended: () => {
        this.#shares.remove(share, relay);
        of.byClient.delete(key);
        if (of.byClient.size === 0) this.#sockets.delete(socket);
      },
    });
    const flow = flows.insertPublished(ends, relay, now());
    if (flow === null) {
      relay.abandon();
      return null;
    }
    const key = keyOf(client);
    this.#sockets.set(socket, of);
    of.byClient.set(key, relay);
    const share: ClientShare<ClientFlow> = this.#shares.add(
      `${of.number} ${ownerOf(client)}`,
      relay,
    );
    relay.opened(flow);
    return relay;
  }

  /** Nothing listens in a family: the client goes to the other one, with what it has sent. */
  #turnToOther(
    socket: PublishedSocket,
    client: HostClient,
    family: 4 | 6,
    first: Uint8Array | null,
  ): void {
    const { guestPort } = socket;
    if (this.#deaf.size >= DEAF_MAX) this.#deaf.clear();
    this.#deaf.set(deafKey(family, guestPort), this.#options.now() + DEAF_MS);
    const other = family === 4 ? 6 : 4;
    if (first === null || this.#isDeaf(other, guestPort)) return;
    this.#open(socket, client, [other])?.received(first);
  }

  #isDeaf(family: 4 | 6, guestPort: number): boolean {
    const key = deafKey(family, guestPort);
    const untilMs = this.#deaf.get(key);
    if (untilMs === undefined) return false;
    if (untilMs > this.#options.now()) return true;
    this.#deaf.delete(key);
    return false;
  }
}

function deafKey(family: 4 | 6, guestPort: number): string {
  return `${family} ${guestPort}`;
}

function keyOf({ hostname, port }: HostClient): string {
  return `${port} ${hostname}`;
}

/** Whose flows are counted together: an IPv4 address, or the network that an IPv6 host has at least. */
function ownerOf(client: HostClient): string {
  const address = addressOf(client);
  if (address === null) return "";
  return formatIp(address.length === 4 ? address : address.fill(0, 8));
}

/** What a flow tells its table. */
interface ClientFlowEvents {
  /** A datagram has passed, of the guest or of the client. */
  used(isAnswer: boolean): void;
  /** The guest has answered for the first time. */
  answered(family: 4 | 6): void;
  /** The guest says that nothing listens; `first` is what the client had sent, if it was kept. */
  unreachable(family: 4 | 6, first: Uint8Array | null): void;
  /** The flow is over. */
  ended(): void;
}

/** The owner of a client's flow. */
class ClientFlow implements UdpFlowOwner {
  /** The flow; `null` before it is made and once it is over. */
  flow: UdpFlow | null = null;
  /** The flow's number. */
  readonly id: number;
  readonly #options: PublishedUdpOptions;
  readonly #socket: PublishedSocket;
  readonly #client: HostClient;
  readonly #events: ClientFlowEvents;
  readonly #startMs: number;
  readonly #upShare: RateShare | null;
  readonly #downShare: RateShare | null;
  readonly #failed = (error: unknown): void => this.#sendFailed(error);
  #upBytes = 0;
  #downBytes = 0;
  /** The first datagram, for the other family. */
  #first: Uint8Array | null = null;

  constructor(
    options: PublishedUdpOptions,
    socket: PublishedSocket,
    client: HostClient,
    events: ClientFlowEvents,
  ) {
    this.#options = options;
    this.#socket = socket;
    this.#client = { hostname: client.hostname, port: client.port };
    this.#events = events;
    this.id = options.numbers.next();
    this.#startMs = options.now();
    this.#upShare = options.rates.up();
    this.#downShare = options.rates.down();
  }

  /** The flow as people see it; its time is on the clock of the host. `null` once it is over. */
  info(): FlowInfo | null {
    const { flow } = this;
    if (flow === null) return null;
    return {
      id: this.id,
      protocol: "udp",
      opener: "host",
      ...udpEndsInfo(this.#options.link.memory.bytes, flow),
      name: null,
      rule: null,
      state: "open",
      startedMs: this.#startMs,
      upBytes: this.#upBytes,
      downBytes: this.#downBytes,
    };
  }

  opened(flow: UdpFlow): void {
    this.flow = flow;
  }

  /** Gives back what a flow that never was has taken. */
  abandon(): void {
    this.#upShare?.leave();
    this.#downShare?.leave();
  }

  /** A datagram of the client. */
  received(data: Uint8Array): void {
    const { flow } = this;
    if (flow === null) return;
    const { link, flows, output, now, wake } = this.#options;
    flows.usedByPeer(flow, now());
    this.#events.used(false);
    if (this.#downShare !== null && !this.#downShare.offer(data.length, now())) {
      link.counters.values[DROP_DOWN_RATE]!++;
      return;
    }
    const isFirst = flow.received === 1 && data.length <= FIRST_MAX_BYTES;
    if (isFirst && !flow.isReplied) this.#first = data.slice();
    const { family, peerAt, guestAt, peerPort, guestPort } = flow;
    if (output.sendFromBytes(family, peerAt, guestAt, peerPort, guestPort, data)) {
      link.counters.values[DOWN]!++;
      this.#downBytes += data.length;
    }
    wake();
  }

  /** A datagram of the guest. */
  send(dataAt: number, dataBytes: number): void {
    const { link: { counters: { values }, memory: { bytes } }, now } = this.#options;
    const { flow } = this;
    if (flow === null) return;
    this.#events.used(true);
    if (flow.sent === 1) {
      this.#first = null;
      this.#events.answered(flow.family);
    }
    if (this.#upShare !== null && !this.#upShare.offer(dataBytes, now())) {
      values[DROP_UP_RATE]!++;
      return;
    }
    const taken = this.#socket.send(this.#client, bytes, dataAt, dataBytes, this.#failed);
    if (taken) this.#upBytes += dataBytes;
    values[taken ? UP : DROP_HOST]!++;
  }

  unreachable(): void {
    const { flow } = this;
    if (flow === null || flow.isReplied) return;
    const first = this.#first;
    this.#options.flows.close(flow);
    this.#events.unreachable(flow.family, first);
  }

  close(): void {
    if (this.flow === null) return;
    this.flow = null;
    this.#first = null;
    this.abandon();
    this.#events.ended();
  }

  #sendFailed(error: unknown): void {
    this.#options.link.counters.values[DROP_HOST]!++;
    tellGuest(this.#options, this.flow, icmpReasonOf(error));
  }
}
