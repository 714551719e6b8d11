/**
 * In which order the datagrams of a socket are given to the runtime: the first one goes alone, and the
 * others follow when it has settled.
 *
 * Sends that wait until a socket is known to be writable may overtake each other; once one has gone
 * through, they enter the kernel inside the call.
 *
 * Limits: `SENDS_A_SOCKET` sends under way.
 *
 * @module
 */
import { SENDS_A_SOCKET } from "./datagram_slots.ts";

/** The sends of one socket. */
export class SendQueue<T> {
  readonly #write: (send: T) => void;
  /** What follows the first send; `null` once that has settled. */
  #waiting: T[] | null = [];
  #underWay = 0;

  /** `write` gives a send to the runtime. */
  constructor(write: (send: T) => void) {
    this.#write = write;
  }

  /** Sends that have not settled, those that wait included. */
  get underWay(): number {
    return this.#underWay;
  }

  /** Whether another send has no place. */
  get isFull(): boolean {
    return this.#underWay >= SENDS_A_SOCKET;
  }

  /** Takes a send that has a place. */
  push(send: T): void {
    const waits = this.#waiting !== null && this.#underWay > 0;
    this.#underWay++;
    if (waits) this.#waiting!.push(send);
    else this.#write(send);
  }

  /** A send that was given to the runtime is over. */
  settled(): void {
    this.#underWay--;
    const waiting = this.#waiting;
    this.#waiting = null;
    for (const send of waiting ?? []) this.#write(send);
  }

  /** Gives back what was not given to the runtime, and waits for nothing any more. */
  drop(): readonly T[] {
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    this.#underWay -= waiting.length;
    return waiting;
  }
}
