/**
 * SIGHUP: the configuration is read again and its policy put into force, all of it or, where
 * something is wrong, nothing. What else differs from what the gateway runs with is named in one line
 * of the log, as it needs a restart.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import type { ResolvedEntry } from "../config/resolve.ts";
import type { VirtioNetworkServer } from "../server.ts";
import type { ParsedArguments } from "./arguments.ts";
import { emptyAllowNotice } from "./empty_allow.ts";
import { explainError } from "./exit.ts";
import { loadConfig, type LoadedConfig } from "./load.ts";

const POLICY_KEYS = /^policy\./;

/** Reloads a gateway's policy at each SIGHUP. */
export class ReloadSignal implements Disposable {
  readonly #log: GatewayLogger;
  readonly #args: ParsedArguments;
  /** What the gateway was started with. */
  readonly #started: LoadedConfig;
  readonly #server: VirtioNetworkServer;
  readonly #handler = (): void => void this.#reload();
  #isReloading = false;
  #again = false;

  /** Listens from now on. */
  constructor(
    log: GatewayLogger,
    args: ParsedArguments,
    started: LoadedConfig,
    server: VirtioNetworkServer,
  ) {
    this.#log = log;
    this.#args = args;
    this.#started = started;
    this.#server = server;
    Deno.addSignalListener("SIGHUP", this.#handler);
  }

  [Symbol.dispose](): void {
    Deno.removeSignalListener("SIGHUP", this.#handler);
  }

  /** A signal that comes while the file is read is not lost: it is read once more. */
  async #reload(): Promise<void> {
    this.#again = this.#isReloading;
    if (this.#isReloading) return;
    this.#isReloading = true;
    do {
      this.#again = false;
      await this.#reloadOnce();
    } while (this.#again);
    this.#isReloading = false;
  }

  async #reloadOnce(): Promise<void> {
    if (this.#args.config === "-") {
      this.#log.warn("SIGHUP: stdin can't be read again; nothing has changed");
      return;
    }
    try {
      const { config, configFile = "the environment and the flags" } = await loadConfig(this.#args);
      const { policy } = config.settings.network;
      this.#server.setPolicy(policy);
      const { allow = [], deny = [] } = policy;
      this.#log.info(`SIGHUP: the policy of ${configFile} is in force`, {
        rules: allow.length + deny.length,
      });
      const notice = emptyAllowNotice(config.entries);
      if (notice !== null) this.#log.warn(`SIGHUP: ${notice}`);
      const other = changedKeys(this.#started.config.entries, config.entries);
      if (other.length > 0) {
        this.#log.warn(`SIGHUP: what else has changed needs a restart: ${other.join(", ")}`);
      }
    } catch (error) {
      const message = explainError(error)?.message ?? String(error);
      this.#log.error(`SIGHUP: nothing has changed: ${message}`);
    }
  }
}

/** Settings beside the policy that differ. */
function changedKeys(
  before: readonly ResolvedEntry[],
  after: readonly ResolvedEntry[],
): string[] {
  const values = new Map(before.map(({ key, value }) => [key, JSON.stringify(value)]));
  return after.filter(({ key, value }) => {
    return !POLICY_KEYS.test(key) && JSON.stringify(value) !== values.get(key);
  }).map(({ key }) => key);
}
