/**
 * UDP to the guest (RFC 768): header, checksum, and fragments where the MTU asks for them.
 *
 * What fits one frame is written straight into it, with the data copied once and summed on the
 * way; what does not is put together in a scratch region first.
 *
 * Limits: 65,507 octets of data over IPv4, 65,527 over IPv6; more is dropped and counted. Queues
 * nothing: where the guest is too far behind the datagram is dropped (`drop.queue.full`).
 *
 * @module
 */
import { Counter } from "./counters.ts";
import { sendDatagram } from "./fragmentation.ts";
import type { Link } from "./link.ts";
import type { UdpFlow } from "./udp_flows.ts";
import { combineSums, pseudoHeaderSum4, pseudoHeaderSum6 } from "../wire/checksum.ts";
import { IpProtocol, IPV4_HEADER_BYTES, writeIpv4Header } from "../wire/ipv4.ts";
import { IPV6_HEADER_BYTES, writeIpv6Header } from "../wire/ipv6.ts";
import {
  setUdpChecksumFromSum,
  UDP_HEADER_BYTES,
  writeUdpChecksum4,
  writeUdpChecksum6,
  writeUdpHeader,
} from "../wire/udp.ts";

/** Octets of frame memory that a `UdpOutput` needs. */
export const UDP_OUTPUT_BYTES = 65_536;
/** The most data of a datagram over IPv4. */
export const UDP4_MAX_DATA_BYTES: number = 65_535 - IPV4_HEADER_BYTES - UDP_HEADER_BYTES;
/** The most data of a datagram over IPv6. */
export const UDP6_MAX_DATA_BYTES: number = 65_535 - UDP_HEADER_BYTES;

const DROP_LENGTH = Counter["drop.udp.len"];
const TTL = 64;

/** The way of datagrams to the guest. */
export class UdpOutput {
  readonly #link: Link;
  readonly #at: number;

  /** `at` is a region of `UDP_OUTPUT_BYTES` in the link's memory. */
  constructor(link: Link, at: number) {
    this.#link = link;
    this.#at = at;
  }

  /**
   * Sends data that stands anywhere in the frame memory but in the region of this `UdpOutput`.
   * Addresses are positions.
   *
   * @returns Whether it was queued whole.
   */
  send(
    family: 4 | 6,
    sourceAt: number,
    destinationAt: number,
    sourcePort: number,
    destinationPort: number,
    dataAt: number,
    dataBytes: number,
  ): boolean {
    const at = this.#begin(family, sourceAt, destinationAt, dataBytes);
    if (at < 0) return false;
    const { memory } = this.#link;
    const lengthBytes = UDP_HEADER_BYTES + dataBytes;
    writeUdpHeader(memory.view, at, sourcePort, destinationPort, lengthBytes);
    const dataSum = memory.copySum(at + UDP_HEADER_BYTES, dataAt, dataBytes);
    const pseudo = family === 4 ? pseudoHeaderSum4 : pseudoHeaderSum6;
    const headSum = combineSums(
      pseudo(memory.view, sourceAt, destinationAt, IpProtocol.udp, lengthBytes),
      memory.sum(at, UDP_HEADER_BYTES),
    );
    setUdpChecksumFromSum(memory.view, at, combineSums(headSum, dataSum));
    return this.#end(family, sourceAt, destinationAt, at, lengthBytes);
  }

  /** As `send`, for data outside the frame memory. */
  sendFromBytes(
    family: 4 | 6,
    sourceAt: number,
    destinationAt: number,
    sourcePort: number,
    destinationPort: number,
    data: Uint8Array,
  ): boolean {
    const at = this.#begin(family, sourceAt, destinationAt, data.length);
    if (at < 0) return false;
    const { memory } = this.#link;
    const lengthBytes = UDP_HEADER_BYTES + data.length;
    writeUdpHeader(memory.view, at, sourcePort, destinationPort, lengthBytes);
    memory.bytes.set(data, at + UDP_HEADER_BYTES);
    const writeChecksum = family === 4 ? writeUdpChecksum4 : writeUdpChecksum6;
    writeChecksum(memory, at, lengthBytes, sourceAt, destinationAt);
    return this.#end(family, sourceAt, destinationAt, at, lengthBytes);
  }

  /**
   * Writes the headers that the guest's datagrams of a flow have, without data: what an ICMP error
   * about one of them quotes. It stays until the next call of any method.
   *
   * @returns Its position; its length is `quoteBytes`.
   */
  quote(flow: UdpFlow): number {
    const { memory } = this.#link;
    const at = this.#at;
    const { family, guestAt, peerAt } = flow;
    const headerBytes = family === 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
    if (family === 4) {
      const totalBytes = this.quoteBytes(4);
      writeIpv4Header(memory, at, totalBytes, 0, 0, TTL, IpProtocol.udp, guestAt, peerAt);
    } else {
      writeIpv6Header(memory, at, UDP_HEADER_BYTES, IpProtocol.udp, TTL, guestAt, peerAt);
    }
    const udpAt = at + headerBytes;
    writeUdpHeader(memory.view, udpAt, flow.guestPort, flow.peerPort, UDP_HEADER_BYTES);
    return at;
  }

  /** Octets of a quote. */
  quoteBytes(family: 4 | 6): number {
    return (family === 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES) + UDP_HEADER_BYTES;
  }

  /** Where the datagram is to be written: in its frame, or in the scratch region; -1 for nowhere. */
  #begin(family: 4 | 6, sourceAt: number, destinationAt: number, dataBytes: number): number {
    const link = this.#link;
    if (dataBytes > (family === 4 ? UDP4_MAX_DATA_BYTES : UDP6_MAX_DATA_BYTES)) {
      link.counters.values[DROP_LENGTH]!++;
      return -1;
    }
    const lengthBytes = UDP_HEADER_BYTES + dataBytes;
    if (!this.#fitsFrame(family, lengthBytes)) return this.#at;
    return family === 4
      ? link.beginIpv4(sourceAt, destinationAt, IpProtocol.udp, lengthBytes)
      : link.beginIpv6(sourceAt, destinationAt, IpProtocol.udp, lengthBytes);
  }

  #end(
    family: 4 | 6,
    sourceAt: number,
    destinationAt: number,
    at: number,
    lengthBytes: number,
  ): boolean {
    const link = this.#link;
    if (this.#fitsFrame(family, lengthBytes)) {
      link.end();
      return true;
    }
    const protocol = IpProtocol.udp;
    return sendDatagram(link, family, sourceAt, destinationAt, protocol, at, lengthBytes);
  }

  #fitsFrame(family: 4 | 6, lengthBytes: number): boolean {
    const headerBytes = family === 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
    return headerBytes + lengthBytes <= this.#link.mtu;
  }
}
