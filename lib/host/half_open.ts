/**
 * How many of the guest's flows to each destination are half-open, so that a flood of SYNs to one of
 * them leaves places for the others.
 *
 * The destination that was full last is remembered as the guest names it: a flood goes on to the same
 * one, and each of its SYNs is then turned away before anything is made for it.
 *
 * @module
 */

/** Bounds of the flows to one destination. */
export interface HalfOpenOptions {
  /** Half-open flows to one destination, at most. */
  readonly most: number;
  /** Ends handshakes that nobody will complete. */
  readonly endForsaken: (nowMs: number) => void;
}

/** Counts by destination. */
export class HalfOpenDestinations {
  readonly #options: HalfOpenOptions;
  readonly #counts = new Map<string, number>();
  /** The address, port and key of the destination that was full last. */
  readonly #full = new Uint8Array(16);
  #fullBytes = 0;
  #fullPort = 0;
  #fullKey = "";

  constructor(options: HalfOpenOptions) {
    this.#options = options;
  }

  /** Whether a SYN to the address of `addressBytes` octets at `at` in `bytes` is worth a look. */
  admits(
    bytes: Uint8Array,
    at: number,
    addressBytes: number,
    port: number,
    nowMs: number,
  ): boolean {
    if (port !== this.#fullPort || addressBytes !== this.#fullBytes) return true;
    for (let i = 0; i < addressBytes; i++) if (bytes[at + i] !== this.#full[i]) return true;
    return this.#hasRoom(this.#fullKey, nowMs);
  }

  /**
   * Takes a place for a flow to the destination `key`, which the guest calls `address` and `port`;
   * false where none is left.
   */
  enter(key: string, address: Uint8Array, port: number, nowMs: number): boolean {
    if (this.#hasRoom(key, nowMs)) {
      this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
      return true;
    }
    this.#full.set(address);
    this.#fullBytes = address.length;
    this.#fullPort = port;
    this.#fullKey = key;
    return false;
  }

  /** Gives a place back. */
  leave(key: string): void {
    const count = this.#counts.get(key)! - 1;
    if (count === 0) this.#counts.delete(key);
    else this.#counts.set(key, count);
  }

  #hasRoom(key: string, nowMs: number): boolean {
    if (this.#isFull(key)) this.#options.endForsaken(nowMs);
    return !this.#isFull(key);
  }

  #isFull(key: string): boolean {
    return (this.#counts.get(key) ?? 0) >= this.#options.most;
  }
}
