/**
 * What the guest is told where its policy keeps it from another guest: as for any other flow, an ICMP
 * error that says so, and for TCP the reset that ends the attempt at once (RFC 9293 section 3.10.7.1).
 *
 * Both come in frames of the gateway; the reset has the other guest's address, which never hears of
 * it. Nothing is said about a reset, an error or a group. Errors are limited as all are.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import { type IcmpErrors, IcmpReason } from "./icmp_errors.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import { checksumOf, transportSum4, transportSum6 } from "../wire/checksum.ts";
import { IpProtocol } from "../wire/ipv4.ts";
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
  writeTcpHeader,
} from "../wire/tcp.ts";

const RESET_SENT = Counter["tcp.reset.sent"];

/** Tells the guest that it may not reach another one by the packet at hand. */
export function refuseLan(link: Link, errors: IcmpErrors, packet: Packet, nowMs: number): void {
  if (packet.linkMulticast) return;
  if (packet.protocol !== IpProtocol.tcp) {
    errors.send(packet, IcmpReason.adminProhibited, nowMs);
    return;
  }
  if ((tcpFlags(link.memory.view, packet.payloadAt) & TcpFlag.rst) !== 0) return;
  errors.send(packet, IcmpReason.adminProhibited, nowMs);
  sendReset(link, packet);
}

/** A reset that the segment at hand accepts, as from whom it was sent to. */
function sendReset(link: Link, packet: Packet): void {
  const { memory, counters } = link;
  const { view } = memory;
  const { family, sourceAt, destinationAt, payloadAt, payloadBytes } = packet;
  const at = family === 4
    ? link.beginIpv4(destinationAt, sourceAt, IpProtocol.tcp, TCP_HEADER_BYTES)
    : link.beginIpv6(destinationAt, sourceAt, IpProtocol.tcp, TCP_HEADER_BYTES);
  if (at < 0) return;
  const flags = tcpFlags(view, payloadAt);
  const hasAck = (flags & TcpFlag.ack) !== 0;
  const dataBytes = Math.max(0, payloadBytes - tcpHeaderBytes(view, payloadAt));
  const controls = ((flags & TcpFlag.syn) !== 0 ? 1 : 0) + ((flags & TcpFlag.fin) !== 0 ? 1 : 0);
  writeTcpHeader(
    view,
    at,
    tcpDestinationPort(view, payloadAt),
    tcpSourcePort(view, payloadAt),
    hasAck ? tcpAcknowledgment(view, payloadAt) : 0,
    hasAck ? 0 : (tcpSequence(view, payloadAt) + dataBytes + controls) >>> 0,
    TCP_HEADER_BYTES,
    hasAck ? TcpFlag.rst : TcpFlag.rst | TcpFlag.ack,
    0,
  );
  const transportSum = family === 4 ? transportSum4 : transportSum6;
  const sum = transportSum(
    memory,
    destinationAt,
    sourceAt,
    IpProtocol.tcp,
    at,
    TCP_HEADER_BYTES,
  );
  setTcpChecksum(view, at, checksumOf(sum));
  link.end();
  counters.values[RESET_SENT]!++;
}
