/**
 * Segments between the floor and the TCP of a guest's kernel: what the gateway's have, from a
 * template with what differs from frame to frame written over it.
 *
 * What the kernel verifies is right, so checksums are made; nothing that comes is verified.
 *
 * @module
 */
import { checksumOf, combineSums, fold, pseudoHeaderSum4 } from "../../lib/wire/checksum.ts";
import {
  ETHERNET_HEADER_BYTES,
  ethernetDestinationAt,
  ethernetSourceAt,
  EtherType,
  etherType,
  writeEthernetHeader,
} from "../../lib/wire/ethernet.ts";
import {
  IpProtocol,
  IPV4_HEADER_BYTES,
  ipv4DestinationAt,
  Ipv4Flag,
  ipv4HeaderBytes,
  ipv4Protocol,
  ipv4SourceAt,
  ipv4TotalBytes,
  writeIpv4Header,
} from "../../lib/wire/ipv4.ts";
import {
  setTcpChecksum,
  TCP_HEADER_BYTES,
  tcpAcknowledgment,
  tcpDestinationPort,
  TcpFlag,
  tcpFlags,
  tcpHeaderBytes,
  tcpSequence,
  tcpSourcePort,
  tcpWindow,
  writeTcpHeader,
} from "../../lib/wire/tcp.ts";
import {
  MSS_OPTION_BYTES,
  parseTcpOptions,
  SACK_PERMITTED_OPTION_BYTES,
  type TcpOptions,
  TIMESTAMPS_OPTION_BYTES,
  WINDOW_SCALE_OPTION_BYTES,
  writeMssOption,
  writeSackPermittedOption,
  writeTimestampsOption,
  writeWindowScaleOption,
} from "../../lib/wire/tcp_options.ts";
import {
  FILL_BYTES,
  type FloorRing,
  FrameWriter,
  type Layout,
  LENGTH_BYTES,
  StreamFill,
  TCP_HEADERS_BYTES,
} from "./floor_wire.ts";

/** Octets that a template takes. */
export const TEMPLATE_BYTES: number = LENGTH_BYTES + TCP_HEADERS_BYTES;
/** As the gateway's: large enough for the largest ring at a window of 16 bits. */
export const WINDOW_SHIFT = 7;

const TTL = 64;
const SMALL_FRAMES_BYTES = 512 * 1024;
const HEADER_BYTES = TCP_HEADER_BYTES + TIMESTAMPS_OPTION_BYTES;
const SYN_OPTION_BYTES = MSS_OPTION_BYTES + SACK_PERMITTED_OPTION_BYTES + TIMESTAMPS_OPTION_BYTES +
  WINDOW_SCALE_OPTION_BYTES;
const STAMP_AT = TCP_HEADER_BYTES + 4, ECHO_AT = TCP_HEADER_BYTES + 8;

/** A segment of the guest's as it lies in memory, read field by field. */
export class GuestSegment {
  readonly #view: DataView;
  /** Where its Ethernet header begins. */
  at = 0;
  #tcpAt = 0;

  constructor(layout: Layout) {
    this.#view = layout.memory.view;
  }

  /** Looks at a frame: whether it is TCP over IPv4. */
  look(at: number, bytes: number): boolean {
    const view = this.#view, ipAt = at + ETHERNET_HEADER_BYTES;
    if (bytes < ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + TCP_HEADER_BYTES) return false;
    if (etherType(view, at) !== EtherType.ipv4) return false;
    if (ipv4Protocol(view, ipAt) !== IpProtocol.tcp) return false;
    this.at = at;
    this.#tcpAt = ipAt + ipv4HeaderBytes(view, ipAt);
    return true;
  }

  get guestPort(): number {
    return tcpSourcePort(this.#view, this.#tcpAt);
  }

  get hostPort(): number {
    return tcpDestinationPort(this.#view, this.#tcpAt);
  }

  get sequence(): number {
    return tcpSequence(this.#view, this.#tcpAt);
  }

  get acknowledgment(): number {
    return tcpAcknowledgment(this.#view, this.#tcpAt);
  }

  get flags(): number {
    return tcpFlags(this.#view, this.#tcpAt);
  }

  get window(): number {
    return tcpWindow(this.#view, this.#tcpAt);
  }

  /** TSval: the kernel has it first of all options, but in a SYN. */
  get stamp(): number {
    return this.#view.getUint32(this.#tcpAt + STAMP_AT);
  }

  get dataAt(): number {
    return this.#tcpAt + tcpHeaderBytes(this.#view, this.#tcpAt);
  }

  get dataBytes(): number {
    const ipAt = this.at + ETHERNET_HEADER_BYTES;
    return ipAt + ipv4TotalBytes(this.#view, ipAt) - this.dataAt;
  }

  /** The options, which are of interest in a SYN. */
  options(into: TcpOptions): void {
    const bytes = tcpHeaderBytes(this.#view, this.#tcpAt) - TCP_HEADER_BYTES;
    parseTcpOptions(this.#view, this.#tcpAt + TCP_HEADER_BYTES, bytes, into);
  }
}

/** The constant headers of a stream, behind room for the length of the frame. */
export interface Template {
  readonly at: number;
  /** The sum of the IPv4 header without its length. */
  readonly ipSum: number;
  /** The sum of the pseudo-header without the length. */
  readonly pseudoSum: number;
}

/** What one segment to the guest says; one object is used again for every segment. */
export class FloorSegment {
  sequence = 0;
  acknowledgment = 0;
  flags: number = TcpFlag.ack;
  window = 0;
  echo = 0;
}

/** Writes segments to the guest. */
export class FloorSegments {
  readonly writer: FrameWriter;
  #stamp = 1;
  readonly #layout: Layout;
  readonly #fill: StreamFill;

  /** `onRoom` as of `FrameWriter`. */
  constructor(conn: Deno.Conn, layout: Layout, mtu: number, onRoom: () => void) {
    this.#fill = new StreamFill(mtu);
    this.writer = new FrameWriter(conn, layout, FILL_BYTES, onRoom);
    this.#layout = layout;
  }

  /** Sets the time of a turn, which is the TSval of its segments. */
  set nowMs(ms: number) {
    this.#stamp = Math.ceil(ms);
    this.#fill.nowMs = ms;
  }

  /** Writes a stream's template: the headers of its SYN, turned round. */
  template(templateAt: number, syn: GuestSegment): Template {
    const { memory } = this.#layout, { view } = memory;
    const at = templateAt + LENGTH_BYTES, ipAt = at + ETHERNET_HEADER_BYTES;
    const synIpAt = syn.at + ETHERNET_HEADER_BYTES, tcpAt = ipAt + IPV4_HEADER_BYTES;
    const toAt = ethernetSourceAt(syn.at), fromAt = ethernetDestinationAt(syn.at);
    writeEthernetHeader(memory, at, toAt, fromAt, EtherType.ipv4);
    const sourceAt = ipv4DestinationAt(synIpAt), targetAt = ipv4SourceAt(synIpAt);
    const { dontFragment } = Ipv4Flag;
    writeIpv4Header(memory, ipAt, 0, 0, dontFragment, TTL, IpProtocol.tcp, sourceAt, targetAt);
    view.setUint16(ipAt + 10, 0);
    writeTcpHeader(view, tcpAt, syn.hostPort, syn.guestPort, 0, 0, HEADER_BYTES, 0, 0);
    writeTimestampsOption(view, tcpAt + TCP_HEADER_BYTES, 0, 0);
    return {
      at: templateAt,
      ipSum: memory.sum(ipAt, IPV4_HEADER_BYTES),
      pseudoSum: pseudoHeaderSum4(view, sourceAt, targetAt, IpProtocol.tcp, 0),
    };
  }

  /** A segment with data of a ring: whether this write had room for it, which what is quick finds. */
  data(
    template: Template,
    segment: FloorSegment,
    ring: FloorRing,
    offset: number,
    bytes: number,
    isQuick: boolean,
  ): boolean {
    if (isQuick) this.#fill.share();
    const limitBytes = isQuick ? SMALL_FRAMES_BYTES : this.#fill.limitBytes;
    const at = this.writer.begin(TCP_HEADERS_BYTES, bytes, template.at, limitBytes);
    if (at < 0) return false;
    this.#end(template, segment, at, bytes, ring.copySumOut(offset, at, bytes));
    return true;
  }

  /** A segment without data. */
  small(template: Template, segment: FloorSegment): void {
    this.#end(template, segment, this.#begin(TCP_HEADERS_BYTES, 0, template), 0, 0);
  }

  /** The answer to a SYN. */
  open(template: Template, segment: FloorSegment, mss: number): void {
    const bytes = SYN_OPTION_BYTES - TIMESTAMPS_OPTION_BYTES;
    const { memory: { view } } = this.#layout;
    const at = this.#begin(TCP_HEADERS_BYTES, bytes, template);
    const tcpAt = at - HEADER_BYTES, optionsAt = tcpAt + TCP_HEADER_BYTES;
    // Timestamps stay in front, where all segments have them.
    const mssAt = optionsAt + TIMESTAMPS_OPTION_BYTES;
    writeWindowScaleOption(
      view,
      writeSackPermittedOption(view, writeMssOption(view, mssAt, mss)),
      WINDOW_SHIFT,
    );
    const words = (TCP_HEADER_BYTES + SYN_OPTION_BYTES) >> 2;
    this.#end(template, segment, at, bytes, this.#layout.memory.sum(at, bytes), words);
  }

  #begin(headersBytes: number, extraBytes: number, template: Template): number {
    const at = this.writer.begin(headersBytes, extraBytes, template.at, SMALL_FRAMES_BYTES);
    this.#fill.share();
    if (at < 0) throw new Error("Cannot send: the buffer for small frames is full");
    return at;
  }

  /** Writes what differs over the headers in front of `at`; `sum` is that of what is behind them. */
  #end(
    { ipSum, pseudoSum }: Template,
    { sequence, acknowledgment, flags, window, echo }: FloorSegment,
    at: number,
    bytes: number,
    sum: number,
    words = HEADER_BYTES >> 2,
  ): void {
    const { memory } = this.#layout, { view } = memory;
    const tcpAt = at - HEADER_BYTES, ipAt = tcpAt - IPV4_HEADER_BYTES;
    const tcpBytes = HEADER_BYTES + bytes, ipBytes = IPV4_HEADER_BYTES + tcpBytes;
    view.setUint16(ipAt + 2, ipBytes);
    view.setUint16(ipAt + 10, checksumOf(combineSums(ipSum, ipBytes)));
    view.setUint32(tcpAt + 4, sequence);
    view.setUint32(tcpAt + 8, acknowledgment);
    view.setUint32(tcpAt + 12, (words << 28 | flags << 16 | window) >>> 0);
    view.setUint32(tcpAt + STAMP_AT, this.#stamp);
    view.setUint32(tcpAt + ECHO_AT, echo);
    const headers = combineSums(pseudoSum, fold(tcpBytes));
    const all = combineSums(combineSums(headers, memory.sum(tcpAt, HEADER_BYTES)), sum);
    setTcpChecksum(view, tcpAt, checksumOf(all));
  }
}
