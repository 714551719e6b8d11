/**
 * A guest as the other guests of its shared network know it.
 *
 * @module
 */

/** A member of a shared network: its addresses as canonical literals, without prefix lengths. */
export interface LanMember {
  /** The guest's name. */
  readonly name: string;
  /** Its MAC address. */
  readonly mac: string;
  /** Its IPv4 address. */
  readonly ip4: string;
  /** Its configured IPv6 address; `null` where it is given no IPv6. */
  readonly ip6: string | null;
}
