/**
 * Which transfers read their hosts next.
 *
 * What a flow has read waits in its ring for the lane to the guest. If all read at once, each
 * octet lies in memory until it is cold: it passes the processor's cache twice, and hundreds of
 * rings are full. So a transfer reads only while hardly any other one waits for the lane. The next
 * ones stand in a queue and begin as the lane empties. Their hosts' kernels keep what is not read.
 *
 * A flow of small pieces is never asked to wait: only its relay knows which kind it is.
 *
 * @module
 */
import type { HostClock } from "./host_clock.ts";

/** So many that wait for the lane are enough: while one is sent, the next one has something. */
const AHEAD = 2;

/** The lane to the guest. */
export interface ReadLane {
  /** Connections that wait for room in it. */
  readonly laneWaiters: number;
}

/** Who reads a host. */
export interface HostReader {
  /** Its turn has come. */
  readHost(): void;
}

/** The queue of one guest's transfers. */
export class ReadTurns {
  readonly #lane: ReadLane;
  readonly #clock: Pick<HostClock, "soon">;
  readonly #waiting = new Set<HostReader>();
  readonly #onPass = (): void => {
    this.#isPassDue = false;
    this.next();
  };
  #isPassDue = false;

  constructor(lane: ReadLane, clock: Pick<HostClock, "soon">) {
    this.#lane = lane;
    this.#clock = clock;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Whether a transfer may read its host; if not, it is called when its turn has come. */
  ask(reader: HostReader): boolean {
    if (this.#waiting.size === 0 && this.#lane.laneWaiters < AHEAD) return true;
    this.#waiting.add(reader);
    this.#passSoon();
    return false;
  }

  /** A transfer is over. */
  leave(reader: HostReader): void {
    this.#waiting.delete(reader);
  }

  /** The lane may have room: lets the next ones read. */
  next(): void {
    let free = AHEAD - this.#lane.laneWaiters;
    for (const reader of this.#waiting) {
      if (free-- <= 0) break;
      this.#waiting.delete(reader);
      reader.readHost();
    }
    this.#passSoon();
  }

  /** A host may have nothing to read: others must not wait for it. A full lane comes back by itself. */
  #passSoon(): void {
    if (this.#isPassDue || this.#waiting.size === 0 || this.#lane.laneWaiters >= AHEAD) return;
    this.#isPassDue = true;
    this.#clock.soon(this.#onPass);
  }
}
