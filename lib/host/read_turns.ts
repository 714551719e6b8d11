/**
 * Which downloads read their hosts next.
 *
 * What a flow has read waits in its ring for the lane to the guest. If all read at once, each
 * octet lies in memory until it is cold: it passes the processor's cache twice, and hundreds of
 * rings are full. So a download reads only while hardly any other one is waiting to send. The next
 * ones stand in a queue and begin as those have sent. Their hosts' kernels keep what is not read.
 *
 * Only downloads count and wait here: flows of small pieces neither do nor hold one up, and neither
 * does a download whose guest takes nothing.
 *
 * @module
 */
import type { HostClock } from "./host_clock.ts";

/** So many that wait to send are enough: while one is sent, the next one has something. */
const AHEAD = 2;
/** The most that one of several reads before the next one may. */
const SHARE_BYTES = 256 * 1024;

/** A download. */
export interface HostReader {
  /** Whether what it has read waits for room on its way to the guest, not for the guest itself. */
  readonly awaitsRoom: boolean;
  /** Its turn has come. */
  readHost(): void;
}

/** The queue of one guest's downloads. */
export class ReadTurns {
  readonly #clock: Pick<HostClock, "soon">;
  readonly #waiting = new Set<HostReader>();
  /** Those that have read something, as long as they may still have to send it. */
  readonly #ahead = new Set<HostReader>();
  readonly #onPass = (): void => {
    this.#isPassDue = false;
    this.next();
  };
  #isPassDue = false;

  constructor(clock: Pick<HostClock, "soon">) {
    this.#clock = clock;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** How much a download may read at once. */
  get shareBytes(): number {
    return this.#waiting.size === 0 ? Infinity : SHARE_BYTES;
  }

  /** Whether a download may read its host; if not, it is called when its turn has come. */
  ask(reader: HostReader): boolean {
    if (this.#waiting.size === 0 && this.#free() > 0) return true;
    this.#waiting.add(reader);
    this.#passSoon();
    return false;
  }

  /** A download has read something, which is to be sent. */
  hasRead(reader: HostReader): void {
    this.#ahead.add(reader);
  }

  /** A download is over. */
  leave(reader: HostReader): void {
    this.#waiting.delete(reader);
    this.#ahead.delete(reader);
  }

  /** Some may have been sent: lets the next ones read. */
  next(): void {
    if (this.#waiting.size === 0) return;
    let free = this.#free();
    for (const reader of this.#waiting) {
      if (free-- <= 0) break;
      this.#waiting.delete(reader);
      reader.readHost();
    }
    this.#passSoon();
  }

  /** How many more may read; forgets those that have sent all. */
  #free(): number {
    let free = AHEAD;
    for (const reader of this.#ahead) {
      if (!reader.awaitsRoom) this.#ahead.delete(reader);
      else if (--free === 0) break;
    }
    return free;
  }

  /** A host may have nothing to read: others must not wait for it. Room that is lacking brings a turn. */
  #passSoon(): void {
    if (this.#isPassDue || this.#waiting.size === 0 || this.#free() === 0) return;
    this.#isPassDue = true;
    this.#clock.soon(this.#onPass);
  }
}
