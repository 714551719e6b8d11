/**
 * The host's side of the guest's UDP flows: one host socket for each flow.
 *
 *     guest ─▶ UdpInput ─▶ open: judge, socket ─▶ UdpFlow
 *     guest ─▶ UdpInput ─▶ relay.send ─▶ socket ─▶ peer
 *     guest ◀─ UdpOutput ◀─ relay.received ◀─ socket ◀─ peer
 *
 * The guest sees the address that it asked for, also where the judge had another one dialled (a
 * service of the host). Only the peer's datagrams pass (RFC 4787 section 5, address and port
 * dependent filtering); others count as `drop.udp.peer`.
 *
 * At most `opensPerSecond` sockets are opened; datagrams that would need more are dropped and counted
 * (`drop.udp.rate`). Queues nothing but a little of a flow that waits for the program's judge: a
 * datagram that finds no room at the guest is dropped by the device, one that finds none at the host
 * counts as `drop.udp.host`. A flow for which there is no
 * socket is refused (`drop.udp.flows`); errors of the host that say why become ICMP errors.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import type { Denial } from "../policy/denial.ts";
import type { Grounds } from "../policy/policy.ts";
import { Counter } from "../stack/counters.ts";
import { type IcmpErrors, IcmpReason } from "../stack/icmp_errors.ts";
import type { Link } from "../stack/link.ts";
import type { Packet } from "../stack/packet.ts";
import type { RateShare } from "../stack/rate_limiter.ts";
import { TokenBucket } from "../stack/token_bucket.ts";
import type { UdpFlow, UdpFlowOwner, UdpFlows } from "../stack/udp_flows.ts";
import type { UdpRefusal } from "../stack/udp_input.ts";
import type { UdpOutput } from "../stack/udp_output.ts";
import { formatIp } from "../wire/address.ts";
import { udpSourcePort } from "../wire/udp.ts";
import type { DatagramListener, DatagramSocket } from "./datagram_socket.ts";
import type { Destinations, DestinationVerdict } from "./destinations.ts";
import { type FlowInfo, type FlowNumbers, groundsInfo, udpEndsInfo } from "./flow_info.ts";
import type { GuestRates } from "./guest_rates.ts";
import { HeldDatagrams, HeldTotal } from "./held_datagrams.ts";
import { codeOf, icmpReasonOf, tellGuest } from "./udp_failure.ts";
import {
  type HookVerdict,
  judgeDenial,
  type JudgedFlow,
  type JudgeHook,
  type PendingVerdict,
} from "./judge_hook.ts";

const DROP_FLOWS = Counter["drop.udp.flows"];
const DROP_RATE = Counter["drop.udp.rate"];
const DROP_HOST = Counter["drop.udp.host"];
const DROP_PEER = Counter["drop.udp.peer"];
const DROP_FLOW_RATE = Counter["drop.rate.flows"];
const DROP_ROUTED = Counter["drop.lan.routed"];
const DROP_UP_RATE = Counter["drop.rate.up"];
const DROP_DOWN_RATE = Counter["drop.rate.down"];
const UP = Counter["udp.up"];
const DOWN = Counter["udp.down"];
const BUG = Counter["bug.turn"];

/** Where sockets come from: a `DatagramSockets`. */
export interface DatagramOpener {
  /** Opens a socket for one peer, or throws. */
  open(address: string, port: number, listener: DatagramListener): DatagramSocket;
}

/** What a relay table works with. */
export interface UdpRelayOptions {
  readonly link: Link;
  readonly flows: UdpFlows;
  readonly output: UdpOutput;
  readonly errors: IcmpErrors;
  readonly sockets: DatagramOpener;
  /** Sockets that are opened in a second: one costs far more than the datagram that asks for it. */
  readonly opensPerSecond: number;
  readonly destinations: Pick<Destinations, "judge" | "judgeAgain" | "judgePlace">;
  readonly rates: GuestRates;
  readonly numbers: FlowNumbers;
  /** The embedding program's word; `null` where it has none. */
  readonly hook: JudgeHook | null;
  /** Hears of each refusal. */
  readonly onDenial: (denial: Denial) => void;
  readonly logger: GatewayLogger;
  /**
   * Asks for a turn, so that frames for the guest are flushed; returns when it was first asked for,
   * about a millisecond ago at the most.
   */
  wake(): number;
  /** The clock, in milliseconds. */
  now(): number;
}

/** All relays of one guest. */
export class UdpRelayTable {
  readonly #options: UdpRelayOptions;
  /** Codes that were logged as a warning; as many as the system has. */
  readonly #warned = new Set<string>();
  readonly #rate: TokenBucket;
  readonly #relays = new Set<UdpRelay>();
  readonly #events: UdpRelayEvents = {
    held: new HeldTotal(),
    onEnd: (relay) => this.#relays.delete(relay),
    warn: (error) => this.#warn(error),
  };

  constructor(options: UdpRelayOptions) {
    const { opensPerSecond } = options;
    this.#options = options;
    this.#rate = new TokenBucket(opensPerSecond, opensPerSecond);
  }

  /** Judges a destination and opens a socket for it: the `open` of `UdpHandlers`. */
  open(packet: Packet, peerPort: number): UdpFlowOwner | UdpRefusal {
    const { link, destinations, rates } = this.#options;
    const { counters, memory: { bytes } } = link;
    const { destinationAt } = packet;
    const addressBytes = packet.family === 4 ? 4 : 16;
    const destination = bytes.slice(destinationAt, destinationAt + addressBytes);
    const verdict = destinations.judge(destination, peerPort, "udp");
    if (verdict.kind !== "dial") return this.#refuse(verdict);
    const nowMs = this.#options.now();
    if (!this.#rate.take(nowMs)) {
      counters.values[DROP_RATE]!++;
      return null;
    }
    if (!rates.admitsFlow(nowMs)) {
      counters.values[DROP_FLOW_RATE]!++;
      return null;
    }
    const relay = new UdpRelay(this.#options, verdict, this.#events);
    const said = this.#ask(packet, peerPort, relay);
    if (said !== null && "allow" in said) {
      if (!said.allow) return IcmpReason.adminProhibited;
      // The program may have changed the rules before it said yes.
      const denial = destinations.judgeAgain(destination, peerPort, "udp", relay.grounds);
      if (denial !== null) return this.#refuse({ kind: "deny", denial });
    }
    this.#relays.add(relay);
    if (said !== null && "cancel" in said) {
      relay.waitFor(said);
      return relay;
    }
    try {
      relay.open();
      return relay;
    } catch (error) {
      this.#relays.delete(relay);
      this.#warn(error);
      const reason = icmpReasonOf(error);
      if (reason === null) counters.values[DROP_FLOWS]!++;
      return reason;
    }
  }

  /** Asks the embedding program, where it wants to be asked. */
  #ask(packet: Packet, peerPort: number, relay: UdpRelay): HookVerdict | PendingVerdict | null {
    const { hook, link: { memory: { bytes, view } }, onDenial, wake } = this.#options;
    if (hook === null) return null;
    const { sourceAt, destinationAt, payloadAt } = packet;
    const addressBytes = packet.family === 4 ? 4 : 16;
    const flow: JudgedFlow = {
      protocol: "udp",
      address: formatIp(bytes.subarray(destinationAt, destinationAt + addressBytes)),
      port: peerPort,
      guestAddress: formatIp(bytes.subarray(sourceAt, sourceAt + addressBytes)),
      guestPort: udpSourcePort(view, payloadAt),
    };
    const { name } = relay.grounds;
    const said = hook.ask(flow, name, ({ allow, reason }) => {
      const denial = allow ? this.#denialNow(relay) : judgeDenial(flow, name, reason);
      if (denial !== null) onDenial(denial);
      relay.decided(denial === null);
      wake();
    });
    if ("allow" in said && !said.allow) onDenial(judgeDenial(flow, name, said.reason));
    return said;
  }

  #refuse(verdict: Exclude<DestinationVerdict, { kind: "dial" }>): IcmpReason {
    if (verdict.kind === "silent") return IcmpReason.portUnreachable;
    if (verdict.kind === "unreachable") {
      this.#options.link.counters.values[DROP_ROUTED]!++;
      return IcmpReason.hostUnreachable;
    }
    // No datagram is looked into: the policy has a denial for what would need it.
    if (verdict.kind === "deny") this.#options.onDenial(verdict.denial);
    return IcmpReason.adminProhibited;
  }

  /** Judges the guest's flows by rules that have changed, and ends those that are no longer allowed. */
  judgeAgain(): void {
    this.#end((relay) => this.#denialNow(relay));
  }

  /** Ends the flows to places that have names by now which a rule denies. */
  judgePlaces(): void {
    const { destinations } = this.#options;
    this.#end((relay) => {
      return judged(
        relay,
        this.#options,
        (peer, port) => destinations.judgePlace(peer, port, "udp"),
      );
    });
  }

  /** Ends those for which there is a denial. */
  #end(denialOf: (relay: UdpRelay) => Denial | null): void {
    const { flows, onDenial } = this.#options;
    for (const relay of [...this.#relays]) {
      const denial = denialOf(relay);
      if (denial === null) continue;
      onDenial(denial);
      if (relay.flow !== null) flows.close(relay.flow);
    }
  }

  /** Why the rules that are in force refuse a flow; `null` lets it go on. */
  #denialNow(relay: UdpRelay): Denial | null {
    const { destinations } = this.#options;
    return judged(relay, this.#options, (peer, port) => {
      return destinations.judgeAgain(peer, port, "udp", relay.grounds);
    });
  }

  /** The flows that are there. */
  flows(): FlowInfo[] {
    return [...this.#relays].flatMap((relay) => relay.info() ?? []);
  }

  /** Ends a flow; false where there is none of this number. */
  endFlow(id: number): boolean {
    for (const relay of this.#relays) {
      if (relay.id !== id || relay.flow === null) continue;
      this.#options.flows.close(relay.flow);
      return true;
    }
    return false;
  }

  /** Says once for each kind of failure that flows are lost to it. */
  #warn(error: unknown): void {
    if (error instanceof Deno.errors.NotCapable) return; // that is said with the flag that lacks
    const code = codeOf(error);
    if (this.#warned.has(code)) return;
    this.#warned.add(code);
    const text = error instanceof Error ? error.message : String(error);
    this.#options.logger.warn("A UDP flow got no socket; later ones are only counted", {
      code,
      reason: text,
    });
  }
}

type Dialled = Extract<DestinationVerdict, { kind: "dial" }>;

/** What all relays of a table share. */
interface UdpRelayEvents {
  /** How much waits for verdicts. */
  readonly held: HeldTotal;
  /** A flow is over. */
  onEnd(relay: UdpRelay): void;
  /** The host's socket failed. */
  warn(error: unknown): void;
}

/** The owner of a flow, and the listener of its socket. */
class UdpRelay implements UdpFlowOwner, DatagramListener {
  /** The flow; `null` before it is made and once it is over. */
  flow: UdpFlow | null = null;
  /** The flow's number. */
  readonly id: number;
  readonly #startMs: number;
  #upBytes = 0;
  #downBytes = 0;
  readonly #options: UdpRelayOptions;
  readonly #verdict: Dialled;
  readonly #events: UdpRelayEvents;
  readonly #upShare: RateShare | null;
  readonly #downShare: RateShare | null;
  #socket: DatagramSocket | null = null;
  #pending: PendingVerdict | null = null;
  /** What waits for the verdict; `null` where nothing does. */
  #held: HeldDatagrams | null = null;

  constructor(options: UdpRelayOptions, verdict: Dialled, events: UdpRelayEvents) {
    this.#options = options;
    this.#verdict = verdict;
    this.#events = events;
    this.id = options.numbers.next();
    this.#startMs = options.now();
    this.#upShare = options.rates.up();
    this.#downShare = options.rates.down();
  }

  /** Why the flow was let through. */
  get grounds(): Grounds {
    return this.#verdict.grounds;
  }

  /** The flow as people see it; its time is on the clock of the host. `null` once it is over. */
  info(): FlowInfo | null {
    const { flow } = this;
    if (flow === null) return null;
    return {
      id: this.id,
      protocol: "udp",
      opener: "guest",
      ...udpEndsInfo(this.#options.link.memory.bytes, flow),
      ...groundsInfo(this.grounds),
      state: this.#socket === null ? "pending" : "open",
      startedMs: this.#startMs,
      upBytes: this.#upBytes,
      downBytes: this.#downBytes,
    };
  }

  /** Opens the host's socket, or throws. */
  open(): void {
    const { hostnames, port } = this.#verdict.target;
    this.#socket = this.#options.sockets.open(hostnames[0]!, port, this);
  }

  /** Holds what the guest sends until there is a verdict. */
  waitFor(pending: PendingVerdict): void {
    this.#pending = pending;
    this.#held = new HeldDatagrams(this.#events.held);
  }

  /** The verdict that the flow waited for. */
  decided(allow: boolean): void {
    const { flow } = this;
    this.#pending = null;
    if (flow === null) return;
    if (!allow) {
      this.#tell(IcmpReason.adminProhibited);
      return this.#options.flows.close(flow);
    }
    try {
      this.open();
    } catch (error) {
      return this.ended(error);
    }
    const { counters } = this.#options.link;
    const held = this.#held?.release() ?? [];
    this.#held = null;
    for (const data of held) {
      this.#upBytes += data.length;
      counters.values[this.#socket!.send(data, 0, data.length) ? UP : DROP_HOST]!++;
    }
  }

  opened(flow: UdpFlow): void {
    this.flow = flow;
  }

  send(dataAt: number, dataBytes: number): void {
    const { link } = this.#options;
    if (this.#upShare !== null && !this.#upShare.offer(dataBytes, this.#options.now())) {
      link.counters.values[DROP_UP_RATE]!++;
      return;
    }
    if (this.#socket === null) {
      const { counters, memory: { bytes } } = link;
      if (this.#held?.hold(bytes, dataAt, dataBytes) !== true) counters.values[DROP_HOST]!++;
      return;
    }
    const taken = this.#socket.send(link.memory.bytes, dataAt, dataBytes);
    if (taken) this.#upBytes += dataBytes;
    link.counters.values[taken ? UP : DROP_HOST]!++;
  }

  close(): void {
    this.flow = null;
    this.#pending?.cancel();
    this.#held?.release();
    this.#events.onEnd(this);
    this.#upShare?.leave();
    this.#downShare?.leave();
    this.#socket?.close();
  }

  received(data: Uint8Array): void {
    const flow = this.flow;
    if (flow === null) return;
    const { link, flows, output } = this.#options;
    if (this.#downShare !== null && !this.#downShare.offer(data.length, this.#options.now())) {
      link.counters.values[DROP_DOWN_RATE]!++;
      return;
    }
    const { family, peerAt, guestAt, peerPort, guestPort } = flow;
    if (output.sendFromBytes(family, peerAt, guestAt, peerPort, guestPort, data)) {
      link.counters.values[DOWN]!++;
      this.#downBytes += data.length;
    }
    // Also where the guest has no room: the peer has answered.
    flows.usedByPeer(flow, this.#options.wake());
  }

  stray(): void {
    this.#options.link.counters.values[DROP_PEER]!++;
  }

  failed(error: unknown): void {
    this.#options.link.counters.values[DROP_HOST]!++;
    this.#tell(icmpReasonOf(error));
  }

  ended(error: unknown): void {
    const { link: { counters }, flows } = this.#options;
    const flow = this.flow;
    if (flow === null) return;
    this.#events.warn(error);
    // What the system says has a code; anything else is a fault of ours.
    counters.values[codeOf(error) === "" ? BUG : DROP_FLOWS]!++;
    this.#tell(icmpReasonOf(error));
    flows.close(flow);
  }

  #tell(reason: IcmpReason | null): void {
    tellGuest(this.#options, this.flow, reason);
  }
}

/** What is said of where a flow goes; `null` where it goes nowhere any more. */
function judged(
  { flow }: UdpRelay,
  { link: { memory: { bytes } } }: UdpRelayOptions,
  judge: (peer: Uint8Array, port: number) => Denial | null,
): Denial | null {
  if (flow === null) return null;
  const { peerAt, peerPort, family } = flow;
  return judge(bytes.slice(peerAt, peerAt + (family === 4 ? 4 : 16)), peerPort);
}
