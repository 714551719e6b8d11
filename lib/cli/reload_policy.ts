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
import { compilePolicy } from "../runtime.ts";
import type { ParsedArguments } from "./arguments.ts";
import { emptyAllowNotice, emptyAllowNotices } from "./empty_allow.ts";
import { loadConfig, type LoadedGuest, type LoadedGuests } from "./load.ts";

/** Who takes a policy. */
export interface PolicyTaker {
  /** Puts a policy into force. */
  setPolicy(policy: PolicyConfig): Awaitable<void>;
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
  guest: PolicyTaker,
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

/** The policies of several guests, as they are in force. */
export class PoliciesInForce {
  readonly #args: ParsedArguments;
  readonly #started: ResolvedGuestsConfig;
  readonly #guest: (name: string) => PolicyTaker;
  readonly #inForce: Map<string, PolicyConfig>;

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
    this.#inForce = new Map(
      config.guests.map(({ name, settings }) => [name, settings.network.policy]),
    );
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
    const outcomes = await Promise.allSettled([...policies].map(async ([name, policy]) => {
      await this.#guest(name).setPolicy(policy);
    }));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed === undefined) {
      for (const [name, policy] of policies) this.#inForce.set(name, policy);
      return;
    }
    await Promise.allSettled([...policies.keys()].map(async (name) => {
      await this.#guest(name).setPolicy(this.#inForce.get(name)!);
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

/** What differs beside policies: keys of the process, of networks, of guests, and whole guests. */
function changedAmongGuests(before: ResolvedGuestsConfig, after: ResolvedGuestsConfig): string[] {
  const was = new Map(before.guests.map(({ name, entries }) => [name, entries]));
  const is = new Map(after.guests.map(({ name, entries }) => [name, entries]));
  const networks = (of: ResolvedGuestsConfig): ResolvedEntry[] =>
    of.networks.flatMap(({ name, entries }) => {
      return entries.map((entry) => ({ ...entry, key: `networks.${name}.${entry.key}` }));
    });
  return [
    ...changedKeys(before.entries, after.entries),
    ...changedKeys(networks(before), networks(after)),
    ...[...was.keys()].filter((name) => !is.has(name)).map((name) => `guest ${name} (removed)`),
    ...[...is].flatMap(([name, entries]) => {
      const old = was.get(name);
      if (old === undefined) return [`guest ${name} (added)`];
      return changedKeys(old, entries).map((key) => `${key} of guest ${name}`);
    }),
  ];
}

/** Settings beside the policy that differ, those among them that only one of both has. */
function changedKeys(
  before: readonly ResolvedEntry[],
  after: readonly ResolvedEntry[],
): string[] {
  const texts = (entries: readonly ResolvedEntry[]): Map<string, string> =>
    new Map(entries.map(({ key, value }) => [key, JSON.stringify(value)]));
  const [was, is] = [texts(before), texts(after)];
  return [...new Set([...was.keys(), ...is.keys()])].filter((key) => {
    return !POLICY_KEYS.test(key) && was.get(key) !== is.get(key);
  });
}
