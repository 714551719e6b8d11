/**
 * One isolate's part of a shared network: it hands out the attachments of the members that are served
 * here, and sees to it that whoever sends frames to a member wakes the isolate that serves it.
 *
 *     wake(member)   served here: its listener is called in the same turn of the event loop
 *                    elsewhere: the wake word of that worker is moved, and its waiter notified
 *
 * The wake word of a worker is that of its first member. Waiting is `Atomics.waitAsync`, which wakes
 * an event loop that sleeps, and keeps none alive. There is one waiter however many members an isolate
 * serves: it looks which of them frames wait for.
 *
 * @module
 */
import type { LanMember } from "../config/lan_member.ts";
import { LanRings } from "../stack/lan_rings.ts";
import { systemClock } from "./host_clock.ts";
import type { LanAttachment } from "./lan_attachment.ts";

/** What a hub is made from. */
export interface LanHubOptions {
  /** All members of the network. */
  readonly members: readonly LanMember[];
  /** Of `lanBytes(members.length)` octets; the same one in all workers. */
  readonly buffer: ArrayBufferLike;
  /** Which worker serves each member. */
  readonly workerOf: readonly number[];
  /** Which worker this is. */
  readonly worker: number;
}

/** The members of a shared network that one isolate serves. */
export class LanHub implements Disposable {
  readonly #members: readonly LanMember[];
  readonly #rings: LanRings;
  readonly #workerOf: readonly number[];
  readonly #worker: number;
  /** By member: whom to call, where its guest is served here and attached. */
  readonly #listeners: ((() => void) | null)[];
  /** By member: whether its listener is about to be called. */
  readonly #due: boolean[];
  #isWaiting = false;
  #closed = false;

  /** Begins with nobody attached here. */
  constructor({ members, buffer, workerOf, worker }: LanHubOptions) {
    this.#members = members;
    this.#rings = new LanRings(buffer, members.length);
    this.#workerOf = workerOf;
    this.#worker = worker;
    this.#listeners = members.map(() => null);
    this.#due = members.map(() => false);
  }

  /**
   * The attachment of a member that this isolate serves, for one guest after another.
   *
   * @throws {RangeError} Where the member is served elsewhere, or there is none of this number.
   */
  attach(self: number): LanAttachment {
    if (this.#workerOf[self] !== this.#worker || this.#members[self] === undefined) {
      throw new RangeError(
        `Cannot attach member ${self}: worker ${this.#worker} does not serve it`,
      );
    }
    const rings = this.#rings;
    return {
      members: this.#members,
      self,
      rings,
      wake: (member) => this.#wake(member),
      listen: (onFrames) => this.#listen(self, onFrames),
      isAttached: (member) => rings.isAttached(member),
    };
  }

  /** Detaches everybody here, and ends the waiter. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listeners.forEach((_, member) => this.#listen(member, null));
    if (this.#isWaiting) this.#rings.wake(this.#wakeWord(this.#worker));
  }

  /** As `close`. */
  [Symbol.dispose](): void {
    this.close();
  }

  #listen(self: number, onFrames: (() => void) | null): void {
    if (onFrames === null) {
      if (this.#listeners[self] !== null) this.#rings.detach(self);
      this.#listeners[self] = null;
      return;
    }
    if (this.#closed) return;
    this.#rings.attach(self);
    this.#listeners[self] = onFrames;
    if (!this.#isWaiting && this.#hasOthers()) void this.#wait();
  }

  #wake(member: number): void {
    const worker = this.#workerOf[member];
    if (worker === this.#worker) this.#call(member);
    else if (worker !== undefined) this.#rings.wake(this.#wakeWord(worker));
  }

  /** Calls a listener in a while: whoever wakes is in the middle of its own turn. */
  #call(member: number): void {
    if (this.#due[member] || this.#listeners[member] === null) return;
    this.#due[member] = true;
    queueMicrotask(() => {
      this.#due[member] = false;
      this.#listeners[member]?.();
    });
  }

  /** The member on whose word a worker waits. */
  #wakeWord(worker: number): number {
    return this.#workerOf.indexOf(worker);
  }

  #hasOthers(): boolean {
    return this.#workerOf.some((worker) => worker !== this.#worker);
  }

  async #wait(): Promise<void> {
    this.#isWaiting = true;
    const rings = this.#rings;
    const word = this.#wakeWord(this.#worker);
    while (!this.#closed) {
      const seen = rings.wakes(word);
      this.#callPending();
      const woken = rings.waitForWake(word, seen);
      // A wake in between: the rest of the isolate has its turn all the same, where one follows another.
      await (woken ?? new Promise<void>((resolve) => systemClock.soon(resolve)));
    }
  }

  #callPending(): void {
    for (let member = 0; member < this.#listeners.length; member++) {
      if (this.#listeners[member] !== null && this.#rings.isPending(member)) this.#call(member);
    }
  }
}
