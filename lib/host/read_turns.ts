/**
 * Which downloads read their hosts next.
 *
 * What a flow has read waits in its ring for the lane to the guest. If all read at once, each
 * octet lies in memory until it is cold: it passes the processor's cache twice, and hundreds of
 * rings are full. So a download begins to read only while no other one is waiting to send what it
 * has read. The next ones stand in a queue, and their hosts' kernels keep what is not read. What one
 * reads in its turn is bounded by its ring.
 *
 * Only downloads count and wait here. Flows of small pieces neither wait nor hold one up; a download
 * whose guest takes nothing holds none up either.
 *
 * @module
 */
import type { HostClock } from "./host_clock.ts";

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

  /** Whether a download may read its host; if not, it is called when its turn has come. */
  ask(reader: HostReader): boolean {
    if (this.#waiting.size === 0 && !this.#isAnyAhead(reader)) return true;
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

  /** What was ahead may have been sent: lets the next one read. */
  next(): void {
    if (!this.#mayNextRead()) return;
    const [reader] = this.#waiting;
    this.#waiting.delete(reader!);
    reader!.readHost();
    this.#passSoon();
  }

  /** Whether one waits whose turn it is; each turn of the guest asks. */
  #mayNextRead(): boolean {
    return this.#waiting.size > 0 && !this.#isAnyAhead(null);
  }

  /** Whether one has something to send, but for the one that asks; forgets those that have sent all. */
  #isAnyAhead(asking: HostReader | null): boolean {
    for (const reader of this.#ahead) {
      if (!reader.awaitsRoom) this.#ahead.delete(reader);
      else if (reader !== asking) return true;
    }
    return false;
  }

  /** A host may have nothing to read: others must not wait for it. Room that is lacking brings a turn. */
  #passSoon(): void {
    if (this.#isPassDue || !this.#mayNextRead()) return;
    this.#isPassDue = true;
    this.#clock.soon(this.#onPass);
  }
}
