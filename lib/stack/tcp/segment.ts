/**
 * A segment from the guest, read once into numbers: one object is used again for all.
 *
 * @module
 */
import {
  TCP_HEADER_BYTES,
  tcpAcknowledgment,
  TcpFlag,
  tcpFlags,
  tcpHeaderBytes,
  tcpSequence,
  tcpWindow,
} from "../../wire/tcp.ts";
import { parseTcpOptions, TcpOptions } from "../../wire/tcp_options.ts";

/** SEG.* of RFC 9293 section 3.3.1, and where the data stands. */
export class Segment {
  seq = 0;
  ack = 0;
  flags = 0;
  /** SEG.WND, not scaled. */
  window = 0;
  /** Position of the data in the frame memory. */
  dataAt = 0;
  dataBytes = 0;
  readonly options: TcpOptions = new TcpOptions();

  /** Reads the segment of `bytes` octets at `at`; false when its header does not hold together. */
  parse(view: DataView, at: number, bytes: number): boolean {
    if (bytes < TCP_HEADER_BYTES) return false;
    const headerBytes = tcpHeaderBytes(view, at);
    if (headerBytes < TCP_HEADER_BYTES || headerBytes > bytes) return false;
    this.seq = tcpSequence(view, at);
    this.ack = tcpAcknowledgment(view, at);
    this.flags = tcpFlags(view, at);
    this.window = tcpWindow(view, at);
    this.dataAt = at + headerBytes;
    this.dataBytes = bytes - headerBytes;
    return parseTcpOptions(
      view,
      at + TCP_HEADER_BYTES,
      headerBytes - TCP_HEADER_BYTES,
      this.options,
    );
  }

  /** Whether all of these control bits are set. */
  has(flags: number): boolean {
    return (this.flags & flags) === flags;
  }

  /** SEG.LEN: data, and one each for SYN and FIN. */
  get sequenceBytes(): number {
    return this.dataBytes + (this.flags & TcpFlag.fin) + ((this.flags & TcpFlag.syn) >> 1);
  }
}
