/**
 * What the DHCPv6 server says (RFC 8415 sections 18.3 and 21): a message that is put together in one
 * region of the frame memory, option by option, and then sent in one packet.
 *
 * Every client is told both identifiers, and what it has asked for of resolver and search domain: one
 * that names no options gets all.
 *
 * Limits: what a request may have (`dhcp6_ia.ts`) bounds what its answer holds, so that it fits the
 * smallest MTU that IPv6 has; one that did not would not be sent.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import {
  DHCP6_CLIENT_PORT,
  DHCP6_SERVER_PORT,
  dhcp6Asks,
  Dhcp6Message,
  Dhcp6Option,
  type Dhcp6Options,
  type Dhcp6Status,
  dhcp6TransactionId,
  writeDhcp6DuidOption,
  writeDhcp6EmptyOption,
  writeDhcp6Header,
  writeDhcp6Option16,
  writeDhcp6Option8,
  writeDhcp6OptionBytes,
  writeDhcp6OptionFrom,
} from "../wire/dhcp6.ts";
import { beginDhcp6Ia, type Dhcp6Ia, endDhcp6Ia, writeDhcp6Address } from "../wire/dhcp6_ia.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { IPV6_ADDRESS_BYTES, IPV6_HEADER_BYTES, isIpv6LinkLocal } from "../wire/ipv6.ts";
import { UDP_HEADER_BYTES, writeUdpChecksum6, writeUdpHeader } from "../wire/udp.ts";

/** Octets of frame memory that a `Dhcp6Reply` takes: more than any answer has. */
export const DHCP6_REPLY_BYTES = 2_048;

const DROP = Counter["drop.dhcp"];
/** As long as a lease of DHCPv4. */
const LEASE_SECONDS = 86_400;
/** A half and four fifths (section 21.4). */
const T1_SECONDS = LEASE_SECONDS / 2;
const T2_SECONDS = (LEASE_SECONDS / 5) * 4;
/** A client that is told this waits for no other server (section 18.2.1). */
const ONLY_SERVER = 255;

/** Writes one answer after the other. */
export class Dhcp6Reply {
  readonly #link: Link;
  readonly #at: number;
  readonly #search: Uint8Array;
  #next = 0;
  #iaAt = 0;

  /** `at` is a region of `DHCP6_REPLY_BYTES` in the link's memory. */
  constructor(link: Link, at: number, search: Uint8Array) {
    this.#link = link;
    this.#at = at;
    this.#search = search;
  }

  /** Begins the answer to the message at `requestAt`. */
  begin(type: Dhcp6Message, requestAt: number, { clientIdAt, clientIdBytes }: Dhcp6Options): void {
    const { memory, gatewayMacAt } = this.#link;
    const { view } = memory;
    let next = writeDhcp6Header(view, this.#at, type, dhcp6TransactionId(view, requestAt));
    if (clientIdAt >= 0) {
      next = writeDhcp6OptionFrom(memory, next, Dhcp6Option.clientId, clientIdAt, clientIdBytes);
    }
    this.#next = writeDhcp6DuidOption(memory, next, Dhcp6Option.serverId, gatewayMacAt);
    if (type === Dhcp6Message.advertise) {
      this.#next = writeDhcp6Option8(view, this.#next, Dhcp6Option.preference, ONLY_SERVER);
    }
  }

  /** Says how it went: for the whole message, or for the association that was begun. */
  status(code: Dhcp6Status): void {
    const { view } = this.#link.memory;
    this.#next = writeDhcp6Option16(view, this.#next, Dhcp6Option.statusCode, code);
  }

  /** Says that the lease needs no second question. */
  rapidCommit(): void {
    const { view } = this.#link.memory;
    this.#next = writeDhcp6EmptyOption(view, this.#next, Dhcp6Option.rapidCommit);
  }

  /** Begins an association; one without a lease leaves it to the client when to ask again. */
  beginIa(code: Dhcp6Ia, id: number, isLeased: boolean): void {
    const { view } = this.#link.memory;
    const [t1, t2] = isLeased ? [T1_SECONDS, T2_SECONDS] : [0, 0];
    this.#iaAt = this.#next;
    this.#next = beginDhcp6Ia(view, this.#next, code, id, t1, t2);
  }

  /** Adds an address to the association: leased, or not to be used any more. */
  address(addressAt: number, isLeased: boolean): void {
    const seconds = isLeased ? LEASE_SECONDS : 0;
    const { memory } = this.#link;
    this.#next = writeDhcp6Address(memory, this.#next, addressAt, seconds, seconds);
  }

  /** Ends the association that was begun. */
  endIa(): void {
    endDhcp6Ia(this.#link.memory.view, this.#iaAt, this.#next);
  }

  /** Adds what the client asks for beside addresses. */
  information(options: Dhcp6Options): void {
    const { memory, gatewayIp6At } = this.#link;
    if (this.#asks(options, Dhcp6Option.dnsServers)) {
      const code = Dhcp6Option.dnsServers;
      this.#next = writeDhcp6OptionFrom(memory, this.#next, code, gatewayIp6At, IPV6_ADDRESS_BYTES);
    }
    if (this.#search.length > 0 && this.#asks(options, Dhcp6Option.domainList)) {
      const code = Dhcp6Option.domainList;
      this.#next = writeDhcp6OptionBytes(memory, this.#next, code, this.#search);
    }
  }

  /** Sends the answer to whoever sent `packet`; whether it was queued. */
  send({ sourceAt: clientAt }: Packet): boolean {
    const link = this.#link;
    const { memory } = link;
    const { view } = memory;
    const messageBytes = this.#next - this.#at;
    const bytes = UDP_HEADER_BYTES + messageBytes;
    if (IPV6_HEADER_BYTES + bytes > link.mtu) {
      link.counters.values[DROP]!++;
      return false;
    }
    const ownAt = isIpv6LinkLocal(view, clientAt) ? link.gatewayLinkLocalAt : link.gatewayIp6At;
    const at = link.beginIpv6(ownAt, clientAt, IpProtocol.udp, bytes);
    if (at < 0) return false;
    writeUdpHeader(view, at, DHCP6_SERVER_PORT, DHCP6_CLIENT_PORT, bytes);
    memory.copy(at + UDP_HEADER_BYTES, this.#at, messageBytes);
    writeUdpChecksum6(memory, at, bytes, ownAt, clientAt);
    link.end();
    return true;
  }

  #asks(options: Dhcp6Options, code: Dhcp6Option): boolean {
    return options.requestCount === 0 || dhcp6Asks(this.#link.memory.view, options, code);
  }
}
