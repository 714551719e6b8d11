/**
 * Neighbor discovery: the four messages and their options (RFC 4861 section 4, RFC 8106 for
 * resolvers and search domains).
 *
 * Positions are those of the ICMPv6 header, whose type, code and checksum `icmp6.ts` handles;
 * writers leave the checksum 0. The validity rules that look beyond the message (hop limit 255,
 * source addresses) are the stack's. Readers expect that the caller has checked the message's fixed
 * octets; options are walked by `parseNdpOptions`, never beyond their end.
 *
 * @module
 */
import { Icmp6Type, writeIcmp6Header } from "./icmp6.ts";
import { IPV6_ADDRESS_BYTES } from "./ipv6.ts";
import type { FrameMemory } from "./memory.ts";

/** Octets of a router solicitation without options. */
export const ROUTER_SOLICITATION_BYTES = 8;
/** Octets of a router advertisement without options. */
export const ROUTER_ADVERTISEMENT_BYTES = 16;
/** Octets of a neighbor solicitation without options. */
export const NEIGHBOR_SOLICITATION_BYTES = 24;
/** Octets of a neighbor advertisement without options. */
export const NEIGHBOR_ADVERTISEMENT_BYTES = 24;
/** Octets of a link-layer address option. */
export const LINK_LAYER_OPTION_BYTES = 8;
/** Octets of a prefix information option. */
export const PREFIX_OPTION_BYTES = 32;
/** Octets of an MTU option. */
export const MTU_OPTION_BYTES = 8;

/** Option types. */
export const NdpOption = {
  sourceLinkLayer: 1,
  targetLinkLayer: 2,
  prefixInformation: 3,
  mtu: 5,
  rdnss: 25,
  dnssl: 31,
} as const;
/** One of `NdpOption`. */
export type NdpOption = typeof NdpOption[keyof typeof NdpOption];

/** Bits of the sixth octet of a router advertisement. */
export const RouterFlag = { managed: 0x80, otherConfiguration: 0x40 } as const;
/** Bits of the fifth octet of a neighbor advertisement. */
export const NeighborFlag = { router: 0x80, solicited: 0x40, override: 0x20 } as const;
/** Bits of a prefix information option. */
export const PrefixFlag = { onLink: 0x80, autonomous: 0x40 } as const;

/** Position of the target of a neighbor solicitation or advertisement. */
export function neighborTargetAt(at: number): number {
  return at + 8;
}

/** The flags of a neighbor advertisement, see `NeighborFlag`. */
export function neighborFlags(view: DataView, at: number): number {
  return view.getUint8(at + 4);
}

/** The hop limit that a router advertises; 0 where it leaves that open. */
export function routerHopLimit(view: DataView, at: number): number {
  return view.getUint8(at + 4);
}

/** The flags of a router advertisement, see `RouterFlag`. */
export function routerFlags(view: DataView, at: number): number {
  return view.getUint8(at + 5);
}

/** How long the router is a default router; 0: it is none. */
export function routerLifetimeSeconds(view: DataView, at: number): number {
  return view.getUint16(at + 6);
}

/** Positions of the options of a message; one object is used again for every message. */
export class NdpOptions {
  /** Position of the sender's MAC; -1 where absent. */
  sourceMacAt: number = -1;
  /** Position of the target's MAC; -1 where absent. */
  targetMacAt: number = -1;
  /** Position of the first prefix information option; -1 where absent. */
  prefixOptionAt: number = -1;
  /** The link's MTU; 0 where absent. */
  mtu = 0;
  /** Position of the first resolver option; -1 where absent. */
  rdnssOptionAt: number = -1;
  /** Position of the first search list option; -1 where absent. */
  dnsslOptionAt: number = -1;

  /** Forgets the last message's. */
  clear(): void {
    this.sourceMacAt = -1;
    this.targetMacAt = -1;
    this.prefixOptionAt = -1;
    this.mtu = 0;
    this.rdnssOptionAt = -1;
    this.dnsslOptionAt = -1;
  }
}

/**
 * Walks the options between `at` and `end`: the first of each kind holds, unknown ones are skipped.
 * `false`, and the message is to be dropped, where a length is 0, runs over the end, or is not one
 * that its kind can have.
 */
export function parseNdpOptions(
  view: DataView,
  at: number,
  end: number,
  into: NdpOptions,
): boolean {
  into.clear();
  while (at < end) {
    if (at + 8 > end) return false;
    const bytes = view.getUint8(at + 1) << 3;
    if (bytes === 0 || at + bytes > end) return false;
    if (!takeOption(view, at, bytes, into)) return false;
    at += bytes;
  }
  return true;
}

function takeOption(view: DataView, at: number, bytes: number, into: NdpOptions): boolean {
  switch (view.getUint8(at)) {
    case NdpOption.sourceLinkLayer:
      if (bytes !== LINK_LAYER_OPTION_BYTES) return false;
      if (into.sourceMacAt < 0) into.sourceMacAt = at + 2;
      return true;
    case NdpOption.targetLinkLayer:
      if (bytes !== LINK_LAYER_OPTION_BYTES) return false;
      if (into.targetMacAt < 0) into.targetMacAt = at + 2;
      return true;
    case NdpOption.prefixInformation:
      if (bytes !== PREFIX_OPTION_BYTES || view.getUint8(at + 2) > 128) return false;
      if (into.prefixOptionAt < 0) into.prefixOptionAt = at;
      return true;
    case NdpOption.mtu:
      if (bytes !== MTU_OPTION_BYTES) return false;
      if (into.mtu === 0) into.mtu = view.getUint32(at + 4);
      return true;
    case NdpOption.rdnss:
      if (bytes < 24 || (bytes - 8) % IPV6_ADDRESS_BYTES !== 0) return false;
      if (into.rdnssOptionAt < 0) into.rdnssOptionAt = at;
      return true;
    case NdpOption.dnssl:
      if (bytes < 16) return false;
      if (into.dnsslOptionAt < 0) into.dnsslOptionAt = at;
      return true;
    default:
      return true;
  }
}

/** Octets of the option at `optionAt`. */
export function ndpOptionBytes(view: DataView, optionAt: number): number {
  return view.getUint8(optionAt + 1) << 3;
}

/** Length of the prefix, 0 to 128. */
export function prefixLength(view: DataView, optionAt: number): number {
  return view.getUint8(optionAt + 2);
}

/** The flags of a prefix, see `PrefixFlag`. */
export function prefixFlags(view: DataView, optionAt: number): number {
  return view.getUint8(optionAt + 3);
}

/** How long the prefix is on the link; 0xffffffff for ever. */
export function prefixValidSeconds(view: DataView, optionAt: number): number {
  return view.getUint32(optionAt + 4);
}

/** How long addresses from the prefix are preferred; 0xffffffff for ever. */
export function prefixPreferredSeconds(view: DataView, optionAt: number): number {
  return view.getUint32(optionAt + 8);
}

/** Position of the prefix. */
export function prefixAt(optionAt: number): number {
  return optionAt + 16;
}

/** How long the resolvers or search domains hold (same place in both options). */
export function dnsOptionLifetimeSeconds(view: DataView, optionAt: number): number {
  return view.getUint32(optionAt + 4);
}

/** How many addresses a resolver option has. */
export function rdnssCount(view: DataView, optionAt: number): number {
  return (ndpOptionBytes(view, optionAt) - 8) / IPV6_ADDRESS_BYTES;
}

/** Position of the addresses of a resolver option. */
export function rdnssAddressesAt(optionAt: number): number {
  return optionAt + 8;
}

/** Position of the names of a search list option; they end with the option. */
export function dnsslNamesAt(optionAt: number): number {
  return optionAt + 8;
}

/** Writes a router solicitation without options; the position behind it. */
export function writeRouterSolicitation(view: DataView, at: number): number {
  writeIcmp6Header(view, at, Icmp6Type.routerSolicitation, 0, 0);
  return at + ROUTER_SOLICITATION_BYTES;
}

/** Writes a router advertisement without options (timers left open); the position behind it. */
export function writeRouterAdvertisement(
  view: DataView,
  at: number,
  hopLimit: number,
  flags: number,
  lifetimeSeconds: number,
): number {
  const rest = (hopLimit << 24) | (flags << 16) | lifetimeSeconds;
  writeIcmp6Header(view, at, Icmp6Type.routerAdvertisement, 0, rest);
  view.setUint32(at + 8, 0);
  view.setUint32(at + 12, 0);
  return at + ROUTER_ADVERTISEMENT_BYTES;
}

/** Writes a neighbor solicitation without options; the position behind it. */
export function writeNeighborSolicitation(
  memory: FrameMemory,
  at: number,
  targetAt: number,
): number {
  writeIcmp6Header(memory.view, at, Icmp6Type.neighborSolicitation, 0, 0);
  memory.copy(at + 8, targetAt, IPV6_ADDRESS_BYTES);
  return at + NEIGHBOR_SOLICITATION_BYTES;
}

/** Writes a neighbor advertisement without options; the position behind it. */
export function writeNeighborAdvertisement(
  memory: FrameMemory,
  at: number,
  flags: number,
  targetAt: number,
): number {
  writeIcmp6Header(memory.view, at, Icmp6Type.neighborAdvertisement, 0, flags << 24);
  memory.copy(at + 8, targetAt, IPV6_ADDRESS_BYTES);
  return at + NEIGHBOR_ADVERTISEMENT_BYTES;
}

/** Writes a source or target link-layer address; the position behind it. */
export function writeLinkLayerOption(
  memory: FrameMemory,
  at: number,
  type: NdpOption,
  macAt: number,
): number {
  memory.view.setUint16(at, (type << 8) | 1);
  memory.copy(at + 2, macAt, 6);
  return at + LINK_LAYER_OPTION_BYTES;
}

/** Writes prefix information from the 16 octets at `prefixAt`; the position behind it. */
export function writePrefixOption(
  memory: FrameMemory,
  at: number,
  length: number,
  flags: number,
  validSeconds: number,
  preferredSeconds: number,
  prefixAt: number,
): number {
  const { view } = memory;
  view.setUint32(at, (NdpOption.prefixInformation << 24) | (4 << 16) | (length << 8) | flags);
  view.setUint32(at + 4, validSeconds);
  view.setUint32(at + 8, preferredSeconds);
  view.setUint32(at + 12, 0);
  memory.copy(at + 16, prefixAt, IPV6_ADDRESS_BYTES);
  // What lies beyond the prefix must be zero (section 4.6.2).
  for (let bit = length; bit < 128;) {
    const octet = at + 16 + (bit >> 3);
    view.setUint8(octet, view.getUint8(octet) & ~(0xff >> (bit & 7)));
    bit = (bit | 7) + 1;
  }
  return at + PREFIX_OPTION_BYTES;
}

/** Writes the link's MTU; the position behind it. */
export function writeMtuOption(view: DataView, at: number, mtu: number): number {
  view.setUint32(at, (NdpOption.mtu << 24) | (1 << 16));
  view.setUint32(at + 4, mtu);
  return at + MTU_OPTION_BYTES;
}

/** Writes `count` (1 to 127) resolver addresses that stand together; the position behind them. */
export function writeRdnssOption(
  memory: FrameMemory,
  at: number,
  lifetimeSeconds: number,
  addressesAt: number,
  count: number,
): number {
  memory.view.setUint32(at, (NdpOption.rdnss << 24) | ((1 + 2 * count) << 16));
  memory.view.setUint32(at + 4, lifetimeSeconds);
  memory.copy(at + 8, addressesAt, count * IPV6_ADDRESS_BYTES);
  return at + 8 + count * IPV6_ADDRESS_BYTES;
}

/** Octets of a search list option for names of that many octets. */
export function dnsslOptionBytes(namesBytes: number): number {
  return 8 + ((namesBytes + 7) & ~7);
}

/** Writes search domains from `encodeDomainNames` (1 to 2,032 octets), padded; the position behind. */
export function writeDnsslOption(
  memory: FrameMemory,
  at: number,
  lifetimeSeconds: number,
  names: Uint8Array,
): number {
  const bytes = dnsslOptionBytes(names.length);
  memory.fill(at, bytes);
  memory.view.setUint16(at, (NdpOption.dnssl << 8) | (bytes >> 3));
  memory.view.setUint32(at + 4, lifetimeSeconds);
  memory.bytes.set(names, at + 8);
  return at + bytes;
}
