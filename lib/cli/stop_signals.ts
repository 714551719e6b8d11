/**
 * SIGINT and SIGTERM of `run`: the first one ends it in order, the second one at once.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import { Exit } from "./exit.ts";

/** How long the end of everything at once may take: a socket file goes a turn after its socket. */
const ABORT_MAX_MS = 250;

/**
 * A terminal signals a task runner and the gateway both, and the runner passes it on: what comes
 * so soon after the first one is the same.
 */
const ECHO_MS = 100;

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
  static readonly #names: readonly Deno.Signal[] = ["SIGINT", "SIGTERM"];
  readonly #handlers = new Map<Deno.Signal, () => void>();
  readonly #log: GatewayLogger;
  readonly #graceMs: number;
  #server: Stoppable | null = null;
  /** Whether a signal came, or the control interface was told to. */
  isStopping = false;
  /** Whether a second signal came. */
  isForced = false;
  #isSignalled = false;
  #lastName = "";
  #lastMs = -Infinity;

  /** Listens for the signals from now on. */
  constructor(log: GatewayLogger, graceMs: number) {
    this.#log = log;
    this.#graceMs = graceMs;
    for (const name of StopSignals.#names) {
      const handler = (): void => {
        if (this.#isEcho(name)) return log.debug(`${name} twice at once: the same one`);
        if (this.#isSignalled) {
          log.warn(`${name} again: exiting at once`);
          void this.#server?.abort();
          this.isForced = true;
          setTimeout(() => Deno.exit(Exit.Failed), ABORT_MAX_MS);
          return;
        }
        this.#isSignalled = true;
        if (this.isStopping) log.info(`${name}: stopping already; another signal exits at once`);
        else this.stop(name);
      };
      Deno.addSignalListener(name, handler);
      this.#handlers.set(name, handler);
    }
  }

  #isEcho(name: Deno.Signal): boolean {
    const nowMs = performance.now();
    if (name === this.#lastName && nowMs - this.#lastMs < ECHO_MS) return true;
    this.#lastName = name;
    this.#lastMs = nowMs;
    return false;
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

  [Symbol.dispose](): void {
    for (const [name, handler] of this.#handlers) Deno.removeSignalListener(name, handler);
  }
}
