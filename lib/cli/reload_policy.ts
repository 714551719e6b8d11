/**
 * What a reload puts into force: the policy of one guest, or those of all guests, all of them or
 * none. What else differs is told by its keys.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import { resolveLimits } from "../config/limits.ts";
import type { PolicyConfig } from "../config/options.ts";
import type { ResolvedEntry } from "../config/resolve.ts";
import type { ResolvedGuestsConfig } from "../config/resolve_guests.ts";
import type { ReloadReport } from "../control/api.ts";
import type { Awaitable } from "../host/gateway.ts";
import { compilePolicy } from "../host/guest_policy.ts";
import type { ParsedArguments } from "./arguments.ts";
import { emptyAllowNotice, emptyAllowNotices } from "./empty_allow.ts";
import { loadConfig, type LoadedGuest, type LoadedGuests } from "./load.ts";

/** Who takes a policy. */
export interface PolicyTaker {
  /** What is in force. */
  snapshot(): Awaitable<{ readonly policy: PolicyConfig }>;
  /** Puts a policy into force, at once or by the time that its promise resolves. */
  setPolicy(policy: PolicyConfig): unknown;
}

const POLICY_KEYS = /^policy\./;
const OTHER_SOURCE = "the environment and the flags";

/**
 * Reads the configuration again and puts the guest's policy into force.
 *
 * @param args The command line.
 * @param started What the gateway was started with.
 * @param guest Who takes the policy.
 * @throws {GatewayError} Where something is wrong; nothing has then changed.
 */
export async function reloadOne(
  args: ParsedArguments,
  started: LoadedGuest,
  guest: Pick<PolicyTaker, "setPolicy">,
): Promise<ReloadReport> {
  const loaded = await loadConfig(args);
  if (loaded.kind !== "guest") {
    throw otherKind("it lists several guests, where one without a name is served");
  }
  const { config, configFile = OTHER_SOURCE } = loaded;
  const { policy } = config.settings.network;
  await guest.setPolicy(policy);
  return {
    file: configFile,
    rules: ruleCount(policy),
    needRestart: changedKeys(started.config.entries, config.entries),
    notice: emptyAllowNotice(config.entries),
  };
}

/** What puts the policies of several guests into force. */
export class GuestsReload {
  readonly #args: ParsedArguments;
  readonly #started: ResolvedGuestsConfig;
  readonly #guest: (name: string) => PolicyTaker;

  /**
   * Takes what the guests were started with.
   *
   * @param args The command line.
   * @param started What it came to then.
   * @param guest Who takes the policy of a guest.
   */
  constructor(
    args: ParsedArguments,
    { config }: LoadedGuests,
    guest: (name: string) => PolicyTaker,
  ) {
    this.#args = args;
    this.#started = config;
    this.#guest = guest;
  }

  /**
   * Reads the configuration again and puts the policies of all guests that are served into force.
   *
   * @throws {GatewayError} Where something is wrong; nothing has then changed.
   */
  async reload(): Promise<ReloadReport> {
    const loaded = await loadConfig(this.#args);
    if (loaded.kind !== "guests") throw otherKind("it lists no guests, where several are served");
    const { config, configFile = OTHER_SOURCE } = loaded;
    const policies = this.#policies(config);
    await this.#putIntoForce(policies);
    return {
      file: configFile,
      rules: [...policies.values()].reduce((sum, policy) => sum + ruleCount(policy), 0),
      needRestart: changedAmongGuests(this.#started, config),
      notice: emptyAllowNotices(config).join("; ") || null,
    };
  }

  /** The policies of those that are served; each fits into the limits that its guest runs with. */
  #policies({ guests }: ResolvedGuestsConfig): Map<string, PolicyConfig> {
    const policies = new Map<string, PolicyConfig>();
    for (const { name, settings: { network: { limits } } } of this.#started.guests) {
      const policy = guests.find((guest) => guest.name === name)?.settings.network.policy;
      if (policy === undefined) continue;
      compilePolicy(policy, resolveLimits(limits));
      policies.set(name, policy);
    }
    return policies;
  }

  /** Where one guest does not take its policy, the others get back what they had. */
  async #putIntoForce(policies: ReadonlyMap<string, PolicyConfig>): Promise<void> {
    const changes = await Promise.all([...policies].map(async ([name, policy]) => {
      const guest = this.#guest(name);
      return { guest, policy, before: (await guest.snapshot()).policy };
    }));
    const outcomes = await Promise.allSettled(changes.map(async ({ guest, policy }) => {
      await guest.setPolicy(policy);
    }));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed === undefined) return;
    await Promise.allSettled(changes.map(async ({ guest, before }) => {
      await guest.setPolicy(before);
    }));
    throw failed.reason;
  }
}

function ruleCount({ allow = [], deny = [] }: PolicyConfig): number {
  return allow.length + deny.length;
}

function otherKind(text: string): GatewayError {
  return new GatewayError("config", text, { hint: "Restart the gateway to have it so" });
}

/** What differs beside policies: keys of the process, and networks and guests. */
function changedAmongGuests(before: ResolvedGuestsConfig, after: ResolvedGuestsConfig): string[] {
  return [
    ...changedKeys(before.entries, after.entries),
    ...changedParts("network", before.networks, after.networks),
    ...changedParts("guest", before.guests, after.guests),
  ];
}

/** A network or a guest. */
interface Part {
  readonly name: string;
  readonly entries: readonly ResolvedEntry[];
}

/** Parts that came, went or have other keys. */
function changedParts(kind: string, before: readonly Part[], after: readonly Part[]): string[] {
  const was = new Map(before.map(({ name, entries }) => [name, entries]));
  const names = new Set(after.map(({ name }) => name));
  const gone = [...was.keys()].filter((name) => !names.has(name));
  return [
    ...gone.map((name) => `${kind} ${name} (removed)`),
    ...after.flatMap(({ name, entries }) => {
      const old = was.get(name);
      if (old === undefined) return [`${kind} ${name} (added)`];
      return changedKeys(old, entries).map((key) => `${key} of ${kind} ${name}`);
    }),
  ];
}

/** Settings beside the policy that differ; both have the same ones. */
function changedKeys(
  before: readonly ResolvedEntry[],
  after: readonly ResolvedEntry[],
): string[] {
  const values = new Map(before.map(({ key, value }) => [key, JSON.stringify(value)]));
  return after.filter(({ key, value }) => {
    return !POLICY_KEYS.test(key) && JSON.stringify(value) !== values.get(key);
  }).map(({ key }) => key);
}
