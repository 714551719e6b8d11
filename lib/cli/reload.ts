/**
 * SIGHUP, and a reload that is asked for over the control interface: the configuration is read again
 * and its policy put into force, all of it or, where something is wrong, nothing. What else differs
 * from what the gateway runs with is named in one line of the log, as it needs a restart.
 *
 * One reload at a time, and one that waits: whoever asks meanwhile gets that one's outcome.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { ReloadReport } from "../control/api.ts";
import type { ParsedArguments } from "./arguments.ts";
import { explainError } from "./exit.ts";
import type { LoadedConfig } from "./load.ts";

/** Who asks for a reload, in the words of the log. */
export type ReloadAsker = "SIGHUP" | "reload";

/** Reloads a gateway's policies at each SIGHUP, and where it is asked to. */
export class Reloader implements Disposable {
  readonly #log: GatewayLogger;
  readonly #args: ParsedArguments;
  readonly #putIntoForce: () => Promise<ReloadReport>;
  /** Whether there is a file that can be read again. */
  readonly hasFile: boolean;
  #isOver = false;
  #running: Promise<unknown> = Promise.resolve();
  /** The one that has not begun: it reads what is there by then. */
  #waiting: Promise<ReloadReport> | null = null;

  /**
   * Listens for the signal until the process ends: without a listener it would kill it.
   *
   * @param log Where the outcome goes.
   * @param args The command line that the gateway was started with.
   * @param started What it came to then.
   * @param putIntoForce Reads the configuration again and puts its policies into force, or throws.
   */
  constructor(
    log: GatewayLogger,
    args: ParsedArguments,
    started: LoadedConfig,
    putIntoForce: () => Promise<ReloadReport>,
  ) {
    this.#log = log;
    this.#args = args;
    this.#putIntoForce = putIntoForce;
    this.hasFile = started.configFile !== undefined;
    Deno.addSignalListener("SIGHUP", () => {
      if (!this.#isOver) this.reload("SIGHUP").catch(() => {});
    });
  }

  /** The gateway has ended: the signal has nothing to reload any more. */
  [Symbol.dispose](): void {
    this.#isOver = true;
  }

  /**
   * Reads the configuration again, and logs what becomes of it.
   *
   * @throws {GatewayError} Where something is wrong; nothing has then changed.
   */
  reload(asker: ReloadAsker): Promise<ReloadReport> {
    if (this.#waiting !== null) return this.#waiting;
    const next = this.#running.then(() => {
      this.#waiting = null;
      return this.#reload(asker);
    });
    this.#waiting = next;
    this.#running = next.catch(() => {});
    return next;
  }

  async #reload(asker: ReloadAsker): Promise<ReloadReport> {
    if (this.#args.config === "-") {
      this.#log.warn(`${asker}: stdin can't be read again; nothing has changed`);
      throw new GatewayError("config", "stdin can't be read again");
    }
    try {
      const report = await this.#putIntoForce();
      const { file, rules, notice, needRestart } = report;
      this.#log.info(`${asker}: the policy of ${file} is in force`, { rules });
      if (notice !== null) this.#log.warn(`${asker}: ${notice}`);
      if (needRestart.length > 0) {
        const keys = needRestart.join(", ");
        this.#log.warn(`${asker}: what else has changed needs a restart: ${keys}`);
      }
      return report;
    } catch (error) {
      const message = explainError(error)?.message ?? String(error);
      this.#log.error(`${asker}: nothing has changed: ${message}`);
      throw error;
    }
  }
}
