/**
 * Datagrams of a guest's flows that wait for a verdict: a few of each flow, since a flow is opened by
 * one, and few octets, since flows that wait are many and a datagram may have 64 KiB. What is more is
 * the caller's to drop.
 *
 * @module
 */

/** Datagrams of one flow, at most. */
const DATAGRAMS_MAX = 4;
/** Octets of one flow, at most. */
const FLOW_MAX_BYTES = 16 * 1024;
/** Octets of all flows of a guest together, at most. */
const ALL_MAX_BYTES = 1024 * 1024;

/** What all flows of one guest hold together. */
export class HeldTotal {
  /** Octets that are held. */
  bytes = 0;
}

/** What one flow holds. */
export class HeldDatagrams {
  readonly #total: HeldTotal;
  #datagrams: Uint8Array[] = [];
  #bytes = 0;

  /** `total`: shared by the flows of a guest. */
  constructor(total: HeldTotal) {
    this.#total = total;
  }

  /** Takes a copy of a datagram; false where there is no room for it. */
  hold(bytes: Uint8Array, dataAt: number, dataBytes: number): boolean {
    if (
      this.#datagrams.length >= DATAGRAMS_MAX || this.#bytes + dataBytes > FLOW_MAX_BYTES ||
      this.#total.bytes + dataBytes > ALL_MAX_BYTES
    ) return false;
    this.#datagrams.push(bytes.slice(dataAt, dataAt + dataBytes));
    this.#bytes += dataBytes;
    this.#total.bytes += dataBytes;
    return true;
  }

  /** Gives back what is held, in order, and holds nothing any more. */
  release(): readonly Uint8Array[] {
    const datagrams = this.#datagrams;
    this.#datagrams = [];
    this.#total.bytes -= this.#bytes;
    this.#bytes = 0;
    return datagrams;
  }
}
