/**
 * A guest's port at the switch of its shared network: its frames to the others, and theirs to it.
 *
 *     forward   a frame of the guest: guard, flow, policy; then `lan_sender.ts`
 *     flush     at the end of a walk: what was gathered goes out, and whoever it is for is woken
 *     drain     frames of the others into the guest's lane: `lan_receiver.ts`
 *
 * The policy is asked about a flow when it begins and when the rules change, never by the frame. What
 * it can't know, such as later fragments, passes only where there are no rules.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import type { IcmpErrors } from "./icmp_errors.ts";
import type { LanFlow, LanProtocol } from "./lan_flow.ts";
import { type LanFlowLimits, LanFlows, LanKnown } from "./lan_flows.ts";
import { LanGuard, LanWay } from "./lan_guard.ts";
import type { LanMembers } from "./lan_members.ts";
import { type Drained, LanReceiver } from "./lan_receiver.ts";
import { refuseLan } from "./lan_refusal.ts";
import { LanSender, type LanSenderOptions } from "./lan_sender.ts";
import type { Link } from "./link.ts";
import { ethernetDestinationAt } from "../wire/ethernet.ts";

/** What the guest may reach of the others. */
export interface LanPolicy {
  /** Whether there are rules at all: without any, what can't be judged passes too. */
  readonly hasRules: boolean;
  /** Judges a flow that the guest begins; a refusal is noted. */
  judge(flow: LanFlow): boolean;
  /** Judges a flow that is under way; a refusal is not noted. */
  judgeAgain(flow: LanFlow): boolean;
}

/** What a port is made of. */
export interface LanPortOptions extends LanSenderOptions {
  readonly errors: IcmpErrors;
  readonly policy: LanPolicy;
  readonly limits: LanFlowLimits;
  /** 128 random bits: four words. */
  readonly seed: Uint32Array;
}

const DROP_ETHERNET = Counter["drop.eth.dst"];
const DROP_OPAQUE = Counter["drop.lan.opaque"];
const DROP_REPLY = Counter["drop.lan.reply"];

/** One guest's way to the others of its network, and back. */
export class LanPort {
  readonly #link: Link;
  readonly #members: LanMembers;
  readonly #errors: IcmpErrors;
  readonly #policy: LanPolicy;
  readonly #guard: LanGuard;
  readonly #flows: LanFlows;
  readonly #sender: LanSender;
  readonly #receiver: LanReceiver;

  constructor(options: LanPortOptions) {
    const { link, members } = options;
    this.#link = link;
    this.#members = members;
    this.#errors = options.errors;
    this.#policy = options.policy;
    this.#guard = new LanGuard(link, members);
    const flows = this.#flows = new LanFlows({ ...options, memory: link.memory });
    this.#sender = new LanSender(options);
    this.#receiver = new LanReceiver({ ...options, flows });
  }

  /** How many flows with other guests are known. */
  get flows(): number {
    return this.#flows.size;
  }

  /**
   * Takes a frame that came from the guest's MAC and does not go to the gateway's alone.
   *
   * @param isGroup Whether it goes to a group.
   * @returns Whether it is for the gateway too.
   */
  forward(at: number, bytes: number, isGroup: boolean, nowMs: number): boolean {
    const { view } = this.#link.memory;
    const to = isGroup ? -1 : this.#members.ofMac(view, ethernetDestinationAt(at));
    if (!isGroup && (to < 0 || to === this.#members.self)) return this.#drop(DROP_ETHERNET);
    const { frame } = this.#guard;
    switch (this.#guard.examine(at, bytes, to)) {
      case LanWay.gateway:
        return true;
      case LanWay.all:
        this.#sender.send(to, at, bytes, nowMs);
        return isGroup;
      case LanWay.flow:
        if (this.#admits(to, nowMs)) this.#sender.sendPacket(frame, to, at, bytes, nowMs);
        return false;
      case LanWay.opaque:
        if (this.#policy.hasRules) this.#drop(DROP_OPAQUE);
        else this.#sender.sendPacket(frame, to, at, bytes, nowMs);
        return false;
      default:
        return false;
    }
  }

  /** Sends what was gathered, and wakes whom it is for. */
  flush(): void {
    this.#sender.flush();
  }

  /** Forgets what was gathered: the read buffer may have moved. */
  forget(): void {
    this.#sender.forget();
  }

  /** Begins anew: another link has come, with nothing of before in the rings. */
  reset(): void {
    this.#sender.forget();
    this.#receiver.reset();
  }

  /** Moves frames of the others into the guest's lane, as far as there is room. */
  drain(nowMs: number): Drained {
    return this.#receiver.drain(nowMs);
  }

  /** Judges the guest's flows by rules that have changed. */
  judgeAgain(): void {
    this.#flows.judgeAgain((flow) => this.#policy.judgeAgain(flow));
  }

  /** Whether the flow of the packet that was examined may go on, or begin. */
  #admits(to: number, nowMs: number): boolean {
    const flows = this.#flows;
    const { frame } = this.#guard;
    switch (flows.look(frame, nowMs)) {
      case LanKnown.flow:
        return true;
      case LanKnown.stray:
        return this.#drop(DROP_REPLY);
      case LanKnown.opaque:
        return !this.#policy.hasRules || this.#drop(DROP_OPAQUE);
      default:
        if (this.#policy.hasRules && !this.#isAllowed(to, flows.protocol, flows.port)) {
          refuseLan(this.#link, this.#errors, frame.packet, nowMs);
          return false;
        }
        flows.begin(frame, to, nowMs);
        return true;
    }
  }

  #isAllowed(peer: number, protocol: LanProtocol, port: number): boolean {
    const { family, destinationAt } = this.#guard.frame.packet;
    const end = destinationAt + (family === 4 ? 4 : 16);
    const address = this.#link.memory.bytes.slice(destinationAt, end);
    return this.#policy.judge({ peer, address, protocol, port });
  }

  #drop(counter: number): false {
    this.#link.counters.values[counter]!++;
    return false;
  }
}
