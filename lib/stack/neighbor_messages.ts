/**
 * The neighbor discovery messages that the gateway sends about single addresses (RFC 4861
 * sections 4.3 and 4.4), each with the gateway's MAC in its option.
 *
 * @module
 */
import type { Link } from "./link.ts";
import { Icmp6Type, writeIcmp6Checksum } from "../wire/icmp6.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import {
  LINK_LAYER_OPTION_BYTES,
  NdpOption,
  NEIGHBOR_ADVERTISEMENT_BYTES,
  NEIGHBOR_SOLICITATION_BYTES,
  NeighborFlag,
  writeLinkLayerOption,
  writeNeighborAdvertisement,
  writeNeighborSolicitation,
} from "../wire/ndp.ts";

/** The hop limit that shows that a message came from the link itself (RFC 4861 section 6.1). */
export const ND_HOP_LIMIT = 255;

const SOLICITATION_BYTES = NEIGHBOR_SOLICITATION_BYTES + LINK_LAYER_OPTION_BYTES;
const ADVERTISEMENT_BYTES = NEIGHBOR_ADVERTISEMENT_BYTES + LINK_LAYER_OPTION_BYTES;

/** The types between which neighbor discovery lies. */
export function isNeighborDiscovery(type: number): boolean {
  return type >= Icmp6Type.routerSolicitation && type <= Icmp6Type.redirect;
}

/** Asks the guest whether it holds the address: to that address itself, as a probe does. */
export function sendNeighborSolicitation(link: Link, targetAt: number): void {
  const { memory, gatewayLinkLocalAt: sourceAt } = link;
  const bytes = SOLICITATION_BYTES;
  const at = link.beginIpv6(sourceAt, targetAt, IpProtocol.icmp6, bytes, ND_HOP_LIMIT);
  if (at < 0) return;
  const optionAt = writeNeighborSolicitation(memory, at, targetAt);
  writeLinkLayerOption(memory, optionAt, NdpOption.sourceLinkLayer, link.gatewayMacAt);
  writeIcmp6Checksum(memory, at, bytes, sourceAt, targetAt);
  link.end();
}

/**
 * Says that the gateway holds the address at `targetAt`: to the one who asked, or, with
 * `groupMacAt`, to a group, as the defence against DAD is sent (RFC 4861 section 7.2.4).
 *
 * @returns Whether it was queued.
 */
export function sendNeighborAdvertisement(
  link: Link,
  targetAt: number,
  destinationAt: number,
  groupMacAt: number,
): boolean {
  const { memory } = link;
  const bytes = ADVERTISEMENT_BYTES;
  const at = link.beginIpv6(targetAt, destinationAt, IpProtocol.icmp6, bytes, ND_HOP_LIMIT);
  if (at < 0) return false;
  if (groupMacAt >= 0) link.setDestinationMac(groupMacAt);
  const solicited = groupMacAt < 0 ? NeighborFlag.solicited : 0;
  const flags = NeighborFlag.router | NeighborFlag.override | solicited;
  const optionAt = writeNeighborAdvertisement(memory, at, flags, targetAt);
  writeLinkLayerOption(memory, optionAt, NdpOption.targetLinkLayer, link.gatewayMacAt);
  writeIcmp6Checksum(memory, at, bytes, targetAt, destinationAt);
  link.end();
  return true;
}
