/**
 * Which member of a shared network an address belongs to: by configuration alone, nothing is learnt.
 *
 * A member has its MAC, its IPv4 address, and of IPv6 the configured address and the two that a guest
 * makes of its MAC (modified EUI-64, RFC 4291 appendix A): link-local, and inside the network's /64
 * (RFC 4862). Others, such as stable-privacy and temporary ones, belong to nobody here.
 *
 * Limits: 64 members, so 192 IPv6 addresses; a look-up hashes an address and compares a few.
 *
 * @module
 */
import { assert } from "@std/assert";
import { LAN_MEMBERS_MAX } from "./lan_rings.ts";

/** The addresses of one member, as octets. */
export interface LanAddresses {
  /** 6 octets. */
  readonly mac: Uint8Array;
  /** 4 octets. */
  readonly ip4: Uint8Array;
  /** 16 octets; `null` where the network has no IPv6. */
  readonly ip6: Uint8Array | null;
}

/** The members of a shared network by their addresses. */
export class LanMembers {
  /** How many there are. */
  readonly count: number;
  /** The guest's own number. */
  readonly self: number;
  readonly #macs = new AddressIndex();
  readonly #ip4 = new AddressIndex();
  readonly #ip6 = new AddressIndex();

  /**
   * @param members All members; a member's position is its number.
   * @param self The guest's own number.
   * @param prefix6 The length of the network's IPv6 prefix.
   */
  constructor(members: readonly LanAddresses[], self: number, prefix6: number) {
    assert(members.length <= LAN_MEMBERS_MAX, "a shared network has a bounded number of members");
    assert(self >= 0 && self < members.length, "the guest is one of its network's members");
    this.count = members.length;
    this.self = self;
    members.forEach(({ mac, ip4, ip6 }, member) => {
      this.#macs.add(mac, member);
      this.#ip4.add(ip4, member);
      if (ip6 !== null) this.#ip6.add(ip6, member);
    });
    // What a guest makes of its MAC never takes the place of what another was given.
    members.forEach(({ mac, ip6 }, member) => {
      if (ip6 === null) return;
      this.#ip6.add(interfaceAddress(LINK_LOCAL_PREFIX, mac), member);
      if (prefix6 === 64) this.#ip6.add(interfaceAddress(ip6, mac), member);
    });
  }

  /** Whose the MAC at `at` is; -1 for nobody's. */
  ofMac(view: DataView, at: number): number {
    return this.#macs.find(0, 0, view.getUint16(at), view.getUint32(at + 2));
  }

  /** Whose the IPv4 address at `at` is; -1 for nobody's. */
  ofIp4(view: DataView, at: number): number {
    return this.#ip4.find(0, 0, 0, view.getUint32(at));
  }

  /** Whose the IPv6 address at `at` is; -1 for nobody's. */
  ofIp6(view: DataView, at: number): number {
    return this.#ip6.find(
      view.getUint32(at),
      view.getUint32(at + 4),
      view.getUint32(at + 8),
      view.getUint32(at + 12),
    );
  }
}

const LINK_LOCAL_PREFIX = Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0);

/** The address in a prefix of 8 octets that an interface makes of its MAC. */
export function interfaceAddress(prefix: Uint8Array, mac: Uint8Array): Uint8Array {
  const address = new Uint8Array(16);
  address.set(prefix.subarray(0, 8));
  address.set(mac.subarray(0, 3), 8);
  address[8]! ^= 2;
  address.set([0xff, 0xfe], 11);
  address.set(mac.subarray(3), 13);
  return address;
}

const SLOTS = 512;
const SLOT_BITS = 9;
const WORDS = 4;

/** Addresses of up to 16 octets and what they stand for: open addressing, never more than half full. */
class AddressIndex {
  readonly #keys = new Uint32Array(SLOTS * WORDS);
  readonly #values = new Int16Array(SLOTS).fill(-1);

  /** Adds an address, unless it is there. */
  add(address: Uint8Array, value: number): void {
    const key = new Uint8Array(16);
    key.set(address, 16 - address.length);
    const view = new DataView(key.buffer);
    const [a, b, c, d] = [0, 4, 8, 12].map((at) => view.getUint32(at)) as [
      number,
      number,
      number,
      number,
    ];
    const slot = this.#slot(a, b, c, d);
    if (this.#values[slot] !== -1) return;
    this.#keys.set([a, b, c, d], slot * WORDS);
    this.#values[slot] = value;
  }

  /** What the address of these words stands for; -1 for nothing. */
  find(a: number, b: number, c: number, d: number): number {
    return this.#values[this.#slot(a, b, c, d)]!;
  }

  /** The slot of the address, or the free one where it would stand. */
  #slot(a: number, b: number, c: number, d: number): number {
    const keys = this.#keys;
    let slot = Math.imul(d ^ Math.imul(c ^ a, 0x85eb_ca6b), 0x9e37_79b1) >>> (32 - SLOT_BITS);
    while (this.#values[slot] !== -1) {
      const at = slot * WORDS;
      const isSame = keys[at + 3] === d && keys[at + 2] === c && keys[at + 1] === b &&
        keys[at] === a;
      if (isSame) break;
      slot = (slot + 1) & (SLOTS - 1);
    }
    return slot;
  }
}
