/**
 * ICMP from the guest, both families: the gateway answers echo requests to its own addresses
 * (RFC 792, RFC 1122 section 3.2.2.6, RFC 4443 section 4). Whoever was named as `outside` hears of
 * those to the world; where nobody was, they get "prohibited".
 *
 * A reply is the request with another type and a fresh checksum, so it is made in place and sent
 * from there, in fragments where the request came in fragments. Its length is what the IP layer
 * has checked, whatever the message says (CVE-2020-10756).
 *
 * The caller has checked the checksum and kept errors about segments in flight. Other errors and
 * stray messages end here as `drop.icmp`, a router's as `drop.role`.
 *
 * Limits: `icmpEchoesPerSecond` with bursts of `icmpEchoBurst`: each reply costs the guest's device a
 * frame of its own, so a flood of requests would push out what other flows get. What is over counts
 * as `drop.icmp.limit`.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import { sendDatagram } from "./fragmentation.ts";
import { type IcmpErrors, IcmpReason } from "./icmp_errors.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import { TokenBucket } from "./token_bucket.ts";
import {
  ICMP4_HEADER_BYTES,
  icmp4Code,
  Icmp4Type,
  icmp4Type,
  writeIcmp4Checksum,
} from "../wire/icmp4.ts";
import { icmp6Code, Icmp6Type, icmp6Type, writeIcmp6Checksum } from "../wire/icmp6.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { isIpv6Multicast, sameIpv6 } from "../wire/ipv6.ts";

const ECHO = Counter["icmp.echo"];
const DROP = Counter["drop.icmp"];
const DROP_LIMIT = Counter["drop.icmp.limit"];
const DROP_ROLE = Counter["drop.role"];
/** Router discovery for IPv4 (RFC 1256). */
const ROUTER_ADVERTISEMENT4 = 9;

/**
 * Takes an echo request to the world, checked; the packet stays only for the call. What is returned
 * is why it is refused; `null` where it was taken, or dropped and counted.
 */
export type EchoOutside = (packet: Packet, nowMs: number) => IcmpReason | null;

/** How many requests are answered. */
export interface IcmpEchoLimits {
  readonly icmpEchoesPerSecond: number;
  readonly icmpEchoBurst: number;
}

/** Answers echo requests. */
export class IcmpEcho {
  /** Who takes requests to the world. */
  outside: EchoOutside | null = null;
  readonly #link: Link;
  readonly #errors: IcmpErrors;
  readonly #bucket: TokenBucket;

  constructor(link: Link, errors: IcmpErrors, limits: IcmpEchoLimits) {
    this.#link = link;
    this.#errors = errors;
    this.#bucket = new TokenBucket(limits.icmpEchoesPerSecond, limits.icmpEchoBurst);
  }

  /** Takes an ICMP or ICMPv6 message whose checksum was right. */
  process(packet: Packet, nowMs: number): void {
    if (packet.payloadBytes < ICMP4_HEADER_BYTES) return this.#count(DROP);
    if (packet.family === 4) this.#process4(packet, nowMs);
    else this.#process6(packet, nowMs);
  }

  #process4(packet: Packet, nowMs: number): void {
    const { memory, gatewayIp4At } = this.#link;
    const { view } = memory;
    const at = packet.payloadAt;
    const type = icmp4Type(view, at);
    if (type === Icmp4Type.redirect || type === ROUTER_ADVERTISEMENT4) {
      return this.#count(DROP_ROLE);
    }
    if (type !== Icmp4Type.echo || icmp4Code(view, at) !== 0) return this.#count(DROP);
    if (view.getUint32(packet.destinationAt) !== view.getUint32(gatewayIp4At)) {
      return this.#pass(packet, nowMs);
    }
    if (!this.#bucket.take(nowMs)) return this.#count(DROP_LIMIT);
    view.setUint8(at, Icmp4Type.echoReply);
    writeIcmp4Checksum(memory, at, packet.payloadBytes);
    this.#reply(packet, IpProtocol.icmp);
  }

  #process6(packet: Packet, nowMs: number): void {
    const { memory, gatewayIp6At, gatewayLinkLocalAt } = this.#link;
    const { view } = memory;
    const { payloadAt: at, destinationAt } = packet;
    if (icmp6Type(view, at) !== Icmp6Type.echo || icmp6Code(view, at) !== 0) {
      return this.#count(DROP);
    }
    if (isIpv6Multicast(view, destinationAt)) return this.#count(DROP);
    if (
      !sameIpv6(view, destinationAt, gatewayIp6At) &&
      !sameIpv6(view, destinationAt, gatewayLinkLocalAt)
    ) {
      return this.#pass(packet, nowMs);
    }
    if (!this.#bucket.take(nowMs)) return this.#count(DROP_LIMIT);
    view.setUint8(at, Icmp6Type.echoReply);
    writeIcmp6Checksum(memory, at, packet.payloadBytes, destinationAt, packet.sourceAt);
    this.#reply(packet, IpProtocol.icmp6);
  }

  #reply(packet: Packet, protocol: number): void {
    const { family, sourceAt, destinationAt, payloadAt, payloadBytes } = packet;
    const link = this.#link;
    if (sendDatagram(link, family, destinationAt, sourceAt, protocol, payloadAt, payloadBytes)) {
      this.#count(ECHO);
    }
  }

  #pass(packet: Packet, nowMs: number): void {
    const reason = this.outside === null ? IcmpReason.adminProhibited : this.outside(packet, nowMs);
    if (reason === null) return;
    this.#count(DROP);
    this.#errors.send(packet, reason, nowMs);
  }

  #count(counter: number): void {
    this.#link.counters.values[counter]!++;
  }
}
