/**
 * The flows between a guest and the others of its network, as far as its policy has to know them: who
 * began each, so that answers pass and nothing new comes along with them.
 *
 *     out of the guest   known: passes · unknown: to be judged, then begun
 *     to the guest       a first packet begins a flow of the other; the rest keeps it
 *
 * A SYN (without ACK) begins a flow in its direction, whatever is known of the other; any other
 * segment of an unknown flow is judged as if the guest began it. Echo replies and ICMP errors belong
 * to flows that are known, or to none.
 *
 * Limits: `LAN_FLOWS` flows. Where all are in use, whoever begins one loses its own least recently
 * used, if it has its share of them already; else the one with the most does. Flows end after a time
 * without packets, as those of UDP to hosts do; established TCP flows after `tcpIdleMs`. There are no
 * timers: a flow whose time is over is found so, or makes way.
 *
 * @module
 */
import { FlowTable } from "./flow_table.ts";
import { Flow, FlowChain, type LanFlow, type LanProtocol } from "./lan_flow.ts";
import type { LanFrame } from "./lan_frame.ts";
import type { LanMembers } from "./lan_members.ts";
import { QuotedError } from "./quoted_error.ts";
import { icmp4EchoIdentifier, Icmp4Type, icmp4Type } from "../wire/icmp4.ts";
import { icmp6EchoIdentifier, Icmp6Type, icmp6Type } from "../wire/icmp6.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import type { FrameMemory } from "../wire/memory.ts";
import { tcpDestinationPort, TcpFlag, tcpFlags, tcpSourcePort } from "../wire/tcp.ts";
import { udpDestinationPort, udpSourcePort } from "../wire/udp.ts";

/** Most flows that are known at a time. */
export const LAN_FLOWS = 4_096;

/** How long a flow is known without packets. */
export interface LanFlowLimits {
  readonly udpUnrepliedMs: number;
  readonly udpRepliedMs: number;
  readonly tcpIdleMs: number;
  readonly tcpTimeWaitMs: number;
}

/** What is known of a packet that leaves the guest. */
export const LanKnown = {
  /** It belongs to a flow. */
  flow: 0,
  /** It begins one: `port` and `protocol` say what is to be judged. */
  begins: 1,
  /** It is an answer or an error, and there is no flow that it would belong to. */
  stray: 2,
  /** It is of no kind that a policy can know. */
  opaque: 3,
} as const;
/** One of `LanKnown`. */
export type LanKnown = typeof LanKnown[keyof typeof LanKnown];

/** What `LanFlows` is made of. */
export interface LanFlowsOptions {
  /** Where the packets stand that leave the guest. */
  readonly memory: FrameMemory;
  readonly members: LanMembers;
  readonly limits: LanFlowLimits;
  /** 128 random bits: four words. */
  readonly seed: Uint32Array;
  /** Most flows; `LAN_FLOWS` where nothing is said. */
  readonly capacity?: number;
}

const TAGS: Readonly<Record<LanProtocol, number>> = {
  tcp: IpProtocol.tcp,
  udp: IpProtocol.udp,
  icmp: IpProtocol.icmp,
};
/** In place of the other end's port: whose echo requests have the number that stands for the guest's. */
const OWN_ECHO = 0;
const PEERS_ECHO = 1;
const FIN_OUT = 1;
const FIN_IN = 2;
const Echo = { none: 0, request: 1, reply: 2 } as const;

/** The flows of one guest with the others. */
export class LanFlows {
  /** After `look`: the port that is judged; 0 for ICMP. */
  port = 0;
  /** After `look`: the protocol that is judged. */
  protocol: LanProtocol = "tcp";
  readonly #memory: FrameMemory;
  readonly #members: LanMembers;
  readonly #limits: LanFlowLimits;
  readonly #table: FlowTable<Flow>;
  readonly #error = new QuotedError();
  readonly #chains: readonly FlowChain[];
  readonly #share: number;

  constructor({ memory, members, limits, seed, capacity = LAN_FLOWS }: LanFlowsOptions) {
    this.#memory = memory;
    this.#members = members;
    this.#limits = limits;
    this.#table = new FlowTable(capacity, seed);
    this.#chains = Array.from({ length: members.count }, () => new FlowChain());
    this.#share = Math.floor(capacity / members.count);
  }

  /** How many flows are known. */
  get size(): number {
    return this.#table.size;
  }

  /** What a packet that leaves the guest belongs to. */
  look(frame: LanFrame, nowMs: number): LanKnown {
    const { packet: { protocol, payloadAt: at } } = frame;
    const { view } = this.#memory;
    switch (protocol) {
      case IpProtocol.tcp: {
        this.#keyOut(frame, "tcp", tcpSourcePort(view, at), tcpDestinationPort(view, at));
        const flow = this.#find(nowMs);
        const flags = tcpFlags(view, at);
        if (flow === undefined || (isOpening(flags) && !flow.isGuests)) return LanKnown.begins;
        this.#noteSegment(flow, flags, FIN_OUT);
        this.#use(flow, true, nowMs);
        return LanKnown.flow;
      }
      case IpProtocol.udp:
        this.#keyOut(frame, "udp", udpSourcePort(view, at), udpDestinationPort(view, at));
        return this.#known(nowMs, LanKnown.begins);
      default:
        return this.#lookIcmp(frame, nowMs);
    }
  }

  /** Begins the flow that `look` found to begin: the guest's policy has allowed it. */
  begin({ packet: { family, destinationAt } }: LanFrame, to: number, nowMs: number): void {
    const { self } = this.#members;
    let flow = this.#find(nowMs);
    if (flow === undefined) {
      const address = addressOf(this.#memory.view, destinationAt, family);
      flow = this.#insert(new Flow(to, address, this.protocol, this.port), self, nowMs);
    } else if (flow.owner !== self) {
      this.#chains[flow.owner]!.unlink(flow);
      flow.owner = self;
      this.#chains[self]!.append(flow);
    }
    flow.isGuests = true;
    flow.isRefused = false;
    flow.open();
    flow.lastUsedMs = nowMs;
  }

  /** Takes note of a packet of `from` for the guest, in a ring: what it begins is that member's. */
  note(view: DataView, frame: LanFrame, from: number, nowMs: number): void {
    const { packet: { family, protocol, payloadAt: at, sourceAt } } = frame;
    let begins = true;
    let flags = 0;
    switch (protocol) {
      case IpProtocol.tcp:
        this.#keyIn(view, frame, "tcp", tcpDestinationPort(view, at), tcpSourcePort(view, at));
        flags = tcpFlags(view, at);
        begins = isOpening(flags);
        break;
      case IpProtocol.udp:
        this.#keyIn(view, frame, "udp", udpDestinationPort(view, at), udpSourcePort(view, at));
        break;
      default: {
        const echo = echoOf(view, family, at);
        if (echo === Echo.none) return;
        begins = echo === Echo.request;
        const whose = begins ? PEERS_ECHO : OWN_ECHO;
        this.#keyIn(view, frame, "icmp", echoNumber(view, family, at), whose);
      }
    }
    const flow = this.#find(nowMs);
    if (flow?.isRefused) return;
    if (flow !== undefined) {
      if (begins && protocol === IpProtocol.tcp) flow.open();
      this.#noteSegment(flow, flags, FIN_IN);
      this.#use(flow, false, nowMs);
    } else if (begins) {
      const address = addressOf(view, sourceAt, family);
      this.#insert(new Flow(from, address, this.protocol, this.port), from, nowMs);
    }
  }

  /** Ends the guest's own flows that `isAllowed` says no to. */
  judgeAgain(isAllowed: (flow: LanFlow) => boolean): void {
    for (const flow of this.#table.values()) {
      if (!flow.isGuests || isAllowed(flow)) continue;
      // A TCP segment without a flow begins none; of the others each packet could.
      if (flow.protocol === "tcp") this.#remove(flow);
      else flow.isRefused = true;
    }
  }

  #lookIcmp(frame: LanFrame, nowMs: number): LanKnown {
    const { view } = this.#memory;
    const { packet } = frame;
    const { family, payloadAt: at } = packet;
    const echo = echoOf(view, family, at);
    if (echo !== Echo.none) {
      const isRequest = echo === Echo.request;
      const whose = isRequest ? OWN_ECHO : PEERS_ECHO;
      this.#keyOut(frame, "icmp", echoNumber(view, family, at), whose);
      return this.#known(nowMs, isRequest ? LanKnown.begins : LanKnown.stray);
    }
    if (!isError(view, family, at)) return LanKnown.opaque;
    const quotes = this.#error.parse(this.#memory, packet) && this.#keyQuoted(this.#error);
    const flow = quotes ? this.#find(nowMs) : undefined;
    return flow !== undefined && !flow.isRefused ? LanKnown.flow : LanKnown.stray;
  }

  #known(nowMs: number, otherwise: LanKnown): LanKnown {
    const flow = this.#find(nowMs);
    if (flow === undefined || flow.isRefused) return otherwise;
    this.#use(flow, true, nowMs);
    return LanKnown.flow;
  }

  /** The key of a packet that leaves the guest. */
  #keyOut(frame: LanFrame, protocol: LanProtocol, guestPort: number, peerPort: number): void {
    const { packet: { family, sourceAt, destinationAt } } = frame;
    const { view } = this.#memory;
    this.#key(view, family, protocol, sourceAt, destinationAt, guestPort, peerPort);
  }

  /** The key of a packet for the guest. */
  #keyIn(
    view: DataView,
    { packet: { family, sourceAt, destinationAt } }: LanFrame,
    protocol: LanProtocol,
    guestPort: number,
    peerPort: number,
  ): void {
    this.#key(view, family, protocol, destinationAt, sourceAt, guestPort, peerPort);
  }

  /** The key of the packet that an error of the guest quotes; false where it is none for the guest. */
  #keyQuoted({ family, protocol, peerAt, guestAt, l4At }: QuotedError): boolean {
    const { view } = this.#memory;
    const members = this.#members;
    const guest = family === 4 ? members.ofIp4(view, guestAt) : members.ofIp6(view, guestAt);
    if (guest !== members.self) return false;
    if (protocol === IpProtocol.tcp || protocol === IpProtocol.udp) {
      const name = protocol === IpProtocol.tcp ? "tcp" : "udp";
      const [peerPort, guestPort] = [udpSourcePort(view, l4At), udpDestinationPort(view, l4At)];
      this.#key(view, family, name, guestAt, peerAt, guestPort, peerPort);
      return true;
    }
    if (protocol !== (family === 4 ? IpProtocol.icmp : IpProtocol.icmp6)) return false;
    const whose = echoOf(view, family, l4At) === Echo.request ? PEERS_ECHO : OWN_ECHO;
    this.#key(view, family, "icmp", guestAt, peerAt, echoNumber(view, family, l4At), whose);
    return true;
  }

  #key(
    view: DataView,
    family: 4 | 6,
    protocol: LanProtocol,
    guestAt: number,
    peerAt: number,
    guestPort: number,
    peerPort: number,
  ): void {
    this.protocol = protocol;
    this.port = protocol === "icmp" ? 0 : peerPort;
    const tag = TAGS[protocol];
    if (family === 4) this.#table.key4(view, tag, guestAt, peerAt, guestPort, peerPort);
    else this.#table.key6(view, tag, guestAt, peerAt, guestPort, peerPort);
  }

  /** The flow of the key, unless its time is over. */
  #find(nowMs: number): Flow | undefined {
    const flow = this.#table.find();
    if (flow === undefined || nowMs < flow.lastUsedMs + this.#lifetimeMs(flow)) return flow;
    this.#remove(flow);
    return undefined;
  }

  #lifetimeMs({ protocol, isReplied, isOver }: Flow): number {
    const { udpUnrepliedMs, udpRepliedMs, tcpIdleMs, tcpTimeWaitMs } = this.#limits;
    if (!isReplied) return udpUnrepliedMs;
    if (protocol !== "tcp") return udpRepliedMs;
    return isOver ? tcpTimeWaitMs : tcpIdleMs;
  }

  #insert(flow: Flow, owner: number, nowMs: number): Flow {
    if (this.#table.size === this.#table.capacity) this.#makeRoom(owner);
    flow.owner = owner;
    flow.lastUsedMs = nowMs;
    flow.handle = this.#table.insert(flow);
    this.#chains[owner]!.append(flow);
    return flow;
  }

  #makeRoom(owner: number): void {
    let chain = this.#chains[owner]!;
    if (chain.count < this.#share) {
      for (const each of this.#chains) if (each.count > chain.count) chain = each;
    }
    this.#remove(chain.oldest!);
  }

  #use(flow: Flow, isOut: boolean, nowMs: number): void {
    flow.lastUsedMs = nowMs;
    if (isOut !== flow.isGuests) flow.isReplied = true;
    const chain = this.#chains[flow.owner]!;
    if (flow === chain.newest) return;
    chain.unlink(flow);
    chain.append(flow);
  }

  #noteSegment(flow: Flow, flags: number, fin: number): void {
    if ((flags & TcpFlag.fin) !== 0) flow.finsSeen |= fin;
    if ((flags & TcpFlag.rst) !== 0 || flow.finsSeen === (FIN_OUT | FIN_IN)) flow.isOver = true;
  }

  #remove(flow: Flow): void {
    this.#table.remove(flow.handle);
    this.#chains[flow.owner]!.unlink(flow);
  }
}

function addressOf(view: DataView, at: number, family: 4 | 6): Uint8Array {
  return Uint8Array.from({ length: family === 4 ? 4 : 16 }, (_, i) => view.getUint8(at + i));
}

function isOpening(flags: number): boolean {
  return (flags & (TcpFlag.syn | TcpFlag.ack)) === TcpFlag.syn;
}

function echoOf(view: DataView, family: 4 | 6, at: number): number {
  const type = family === 4 ? icmp4Type(view, at) : icmp6Type(view, at);
  if (type === (family === 4 ? Icmp4Type.echo : Icmp6Type.echo)) return Echo.request;
  return type === (family === 4 ? Icmp4Type.echoReply : Icmp6Type.echoReply)
    ? Echo.reply
    : Echo.none;
}

function echoNumber(view: DataView, family: 4 | 6, at: number): number {
  return family === 4 ? icmp4EchoIdentifier(view, at) : icmp6EchoIdentifier(view, at);
}

/** Whether it is an error about a packet: redirects and quenches never come so far. */
function isError(view: DataView, family: 4 | 6, at: number): boolean {
  if (family === 6) {
    const type = icmp6Type(view, at);
    return type >= Icmp6Type.destinationUnreachable && type <= Icmp6Type.parameterProblem;
  }
  const type = icmp4Type(view, at);
  return type === Icmp4Type.destinationUnreachable || type === Icmp4Type.timeExceeded ||
    type === Icmp4Type.parameterProblem;
}
