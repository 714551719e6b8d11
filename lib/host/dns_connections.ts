/**
 * The connections of one guest to port 53: how many there are, and how long one may stand idle, all
 * with one timer of the host's.
 *
 *     SYN ─▶ enter ─▶ … touch … ─▶ leave
 *                        └─ 10 s later, without another: onIdle
 *
 * Idle is who asks nothing whole and takes nothing of an answer (RFC 7766 section 6.2.3): a few
 * octets of a question now and then are not enough, so that to hold a connection takes questions.
 *
 * @module
 */
import type { WheelEntry } from "../stack/timing_wheel.ts";
import { Deadlines } from "./dns_deadlines.ts";
import type { HostClock } from "./host_clock.ts";

/** How long a connection may stand idle. */
export const DNS_IDLE_MS = 10_000;

/** A connection to port 53. */
export interface DnsConnection extends WheelEntry {
  /** It has stood idle for so long; it is called again only after another `touch`. */
  onIdle(): void;
}

/** The connections of one guest to port 53. */
export class DnsConnections {
  readonly #clock: HostClock;
  readonly #connectionsMax: number;
  readonly #connections = new Set<DnsConnection>();
  readonly #deadlines: Deadlines<DnsConnection>;
  #isClosed = false;

  /**
   * @param clock The host's clock.
   * @param connectionsMax Most connections at once.
   */
  constructor(clock: HostClock, connectionsMax: number) {
    this.#clock = clock;
    this.#connectionsMax = connectionsMax;
    this.#deadlines = new Deadlines(clock, (connection) => connection.onIdle());
  }

  /** How many there are. */
  get size(): number {
    return this.#connections.size;
  }

  /** Takes a connection in; false where there are too many. */
  enter(connection: DnsConnection): boolean {
    if (this.#connections.size >= this.#connectionsMax) return false;
    this.#connections.add(connection);
    this.touch(connection);
    return true;
  }

  /** The connection is in use: its idle time begins anew. */
  touch(connection: DnsConnection): void {
    if (!this.#connections.has(connection)) return;
    this.#deadlines.schedule(connection, this.#clock.now() + DNS_IDLE_MS);
  }

  /** Runs `task` once the event loop has looked at everything else, unless all is over by then. */
  soon(task: () => void): void {
    this.#clock.soon(() => {
      if (!this.#isClosed) task();
    });
  }

  /** The connection is over. */
  leave(connection: DnsConnection): void {
    if (this.#connections.delete(connection)) this.#deadlines.cancel(connection);
  }

  /** From here on nobody is told of idle time, and no task runs. */
  close(): void {
    this.#isClosed = true;
    this.#deadlines.close();
  }
}
