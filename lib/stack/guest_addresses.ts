/**
 * The IPv6 addresses that the guest has announced inside its prefix (DAD, neighbor solicitations
 * and advertisements from its one MAC): guests use stable-privacy and temporary addresses, so the
 * configured one is only the first.
 *
 * Most recently confirmed first; the first is where published ports lead. The configured address
 * counts from the start as a source, and as announced once it was used, since a guest with a
 * static address may announce nothing.
 *
 * Who gives out a lease for the configured one takes note of it here, and of its end.
 * In a shared network the addresses of other members are foreign, whatever the guest announces.
 *
 * Limit: 16; the one that was confirmed longest ago makes way.
 *
 * @module
 */
import type { LanMembers } from "./lan_members.ts";
import type { Link } from "./link.ts";
import { IPV6_ADDRESS_BYTES, isIpv6LinkLocal, sameIpv6 } from "../wire/ipv6.ts";

/** How many addresses are remembered. */
export const MAX_GUEST_ADDRESSES = 16;
/** Octets of frame memory that the addresses take. */
export const GUEST_ADDRESSES_BYTES: number = MAX_GUEST_ADDRESSES * IPV6_ADDRESS_BYTES;

/** Whose an address is. */
export const AddressOwner = {
  /** Not of the guest's link, or the gateway's own. */
  foreign: 0,
  /** Link-local, configured or announced. */
  guest: 1,
  /** Inside the guest's prefix, but not announced. */
  unannounced: 2,
} as const;
/** One of `AddressOwner`. */
export type AddressOwner = typeof AddressOwner[keyof typeof AddressOwner];

/** The guest's IPv6 addresses, in the order of their last confirmation. */
export class GuestAddresses {
  readonly #link: Link;
  /** Positions of the addresses, most recently confirmed first; the first `#count` are in use. */
  readonly #positions: Uint32Array = new Uint32Array(MAX_GUEST_ADDRESSES);
  readonly #members: LanMembers | null;
  #count = 0;

  /**
   * `at` is a region of `GUEST_ADDRESSES_BYTES` in the link's memory; `members` are those of the
   * network that the guest shares with others.
   */
  constructor(link: Link, at: number, members: LanMembers | null = null) {
    this.#link = link;
    this.#members = members;
    for (let i = 0; i < MAX_GUEST_ADDRESSES; i++) this.#positions[i] = at + i * IPV6_ADDRESS_BYTES;
  }

  /** Forgets all of them: another guest has come. */
  clear(): void {
    this.#count = 0;
  }

  /** How many addresses have been announced. */
  get count(): number {
    return this.#count;
  }

  /** Position of the address that was confirmed last; -1 while there is none. */
  get preferredAt(): number {
    return this.#count > 0 ? this.#positions[0]! : -1;
  }

  /** Whose the address at `addressAt` is, as a source. */
  ownerOf(addressAt: number): AddressOwner {
    const link = this.#link;
    const { view } = link.memory;
    if (this.#find(addressAt) >= 0) return AddressOwner.guest;
    if (this.#isNeighbors(addressAt)) return AddressOwner.foreign;
    if (isIpv6LinkLocal(view, addressAt)) {
      return sameIpv6(view, addressAt, link.gatewayLinkLocalAt)
        ? AddressOwner.foreign
        : AddressOwner.guest;
    }
    if (!this.mayHold(addressAt)) return AddressOwner.foreign;
    if (!sameIpv6(view, addressAt, link.guestIp6At)) return AddressOwner.unannounced;
    this.confirm(addressAt);
    return AddressOwner.guest;
  }

  /** Takes note that the guest holds this address, if it is one that a guest may hold. */
  confirm(addressAt: number): void {
    if (!this.mayHold(addressAt)) return;
    const positions = this.#positions;
    let i = this.#find(addressAt);
    if (i < 0) {
      if (this.#count < MAX_GUEST_ADDRESSES) this.#count++;
      i = this.#count - 1;
      this.#link.memory.copy(positions[i]!, addressAt, IPV6_ADDRESS_BYTES);
    }
    const position = positions[i]!;
    positions.copyWithin(1, 0, i);
    positions[0] = position;
  }

  /** Takes note that the guest has given this address back. */
  forget(addressAt: number): void {
    const i = this.#find(addressAt);
    if (i < 0) return;
    const positions = this.#positions;
    const position = positions[i]!;
    positions.copyWithin(i, i + 1, this.#count);
    positions[--this.#count] = position;
  }

  /** Whether the address is another member's. */
  #isNeighbors(addressAt: number): boolean {
    if (this.#members === null) return false;
    const member = this.#members.ofIp6(this.#link.memory.view, addressAt);
    return member >= 0 && member !== this.#members.self;
  }

  #find(addressAt: number): number {
    const { view } = this.#link.memory;
    for (let i = 0; i < this.#count; i++) {
      if (sameIpv6(view, this.#positions[i]!, addressAt)) return i;
    }
    return -1;
  }

  /** Whether the address is inside the prefix, is not the gateway's and not the routers' anycast. */
  mayHold(addressAt: number): boolean {
    if (this.#isNeighbors(addressAt)) return false;
    const link = this.#link;
    const { view } = link.memory;
    const prefixBits = link.config.prefix6;
    let rest = 0;
    for (let i = 0, bits = prefixBits; i < 16; i += 4, bits -= 32) {
      const mask = bits >= 32 ? 0xffff_ffff : bits <= 0 ? 0 : ~(0xffff_ffff >>> bits);
      const word = view.getUint32(addressAt + i);
      if (((word ^ view.getUint32(link.gatewayIp6At + i)) & mask) !== 0) return false;
      rest |= word & ~mask;
    }
    // All zeros behind the prefix is the subnet-router anycast address (RFC 4291 section 2.6.1).
    return rest !== 0 && !sameIpv6(view, addressAt, link.gatewayIp6At);
  }
}
