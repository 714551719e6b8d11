/**
 * Which names the guest's resolver has led to which addresses: the only thing that ties a packet's
 * destination to a rule about a domain.
 *
 * A pin lives as long as the answer that made it, but no shorter than a minute (an answer with a
 * TTL of 0 is still dialled once) and no longer than an hour. Bounds: so many addresses, the least
 * recently answered makes way, and 64 names of one address, the oldest makes way. A guest that asks
 * for more forgets what it asked for earlier, and has to ask again.
 *
 * How a name came to its address is kept with it: who asked for an alias was led by the alias's own
 * word, so the names behind it count where something is denied, and never where it is allowed.
 *
 * Knows nothing of rules: whether a name may be reached is asked anew for each flow.
 *
 * @module
 */
import { formatIp } from "../wire/address.ts";

/** Shortest life of a pin, in seconds. */
export const PIN_MIN_SECONDS = 60;
/** Longest life of a pin, in seconds. */
export const PIN_MAX_SECONDS = 3_600;
/** Names of one address. */
const NAMES_MAX = 64;
/** A flow is judged by the names of when it began, and may show its own so much later. */
const ASKED_LATE_MS = 60_000;

/** How a name came to its address, the weakest first. */
export const PinKind = {
  /** It stands behind a name that was asked for. */
  alias: 0,
  /** It was asked for, and a resolver of others answered. */
  asked: 1,
  /** The operator has written the answer, or named who gives it. */
  own: 2,
} as const;
/** One of `PinKind`. */
export type PinKind = typeof PinKind[keyof typeof PinKind];

/**
 * One name of one address, for a person to look at. As {@linkcode VirtioNetworkServer.pins} and
 * {@linkcode GatewayClient.pins} yield it.
 */
export interface Pin {
  /** The name that was asked for. */
  readonly name: string;
  /** The address, as a canonical literal. */
  readonly address: string;
  /** When the pin ends, on the clock that it was made with. */
  readonly untilMs: number;
}

interface PinnedName {
  readonly untilMs: number;
  readonly kind: PinKind;
  /** How often all were marked before it was answered last. */
  readonly mark: number;
}

interface PinnedAddress {
  readonly address: Uint8Array;
  /** Names, the oldest first. */
  readonly names: Map<string, PinnedName>;
}

/** The pins of one guest. */
export class Pins {
  readonly #addressesMax: number;
  /** By the address's octets as a string, the least recently answered first. */
  readonly #addresses = new Map<string, PinnedAddress>();
  #mark = 0;

  /** Keeps at most so many addresses. */
  constructor(addressesMax: number) {
    this.#addressesMax = addressesMax;
  }

  /** How many addresses have names. */
  get size(): number {
    return this.#addresses.size;
  }

  /** Ties an address of 4 or 16 octets to a name for `ttlSeconds`, within the bounds. */
  pin(
    name: string,
    address: Uint8Array,
    ttlSeconds: number,
    nowMs: number,
    kind: PinKind = PinKind.asked,
  ): void {
    const key = keyOf(address);
    const known = this.#addresses.get(key);
    const pinned = known ?? { address: address.slice(), names: new Map<string, PinnedName>() };
    if (known !== undefined) this.#addresses.delete(key);
    else if (this.#addresses.size >= this.#addressesMax) this.#dropOldest(this.#addresses);
    this.#addresses.set(key, pinned);
    const { names } = pinned;
    const seconds = Math.min(PIN_MAX_SECONDS, Math.max(PIN_MIN_SECONDS, ttlSeconds));
    const before = names.get(name);
    const untilMs = Math.max(nowMs + seconds * 1000, before?.untilMs ?? 0);
    const isWeaker = before !== undefined && before.untilMs > nowMs && before.kind > kind;
    names.delete(name);
    if (names.size >= NAMES_MAX) this.#dropOldest(names);
    names.set(name, isWeaker ? before : { untilMs, kind, mark: this.#mark });
  }

  /**
   * The names that lead to an address at this time, the one that was answered last first.
   *
   * @param least The weakest kind that counts: without it what was asked for.
   */
  names(
    address: Uint8Array,
    nowMs: number,
    least: PinKind = PinKind.asked,
  ): readonly string[] {
    if (this.#addresses.size === 0) return NO_NAMES;
    const key = keyOf(address);
    const pinned = this.#addresses.get(key);
    if (pinned === undefined) return NO_NAMES;
    const names: string[] = [];
    for (const [name, { untilMs, kind }] of pinned.names) {
      if (untilMs > nowMs && kind >= least) names.push(name);
      else if (untilMs + ASKED_LATE_MS <= nowMs) pinned.names.delete(name);
    }
    if (pinned.names.size === 0) this.#addresses.delete(key);
    return names.reverse();
  }

  /** Whether a name leads to an address at this time, in this way or a stronger one. */
  has(
    name: string,
    address: Uint8Array,
    nowMs: number,
    least: PinKind = PinKind.asked,
  ): boolean {
    const pinned = this.#addresses.get(keyOf(address))?.names.get(name);
    return pinned !== undefined && pinned.untilMs > nowMs && pinned.kind >= least;
  }

  /** All pins that are alive. */
  *list(nowMs: number): Generator<Pin> {
    for (const { address, names } of this.#addresses.values()) {
      for (const [name, { untilMs, kind }] of names) {
        if (untilMs > nowMs && kind !== PinKind.alias) {
          yield { name, address: formatIp(address), untilMs };
        }
      }
    }
  }

  /** Marks those that there are. */
  markAll(): void {
    this.#mark++;
  }

  /** Forgets those that are marked: they were not answered again since. */
  clearMarked(): void {
    for (const [key, { names }] of this.#addresses) {
      for (const [name, { mark }] of names) if (mark !== this.#mark) names.delete(name);
      if (names.size === 0) this.#addresses.delete(key);
    }
  }

  /** Forgets all. */
  clear(): void {
    this.#addresses.clear();
  }

  #dropOldest(map: Map<string, unknown>): void {
    for (const oldest of map.keys()) {
      map.delete(oldest);
      return;
    }
  }
}

const NO_NAMES: readonly string[] = [];

function keyOf(address: Uint8Array): string {
  return String.fromCharCode(...address);
}
