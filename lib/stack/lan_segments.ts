/**
 * A guest's TCP segment that is longer than the MTU, on its way to another guest: whole where that one
 * takes it, else cut as the network card would, that its guest takes itself to have (TSO).
 *
 * Each piece has the headers of the whole; of the flags FIN and PSH go with the last, CWR with the
 * first (RFC 3168 section 6.1.2). Every piece gets its own sum: the whole has none yet.
 *
 * What finds no room is cut later: the caller keeps how many octets of data have gone out.
 *
 * @module
 */
import { LanFrame, Piece } from "./lan_frame.ts";
import { copyShared } from "./lan_rings.ts";
import type { Link } from "./link.ts";
import {
  checksumOf,
  combineSums,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  transportSum4,
  transportSum6,
} from "../wire/checksum.ts";
import { ETHERNET_HEADER_BYTES } from "../wire/ethernet.ts";
import { IpProtocol, ipv4Identification, writeIpv4Checksum } from "../wire/ipv4.ts";
import { IPV6_HEADER_BYTES } from "../wire/ipv6.ts";
import {
  setTcpChecksum,
  TCP_HEADER_BYTES,
  TcpFlag,
  tcpFlags,
  tcpHeaderBytes,
  tcpSequence,
} from "../wire/tcp.ts";

/** Whether a parsed packet is a segment that can be cut to fit the link. */
export function isCuttable(view: DataView, frame: LanFrame, mtu: number): boolean {
  const { packet: { protocol, headerBytes, payloadAt, payloadBytes }, piece } = frame;
  if (protocol !== IpProtocol.tcp || piece !== Piece.whole || frame.hasExtensions) return false;
  const tcpBytes = tcpHeaderBytes(view, payloadAt);
  const flags = tcpFlags(view, payloadAt);
  return tcpBytes >= TCP_HEADER_BYTES && payloadBytes > tcpBytes &&
    (flags & (TcpFlag.syn | TcpFlag.rst | TcpFlag.urg)) === 0 &&
    mtu > headerBytes + tcpBytes;
}

/** Cuts segments out of rings into the lane of a guest. */
export class LanSegments {
  /** Pieces that went out with the last call. */
  frames = 0;
  /** Octets of these. */
  bytes = 0;
  readonly #link: Link;
  readonly #frame = new LanFrame();

  constructor(link: Link) {
    this.#link = link;
  }

  /**
   * Sends pieces of the segment in `from` until all are sent or there is no room.
   *
   * @param sentBytes Octets of data that have been sent already.
   * @returns How many have been now; -1 where all of them, or it can't be cut.
   */
  send(
    from: Uint8Array,
    view: DataView,
    frameAt: number,
    frameBytes: number,
    sentBytes: number,
  ): number {
    const { device, mtu } = this.#link;
    const frame = this.#frame;
    this.frames = 0;
    this.bytes = 0;
    if (!frame.parse(view, frameAt, frameBytes) || !isCuttable(view, frame, mtu)) return -1;
    const { headerBytes: ipBytes, payloadAt, payloadBytes } = frame.packet;
    const tcpBytes = tcpHeaderBytes(view, payloadAt);
    const headersBytes = ETHERNET_HEADER_BYTES + ipBytes + tcpBytes;
    const dataBytes = payloadBytes - tcpBytes;
    const pieceBytes = mtu - ipBytes - tcpBytes;
    if (device.takesLarge && dataBytes > pieceBytes) {
      return this.#sendWhole(from, frameAt, headersBytes + dataBytes, ipBytes, tcpBytes);
    }
    for (let offset = sentBytes; offset < dataBytes; offset += pieceBytes) {
      const bytes = Math.min(pieceBytes, dataBytes - offset);
      if (!device.hasRoomForStream(headersBytes + bytes)) return offset;
      const at = device.beginStream(headersBytes + bytes);
      copyShared(this.#link.memory.bytes, at, from, frameAt, headersBytes);
      const dataAt = payloadAt + tcpBytes + offset;
      copyShared(this.#link.memory.bytes, at + headersBytes, from, dataAt, bytes);
      const isLast = offset + bytes === dataBytes;
      this.#patch(
        at + ETHERNET_HEADER_BYTES,
        ipBytes,
        tcpBytes + bytes,
        offset,
        pieceBytes,
        isLast,
      );
      device.end(headersBytes + bytes);
      this.frames++;
      this.bytes += headersBytes + bytes;
    }
    return -1;
  }

  /** Where there is a header it says how to cut the segment, and leaves its sum to do. */
  #sendWhole(
    from: Uint8Array,
    frameAt: number,
    frameBytes: number,
    ipBytes: number,
    tcpBytes: number,
  ): number {
    const { device, memory, mtu } = this.#link;
    const { view } = memory;
    if (!device.hasRoomForStream(frameBytes)) return 0;
    const at = device.beginStream(frameBytes);
    copyShared(memory.bytes, at, from, frameAt, frameBytes);
    const { family, payloadBytes } = this.#frame.packet;
    const tcpStart = ETHERNET_HEADER_BYTES + ipBytes;
    const tcpAt = at + tcpStart;
    const ipAt = at + ETHERNET_HEADER_BYTES;
    const pseudo = family === 4
      ? pseudoHeaderSum4(view, ipAt + 12, ipAt + 16, IpProtocol.tcp, payloadBytes)
      : pseudoHeaderSum6(view, ipAt + 8, ipAt + 24, IpProtocol.tcp, payloadBytes);
    if (device.hasHeaders) {
      setTcpChecksum(view, tcpAt, pseudo);
      device.endLarge(frameBytes, family, tcpStart, tcpBytes, mtu - ipBytes - tcpBytes);
    } else {
      setTcpChecksum(view, tcpAt, 0);
      setTcpChecksum(view, tcpAt, checksumOf(combineSums(pseudo, memory.sum(tcpAt, payloadBytes))));
      device.end(frameBytes);
    }
    this.frames = 1;
    this.bytes = frameBytes;
    return -1;
  }

  #patch(
    at: number,
    ipBytes: number,
    l4Bytes: number,
    offset: number,
    pieceBytes: number,
    isLast: boolean,
  ): void {
    const { memory } = this.#link;
    const { view } = memory;
    const tcpAt = at + ipBytes;
    let flags = tcpFlags(view, tcpAt);
    if (!isLast) flags &= ~(TcpFlag.fin | TcpFlag.psh);
    if (offset > 0) flags &= ~TcpFlag.cwr;
    view.setUint8(tcpAt + 13, flags);
    view.setUint32(tcpAt + 4, (tcpSequence(view, tcpAt) + offset) >>> 0);
    setTcpChecksum(view, tcpAt, 0);
    if (this.#frame.packet.family === 4) {
      view.setUint16(at + 2, ipBytes + l4Bytes);
      view.setUint16(at + 4, (ipv4Identification(view, at) + offset / pieceBytes) & 0xffff);
      writeIpv4Checksum(memory, at, ipBytes);
      const sum = transportSum4(memory, at + 12, at + 16, IpProtocol.tcp, tcpAt, l4Bytes);
      setTcpChecksum(view, tcpAt, checksumOf(sum));
      return;
    }
    view.setUint16(at + 4, ipBytes - IPV6_HEADER_BYTES + l4Bytes);
    const sum = transportSum6(memory, at + 8, at + 24, IpProtocol.tcp, tcpAt, l4Bytes);
    setTcpChecksum(view, tcpAt, checksumOf(sum));
  }
}
