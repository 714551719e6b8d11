/**
 * Router advertisements (RFC 4861 section 4.2, RFC 8106): what a guest needs to configure itself,
 * in one message: the prefix, the MTU, the gateway as resolver and the search domain.
 *
 * The lifetime as a default router is 0 where the host has no IPv6, so that the guest does not try
 * addresses that lead nowhere; its prefix and the gateway itself stay reachable. The flag for other
 * configuration points at DHCPv6 for the rest.
 *
 * Addresses come from a prefix of 64 bits, as only that is offered for it (RFC 4862 section 5.5.3
 * with RFC 2464), and then the flag for managed addresses is clear: a guest that has one would else
 * take a second, and choose between them. From any other prefix the one address is leased, and the
 * flag says so. Whoever asks for a lease gets it either way.
 *
 * @module
 */
import type { Link } from "./link.ts";
import { ND_HOP_LIMIT } from "./neighbor_messages.ts";
import { writeIcmp6Checksum } from "../wire/icmp6.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { IPV6_ADDRESS_BYTES } from "../wire/ipv6.ts";
import {
  dnsslOptionBytes,
  LINK_LAYER_OPTION_BYTES,
  MTU_OPTION_BYTES,
  NdpOption,
  PREFIX_OPTION_BYTES,
  PrefixFlag,
  ROUTER_ADVERTISEMENT_BYTES,
  RouterFlag,
  writeDnsslOption,
  writeLinkLayerOption,
  writeMtuOption,
  writePrefixOption,
  writeRdnssOption,
  writeRouterAdvertisement,
} from "../wire/ndp.ts";

/** How long the gateway is a default router, and the resolver and search domain hold. */
export const ROUTER_LIFETIME_SECONDS = 1800;
const PREFIX_VALID_SECONDS = 86_400;
const PREFIX_PREFERRED_SECONDS = 14_400;
const GUEST_HOP_LIMIT = 64;
const RDNSS_BYTES = 8 + IPV6_ADDRESS_BYTES;

/** What an advertisement says beyond the link's addresses. */
export interface RouterAdvertisementOptions {
  /** Whether the host has IPv6: else the gateway is no default router. */
  readonly ipv6Upstream: boolean;
  /** The search domains from `encodeDomainNames`; empty for none. */
  readonly search: Uint8Array;
}

/**
 * Sends an advertisement: to the one who asked, or, with `groupMacAt`, to a group.
 *
 * @returns Whether it was queued.
 */
export function sendRouterAdvertisement(
  link: Link,
  options: RouterAdvertisementOptions,
  destinationAt: number,
  groupMacAt: number,
): boolean {
  const { memory, gatewayLinkLocalAt: sourceAt } = link;
  const { search } = options;
  const bytes = ROUTER_ADVERTISEMENT_BYTES + LINK_LAYER_OPTION_BYTES + MTU_OPTION_BYTES +
    PREFIX_OPTION_BYTES + RDNSS_BYTES + (search.length > 0 ? dnsslOptionBytes(search.length) : 0);
  const at = link.beginIpv6(sourceAt, destinationAt, IpProtocol.icmp6, bytes, ND_HOP_LIMIT);
  if (at < 0) return false;
  if (groupMacAt >= 0) link.setDestinationMac(groupMacAt);
  const { prefix6 } = link.config;
  const lifetimeSeconds = options.ipv6Upstream ? ROUTER_LIFETIME_SECONDS : 0;
  const prefixFlags = PrefixFlag.onLink | (prefix6 === 64 ? PrefixFlag.autonomous : 0);
  const flags = RouterFlag.otherConfiguration | (prefix6 === 64 ? 0 : RouterFlag.managed);
  let next = writeRouterAdvertisement(memory.view, at, GUEST_HOP_LIMIT, flags, lifetimeSeconds);
  next = writeLinkLayerOption(memory, next, NdpOption.sourceLinkLayer, link.gatewayMacAt);
  next = writeMtuOption(memory.view, next, link.mtu);
  next = writePrefixOption(
    memory,
    next,
    prefix6,
    prefixFlags,
    PREFIX_VALID_SECONDS,
    PREFIX_PREFERRED_SECONDS,
    link.gatewayIp6At,
  );
  next = writeRdnssOption(memory, next, ROUTER_LIFETIME_SECONDS, link.gatewayIp6At, 1);
  if (search.length > 0) writeDnsslOption(memory, next, ROUTER_LIFETIME_SECONDS, search);
  writeIcmp6Checksum(memory, at, bytes, sourceAt, destinationAt);
  link.end();
  return true;
}
