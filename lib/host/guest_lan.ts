/**
 * A guest in its shared network: its port at the switch, its attachment, and its policy, joined.
 *
 * @module
 */
import type { Denial } from "../policy/denial.ts";
import { judgeNeighbor } from "../policy/neighbor_policy.ts";
import type { FlowQuery, Policy } from "../policy/policy.ts";
import type { IcmpErrors } from "../stack/icmp_errors.ts";
import type { LanFlowLimits } from "../stack/lan_flows.ts";
import { LanMembers } from "../stack/lan_members.ts";
import { LanPort } from "../stack/lan_port.ts";
import type { Drained } from "../stack/lan_receiver.ts";
import type { Link } from "../stack/link.ts";
import { formatIp, parseIp, parseMac } from "../wire/address.ts";
import type { LanAttachment } from "./lan_attachment.ts";
import { configuredAddresses, LanJudge, neighborName } from "./lan_judge.ts";

/** What joins a guest to its shared network. */
export interface GuestLanOptions {
  readonly attachment: LanAttachment;
  readonly members: LanMembers;
  readonly link: Link;
  readonly errors: IcmpErrors;
  readonly limits: LanFlowLimits;
  /** 128 random bits: four words. */
  readonly seed: Uint32Array;
  /** The policy in force. */
  readonly policy: () => Policy;
  /** Hears of each refusal. */
  readonly onDenial: (denial: Denial) => void;
  /** Frames of others wait: a turn is due. */
  readonly onFrames: () => void;
  /** The clock, in milliseconds. */
  readonly now: () => number;
}

/** The members of a shared network by their addresses, for the guest of an attachment. */
export function lanMembers({ members, self }: LanAttachment, prefix6: number): LanMembers {
  const addresses = members.map(({ mac, ip4, ip6 }) => ({
    mac: octets(mac, parseMac),
    ip4: octets(ip4, parseIp),
    ip6: ip6 === null ? null : octets(ip6, parseIp),
  }));
  return new LanMembers(addresses, self, prefix6);
}

function octets(text: string, parse: (text: string) => Uint8Array | null): Uint8Array {
  const parsed = parse(text);
  if (parsed === null) throw new RangeError(`Cannot join a network: "${text}" is no address`);
  return parsed;
}

/** One guest's side of its shared network. */
export class GuestLan {
  /** Where frames go to others, and come from them. */
  readonly port: LanPort;
  readonly #options: GuestLanOptions;
  #isAttached = false;

  constructor(options: GuestLanOptions) {
    const { attachment, policy, onDenial, now } = options;
    const { members, rings } = attachment;
    this.#options = options;
    this.port = new LanPort({
      ...options,
      rings,
      wake: (member) => attachment.wake(member),
      policy: new LanJudge({ members, policy, onDenial, now }),
    });
  }

  /** The guest is there: others may send to it. */
  attach(): void {
    this.#isAttached = true;
    this.port.reset();
    this.#options.attachment.listen(this.#options.onFrames);
  }

  /** The guest is gone. */
  leave(): void {
    if (!this.#isAttached) return; // another guest may have its place by now
    this.#isAttached = false;
    this.#options.attachment.listen(null);
  }

  /** Moves frames of others into the guest's lane. */
  drain(nowMs: number): Drained {
    return this.port.drain(nowMs);
  }

  /** The addresses of a neighbor by its name; none where it has none of this network's. */
  addressesOf(name: string | null): Uint8Array[] {
    const member = this.#options.attachment.members.find((each) => neighborName(each) === name);
    return member === undefined ? [] : configuredAddresses(member);
  }

  /** What the policy makes of a flow to a neighbor; `null` where it goes to none. */
  explain(flow: FlowQuery): ReturnType<typeof judgeNeighbor> | null {
    const { attachment: { members, self }, policy, now } = this.#options;
    const literal = formatIp(flow.address);
    const index = members.findIndex(({ ip4, ip6 }) => ip4 === literal || ip6 === literal);
    if (index < 0 || index === self) return null;
    const member = members[index]!;
    return judgeNeighbor(policy(), flow, neighborName(member), configuredAddresses(member), now());
  }
}
