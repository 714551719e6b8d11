/**
 * SIGINT and SIGTERM of `run`: the first one ends it in order, the second one at once.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import { Exit } from "./exit.ts";
import { SignalEcho } from "./signal_echo.ts";

/** How long the end of everything at once may take: a socket file goes a turn after its socket. */
const ABORT_MAX_MS = 1_000;

const NAMES: readonly Deno.Signal[] = ["SIGINT", "SIGTERM"];

/** What a signal stops: one guest's server, or those of several. */
export interface Stoppable {
  /** Lets queued bytes drain, and ends. */
  close(): Promise<void>;
  /** Ends at once. */
  abort(): Promise<void>;
}

/**
 * The first SIGINT or SIGTERM closes the server, a second one ends the process. The control
 * interface's word is no signal: a service manager's SIGTERM behind it is still the first.
 */
export class StopSignals implements Disposable {
  readonly #log: GatewayLogger;
  readonly #graceMs: number;
  readonly #echo = new SignalEcho();
  #server: Stoppable | null = null;
  /** Whether a signal came, or the control interface was told to. */
  isStopping = false;
  /** Whether a second signal came. */
  isForced = false;
  #isSignalled = false;
  #isOver = false;

  /**
   * Listens for the signals until the process ends: one whose listener is gone would kill it in the
   * last moments of an end in order.
   */
  constructor(log: GatewayLogger, graceMs: number) {
    this.#log = log;
    this.#graceMs = graceMs;
    for (const name of NAMES) Deno.addSignalListener(name, () => this.#came(name));
  }

  #came(name: Deno.Signal): void {
    if (this.#isOver) return;
    if (this.#echo.isEcho(name, performance.now())) {
      return this.#log.debug(`${name} twice at once: the same one`);
    }
    if (this.#isSignalled) return this.#force(name);
    this.#isSignalled = true;
    if (!this.isStopping) return this.stop(name);
    this.#log.info(`${name}: stopping already; another signal exits at once`);
  }

  #force(name: Deno.Signal): void {
    this.#log.warn(`${name} again: exiting at once`);
    void this.#server?.abort();
    this.isForced = true;
    setTimeout(() => Deno.exit(Exit.Failed), ABORT_MAX_MS);
  }

  /** Closes the server, once; `why` is the signal, or the control interface's word. */
  stop(why: string): void {
    if (this.isStopping) return;
    this.isStopping = true;
    this.#log.info(`${why}: stopping; queued bytes may drain for ${this.#graceMs / 1000} s`);
    void this.#server?.close();
  }

  /** Names what a signal stops; one that came before stops it here. */
  stops(server: Stoppable): void {
    this.#server = server;
    if (this.isStopping) void server.close();
  }

  /** All has ended: a signal has nothing to stop any more. */
  [Symbol.dispose](): void {
    this.#isOver = true;
  }
}
