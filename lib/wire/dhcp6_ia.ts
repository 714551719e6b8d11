/**
 * Identity associations of DHCPv6 (RFC 8415 sections 21.4 to 21.6, 21.21): what a client asks
 * addresses and prefixes for, a bounded walk, and writers.
 *
 *     IA_NA: IAID, T1, T2, options     IA_TA: IAID, options     IA_PD: IAID, T1, T2, options
 *
 * Of the options inside only addresses are looked at, in IA_NA and IA_TA; what is inside of those,
 * or of an IA_PD, is never read.
 *
 * Limits: 8 associations and 16 addresses in one message; one with more is refused.
 *
 * @module
 */
import type { FrameMemory } from "./memory.ts";

/** Associations that one message may have. */
export const MAX_DHCP6_IAS = 8;
/** Addresses that one message may have, in all its associations. */
export const MAX_DHCP6_ADDRESSES = 16;
/** Octets of an address option with its header. */
export const DHCP6_ADDRESS_OPTION_BYTES = 28;
/** Octets of the head of an association with times, its option header included. */
export const DHCP6_IA_HEAD_BYTES = 16;

/** Option codes of associations, and of an address in one. */
export const Dhcp6Ia = { nonTemporary: 3, temporary: 4, address: 5, prefix: 25 } as const;
/** One of `Dhcp6Ia`. */
export type Dhcp6Ia = typeof Dhcp6Ia[keyof typeof Dhcp6Ia];

const OPTION_HEADER_BYTES = 4;
const IAID_BYTES = 4;
/** IAID, T1 and T2. */
const TIMED_BYTES = 12;
/** Address and two lifetimes. */
const ADDRESS_BYTES = 24;

/** The associations of a message; one object is used again for every message. */
export class Dhcp6Associations {
  /** How many there are. */
  count = 0;
  /** The option code of each. */
  readonly codes: Uint16Array = new Uint16Array(MAX_DHCP6_IAS);
  /** The IAID of each. */
  readonly ids: Uint32Array = new Uint32Array(MAX_DHCP6_IAS);
  /** How many addresses there are in all of them. */
  addressCount = 0;
  /** The position of each address. */
  readonly addressAts: Int32Array = new Int32Array(MAX_DHCP6_ADDRESSES);
  /** Which association each address is of. */
  readonly addressIas: Uint8Array = new Uint8Array(MAX_DHCP6_ADDRESSES);

  /** Forgets the last message's. */
  clear(): void {
    this.count = 0;
    this.codes.fill(0);
    this.ids.fill(0);
    this.addressCount = 0;
    this.addressAts.fill(0);
    this.addressIas.fill(0);
  }

  /**
   * Takes the value of an association's option, `bytes` octets at `at`; `false` where it is too
   * short, an option in it runs over its end or is too short, or there are too many.
   */
  take(view: DataView, code: Dhcp6Ia, at: number, bytes: number): boolean {
    const headBytes = code === Dhcp6Ia.temporary ? IAID_BYTES : TIMED_BYTES;
    if (bytes < headBytes || this.count === MAX_DHCP6_IAS) return false;
    const ia = this.count++;
    this.codes[ia] = code;
    this.ids[ia] = view.getUint32(at);
    return code === Dhcp6Ia.prefix || this.#walk(view, ia, at + headBytes, at + bytes);
  }

  #walk(view: DataView, ia: number, at: number, end: number): boolean {
    for (let i = at; i < end;) {
      if (i + OPTION_HEADER_BYTES > end) return false;
      const code = view.getUint16(i);
      const bytes = view.getUint16(i + 2);
      const valueAt = i + OPTION_HEADER_BYTES;
      if (valueAt + bytes > end) return false;
      if (code === Dhcp6Ia.address && !this.#takeAddress(ia, valueAt, bytes)) return false;
      i = valueAt + bytes;
    }
    return true;
  }

  #takeAddress(ia: number, at: number, bytes: number): boolean {
    if (bytes < ADDRESS_BYTES || this.addressCount === MAX_DHCP6_ADDRESSES) return false;
    this.addressAts[this.addressCount] = at;
    this.addressIas[this.addressCount++] = ia;
    return true;
  }
}

/** Writes the head of an association, of which `endDhcp6Ia` writes the length; the position behind. */
export function beginDhcp6Ia(
  view: DataView,
  at: number,
  code: Dhcp6Ia,
  id: number,
  t1Seconds: number,
  t2Seconds: number,
): number {
  view.setUint16(at, code);
  view.setUint32(at + OPTION_HEADER_BYTES, id);
  if (code === Dhcp6Ia.temporary) return at + OPTION_HEADER_BYTES + IAID_BYTES;
  view.setUint32(at + 8, t1Seconds);
  view.setUint32(at + 12, t2Seconds);
  return at + DHCP6_IA_HEAD_BYTES;
}

/** Ends the association that begins at `at` in front of `end`. */
export function endDhcp6Ia(view: DataView, at: number, end: number): void {
  view.setUint16(at + 2, end - at - OPTION_HEADER_BYTES);
}

/** Writes an address of an association; the position behind it. */
export function writeDhcp6Address(
  memory: FrameMemory,
  at: number,
  addressAt: number,
  preferredSeconds: number,
  validSeconds: number,
): number {
  const { view } = memory;
  view.setUint16(at, Dhcp6Ia.address);
  view.setUint16(at + 2, ADDRESS_BYTES);
  memory.copy(at + 4, addressAt, 16);
  view.setUint32(at + 20, preferredSeconds);
  view.setUint32(at + 24, validSeconds);
  return at + DHCP6_ADDRESS_OPTION_BYTES;
}
