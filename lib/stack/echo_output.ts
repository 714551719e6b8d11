/**
 * The answer to an echo request that somebody else had to be asked for: the request is kept as it
 * came, and becomes the reply, or what an error quotes, once there is an answer.
 *
 * Addresses, identifier, sequence number and data are the request's own octets. What was kept is
 * laid out in one region of the frame memory for the time of a call.
 *
 * @module
 */
import { sendDatagram } from "./fragmentation.ts";
import type { IcmpErrors, IcmpReason } from "./icmp_errors.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import { Icmp4Type, writeIcmp4Checksum } from "../wire/icmp4.ts";
import { Icmp6Type, writeIcmp6Checksum } from "../wire/icmp6.ts";
import { IpProtocol, ipv4DestinationAt, ipv4SourceAt } from "../wire/ipv4.ts";
import { ipv6DestinationAt, ipv6SourceAt } from "../wire/ipv6.ts";

/** Octets of frame memory that an `EchoOutput` takes: an IPv6 header and the longest payload. */
export const ECHO_OUTPUT_BYTES = 65_600;

/** An echo request of the guest. */
export interface KeptEcho {
  readonly family: 4 | 6;
  /** IP header, extension headers and the message. */
  readonly octets: Uint8Array;
  /** Octets in front of the message. */
  readonly headerBytes: number;
}

/** Answers requests that were kept. */
export class EchoOutput {
  readonly #link: Link;
  readonly #errors: IcmpErrors;
  readonly #at: number;

  /** `at` is a region of `ECHO_OUTPUT_BYTES` in the link's memory. */
  constructor(link: Link, errors: IcmpErrors, at: number) {
    this.#link = link;
    this.#errors = errors;
    this.#at = at;
  }

  /** Copies the request at hand; `null` where it is longer than any that is answered. */
  keep({ family, headerAt, headerBytes, payloadBytes }: Packet): KeptEcho | null {
    const bytes = headerBytes + payloadBytes;
    if (bytes > ECHO_OUTPUT_BYTES) return null;
    const octets = this.#link.memory.bytes.slice(headerAt, headerAt + bytes);
    return { family, octets, headerBytes };
  }

  /** Answers a request; whether the reply was queued. */
  reply({ family, octets, headerBytes }: KeptEcho): boolean {
    const link = this.#link;
    const { memory } = link;
    const at = this.#at;
    memory.bytes.set(octets, at);
    const messageAt = at + headerBytes;
    const messageBytes = octets.length - headerBytes;
    if (family === 4) {
      const fromAt = ipv4DestinationAt(at);
      const toAt = ipv4SourceAt(at);
      memory.view.setUint8(messageAt, Icmp4Type.echoReply);
      writeIcmp4Checksum(memory, messageAt, messageBytes);
      return sendDatagram(link, 4, fromAt, toAt, IpProtocol.icmp, messageAt, messageBytes);
    }
    const fromAt = ipv6DestinationAt(at);
    const toAt = ipv6SourceAt(at);
    memory.view.setUint8(messageAt, Icmp6Type.echoReply);
    writeIcmp6Checksum(memory, messageAt, messageBytes, fromAt, toAt);
    return sendDatagram(link, 6, fromAt, toAt, IpProtocol.icmp6, messageAt, messageBytes);
  }

  /** Tells the guest why there is no answer; whether that was queued. */
  refuse({ family, octets }: KeptEcho, reason: IcmpReason, nowMs: number): boolean {
    this.#link.memory.bytes.set(octets, this.#at);
    return this.#errors.sendQuoted(family, this.#at, octets.length, reason, nowMs);
  }
}
