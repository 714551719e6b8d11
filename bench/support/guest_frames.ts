/**
 * The guest of the microbenches: writes its segments straight into frame memory, from one template
 * for each flow, so that playing it costs little beside what is measured.
 *
 * Frames are IPv4 with TCP timestamps, as Linux sends them, and carry whole checksums. Data is what
 * stands in memory already: its sum is handed in. What comes out of order is not kept, and nothing is
 * sent again: whoever drives it keeps to the window.
 *
 * @module
 */
import type { FrameMemory } from "../../lib/wire/memory.ts";
import { checksumOf, combineSums, fold, pseudoHeaderSum4 } from "../../lib/wire/checksum.ts";
import { ETHERNET_HEADER_BYTES, EtherType, writeEthernetHeader } from "../../lib/wire/ethernet.ts";
import { IpProtocol, IPV4_HEADER_BYTES, writeIpv4Header } from "../../lib/wire/ipv4.ts";
import {
  setTcpChecksum,
  TCP_HEADER_BYTES,
  tcpAcknowledgment,
  TcpFlag,
  tcpFlags,
  tcpHeaderBytes,
  tcpSequence,
  tcpWindow,
  writeTcpHeader,
} from "../../lib/wire/tcp.ts";
import {
  TIMESTAMPS_OPTION_BYTES,
  writeMssOption,
  writeSackPermittedOption,
  writeTimestampsOption,
  writeWindowScaleOption,
} from "../../lib/wire/tcp_options.ts";
import { UDP_HEADER_BYTES, writeUdpChecksum4, writeUdpHeader } from "../../lib/wire/udp.ts";
import { LENGTH_BYTES } from "../../lib/stack/queues.ts";

/** Where the addresses of a link stand: a `Link` is one. */
export interface GuestLink {
  readonly memory: FrameMemory;
  readonly gatewayMacAt: number;
  readonly guestMacAt: number;
  readonly guestIp4At: number;
}

/** Octets in front of TCP data, with the framing's length. */
export const DATA_AT: number = LENGTH_BYTES + ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES +
  TCP_HEADER_BYTES + TIMESTAMPS_OPTION_BYTES;
/** Octets of UDP framing in front of the data. */
export const UDP_DATA_AT: number = LENGTH_BYTES + ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES +
  UDP_HEADER_BYTES;
/** Octets of memory that a `GuestFlow` needs. */
export const GUEST_FLOW_BYTES = 128;

const IP_AT = LENGTH_BYTES + ETHERNET_HEADER_BYTES;
const TCP_AT = IP_AT + IPV4_HEADER_BYTES;
const HEADER_BYTES = TCP_HEADER_BYTES + TIMESTAMPS_OPTION_BYTES;
const PEER_AT = 96;
/** TSval of the gateway's SYN-ACK: behind the MSS and what permits SACK. */
const SYN_TIMESTAMPS_AT = TCP_HEADER_BYTES + 12;
const WINDOW_SHIFT = 7;
const TTL = 64;

/** TCP data of a full segment. */
export function segmentBytes(mtu: number): number {
  return mtu - IPV4_HEADER_BYTES - HEADER_BYTES;
}

/** The guest's end of one TCP connection. */
export class GuestFlow {
  readonly guestPort: number;
  readonly #link: GuestLink;
  readonly #at: number;
  readonly #peerPort: number;
  /** SND.NXT. */
  seq: number;
  /** RCV.NXT. */
  ack = 0;
  /** Window field, scaled. */
  window = 0x8000;
  /** TSval; and what it echoes. */
  tsValue = 1;
  tsEcho = 0;
  /** How far the gateway's window allows to send. */
  edge = 0;
  /** What the gateway has acknowledged. */
  acknowledged = 0;
  #ipSum = 0;
  #tcpSum = 0;

  /** `at` is a region of `GUEST_FLOW_BYTES`; `peer` the four octets of the host's address. */
  constructor(
    link: GuestLink,
    at: number,
    guestPort: number,
    peer: Uint8Array,
    peerPort: number,
    isn: number,
  ) {
    this.#link = link;
    this.#at = at;
    this.guestPort = guestPort;
    this.#peerPort = peerPort;
    this.seq = isn;
    link.memory.bytes.set(peer, at + PEER_AT);
    this.#writeTemplate();
  }

  /** Begins the connection anew, with another number. */
  restart(isn: number): void {
    this.seq = isn;
    this.ack = 0;
    this.tsEcho = 0;
  }

  #writeTemplate(): void {
    const { memory, gatewayMacAt, guestMacAt, guestIp4At } = this.#link;
    const { view } = memory;
    const at = this.#at;
    writeEthernetHeader(memory, at + LENGTH_BYTES, gatewayMacAt, guestMacAt, EtherType.ipv4);
    // deno-fmt-ignore
    writeIpv4Header(memory, at + IP_AT, 0, 0, 0x4000, TTL, IpProtocol.tcp, guestIp4At, at + PEER_AT);
    view.setUint16(at + IP_AT + 10, 0);
    this.#ipSum = memory.sum(at + IP_AT, IPV4_HEADER_BYTES);
    const tcpAt = at + TCP_AT;
    writeTcpHeader(view, tcpAt, this.guestPort, this.#peerPort, 0, 0, HEADER_BYTES, 0, 0);
    writeTimestampsOption(view, tcpAt + TCP_HEADER_BYTES, 0, 0);
    this.#tcpSum = combineSums(
      memory.sum(tcpAt, HEADER_BYTES),
      pseudoHeaderSum4(view, guestIp4At, at + PEER_AT, IpProtocol.tcp, 0),
    );
  }

  /** Writes the SYN with its length in front: its octets. */
  syn(to: number, mssBytes: number): number {
    const { memory } = this.#link;
    const { view } = memory;
    const tcpBytes = HEADER_BYTES + 12;
    memory.copy(to, this.#at, TCP_AT);
    this.#setLengths(to, tcpBytes);
    const tcpAt = to + TCP_AT;
    // deno-fmt-ignore
    writeTcpHeader(view, tcpAt, this.guestPort, this.#peerPort, this.seq, 0, tcpBytes, TcpFlag.syn,
      0xffff);
    let at = writeMssOption(view, tcpAt + TCP_HEADER_BYTES, mssBytes);
    at = writeSackPermittedOption(view, at);
    at = writeTimestampsOption(view, at, this.tsValue, 0);
    writeWindowScaleOption(view, at, WINDOW_SHIFT);
    const { guestIp4At } = this.#link;
    const pseudo = pseudoHeaderSum4(
      view,
      guestIp4At,
      this.#at + PEER_AT,
      IpProtocol.tcp,
      tcpBytes,
    );
    setTcpChecksum(view, tcpAt, checksumOf(combineSums(pseudo, memory.sum(tcpAt, tcpBytes))));
    this.seq = (this.seq + 1) >>> 0;
    return TCP_AT + tcpBytes;
  }

  /** Writes a segment around data that stands at `to + DATA_AT`: its octets with the length. */
  segment(to: number, flags: number, dataBytes = 0, dataSum = 0): number {
    const { memory } = this.#link;
    const { view } = memory;
    const { seq, ack, window, tsValue, tsEcho } = this;
    memory.copy(to, this.#at, DATA_AT);
    const tcpBytes = HEADER_BYTES + dataBytes;
    this.#setLengths(to, tcpBytes);
    const tcpAt = to + TCP_AT;
    view.setUint32(tcpAt + 4, seq);
    view.setUint32(tcpAt + 8, ack);
    view.setUint8(tcpAt + 13, flags);
    view.setUint16(tcpAt + 14, window);
    view.setUint32(tcpAt + TCP_HEADER_BYTES + 4, tsValue);
    view.setUint32(tcpAt + TCP_HEADER_BYTES + 8, tsEcho);
    const sum = this.#tcpSum + tcpBytes + flags + window + dataSum +
      (seq >>> 16) + (seq & 0xffff) + (ack >>> 16) + (ack & 0xffff) +
      (tsValue >>> 16) + (tsValue & 0xffff) + (tsEcho >>> 16) + (tsEcho & 0xffff);
    setTcpChecksum(view, tcpAt, checksumOf(fold(sum)));
    this.seq = (seq + dataBytes + (flags & TcpFlag.fin)) >>> 0;
    return DATA_AT + dataBytes;
  }

  #setLengths(to: number, tcpBytes: number): void {
    const { view } = this.#link.memory;
    const totalBytes = IPV4_HEADER_BYTES + tcpBytes;
    view.setUint32(to, ETHERNET_HEADER_BYTES + totalBytes);
    view.setUint16(to + IP_AT + 2, totalBytes);
    view.setUint16(to + IP_AT + 10, checksumOf(combineSums(this.#ipSum, totalBytes)));
  }

  /**
   * Takes a segment of the gateway, whose Ethernet header is at `at`.
   *
   * @returns Its data bytes, where it is the next one; 0 without data; -1 where it was here before
   * or has overtaken others, so that only an ACK is due.
   */
  take(at: number, frameBytes: number): number {
    const { view } = this.#link.memory;
    const tcpAt = at + ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES;
    const flags = tcpFlags(view, tcpAt);
    const seq = tcpSequence(view, tcpAt);
    this.acknowledged = tcpAcknowledgment(view, tcpAt);
    if ((flags & TcpFlag.syn) !== 0) {
      this.ack = (seq + 1) >>> 0;
      this.tsEcho = view.getUint32(tcpAt + SYN_TIMESTAMPS_AT);
      this.edge = (this.acknowledged + tcpWindow(view, tcpAt)) >>> 0;
      return 0;
    }
    this.edge = (this.acknowledged + (tcpWindow(view, tcpAt) << WINDOW_SHIFT)) >>> 0;
    const headersBytes = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + tcpHeaderBytes(view, tcpAt);
    const dataBytes = frameBytes - headersBytes;
    const space = dataBytes + (flags & TcpFlag.fin);
    if (space === 0) return 0;
    if (seq !== this.ack) return -1;
    this.ack = (seq + space) >>> 0;
    this.tsEcho = view.getUint32(tcpAt + TCP_HEADER_BYTES + 4);
    return dataBytes;
  }
}

/** The guest's port that a TCP frame of the gateway goes to. */
export function guestPortAt(memory: FrameMemory, at: number): number {
  return memory.view.getUint16(at + ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + 2);
}

/** Writes a datagram around data that stands at `to + UDP_DATA_AT`: its octets with the length. */
export function writeDatagram(
  link: GuestLink,
  to: number,
  peerAt: number,
  guestPort: number,
  peerPort: number,
  dataBytes: number,
): number {
  const { memory, gatewayMacAt, guestMacAt, guestIp4At } = link;
  const lengthBytes = UDP_HEADER_BYTES + dataBytes;
  const totalBytes = IPV4_HEADER_BYTES + lengthBytes;
  memory.view.setUint32(to, ETHERNET_HEADER_BYTES + totalBytes);
  writeEthernetHeader(memory, to + LENGTH_BYTES, gatewayMacAt, guestMacAt, EtherType.ipv4);
  const ipAt = to + IP_AT;
  // deno-fmt-ignore
  writeIpv4Header(memory, ipAt, totalBytes, 0, 0x4000, TTL, IpProtocol.udp, guestIp4At, peerAt);
  writeUdpHeader(memory.view, to + TCP_AT, guestPort, peerPort, lengthBytes);
  writeUdpChecksum4(memory, to + TCP_AT, lengthBytes, guestIp4At, peerAt);
  return UDP_DATA_AT + dataBytes;
}
