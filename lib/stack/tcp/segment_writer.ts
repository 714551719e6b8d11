/**
 * The way of a segment to the guest: Ethernet and IP header from the flow's template, TCP header,
 * options, and the bytes from the flow's ring, copied and summed in one go.
 *
 * One that stands for several goes as it is; where frames have a header that says where to cut, the
 * sum over its bytes is left to whoever cuts it.
 *
 * A template holds what never changes in a flow's headers, and the checksums' constant part.
 *
 * @module
 */
import type { FrameMemory } from "../../wire/memory.ts";
import {
  checksumOf,
  combineSums,
  fold,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  swapSum,
} from "../../wire/checksum.ts";
import { ETHERNET_HEADER_BYTES, EtherType, writeEthernetHeader } from "../../wire/ethernet.ts";
import { IpProtocol, IPV4_HEADER_BYTES, Ipv4Flag, writeIpv4Header } from "../../wire/ipv4.ts";
import { IPV6_HEADER_BYTES, writeIpv6Header } from "../../wire/ipv6.ts";
import { setTcpChecksum, TCP_HEADER_BYTES, writeTcpHeader } from "../../wire/tcp.ts";
import {
  sackOptionBytes,
  TIMESTAMPS_OPTION_BYTES,
  writeMssOption,
  writeSackOption,
  writeSackPermittedOption,
  writeTimestampsOption,
  writeWindowScaleOption,
} from "../../wire/tcp_options.ts";
import type { Link } from "../link.ts";
import type { Ring } from "../ring.ts";

/** Octets of frame memory for the template of one flow. */
export const TEMPLATE_BYTES = 64;
const TTL = 64;

/** The constant headers of a flow, in the direction to the guest. */
export interface HeaderTemplate {
  /** Position of the Ethernet header of the template. */
  readonly at: number;
  /** Octets of Ethernet and IP header. */
  readonly headerBytes: number;
  readonly family: 4 | 6;
  /** Sum of the IPv4 header without length and checksum. */
  readonly ipSum: number;
  /** Sum of the pseudo-header without the length. */
  readonly pseudoSum: number;
  /** The port that the guest talks to. */
  readonly peerPort: number;
  /** The guest's port. */
  readonly guestPort: number;
}

/** What one segment says; reused for every segment. */
export class OutgoingSegment {
  seq = 0;
  ack = 0;
  flags = 0;
  /** The window field, scaled already. */
  window = 0;
  /** MSS option; 0 leaves it out. */
  mss = 0;
  /** Window scale option; -1 leaves it out. */
  windowScale = -1;
  sackPermitted = false;
  timestamps = false;
  timestampValue = 0;
  timestampEcho = 0;
  sackBlocks = 0;
  readonly sackEdges: Uint32Array<ArrayBuffer> = new Uint32Array(8);
  /** Offset of the data from the ring's head. */
  ringOffset = 0;
  dataBytes = 0;
  /** What of the data goes into one segment; more stands for several. */
  segmentBytes = 0;
  /** Whether the data goes ahead of other flows' bulk. */
  quick = false;

  /** Octets of options. */
  get optionBytes(): number {
    return (this.mss > 0 ? 4 : 0) + (this.windowScale >= 0 ? 4 : 0) + (this.sackPermitted ? 4 : 0) +
      (this.timestamps ? TIMESTAMPS_OPTION_BYTES : 0) +
      (this.sackBlocks > 0 ? sackOptionBytes(this.sackBlocks) : 0);
  }
}

/** Writes a flow's template at `at`; the addresses are positions. */
export function writeTemplate(
  link: Link,
  at: number,
  family: 4 | 6,
  peerAt: number,
  guestAt: number,
  peerPort: number,
  guestPort: number,
): HeaderTemplate {
  const { memory } = link;
  const { view } = memory;
  const ipAt = at + ETHERNET_HEADER_BYTES;
  writeEthernetHeader(
    memory,
    at,
    link.guestMacAt,
    link.gatewayMacAt,
    family === 4 ? EtherType.ipv4 : EtherType.ipv6,
  );
  if (family === 4) {
    writeIpv4Header(
      memory,
      ipAt,
      0,
      0,
      Ipv4Flag.dontFragment,
      TTL,
      IpProtocol.tcp,
      peerAt,
      guestAt,
    );
    view.setUint16(ipAt + 10, 0);
    return {
      at,
      headerBytes: ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES,
      family,
      ipSum: memory.sum(ipAt, IPV4_HEADER_BYTES),
      pseudoSum: pseudoHeaderSum4(view, peerAt, guestAt, IpProtocol.tcp, 0),
      peerPort,
      guestPort,
    };
  }
  writeIpv6Header(memory, ipAt, 0, IpProtocol.tcp, TTL, peerAt, guestAt);
  return {
    at,
    headerBytes: ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES,
    family,
    ipSum: 0,
    pseudoSum: pseudoHeaderSum6(view, peerAt, guestAt, IpProtocol.tcp, 0),
    peerPort,
    guestPort,
  };
}

/** Sends one segment; false when the device has no room for it, and nothing was changed. */
export function sendSegment(
  link: Link,
  template: HeaderTemplate,
  segment: OutgoingSegment,
  ring: Ring | null,
): boolean {
  const { memory, device } = link;
  const { view } = memory;
  const tcpBytes = TCP_HEADER_BYTES + segment.optionBytes;
  const segmentBytes = tcpBytes + segment.dataBytes;
  const frameBytes = template.headerBytes + segmentBytes;
  const quick = segment.dataBytes === 0 || segment.quick;
  if (!(quick ? device.hasRoom(frameBytes) : device.hasRoomForStream(frameBytes))) return false;
  const at = quick ? device.begin(frameBytes) : device.beginStream(frameBytes);
  memory.copy(at, template.at, template.headerBytes);
  const ipAt = at + ETHERNET_HEADER_BYTES;
  if (template.family === 4) {
    const totalBytes = IPV4_HEADER_BYTES + segmentBytes;
    view.setUint16(ipAt + 2, totalBytes);
    view.setUint16(ipAt + 10, checksumOf(combineSums(template.ipSum, totalBytes)));
  } else {
    view.setUint16(ipAt + 4, segmentBytes);
  }
  const tcpAt = at + template.headerBytes;
  writeTcpHeader(
    view,
    tcpAt,
    template.peerPort,
    template.guestPort,
    segment.seq,
    segment.ack,
    tcpBytes,
    segment.flags,
    segment.window,
  );
  if (tcpBytes > TCP_HEADER_BYTES) writeOptions(view, tcpAt + TCP_HEADER_BYTES, segment);
  let sum = combineSums(template.pseudoSum, fold(segmentBytes));
  if (segment.dataBytes > segment.segmentBytes && device.hasHeaders) {
    setTcpChecksum(view, tcpAt, sum);
    copyFromRing(memory, tcpAt + tcpBytes, ring!, segment, false);
    const { family, headerBytes } = template;
    device.endLarge(frameBytes, family, headerBytes, tcpBytes, segment.segmentBytes);
    return true;
  }
  sum = combineSums(sum, memory.sum(tcpAt, tcpBytes));
  if (segment.dataBytes > 0) {
    sum = combineSums(sum, copyFromRing(memory, tcpAt + tcpBytes, ring!, segment));
  }
  setTcpChecksum(view, tcpAt, checksumOf(sum));
  device.end(frameBytes);
  return true;
}

function writeOptions(view: DataView, at: number, segment: OutgoingSegment): void {
  if (segment.mss > 0) at = writeMssOption(view, at, segment.mss);
  if (segment.sackPermitted) at = writeSackPermittedOption(view, at);
  if (segment.timestamps) {
    at = writeTimestampsOption(view, at, segment.timestampValue, segment.timestampEcho);
  }
  if (segment.windowScale >= 0) at = writeWindowScaleOption(view, at, segment.windowScale);
  if (segment.sackBlocks > 0) writeSackOption(view, at, segment.sackEdges, segment.sackBlocks);
}

/** Copies the segment's bytes out of the ring, which may wrap, and returns their sum if it is asked. */
function copyFromRing(
  memory: FrameMemory,
  to: number,
  ring: Ring,
  segment: OutgoingSegment,
  summed = true,
): number {
  const bytes = segment.dataBytes;
  const index = (ring.head + segment.ringOffset) & (ring.capacityBytes - 1);
  const first = Math.min(bytes, ring.capacityBytes - index);
  if (!summed) {
    memory.copy(to, ring.at + index, first);
    if (first < bytes) memory.copy(to + first, ring.at, bytes - first);
    return 0;
  }
  const sum = memory.copySum(to, ring.at + index, first);
  if (first === bytes) return sum;
  const rest = memory.copySum(to + first, ring.at, bytes - first);
  return combineSums(sum, (first & 1) === 0 ? rest : swapSum(rest));
}
