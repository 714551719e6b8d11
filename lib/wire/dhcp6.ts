/**
 * DHCPv6 (RFC 8415 sections 8 and 21; RFC 3646 for resolvers and search domains): message header, a
 * bounded walk over the options, and writers for both ends. What addresses and prefixes are asked
 * for in stands in `dhcp6_ia.ts`.
 *
 * Relay messages have another layout and are refused. Of options that come twice the first holds,
 * but for associations, of which a message has several.
 *
 * @module
 */
import { Dhcp6Associations, type Dhcp6Ia } from "./dhcp6_ia.ts";
import type { FrameMemory } from "./memory.ts";

/** Octets of message type and transaction id. */
export const DHCP6_HEADER_BYTES = 4;
/** The server's port. */
export const DHCP6_SERVER_PORT = 547;
/** The client's port. */
export const DHCP6_CLIENT_PORT = 546;
/** Octets of the DUID that `writeDhcp6DuidOption` makes. */
export const DHCP6_DUID_LL_BYTES = 10;

/** Message types between clients and servers. */
export const Dhcp6Message = {
  solicit: 1,
  advertise: 2,
  request: 3,
  confirm: 4,
  renew: 5,
  rebind: 6,
  reply: 7,
  release: 8,
  decline: 9,
  reconfigure: 10,
  informationRequest: 11,
} as const;
/** One of `Dhcp6Message`. */
export type Dhcp6Message = typeof Dhcp6Message[keyof typeof Dhcp6Message];

/** Option codes. */
export const Dhcp6Option = {
  clientId: 1,
  serverId: 2,
  iaNa: 3,
  iaTa: 4,
  optionRequest: 6,
  preference: 7,
  elapsedTime: 8,
  statusCode: 13,
  rapidCommit: 14,
  dnsServers: 23,
  domainList: 24,
  iaPd: 25,
  informationRefreshTime: 32,
} as const;
/** One of `Dhcp6Option`. */
export type Dhcp6Option = typeof Dhcp6Option[keyof typeof Dhcp6Option];

/** Status codes (section 21.13). */
export const Dhcp6Status = {
  success: 0,
  noAddrsAvail: 2,
  noBinding: 3,
  notOnLink: 4,
  useMulticast: 5,
  noPrefixAvail: 6,
} as const;
/** One of `Dhcp6Status`. */
export type Dhcp6Status = typeof Dhcp6Status[keyof typeof Dhcp6Status];

/** A DUID is at most 128 octets behind its type (section 11.1). */
const MAX_DUID_BYTES = 130;
/** DUID type 3 (link-layer address), hardware type 1 (Ethernet). */
const DUID_LL_ETHERNET = 0x0003_0001;

/** The message type. */
export function dhcp6MessageType(view: DataView, at: number): number {
  return view.getUint8(at);
}

/** The transaction id, 24 bits. */
export function dhcp6TransactionId(view: DataView, at: number): number {
  return view.getUint32(at) & 0xff_ffff;
}

/** The options of a message; one object is used again for every message. */
export class Dhcp6Options {
  /** Position of the client's DUID; -1 where absent. */
  clientIdAt: number = -1;
  /** Octets of the client's DUID. */
  clientIdBytes = 0;
  /** Position of the server's DUID; -1 where absent. */
  serverIdAt: number = -1;
  /** Octets of the server's DUID. */
  serverIdBytes = 0;
  /** Position of the 16-bit option codes that the client asks for; -1 where absent. */
  requestAt: number = -1;
  /** Number of the 16-bit option codes that the client asks for. */
  requestCount = 0;
  /** Position of resolver addresses; -1 where absent. */
  dnsServersAt: number = -1;
  /** Number of resolver addresses. */
  dnsServersCount = 0;
  /** Position of the search list; -1 where absent. */
  domainListAt: number = -1;
  /** Octets of the search list. */
  domainListBytes = 0;
  /** What addresses or prefixes are asked for (IA_NA, IA_TA, IA_PD). */
  readonly associations: Dhcp6Associations = new Dhcp6Associations();
  /** Whether the client takes a lease without asking twice. */
  hasRapidCommit = false;
  /** The status, if any came at the top level; -1 where absent. */
  statusCode: number = -1;

  /** Forgets the last message's. */
  clear(): void {
    this.clientIdAt = -1;
    this.clientIdBytes = 0;
    this.serverIdAt = -1;
    this.serverIdBytes = 0;
    this.requestAt = -1;
    this.requestCount = 0;
    this.dnsServersAt = -1;
    this.dnsServersCount = 0;
    this.domainListAt = -1;
    this.domainListBytes = 0;
    this.associations.clear();
    this.hasRapidCommit = false;
    this.statusCode = -1;
  }
}

/**
 * Checks the message between `at` and `end` and walks its options. `false`, and it is to be
 * dropped, where it is too short, of no known type, or an option runs over the end or has a length
 * that its kind cannot have.
 */
export function parseDhcp6(view: DataView, at: number, end: number, into: Dhcp6Options): boolean {
  into.clear();
  if (end - at < DHCP6_HEADER_BYTES) return false;
  const type = view.getUint8(at);
  if (type < Dhcp6Message.solicit || type > Dhcp6Message.informationRequest) return false;
  let i = at + DHCP6_HEADER_BYTES;
  while (i < end) {
    if (i + 4 > end) return false;
    const code = view.getUint16(i);
    const bytes = view.getUint16(i + 2);
    const valueAt = i + 4;
    if (valueAt + bytes > end) return false;
    if (!takeOption(view, code, valueAt, bytes, into)) return false;
    i = valueAt + bytes;
  }
  return true;
}

function takeOption(
  view: DataView,
  code: number,
  at: number,
  bytes: number,
  into: Dhcp6Options,
): boolean {
  switch (code) {
    case Dhcp6Option.clientId:
      if (bytes < 3 || bytes > MAX_DUID_BYTES) return false;
      if (into.clientIdAt < 0) {
        into.clientIdAt = at;
        into.clientIdBytes = bytes;
      }
      return true;
    case Dhcp6Option.serverId:
      if (bytes < 3 || bytes > MAX_DUID_BYTES) return false;
      if (into.serverIdAt < 0) {
        into.serverIdAt = at;
        into.serverIdBytes = bytes;
      }
      return true;
    case Dhcp6Option.optionRequest:
      if (bytes % 2 !== 0) return false;
      if (into.requestAt < 0) {
        into.requestAt = at;
        into.requestCount = bytes / 2;
      }
      return true;
    case Dhcp6Option.dnsServers:
      if (bytes === 0 || bytes % 16 !== 0) return false;
      if (into.dnsServersAt < 0) {
        into.dnsServersAt = at;
        into.dnsServersCount = bytes / 16;
      }
      return true;
    case Dhcp6Option.domainList:
      if (into.domainListAt < 0) {
        into.domainListAt = at;
        into.domainListBytes = bytes;
      }
      return true;
    case Dhcp6Option.iaNa:
    case Dhcp6Option.iaTa:
    case Dhcp6Option.iaPd:
      return into.associations.take(view, code satisfies Dhcp6Ia, at, bytes);
    case Dhcp6Option.rapidCommit:
      into.hasRapidCommit = true;
      return bytes === 0;
    case Dhcp6Option.statusCode:
      if (bytes < 2) return false;
      if (into.statusCode < 0) into.statusCode = view.getUint16(at);
      return true;
    default:
      return true;
  }
}

/** Whether the client asked for an option. */
export function dhcp6Asks(view: DataView, options: Dhcp6Options, code: Dhcp6Option): boolean {
  for (let i = 0; i < options.requestCount; i++) {
    if (view.getUint16(options.requestAt + 2 * i) === code) return true;
  }
  return false;
}

/** Writes type and transaction id; the position of the first option. */
export function writeDhcp6Header(
  view: DataView,
  at: number,
  type: Dhcp6Message,
  transactionId: number,
): number {
  view.setUint32(at, (type << 24) | (transactionId & 0xff_ffff));
  return at + DHCP6_HEADER_BYTES;
}

/** Writes an option from `bytes` octets at `from`; the position behind it. */
export function writeDhcp6OptionFrom(
  memory: FrameMemory,
  at: number,
  code: Dhcp6Option,
  from: number,
  bytes: number,
): number {
  memory.view.setUint16(at, code);
  memory.view.setUint16(at + 2, bytes);
  memory.copy(at + 4, from, bytes);
  return at + 4 + bytes;
}

/** Writes an option from octets, e.g. of `encodeDomainNames`; the position behind it. */
export function writeDhcp6OptionBytes(
  memory: FrameMemory,
  at: number,
  code: Dhcp6Option,
  value: Uint8Array,
): number {
  memory.view.setUint16(at, code);
  memory.view.setUint16(at + 2, value.length);
  memory.bytes.set(value, at + 4);
  return at + 4 + value.length;
}

/** Writes a client or server id: the DUID of a MAC (DUID-LL, section 11.4); the position behind. */
export function writeDhcp6DuidOption(
  memory: FrameMemory,
  at: number,
  code: Dhcp6Option,
  macAt: number,
): number {
  const { view } = memory;
  view.setUint16(at, code);
  view.setUint16(at + 2, DHCP6_DUID_LL_BYTES);
  view.setUint32(at + 4, DUID_LL_ETHERNET);
  memory.copy(at + 8, macAt, 6);
  return at + 4 + DHCP6_DUID_LL_BYTES;
}

/** Writes an option without a value (rapid commit); the position behind it. */
export function writeDhcp6EmptyOption(view: DataView, at: number, code: Dhcp6Option): number {
  view.setUint16(at, code);
  view.setUint16(at + 2, 0);
  return at + 4;
}

/** Writes an option of one octet (preference); the position behind it. */
export function writeDhcp6Option8(
  view: DataView,
  at: number,
  code: Dhcp6Option,
  value: number,
): number {
  view.setUint16(at, code);
  view.setUint16(at + 2, 1);
  view.setUint8(at + 4, value);
  return at + 5;
}

/** Writes an option request for one or more codes; the position behind it. */
export function writeDhcp6RequestOption(
  view: DataView,
  at: number,
  codes: readonly Dhcp6Option[],
): number {
  view.setUint16(at, Dhcp6Option.optionRequest);
  view.setUint16(at + 2, 2 * codes.length);
  for (let i = 0; i < codes.length; i++) view.setUint16(at + 4 + 2 * i, codes[i]!);
  return at + 4 + 2 * codes.length;
}

/** Writes an option of 16 bits (elapsed time, status code); the position behind it. */
export function writeDhcp6Option16(
  view: DataView,
  at: number,
  code: Dhcp6Option,
  value: number,
): number {
  view.setUint16(at, code);
  view.setUint16(at + 2, 2);
  view.setUint16(at + 4, value);
  return at + 6;
}
