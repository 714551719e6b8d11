/**
 * Stateless DHCPv6 for the guest (RFC 8415 sections 6.1 and 18.3.6, RFC 3646): a guest that took its
 * address from the router's prefix asks for the resolver and the search domain.
 *
 * Messages that ask for addresses are not answered: a client must ignore an advertisement without
 * addresses (section 18.2.9), so saying "none" would gain it nothing, and the router's
 * advertisement does not ask for such messages (its M flag is clear). They are `drop.dhcp`, as is
 * anything malformed, sent to one address (section 18.4) or meant for another server (16.12); a
 * server's messages are `drop.role`.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import {
  DHCP6_CLIENT_PORT,
  DHCP6_DUID_LL_BYTES,
  DHCP6_HEADER_BYTES,
  DHCP6_SERVER_PORT,
  dhcp6Asks,
  Dhcp6Message,
  dhcp6MessageType,
  Dhcp6Option,
  Dhcp6Options,
  dhcp6TransactionId,
  parseDhcp6,
  writeDhcp6DuidOption,
  writeDhcp6Header,
  writeDhcp6OptionBytes,
  writeDhcp6OptionFrom,
} from "../wire/dhcp6.ts";
import { sameMac } from "../wire/ethernet.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { IPV6_ADDRESS_BYTES, isIpv6LinkLocal, isIpv6Multicast } from "../wire/ipv6.ts";
import {
  UDP_HEADER_BYTES,
  udpLengthBytes,
  writeUdpChecksum6,
  writeUdpHeader,
} from "../wire/udp.ts";

const DROP = Counter["drop.dhcp"];
const DROP_ROLE = Counter["drop.role"];
const OPTION_HEADER_BYTES = 4;
/** DUID type 3 (link-layer address) of hardware type 1 (Ethernet). */
const DUID_LL_ETHERNET = 0x0003_0001;

/** What the server says beyond the link's addresses. */
export interface Dhcp6ServerOptions {
  /** The search domains from `encodeDomainNames`; empty for none. */
  readonly search: Uint8Array;
}

/** The guest's stateless DHCPv6 server. */
export class Dhcp6 {
  readonly #link: Link;
  readonly #search: Uint8Array;
  readonly #options = new Dhcp6Options();

  constructor(link: Link, options: Dhcp6ServerOptions) {
    this.#link = link;
    this.#search = options.search;
  }

  /** Takes a UDP datagram to port 547 whose UDP header was checked. */
  process(packet: Packet): void {
    const { view } = this.#link.memory;
    const at = packet.payloadAt + UDP_HEADER_BYTES;
    const end = packet.payloadAt + udpLengthBytes(view, packet.payloadAt);
    const options = this.#options;
    if (!parseDhcp6(view, at, end, options)) return this.#count(DROP);
    const type = dhcp6MessageType(view, at);
    if (isServerMessage(type)) return this.#count(DROP_ROLE);
    const isOurs = type === Dhcp6Message.informationRequest && !options.asksForAddresses &&
      isIpv6Multicast(view, packet.destinationAt) && this.#isForUs();
    if (!isOurs) return this.#count(DROP);
    this.#reply(packet, at);
  }

  #isForUs(): boolean {
    const { memory, gatewayMacAt } = this.#link;
    const { serverIdAt, serverIdBytes } = this.#options;
    return serverIdAt < 0 ||
      (serverIdBytes === DHCP6_DUID_LL_BYTES &&
        memory.view.getUint32(serverIdAt) === DUID_LL_ETHERNET &&
        sameMac(memory.view, serverIdAt + 4, gatewayMacAt));
  }

  #reply(packet: Packet, requestAt: number): void {
    const link = this.#link;
    const { memory } = link;
    const { view } = memory;
    const { sourceAt: clientAt } = packet;
    const { clientIdAt, clientIdBytes } = this.#options;
    const withDns = this.#asks(Dhcp6Option.dnsServers);
    const withSearch = this.#search.length > 0 && this.#asks(Dhcp6Option.domainList);
    let bytes = UDP_HEADER_BYTES + DHCP6_HEADER_BYTES + OPTION_HEADER_BYTES + DHCP6_DUID_LL_BYTES;
    if (clientIdAt >= 0) bytes += OPTION_HEADER_BYTES + clientIdBytes;
    if (withDns) bytes += OPTION_HEADER_BYTES + IPV6_ADDRESS_BYTES;
    if (withSearch) bytes += OPTION_HEADER_BYTES + this.#search.length;
    const ownAt = isIpv6LinkLocal(view, clientAt) ? link.gatewayLinkLocalAt : link.gatewayIp6At;
    const at = link.beginIpv6(ownAt, clientAt, IpProtocol.udp, bytes);
    if (at < 0) return;
    writeUdpHeader(view, at, DHCP6_SERVER_PORT, DHCP6_CLIENT_PORT, bytes);
    const id = dhcp6TransactionId(view, requestAt);
    let next = writeDhcp6Header(view, at + UDP_HEADER_BYTES, Dhcp6Message.reply, id);
    if (clientIdAt >= 0) {
      next = writeDhcp6OptionFrom(memory, next, Dhcp6Option.clientId, clientIdAt, clientIdBytes);
    }
    next = writeDhcp6DuidOption(memory, next, Dhcp6Option.serverId, link.gatewayMacAt);
    if (withDns) {
      const code = Dhcp6Option.dnsServers;
      next = writeDhcp6OptionFrom(memory, next, code, link.gatewayIp6At, IPV6_ADDRESS_BYTES);
    }
    if (withSearch) writeDhcp6OptionBytes(memory, next, Dhcp6Option.domainList, this.#search);
    writeUdpChecksum6(memory, at, bytes, ownAt, clientAt);
    link.end();
  }

  /** A client that names no options gets all. */
  #asks(code: Dhcp6Option): boolean {
    return this.#options.requestCount === 0 ||
      dhcp6Asks(this.#link.memory.view, this.#options, code);
  }

  #count(counter: number): void {
    this.#link.counters.values[counter]!++;
  }
}

function isServerMessage(type: number): boolean {
  return type === Dhcp6Message.advertise || type === Dhcp6Message.reply ||
    type === Dhcp6Message.reconfigure;
}
