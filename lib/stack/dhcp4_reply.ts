/**
 * What a DHCPv4 server's message holds (RFC 2131 section 4.3.1): planned first, since a frame is
 * begun with its length, then written.
 *
 * A reply keeps to what the client says that it takes (576 octets of packet if it does not) and to
 * the MTU; the search list and then the domain name make way.
 *
 * @module
 */
import type { Link } from "./link.ts";
import {
  DHCP4_HEADER_BYTES,
  DHCP4_MIN_BYTES,
  dhcp4ClientIpAt,
  dhcp4ClientMacAt,
  dhcp4Flags,
  Dhcp4Message,
  Dhcp4Op,
  Dhcp4Option,
  type Dhcp4Options,
  dhcp4TransactionId,
  dhcp4YourIpAt,
  writeDhcp4End,
  writeDhcp4Header,
  writeDhcp4Option16,
  writeDhcp4Option32,
  writeDhcp4Option8,
  writeDhcp4OptionBytes,
  writeDhcp4OptionFrom,
} from "../wire/dhcp4.ts";
import { decodeDomainNames } from "../wire/domain_names.ts";
import { IPV4_HEADER_BYTES } from "../wire/ipv4.ts";
import { UDP_HEADER_BYTES } from "../wire/udp.ts";

const LEASE_SECONDS = 86_400;
const RENEWAL_SECONDS = LEASE_SECONDS / 2;
const REBINDING_SECONDS = (LEASE_SECONDS / 8) * 7;

const HEADERS_BYTES = IPV4_HEADER_BYTES + UDP_HEADER_BYTES;
/** What every client takes (RFC 2131 section 2), in octets of packet. */
const MIN_MAX_PACKET_BYTES = 576;
const OPTION_HEADER_BYTES = 2;
const MAX_OPTION_BYTES = 255;
/** Message type, server identifier and the end. */
const COMMON_BYTES = 3 + 6 + 1;
/** Mask, router, resolver, MTU. */
const PARAMETER_BYTES = 6 + 6 + 6 + 4;
/** Lease, renewal and rebinding time. */
const TIMES_BYTES = 6 + 6 + 6;

/** The kinds of a server's messages. */
export const Dhcp4ReplyKind = { offer: 0, lease: 1, parameters: 2, refusal: 3 } as const;
/** One of `Dhcp4ReplyKind`. */
export type Dhcp4ReplyKind = typeof Dhcp4ReplyKind[keyof typeof Dhcp4ReplyKind];

const MESSAGE_TYPE = [
  Dhcp4Message.offer,
  Dhcp4Message.ack,
  Dhcp4Message.ack,
  Dhcp4Message.nak,
] as const;

/** One reply after the other, planned and written. */
export class Dhcp4Reply {
  readonly #link: Link;
  readonly #search: Uint8Array;
  readonly #domain: Uint8Array;
  #withDomain = false;
  #withSearch = false;

  /** `search` are the search domains from `encodeDomainNames`; empty for none. */
  constructor(link: Link, search: Uint8Array<ArrayBuffer>) {
    this.#link = link;
    this.#search = search.length <= MAX_OPTION_BYTES ? search : new Uint8Array(0);
    const view = new DataView(search.buffer, search.byteOffset, search.length);
    const domain = decodeDomainNames(view, 0, search.length)?.[0] ?? "";
    this.#domain = new TextEncoder().encode(domain);
  }

  /** Decides what the reply holds; the octets of the message. */
  plan(kind: Dhcp4ReplyKind, options: Dhcp4Options): number {
    let bytes = DHCP4_HEADER_BYTES + COMMON_BYTES;
    if (options.clientIdAt >= 0) bytes += OPTION_HEADER_BYTES + options.clientIdBytes;
    this.#withDomain = false;
    this.#withSearch = false;
    if (kind !== Dhcp4ReplyKind.refusal) {
      bytes += PARAMETER_BYTES;
      if (kind !== Dhcp4ReplyKind.parameters) bytes += TIMES_BYTES;
      const packetBytes = Math.max(MIN_MAX_PACKET_BYTES, options.maxMessageBytes);
      const maxBytes = Math.min(packetBytes, this.#link.mtu) - HEADERS_BYTES;
      const domainBytes = OPTION_HEADER_BYTES + this.#domain.length;
      this.#withDomain = this.#domain.length > 0 && bytes + domainBytes <= maxBytes;
      if (this.#withDomain) bytes += domainBytes;
      const searchBytes = OPTION_HEADER_BYTES + this.#search.length;
      this.#withSearch = this.#search.length > 0 && bytes + searchBytes <= maxBytes;
      if (this.#withSearch) bytes += searchBytes;
    }
    return Math.max(DHCP4_MIN_BYTES, bytes);
  }

  /** Writes what was planned to `at`, as the answer to the message at `requestAt`. */
  write(at: number, requestAt: number, kind: Dhcp4ReplyKind, options: Dhcp4Options): void {
    const { memory, gatewayIp4At, guestIp4At } = this.#link;
    const { view } = memory;
    let next = writeDhcp4Header(
      memory,
      at,
      Dhcp4Op.reply,
      dhcp4TransactionId(view, requestAt),
      dhcp4Flags(view, requestAt),
      dhcp4ClientMacAt(requestAt),
    );
    next = writeDhcp4Option8(view, next, Dhcp4Option.messageType, MESSAGE_TYPE[kind]);
    next = writeDhcp4OptionFrom(memory, next, Dhcp4Option.serverIdentifier, gatewayIp4At, 4);
    if (kind !== Dhcp4ReplyKind.refusal) {
      memory.copy(dhcp4ClientIpAt(at), dhcp4ClientIpAt(requestAt), 4);
      if (kind !== Dhcp4ReplyKind.parameters) {
        memory.copy(dhcp4YourIpAt(at), guestIp4At, 4);
        next = this.#writeTimes(next);
      }
      next = this.#writeParameters(next);
    }
    // RFC 6842: the client's identifier comes back.
    const { clientIdAt, clientIdBytes } = options;
    if (clientIdAt >= 0) {
      const code = Dhcp4Option.clientIdentifier;
      next = writeDhcp4OptionFrom(memory, next, code, clientIdAt, clientIdBytes);
    }
    writeDhcp4End(memory, next, at);
  }

  #writeTimes(at: number): number {
    const { view } = this.#link.memory;
    let next = writeDhcp4Option32(view, at, Dhcp4Option.leaseSeconds, LEASE_SECONDS);
    next = writeDhcp4Option32(view, next, Dhcp4Option.renewalSeconds, RENEWAL_SECONDS);
    return writeDhcp4Option32(view, next, Dhcp4Option.rebindingSeconds, REBINDING_SECONDS);
  }

  #writeParameters(at: number): number {
    const { memory, config, gatewayIp4At, mtu } = this.#link;
    const { view } = memory;
    const hostBits = 32 - config.prefix4;
    const mask = hostBits === 32 ? 0 : (0xffff_ffff << hostBits) >>> 0;
    let next = writeDhcp4Option32(view, at, Dhcp4Option.subnetMask, mask);
    next = writeDhcp4OptionFrom(memory, next, Dhcp4Option.router, gatewayIp4At, 4);
    next = writeDhcp4OptionFrom(memory, next, Dhcp4Option.dnsServers, gatewayIp4At, 4);
    next = writeDhcp4Option16(view, next, Dhcp4Option.mtu, mtu);
    if (this.#withDomain) {
      next = writeDhcp4OptionBytes(memory, next, Dhcp4Option.domainName, this.#domain);
    }
    if (this.#withSearch) {
      next = writeDhcp4OptionBytes(memory, next, Dhcp4Option.domainSearch, this.#search);
    }
    return next;
  }
}
