/**
 * SIGINT and SIGTERM of `run`: the first one ends it in order, the second one at once.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import { Exit } from "./exit.ts";
import { hearStops, type SignalHost, thisProcess } from "./process_signals.ts";

/**
 * How long the end of everything at once may take: a socket file goes a turn after its socket, and a
 * turn may be late on a busy machine.
 */
const ABORT_MAX_MS = 1_000;

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
  readonly #host: SignalHost;
  #server: Stoppable | null = null;
  /** Whether a signal came, or the control interface was told to. */
  isStopping = false;
  /** Whether a second signal came. */
  isForced = false;
  #isSignalled = false;
  #isOver = false;

  /** Listens for the signals from now on. */
  constructor(log: GatewayLogger, graceMs: number, host: SignalHost = thisProcess) {
    this.#log = log;
    this.#graceMs = graceMs;
    this.#host = host;
    hearStops((name) => this.#heard(name), host);
  }

  #heard(name: Deno.Signal): void {
    if (this.#isOver) return;
    if (this.#isSignalled) return this.#force(name);
    this.#isSignalled = true;
    if (!this.isStopping) return this.stop(name);
    this.#log.info(`${name}: stopping already; another signal exits at once`);
  }

  #force(name: Deno.Signal): void {
    this.#log.warn(`${name} again: exiting at once`);
    void this.#server?.abort();
    this.isForced = true;
    setTimeout(() => this.#host.exit(Exit.Failed), ABORT_MAX_MS);
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
