/**
 * The guest's policy, as its port in a shared network asks it: see `neighbor_policy.ts`. The embedding
 * program's own judge is not asked: it answers later, and no frame between guests waits.
 *
 * @module
 */
import type { LanMember } from "../config/lan_member.ts";
import type { Denial } from "../policy/denial.ts";
import { judgeNeighbor } from "../policy/neighbor_policy.ts";
import type { Policy } from "../policy/policy.ts";
import { parseIp } from "../wire/address.ts";
import type { LanFlow } from "../stack/lan_flow.ts";
import type { LanPolicy } from "../stack/lan_port.ts";

/** What a judge of flows between guests asks. */
export interface LanJudgeOptions {
  readonly members: readonly LanMember[];
  /** The policy in force. */
  readonly policy: () => Policy;
  /** Hears of each refusal. */
  readonly onDenial: (denial: Denial) => void;
  /** The clock, in milliseconds. */
  readonly now: () => number;
}

/** The name that a guest has for the others of its network. */
export function neighborName({ name }: Pick<LanMember, "name">): string {
  return `${name}.internal`;
}

/** The addresses that a guest has by configuration. */
export function configuredAddresses({ ip4, ip6 }: LanMember): Uint8Array[] {
  return [ip4, ...(ip6 === null ? [] : [ip6])].map((literal) => parseIp(literal)!);
}

/** Judges flows between guests. */
export class LanJudge implements LanPolicy {
  readonly #options: LanJudgeOptions;
  readonly #names: readonly string[];
  readonly #addresses: readonly (readonly Uint8Array[])[];

  constructor(options: LanJudgeOptions) {
    this.#options = options;
    this.#names = options.members.map(neighborName);
    this.#addresses = options.members.map(configuredAddresses);
  }

  /** Whether there are rules. */
  get hasRules(): boolean {
    return this.#options.policy().rules.rules.length > 0;
  }

  /** Judges a flow that begins, and notes its refusal. */
  judge(flow: LanFlow): boolean {
    const verdict = this.#ask(flow);
    if (!("denial" in verdict)) return true;
    this.#options.onDenial(verdict.denial);
    return false;
  }

  /** Judges a flow that is under way. */
  judgeAgain(flow: LanFlow): boolean {
    return !("denial" in this.#ask(flow));
  }

  #ask(flow: LanFlow): ReturnType<typeof judgeNeighbor> {
    const { policy, now } = this.#options;
    const addresses = this.#addresses[flow.peer] ?? [];
    return judgeNeighbor(policy(), flow, this.#names[flow.peer] ?? null, addresses, now());
  }
}
