/**
 * The way out to the guest: who is on the link, and Ethernet + IP headers for what is sent.
 *
 * Every address of the link stands at a fixed position of the frame memory, so that headers are
 * written and compared by position. The guest's MAC is the configured one until the guest's first
 * frame; from then on the link has exactly one.
 *
 * Limits: one frame at a time between `begin…` and `end`; nothing larger than the MTU (whoever has
 * more cuts it first) but TCP's data on a link that takes it larger. Does not queue: where the device
 * has no room the answer is -1, counted.
 *
 * @module
 */
import type { FrameMemory } from "../wire/memory.ts";
import type { Counters } from "./counters.ts";
import type { VirtioNetworkDevice } from "./device.ts";
import {
  ETHERNET_HEADER_BYTES,
  ethernetDestinationAt,
  ethernetSourceAt,
  EtherType,
  sameMac,
  setEtherType,
} from "../wire/ethernet.ts";
import { IPV4_HEADER_BYTES, writeIpv4Header } from "../wire/ipv4.ts";
import { IPV6_HEADER_BYTES, writeIpv6Header } from "../wire/ipv6.ts";

/** Addresses and limits of a link; the octets are copied. */
export interface LinkConfig {
  readonly guestMac: Uint8Array;
  readonly gatewayMac: Uint8Array;
  readonly guestIp4: Uint8Array;
  readonly gatewayIp4: Uint8Array;
  readonly prefix4: number;
  readonly guestIp6: Uint8Array;
  readonly gatewayIp6: Uint8Array;
  readonly prefix6: number;
  readonly mtu: number;
  readonly ipv6: boolean;
  /** Whether only right checksums pass (else also the bare pseudo-header sum). */
  readonly verifyChecksums: boolean;
}

/** Octets of frame memory that a link's addresses take. */
export const LINK_BYTES = 128;
const DEFAULT_TTL = 64;

/** The guest's link: addresses by position, headers for what goes out. */
export class Link {
  readonly memory: FrameMemory;
  readonly device: VirtioNetworkDevice;
  readonly counters: Counters;
  readonly config: LinkConfig;
  /** Largest IP packet, in bytes. */
  readonly mtu: number;
  readonly gatewayMacAt: number;
  readonly guestMacAt: number;
  readonly gatewayIp4At: number;
  readonly guestIp4At: number;
  readonly gatewayIp6At: number;
  readonly guestIp6At: number;
  /** The gateway's link-local IPv6 address (modified EUI-64 of its MAC). */
  readonly gatewayLinkLocalAt: number;
  /** Whether the guest has sent a frame, and so has settled the link's one MAC. */
  guestMacKnown = false;
  /** Whether that MAC can be no other than the configured one, as in a shared network. */
  isMacFixed = false;
  /** Hears of the first frame of each link, and whether its MAC is that of the link before. */
  onGuest: ((isSame: boolean) => void) | null = null;
  /** Whether an earlier link had a guest. */
  hadGuest = false;
  #identification = 0;
  #frameAt = 0;
  #frameBytes = 0;

  /** `at` is a region of `LINK_BYTES` in `memory`. */
  constructor(
    memory: FrameMemory,
    at: number,
    device: VirtioNetworkDevice,
    counters: Counters,
    config: LinkConfig,
  ) {
    this.memory = memory;
    this.device = device;
    this.counters = counters;
    this.config = config;
    this.mtu = config.mtu;
    this.gatewayMacAt = at;
    this.guestMacAt = at + 8;
    this.gatewayIp4At = at + 16;
    this.guestIp4At = at + 20;
    this.gatewayIp6At = at + 32;
    this.guestIp6At = at + 48;
    this.gatewayLinkLocalAt = at + 64;
    const { bytes } = memory;
    bytes.fill(0, at, at + LINK_BYTES);
    bytes.set(config.gatewayMac, this.gatewayMacAt);
    bytes.set(config.guestMac, this.guestMacAt);
    bytes.set(config.gatewayIp4, this.gatewayIp4At);
    bytes.set(config.guestIp4, this.guestIp4At);
    bytes.set(config.gatewayIp6, this.gatewayIp6At);
    bytes.set(config.guestIp6, this.guestIp6At);
    const mac = config.gatewayMac;
    bytes.set(
      [
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        mac[0]! ^ 2,
        mac[1]!,
        mac[2]!,
        0xff,
        0xfe,
        mac[3]!,
        mac[4]!,
        mac[5]!,
      ],
      this.gatewayLinkLocalAt,
    );
  }

  /** Another link begins: the next frame's MAC is the guest's, whichever that is. */
  forgetGuest(): void {
    this.hadGuest ||= this.guestMacKnown;
    this.guestMacKnown = false;
  }

  /** The link's first frame came from the MAC at `macAt`. */
  settleGuest(macAt: number): void {
    const isSame = !this.hadGuest || sameMac(this.memory.view, macAt, this.guestMacAt);
    this.memory.copy(this.guestMacAt, macAt, 6);
    this.guestMacKnown = true;
    this.onGuest?.(isSame);
  }

  /** Begins an Ethernet frame to the guest: position after the Ethernet header, or -1. */
  beginEthernet(etherType: number, payloadBytes: number): number {
    const at = this.device.begin(ETHERNET_HEADER_BYTES + payloadBytes);
    if (at < 0) return -1;
    const { memory } = this;
    memory.copy(ethernetDestinationAt(at), this.guestMacAt, 6);
    memory.copy(ethernetSourceAt(at), this.gatewayMacAt, 6);
    setEtherType(memory.view, at, etherType);
    this.#frameAt = at;
    this.#frameBytes = ETHERNET_HEADER_BYTES + payloadBytes;
    return at + ETHERNET_HEADER_BYTES;
  }

  /** Replaces the destination MAC of the frame that was begun, e.g. by a group address. */
  setDestinationMac(macAt: number): void {
    this.memory.copy(ethernetDestinationAt(this.#frameAt), macAt, 6);
  }

  /**
   * Begins an IPv4 packet (don't-fragment unless `fragment` says otherwise): position of its
   * payload, or -1. `fragment` is the flags-and-offset word, which then goes with `identification`.
   */
  beginIpv4(
    sourceAt: number,
    destinationAt: number,
    protocol: number,
    payloadBytes: number,
    fragment = 0x4000,
    identification = 0,
    ttl = DEFAULT_TTL,
  ): number {
    const at = this.beginEthernet(EtherType.ipv4, IPV4_HEADER_BYTES + payloadBytes);
    if (at < 0) return -1;
    writeIpv4Header(
      this.memory,
      at,
      IPV4_HEADER_BYTES + payloadBytes,
      identification,
      fragment,
      ttl,
      protocol,
      sourceAt,
      destinationAt,
    );
    return at + IPV4_HEADER_BYTES;
  }

  /** Begins an IPv6 packet: position of its payload, or -1. */
  beginIpv6(
    sourceAt: number,
    destinationAt: number,
    nextHeader: number,
    payloadBytes: number,
    hopLimit = DEFAULT_TTL,
  ): number {
    const at = this.beginEthernet(EtherType.ipv6, IPV6_HEADER_BYTES + payloadBytes);
    if (at < 0) return -1;
    writeIpv6Header(this.memory, at, payloadBytes, nextHeader, hopLimit, sourceAt, destinationAt);
    return at + IPV6_HEADER_BYTES;
  }

  /** Sends the frame that was begun, with the length it was begun with. */
  end(): void {
    this.device.end(this.#frameBytes);
  }

  /** A fresh IPv4 identification for a datagram that is cut into fragments. */
  nextIdentification(): number {
    this.#identification = (this.#identification + 1) & 0xffff;
    return this.#identification;
  }
}
