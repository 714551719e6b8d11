/**
 * DHCPv4 messages (RFC 2131 section 2) and their options (RFC 2132): the fields, a bounded walk
 * over the options, and writers for both ends of the conversation.
 *
 * Ethernet only: hardware type 1, address length 6. Option overload (52), by which options hide in
 * the name fields, is refused, since no guest needs it. Options that are split (RFC 3396) are not
 * joined: of a kind that comes twice the first holds. Options of a length that their kind cannot
 * have make the message malformed.
 *
 * Field readers expect that `parseDhcp4` was true; writers that there is room.
 *
 * @module
 */
import type { FrameMemory } from "./memory.ts";

/** Octets in front of the options: the BOOTP fields and the magic cookie. */
export const DHCP4_HEADER_BYTES = 240;
/** Old BOOTP relays and clients drop anything shorter (RFC 1542 section 2.1). */
export const DHCP4_MIN_BYTES = 300;
/** The server's port. */
export const DHCP4_SERVER_PORT = 67;
/** The client's port. */
export const DHCP4_CLIENT_PORT = 68;

/** Message directions. */
export const Dhcp4Op = { request: 1, reply: 2 } as const;
/** One of `Dhcp4Op`. */
export type Dhcp4Op = typeof Dhcp4Op[keyof typeof Dhcp4Op];

/** Message types of option 53. */
export const Dhcp4Message = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;
/** One of `Dhcp4Message`. */
export type Dhcp4Message = typeof Dhcp4Message[keyof typeof Dhcp4Message];

/** Option codes. */
export const Dhcp4Option = {
  pad: 0,
  subnetMask: 1,
  router: 3,
  dnsServers: 6,
  hostName: 12,
  domainName: 15,
  mtu: 26,
  broadcast: 28,
  requestedAddress: 50,
  leaseSeconds: 51,
  overload: 52,
  messageType: 53,
  serverIdentifier: 54,
  parameterList: 55,
  maxMessageBytes: 57,
  renewalSeconds: 58,
  rebindingSeconds: 59,
  clientIdentifier: 61,
  rapidCommit: 80,
  domainSearch: 119,
  end: 255,
} as const;
/** One of `Dhcp4Option`. */
export type Dhcp4Option = typeof Dhcp4Option[keyof typeof Dhcp4Option];

const MAGIC = 0x6382_5363;
/** Op, hardware type 1, address length 6, no hops; the op goes into the high octet. */
const ETHERNET = 0x0001_0600;
const BROADCAST_FLAG = 0x8000;

/** The direction. */
export function dhcp4Op(view: DataView, at: number): number {
  return view.getUint8(at);
}

/** The transaction id. */
export function dhcp4TransactionId(view: DataView, at: number): number {
  return view.getUint32(at + 4);
}

/** Whether the client wants the reply as a broadcast. */
export function dhcp4WantsBroadcast(view: DataView, at: number): boolean {
  return (view.getUint16(at + 10) & BROADCAST_FLAG) !== 0;
}

/** The word of flags. */
export function dhcp4Flags(view: DataView, at: number): number {
  return view.getUint16(at + 10);
}

/** Position of the client's address, if it has one (ciaddr). */
export function dhcp4ClientIpAt(at: number): number {
  return at + 12;
}

/** Position of the address that the client gets (yiaddr). */
export function dhcp4YourIpAt(at: number): number {
  return at + 16;
}

/** Position of the next server's address (siaddr). */
export function dhcp4NextServerIpAt(at: number): number {
  return at + 20;
}

/** Position of a relay's address (giaddr), zero on a link of its own. */
export function dhcp4RelayIpAt(at: number): number {
  return at + 24;
}

/** Position of the client's MAC (chaddr). */
export function dhcp4ClientMacAt(at: number): number {
  return at + 28;
}

/** The options of a message; one object is used again for every message. */
export class Dhcp4Options {
  /** One of `Dhcp4Message` in honest messages; 0 where absent (plain BOOTP). */
  messageType = 0;
  /** Position of the address that the client asks for; -1 where absent. */
  requestedIpAt: number = -1;
  /** Position of the server's identifier; -1 where absent. */
  serverIdAt: number = -1;
  /** Position of the option codes that the client asks for; -1 where absent. */
  parametersAt: number = -1;
  /** Number of the option codes that the client asks for. */
  parametersCount = 0;
  /** Position of the client's identifier; -1 where absent. */
  clientIdAt: number = -1;
  /** Octets of the client's identifier. */
  clientIdBytes = 0;
  /** Position of the host's name; -1 where absent. */
  hostNameAt: number = -1;
  /** Octets of the host's name. */
  hostNameBytes = 0;
  /** The longest message that the client takes; 0 where absent. */
  maxMessageBytes = 0;
  /** Lease time; 0 where absent. */
  leaseSeconds = 0;
  /** Position of the subnet mask; -1 where absent. */
  subnetMaskAt: number = -1;
  /** Position of the first router; -1 where absent. */
  routerAt: number = -1;
  /** Position of resolver addresses; -1 where absent. */
  dnsServersAt: number = -1;
  /** Number of resolver addresses. */
  dnsServersCount = 0;
  /** The link's MTU; 0 where absent. */
  mtu = 0;
  /** Position of the domain name; -1 where absent. */
  domainNameAt: number = -1;
  /** Octets of the domain name. */
  domainNameBytes = 0;
  /** Position of the search list (RFC 3397); -1 where absent. */
  domainSearchAt: number = -1;
  /** Octets of the search list (RFC 3397). */
  domainSearchBytes = 0;
  /** Whether the client takes an acknowledgment without an offer (RFC 4039). */
  rapidCommit = false;

  /** Forgets the last message's. */
  clear(): void {
    this.messageType = 0;
    this.requestedIpAt = -1;
    this.serverIdAt = -1;
    this.parametersAt = -1;
    this.parametersCount = 0;
    this.clientIdAt = -1;
    this.clientIdBytes = 0;
    this.hostNameAt = -1;
    this.hostNameBytes = 0;
    this.maxMessageBytes = 0;
    this.leaseSeconds = 0;
    this.subnetMaskAt = -1;
    this.routerAt = -1;
    this.dnsServersAt = -1;
    this.dnsServersCount = 0;
    this.mtu = 0;
    this.domainNameAt = -1;
    this.domainNameBytes = 0;
    this.domainSearchAt = -1;
    this.domainSearchBytes = 0;
    this.rapidCommit = false;
  }
}

/**
 * Checks the message between `at` and `end` and walks its options. `false`, and it is to be
 * dropped, where it is too short, not for Ethernet, without the cookie, overloaded, or an option
 * runs over the end or has a length that its kind cannot have. A missing end option is tolerated.
 */
export function parseDhcp4(view: DataView, at: number, end: number, into: Dhcp4Options): boolean {
  into.clear();
  if (end - at < DHCP4_HEADER_BYTES || view.getUint32(at + 236) !== MAGIC) return false;
  if ((view.getUint32(at) & 0x00ff_ff00) !== ETHERNET) return false;
  let i = at + DHCP4_HEADER_BYTES;
  while (i < end) {
    const code = view.getUint8(i);
    if (code === Dhcp4Option.end) return true;
    if (code === Dhcp4Option.pad) {
      i++;
      continue;
    }
    if (i + 2 > end) return false;
    const bytes = view.getUint8(i + 1);
    const valueAt = i + 2;
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
  into: Dhcp4Options,
): boolean {
  switch (code) {
    case Dhcp4Option.overload:
      return false;
    case Dhcp4Option.messageType:
      if (bytes !== 1) return false;
      if (into.messageType === 0) into.messageType = view.getUint8(at);
      return true;
    case Dhcp4Option.requestedAddress:
      if (bytes !== 4) return false;
      if (into.requestedIpAt < 0) into.requestedIpAt = at;
      return true;
    case Dhcp4Option.serverIdentifier:
      if (bytes !== 4) return false;
      if (into.serverIdAt < 0) into.serverIdAt = at;
      return true;
    case Dhcp4Option.subnetMask:
      if (bytes !== 4) return false;
      if (into.subnetMaskAt < 0) into.subnetMaskAt = at;
      return true;
    case Dhcp4Option.router:
      if (bytes < 4 || bytes % 4 !== 0) return false;
      if (into.routerAt < 0) into.routerAt = at;
      return true;
    case Dhcp4Option.maxMessageBytes:
      if (bytes !== 2) return false;
      if (into.maxMessageBytes === 0) into.maxMessageBytes = view.getUint16(at);
      return true;
    case Dhcp4Option.mtu:
      if (bytes !== 2) return false;
      if (into.mtu === 0) into.mtu = view.getUint16(at);
      return true;
    case Dhcp4Option.leaseSeconds:
      if (bytes !== 4) return false;
      if (into.leaseSeconds === 0) into.leaseSeconds = view.getUint32(at);
      return true;
    case Dhcp4Option.rapidCommit:
      into.rapidCommit = true;
      return bytes === 0;
    default:
      return takeList(code, at, bytes, into);
  }
}

function takeList(code: number, at: number, bytes: number, into: Dhcp4Options): boolean {
  switch (code) {
    case Dhcp4Option.dnsServers:
      if (bytes < 4 || bytes % 4 !== 0) return false;
      if (into.dnsServersAt < 0) {
        into.dnsServersAt = at;
        into.dnsServersCount = bytes / 4;
      }
      return true;
    case Dhcp4Option.parameterList:
      if (bytes < 1) return false;
      if (into.parametersAt < 0) {
        into.parametersAt = at;
        into.parametersCount = bytes;
      }
      return true;
    case Dhcp4Option.clientIdentifier:
      if (bytes < 2) return false;
      if (into.clientIdAt < 0) {
        into.clientIdAt = at;
        into.clientIdBytes = bytes;
      }
      return true;
    case Dhcp4Option.hostName:
      if (into.hostNameAt < 0) {
        into.hostNameAt = at;
        into.hostNameBytes = bytes;
      }
      return true;
    case Dhcp4Option.domainName:
      if (into.domainNameAt < 0) {
        into.domainNameAt = at;
        into.domainNameBytes = bytes;
      }
      return true;
    case Dhcp4Option.domainSearch:
      if (into.domainSearchAt < 0) {
        into.domainSearchAt = at;
        into.domainSearchBytes = bytes;
      }
      return true;
    default:
      return true;
  }
}

/** Whether the client asked for an option; it gets all of them where it did not say. */
export function dhcp4Asks(view: DataView, options: Dhcp4Options, code: Dhcp4Option): boolean {
  if (options.parametersAt < 0) return true;
  for (let i = 0; i < options.parametersCount; i++) {
    if (view.getUint8(options.parametersAt + i) === code) return true;
  }
  return false;
}

/**
 * Writes the fields and the cookie; addresses and names are zero and can be copied to their
 * positions. The client's MAC is copied from `clientMacAt`. The position of the first option.
 */
export function writeDhcp4Header(
  memory: FrameMemory,
  at: number,
  op: Dhcp4Op,
  transactionId: number,
  flags: number,
  clientMacAt: number,
): number {
  const { view } = memory;
  memory.fill(at, DHCP4_HEADER_BYTES);
  view.setUint32(at, (op << 24) | ETHERNET);
  view.setUint32(at + 4, transactionId);
  view.setUint16(at + 10, flags);
  memory.copy(at + 28, clientMacAt, 6);
  view.setUint32(at + 236, MAGIC);
  return at + DHCP4_HEADER_BYTES;
}

/** Writes an option of one octet; the position behind it. */
export function writeDhcp4Option8(
  view: DataView,
  at: number,
  code: Dhcp4Option,
  value: number,
): number {
  view.setUint16(at, (code << 8) | 1);
  view.setUint8(at + 2, value);
  return at + 3;
}

/** Writes an option of two octets; the position behind it. */
export function writeDhcp4Option16(
  view: DataView,
  at: number,
  code: Dhcp4Option,
  value: number,
): number {
  view.setUint16(at, (code << 8) | 2);
  view.setUint16(at + 2, value);
  return at + 4;
}

/** Writes an option of four octets; the position behind it. */
export function writeDhcp4Option32(
  view: DataView,
  at: number,
  code: Dhcp4Option,
  value: number,
): number {
  view.setUint16(at, (code << 8) | 4);
  view.setUint32(at + 2, value);
  return at + 6;
}

/** Writes an option from `bytes` (at most 255) octets at `from`; the position behind it. */
export function writeDhcp4OptionFrom(
  memory: FrameMemory,
  at: number,
  code: Dhcp4Option,
  from: number,
  bytes: number,
): number {
  memory.view.setUint16(at, (code << 8) | bytes);
  memory.copy(at + 2, from, bytes);
  return at + 2 + bytes;
}

/** Writes an option from at most 255 octets; the position behind it. */
export function writeDhcp4OptionBytes(
  memory: FrameMemory,
  at: number,
  code: Dhcp4Option,
  value: Uint8Array,
): number {
  memory.view.setUint16(at, (code << 8) | value.length);
  memory.bytes.set(value, at + 2);
  return at + 2 + value.length;
}

/** Ends the options of the message at `messageAt`, padded to `DHCP4_MIN_BYTES`; the end. */
export function writeDhcp4End(memory: FrameMemory, at: number, messageAt: number): number {
  memory.view.setUint8(at, Dhcp4Option.end);
  const end = Math.max(at + 1, messageAt + DHCP4_MIN_BYTES);
  memory.fill(at + 1, end - at - 1);
  return end;
}
