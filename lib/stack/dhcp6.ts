/**
 * DHCPv6 for the one guest (RFC 8415 sections 16 and 18.3, RFC 3646): the configured address, the
 * resolver and the search domain.
 *
 *     SOLICIT ──▶ ADVERTISE, or with rapid commit at once
 *     REQUEST, RENEW, REBIND ──▶ REPLY: the lease
 *     CONFIRM ──▶ REPLY: on this link, or not      RELEASE, DECLINE ──▶ REPLY: noted
 *     INFORMATION-REQUEST ──▶ REPLY without addresses
 *
 * There is exactly one address, so nothing is kept but whether it is leased: the first association
 * for addresses gets it, or the one that names it; all others are told that there is none, as are
 * those for temporary addresses and for prefixes. Who held another address is told to let it go.
 * The lease is a formality, as in DHCPv4; after a decline the same address is offered again.
 *
 * The lease is taken note of in the guest's addresses, so that published ports lead there.
 *
 * What is malformed, lacks an identifier that it has to have, has one that it must not have, or is
 * for another server is `drop.dhcp`; a server's messages are `drop.role`. What a client may not send
 * to one address (section 16) is dropped, and the rest told to use the group (section 18.4).
 *
 * @module
 */
import { Counter } from "./counters.ts";
import { Dhcp6Reply } from "./dhcp6_reply.ts";
import type { GuestAddresses } from "./guest_addresses.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import {
  DHCP6_DUID_LL_BYTES,
  Dhcp6Message,
  dhcp6MessageType,
  Dhcp6Options,
  Dhcp6Status,
  parseDhcp6,
} from "../wire/dhcp6.ts";
import { Dhcp6Ia } from "../wire/dhcp6_ia.ts";
import { sameMac } from "../wire/ethernet.ts";
import { isIpv6Multicast, sameIpv6 } from "../wire/ipv6.ts";
import { UDP_HEADER_BYTES, udpLengthBytes } from "../wire/udp.ts";

const DROP = Counter["drop.dhcp"];
const DROP_ROLE = Counter["drop.role"];
const LEASES = Counter["dhcp.leases"];
/** DUID type 3 (link-layer address) of hardware type 1 (Ethernet). */
const DUID_LL_ETHERNET = 0x0003_0001;

/** What the server works with beyond the link. */
export interface Dhcp6ServerOptions {
  /** A region of `DHCP6_REPLY_BYTES` in the link's memory. */
  readonly at: number;
  /** The addresses that the guest holds. */
  readonly addresses: GuestAddresses;
  /** The search domains from `encodeDomainNames`; empty for none. */
  readonly search: Uint8Array;
}

/** The guest's DHCPv6 server. */
export class Dhcp6 {
  readonly #link: Link;
  readonly #addresses: GuestAddresses;
  readonly #answer: Dhcp6Reply;
  readonly #options = new Dhcp6Options();
  #leased = false;

  constructor(link: Link, options: Dhcp6ServerOptions) {
    this.#link = link;
    this.#addresses = options.addresses;
    this.#answer = new Dhcp6Reply(link, options.at, options.search);
  }

  /** Whether the guest has taken the address and has not given it back. */
  get leased(): boolean {
    return this.#leased;
  }

  /** Takes a UDP datagram to port 547 whose UDP header was checked. */
  process(packet: Packet): void {
    const { view } = this.#link.memory;
    const at = packet.payloadAt + UDP_HEADER_BYTES;
    const end = packet.payloadAt + udpLengthBytes(view, packet.payloadAt);
    if (!parseDhcp6(view, at, end, this.#options)) return this.#count(DROP);
    const type = dhcp6MessageType(view, at);
    if (isServerMessage(type)) return this.#count(DROP_ROLE);
    if (!this.#isInOrder(type)) return this.#count(DROP);
    if (!isIpv6Multicast(view, packet.destinationAt)) return this.#unicast(type, packet, at);
    switch (type) {
      case Dhcp6Message.solicit:
        return this.#solicit(packet, at);
      case Dhcp6Message.request:
      case Dhcp6Message.renew:
      case Dhcp6Message.rebind:
        return this.#lease(type, packet, at);
      case Dhcp6Message.confirm:
        return this.#confirm(packet, at);
      case Dhcp6Message.release:
      case Dhcp6Message.decline:
        return this.#giveBack(packet, at);
      default:
        this.#answer.begin(Dhcp6Message.reply, at, this.#options);
        this.#answer.information(this.#options);
        this.#answer.send(packet);
    }
  }

  /** Whether a message has the identifiers and associations that its type asks for (section 16). */
  #isInOrder(type: number): boolean {
    const { clientIdAt, serverIdAt, associations } = this.#options;
    if (type === Dhcp6Message.informationRequest) {
      return associations.count === 0 && (serverIdAt < 0 || this.#isForUs());
    }
    if (clientIdAt < 0 || associations.count === 0) return false;
    return namesServer(type) ? this.#isForUs() : serverIdAt < 0;
  }

  #isForUs(): boolean {
    const { memory, gatewayMacAt } = this.#link;
    const { serverIdAt, serverIdBytes } = this.#options;
    return serverIdAt >= 0 && serverIdBytes === DHCP6_DUID_LL_BYTES &&
      memory.view.getUint32(serverIdAt) === DUID_LL_ETHERNET &&
      sameMac(memory.view, serverIdAt + 4, gatewayMacAt);
  }

  /** What names its server may know its address too; it was never told that it may use it. */
  #unicast(type: number, packet: Packet, at: number): void {
    if (!namesServer(type)) return this.#count(DROP);
    this.#answer.begin(Dhcp6Message.reply, at, this.#options);
    this.#answer.status(Dhcp6Status.useMulticast);
    this.#answer.send(packet);
  }

  #solicit(packet: Packet, at: number): void {
    const isRapid = this.#options.hasRapidCommit && this.#chosen() >= 0;
    if (isRapid) return this.#lease(Dhcp6Message.solicit, packet, at);
    this.#answer.begin(Dhcp6Message.advertise, at, this.#options);
    this.#associations(Dhcp6Message.solicit);
    this.#answer.information(this.#options);
    this.#answer.send(packet);
  }

  #lease(type: number, packet: Packet, at: number): void {
    this.#answer.begin(Dhcp6Message.reply, at, this.#options);
    if (type === Dhcp6Message.solicit) this.#answer.rapidCommit();
    const isLeased = this.#associations(type);
    this.#answer.information(this.#options);
    if (!this.#answer.send(packet) || !isLeased) return;
    if (!this.#leased) this.#count(LEASES);
    this.#leased = true;
    this.#addresses.confirm(this.#link.guestIp6At);
  }

  /** Answers each association; whether one of them has got the address. */
  #associations(type: number): boolean {
    const { associations: { count, codes, ids } } = this.#options;
    const chosen = this.#chosen();
    let isLeased = false;
    for (let ia = 0; ia < count; ia++) {
      const code = codes[ia] as Dhcp6Ia;
      // Only what was offered is to be asked for (section 18.3.2).
      const isAstray = type === Dhcp6Message.request && this.#namesForeignLink(ia);
      const gets = ia === chosen && !isAstray;
      isLeased ||= gets;
      this.#answer.beginIa(code, ids[ia]!, gets);
      if (gets) this.#answer.address(this.#link.guestIp6At, true);
      if (type === Dhcp6Message.renew || type === Dhcp6Message.rebind) this.#takeAway(ia, gets);
      if (isAstray) this.#answer.status(Dhcp6Status.notOnLink);
      else if (code === Dhcp6Ia.prefix) this.#answer.status(Dhcp6Status.noPrefixAvail);
      else if (!gets) this.#answer.status(Dhcp6Status.noAddrsAvail);
      this.#answer.endIa();
    }
    return isLeased;
  }

  /** Has a client let go of the addresses in an association that it did not get (section 18.3.4). */
  #takeAway(ia: number, isChosen: boolean): void {
    const { addressCount, addressIas, addressAts } = this.#options.associations;
    for (let i = 0; i < addressCount; i++) {
      const at = addressAts[i]!;
      if (addressIas[i] !== ia || (isChosen && this.#isLeasable(at))) continue;
      this.#answer.address(at, false);
    }
  }

  /** Only the one address was ever given out here; a client with another one is from elsewhere. */
  #confirm(packet: Packet, at: number): void {
    const { addressCount, addressAts } = this.#options.associations;
    if (addressCount === 0) return this.#count(DROP); // nothing to say about (section 18.3.3)
    const isOurs = addressAts.subarray(0, addressCount).every((each) => this.#isLeasable(each));
    this.#answer.begin(Dhcp6Message.reply, at, this.#options);
    this.#answer.status(isOurs ? Dhcp6Status.success : Dhcp6Status.notOnLink);
    if (this.#answer.send(packet) && isOurs) this.#addresses.confirm(this.#link.guestIp6At);
  }

  #giveBack(packet: Packet, at: number): void {
    const { associations: { count, codes, ids } } = this.#options;
    this.#answer.begin(Dhcp6Message.reply, at, this.#options);
    this.#answer.status(Dhcp6Status.success);
    for (let ia = 0; ia < count; ia++) {
      if (this.#holds(ia)) {
        this.#leased = false;
        this.#addresses.forget(this.#link.guestIp6At);
        continue;
      }
      this.#answer.beginIa(codes[ia] as Dhcp6Ia, ids[ia]!, false);
      this.#answer.status(Dhcp6Status.noBinding);
      this.#answer.endIa();
    }
    this.#answer.send(packet);
  }

  /** The association that gets the address; -1 for none. */
  #chosen(): number {
    const { count, codes } = this.#options.associations;
    let first = -1;
    for (let ia = 0; ia < count; ia++) {
      if (codes[ia] !== Dhcp6Ia.nonTemporary) continue;
      if (this.#holds(ia)) return ia;
      if (first < 0) first = ia;
    }
    return first;
  }

  /** Whether an association for addresses names the one that there is. */
  #holds(ia: number): boolean {
    const { codes, addressCount, addressIas, addressAts } = this.#options.associations;
    if (codes[ia] !== Dhcp6Ia.nonTemporary) return false;
    for (let i = 0; i < addressCount; i++) {
      if (addressIas[i] === ia && this.#isLeasable(addressAts[i]!)) return true;
    }
    return false;
  }

  #namesForeignLink(ia: number): boolean {
    const { addressCount, addressIas, addressAts } = this.#options.associations;
    for (let i = 0; i < addressCount; i++) {
      if (addressIas[i] === ia && !this.#addresses.mayHold(addressAts[i]!)) return true;
    }
    return false;
  }

  #isLeasable(addressAt: number): boolean {
    const { memory, guestIp6At } = this.#link;
    return sameIpv6(memory.view, addressAt, guestIp6At);
  }

  #count(counter: number): void {
    this.#link.counters.values[counter]!++;
  }
}

/** Whether a client's message is for one server, which it has to name. */
function namesServer(type: number): boolean {
  return type === Dhcp6Message.request || type === Dhcp6Message.renew ||
    type === Dhcp6Message.release || type === Dhcp6Message.decline;
}

function isServerMessage(type: number): boolean {
  return type === Dhcp6Message.advertise || type === Dhcp6Message.reply ||
    type === Dhcp6Message.reconfigure;
}
