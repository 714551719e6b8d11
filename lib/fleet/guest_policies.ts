/**
 * The policies in force for the guests of a gateway, each made of the fleet's documents, of what its
 * host says and of where the engine is. A change is in force for all of them or for none.
 *
 * @module
 */
import { ConfigError, GatewayError } from "../config/errors.ts";
import type { Limits } from "../config/limits.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { PolicyConfig } from "../config/options.ts";
import { compilePolicy } from "../host/guest_policy.ts";
import type { ServedGateway } from "../host/served_gateway.ts";
import type { EngineAddress } from "./engine.ts";
import { withoutFleet } from "./host_layer.ts";
import { closedPolicy, NO_POLICY_ORIGIN } from "./merge.ts";
import { type FleetMember, keysOf, policyOf, type PolicySet } from "./policy_set.ts";

/** A guest that has the fleet's policy. */
export interface PolicyGuest extends FleetMember {
  /** The limits that it runs with. */
  readonly limits: Limits;
}

/** Who has a policy put into force. */
export type PolicyTaker = Pick<ServedGateway, "enforcePolicy">;

/** What all guests have in common. */
export interface SharedLayers {
  /** The fleet's documents; `null` for none, and then everything is closed. */
  readonly set: PolicySet | null;
  /** Where the engine listens. */
  readonly engine: readonly EngineAddress[];
}

/** A guest, and what is in force for it. */
interface Guest {
  readonly member: PolicyGuest;
  host: PolicyConfig;
  policy: PolicyConfig;
  taker: PolicyTaker | null;
}

/** A guest whose worker says nothing in this time has the policy as soon as it says something. */
const TAKE_MS = 5_000;

/** The policies of a gateway's guests. */
export class GuestPolicies {
  readonly #guests: ReadonlyMap<string, Guest>;
  readonly #logger: GatewayLogger;
  #shared: SharedLayers;

  /** Begins with what there is before guests are served. */
  constructor(guests: readonly PolicyGuest[], shared: SharedLayers, logger: GatewayLogger) {
    this.#logger = logger;
    this.#shared = shared;
    this.#guests = new Map(guests.map((member) => {
      const policy = closedPolicy(NO_POLICY_ORIGIN);
      return [member.name, { member, host: {}, policy, taker: null }];
    }));
  }

  /** What all guests have in common. */
  get shared(): SharedLayers {
    return this.#shared;
  }

  /** Another beginning, before any guest has its policy. */
  begin(shared: SharedLayers): void {
    this.#shared = shared;
  }

  /**
   * What a guest may reach from its first frame on: closed, where its policy does not fit.
   *
   * @param name Its name.
   * @param host What its host says.
   * @throws {ConfigError} Where that is wrong.
   */
  initial(name: string, host: PolicyConfig): PolicyConfig {
    const guest = this.#guest(name);
    compilePolicy(host, guest.member.limits);
    guest.host = host;
    guest.policy = this.#merged(guest, this.#shared);
    if (this.#shared.set?.covers(guest.member) === false) {
      this.#logger.warn("a guest is closed until the fleet's engine has said its policy", {
        guest: name,
        why: `nobody has looked here for ${keysOf(guest.member).join(", ")} yet`,
      });
    }
    try {
      check(guest.policy, guest.member);
    } catch (error) {
      const why = (error as Error).message;
      this.#logger.error("the fleet's policy does not fit: everything is closed", {
        guest: name,
        why,
      });
      guest.policy = closedPolicy(NO_POLICY_ORIGIN);
    }
    return guest.policy;
  }

  /** A guest is served, with its initial policy. */
  serve(name: string, taker: PolicyTaker): void {
    this.#guest(name).taker = taker;
  }

  /** What a guest's host says, without the fleet's part. */
  host(name: string): PolicyConfig {
    return this.#guest(name).host;
  }

  /**
   * Puts another word of a guest's host into force.
   *
   * @throws {ConfigError} Where it is wrong, or does not fit; what was in force then stays.
   */
  async putHost(name: string, policy: PolicyConfig): Promise<void> {
    const { member, host } = this.#guest(name);
    compilePolicy(policy, member.limits);
    const { set, engine } = this.#shared;
    const own = withoutFleet(policy, policyOf(set, member, {}, engine), host);
    await this.#put(this.#shared, { guest: name, policy: own });
  }

  /**
   * Puts other common layers into force.
   *
   * @throws {ConfigError} Where they do not fit for a guest; what was in force then stays, for all.
   */
  async put(shared: SharedLayers): Promise<void> {
    await this.#put(shared);
  }

  async #put(
    shared: SharedLayers,
    other?: { readonly guest: string; readonly policy: PolicyConfig },
  ): Promise<void> {
    const changes = [...this.#guests.values()].map((guest) => {
      const host = other?.guest === guest.member.name ? other.policy : guest.host;
      const policy = this.#merged({ ...guest, host }, shared);
      return { guest, host, policy };
    });
    for (const { guest: { member }, policy } of changes) check(policy, member);
    const due = changes.filter(({ guest, policy }) => {
      return guest.taker !== null && !isSame(policy, guest.policy);
    });
    const outcomes = await Promise.allSettled(due.map(({ guest, policy }) => {
      return this.#enforce(guest, policy);
    }));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) {
      await Promise.allSettled(due.map(({ guest }) => this.#enforce(guest, guest.policy)));
      throw failed.reason;
    }
    for (const { guest, host, policy } of changes) {
      guest.host = host;
      guest.policy = policy;
    }
    this.#shared = shared;
  }

  #merged({ member, host }: Guest, { set, engine }: SharedLayers): PolicyConfig {
    return policyOf(set, member, host, engine);
  }

  /** A guest that does not answer has it behind all that it was asked before. */
  async #enforce({ member, taker }: Guest, policy: PolicyConfig): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<"late">((resolve) => timer = setTimeout(resolve, TAKE_MS, "late"));
    try {
      const taken = (async () => await taker!.enforcePolicy(policy))();
      taken.catch(() => {});
      if (await Promise.race([taken, late]) === "late") {
        this.#logger.warn("a guest's worker has not said yet that it has the policy", {
          guest: member.name,
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #guest(name: string): Guest {
    const guest = this.#guests.get(name);
    if (guest !== undefined) return guest;
    throw new GatewayError("config", `there is no guest "${name}" in the fleet's settings`);
  }
}

/** Compiles a guest's policy as it would be in force. */
function check(policy: PolicyConfig, member: PolicyGuest): void {
  try {
    compilePolicy(policy, member.limits);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const layers = [...keysOf(member), "the host's own"].join(", ");
    throw new ConfigError(error.problems.map(({ key, text }) => {
      return { key: `${key} of guest "${member.name}" (${layers})`, text };
    }));
  }
}

function isSame(a: PolicyConfig, b: PolicyConfig): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
