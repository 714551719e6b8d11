/**
 * ICMP of the guest, both families: it asks for echoes, answers them, and reads why a packet of
 * its own went nowhere (RFC 792, RFC 4443).
 *
 * An error is passed on with what its quote says about the packet: protocol, ports (identifier
 * and sequence of an echo), and whom it was for. Sans-I/O; at most `ECHOES_MAX` echoes wait.
 *
 * @module
 */
import { sendDatagram } from "../stack/fragmentation.ts";
import type { Packet } from "../stack/packet.ts";
import {
  ICMP4_HEADER_BYTES,
  icmp4Code,
  Icmp4Type,
  icmp4Type,
  writeIcmp4Checksum,
  writeIcmp4Header,
} from "../wire/icmp4.ts";
import {
  ICMP6_HEADER_BYTES,
  icmp6Code,
  Icmp6Type,
  icmp6Type,
  writeIcmp6Checksum,
  writeIcmp6Header,
} from "../wire/icmp6.ts";
import {
  IpProtocol,
  IPV4_HEADER_BYTES,
  ipv4DestinationAt,
  ipv4HeaderBytes,
  ipv4Protocol,
} from "../wire/ipv4.ts";
import { IPV6_HEADER_BYTES, ipv6DestinationAt, ipv6NextHeader } from "../wire/ipv6.ts";
import type { GuestErrorCode } from "./guest_error.ts";
import type { GuestLink } from "./guest_link.ts";

/** An echo that was asked for. */
export interface Echo {
  readonly sentMs: number;
  /** The round trip; -1 until the reply has come, whole and unchanged. */
  rttMs: number;
  /** Why there will be no reply; `null` while none is known. */
  failure: GuestErrorCode | null;
}

/** What an ICMP error says about a packet of ours. */
export interface IcmpFailure {
  readonly code: GuestErrorCode;
  readonly family: 4 | 6;
  readonly protocol: number;
  readonly localPort: number;
  readonly remotePort: number;
  /** Position of the address that the packet was for. */
  readonly remoteAt: number;
}

/** Octets of frame memory that a `GuestIcmp` takes. */
export const GUEST_ICMP_BYTES = 65_536;

const ECHOES_MAX = 64;
const MAX_PAYLOAD_BYTES = 65_535 - IPV4_HEADER_BYTES;
/** Octets of a quote behind its IP header: enough for ports and an echo's numbers. */
const QUOTED_BYTES = 8;

/** Echoes and errors. */
export class GuestIcmp {
  readonly #guest: GuestLink;
  readonly #at: number;
  readonly #identifier: number;
  readonly #onFailure: (failure: IcmpFailure) => void;
  readonly #echoes = new Map<number, Echo & { readonly bytes: number }>();
  #sequence = 0;

  /** `at` is a region of `GUEST_ICMP_BYTES`; `identifier` (16 bits) marks our echoes. */
  constructor(
    guest: GuestLink,
    at: number,
    identifier: number,
    onFailure: (failure: IcmpFailure) => void,
  ) {
    this.#guest = guest;
    this.#at = at;
    this.#identifier = identifier;
    this.#onFailure = onFailure;
  }

  /** Asks for an echo of `dataBytes`; `null` where it can't be sent. */
  send(family: 4 | 6, destinationAt: number, dataBytes: number, nowMs: number): Echo | null {
    const { link, memory } = this.#guest;
    const sourceAt = this.#guest.sourceFor(family, destinationAt);
    const bytes = ICMP4_HEADER_BYTES + dataBytes;
    if (sourceAt < 0 || bytes > MAX_PAYLOAD_BYTES || this.#echoes.size >= ECHOES_MAX) return null;
    this.#sequence = (this.#sequence + 1) & 0xffff;
    const at = this.#at;
    const rest = ((this.#identifier << 16) | this.#sequence) >>> 0;
    for (let i = 0; i < dataBytes; i++) memory.bytes[at + ICMP4_HEADER_BYTES + i] = i & 0xff;
    if (family === 4) {
      writeIcmp4Header(memory.view, at, Icmp4Type.echo, 0, rest);
      writeIcmp4Checksum(memory, at, bytes);
    } else {
      writeIcmp6Header(memory.view, at, Icmp6Type.echo, 0, rest);
      writeIcmp6Checksum(memory, at, bytes, sourceAt, destinationAt);
    }
    const protocol = family === 4 ? IpProtocol.icmp : IpProtocol.icmp6;
    if (!sendDatagram(link, family, sourceAt, destinationAt, protocol, at, bytes)) return null;
    const echo = { sentMs: nowMs, rttMs: -1, failure: null, bytes };
    this.#echoes.set(this.#sequence, echo);
    return echo;
  }

  /** Forgets an echo, answered or not. */
  forget(echo: Echo): void {
    for (const [sequence, each] of this.#echoes) {
      if (each === echo) this.#echoes.delete(sequence);
    }
  }

  /** Takes a message whose checksum is right. */
  process(packet: Packet, nowMs: number): void {
    const { view } = this.#guest.memory;
    const at = packet.payloadAt;
    const isIp4 = packet.family === 4;
    const type = isIp4 ? icmp4Type(view, at) : icmp6Type(view, at);
    if (type === (isIp4 ? Icmp4Type.echoReply : Icmp6Type.echoReply)) {
      this.#takeReply(packet, nowMs);
    } else if (type === (isIp4 ? Icmp4Type.echo : Icmp6Type.echo)) {
      this.#answer(packet);
    } else {
      const code = isIp4
        ? meaning4(type, icmp4Code(view, at))
        : meaning6(type, icmp6Code(view, at));
      if (code !== null) this.#takeError(packet, code);
    }
  }

  #takeReply(packet: Packet, nowMs: number): void {
    const { view } = this.#guest.memory;
    const { payloadAt: at, payloadBytes: bytes } = packet;
    if (view.getUint16(at + 4) !== this.#identifier) return;
    const echo = this.#echoes.get(view.getUint16(at + 6));
    if (echo === undefined || echo.bytes !== bytes) return;
    for (let i = ICMP4_HEADER_BYTES; i < bytes; i++) {
      if (view.getUint8(at + i) !== ((i - ICMP4_HEADER_BYTES) & 0xff)) return;
    }
    echo.rttMs = nowMs - echo.sentMs;
  }

  #answer(packet: Packet): void {
    const { link, memory } = this.#guest;
    const { family, payloadAt: at, payloadBytes: bytes, sourceAt, destinationAt } = packet;
    if (family === 4) {
      memory.view.setUint8(at, Icmp4Type.echoReply);
      writeIcmp4Checksum(memory, at, bytes);
    } else {
      memory.view.setUint8(at, Icmp6Type.echoReply);
      writeIcmp6Checksum(memory, at, bytes, destinationAt, sourceAt);
    }
    sendDatagram(link, family, destinationAt, sourceAt, packet.protocol, at, bytes);
  }

  #takeError(packet: Packet, code: GuestErrorCode): void {
    const { view } = this.#guest.memory;
    const { family } = packet;
    const quoteAt = packet.payloadAt + (family === 4 ? ICMP4_HEADER_BYTES : ICMP6_HEADER_BYTES);
    const quoteBytes = packet.payloadAt + packet.payloadBytes - quoteAt;
    if (quoteBytes < (family === 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES)) return;
    const headerBytes = family === 4 ? ipv4HeaderBytes(view, quoteAt) : IPV6_HEADER_BYTES;
    if (quoteBytes < headerBytes + QUOTED_BYTES) return;
    const protocol = family === 4 ? ipv4Protocol(view, quoteAt) : ipv6NextHeader(view, quoteAt);
    const l4At = quoteAt + headerBytes;
    if (protocol === IpProtocol.icmp || protocol === IpProtocol.icmp6) {
      const echo = this.#echoes.get(view.getUint16(l4At + 6));
      if (echo !== undefined && view.getUint16(l4At + 4) === this.#identifier) echo.failure = code;
      return;
    }
    this.#onFailure({
      code,
      family,
      protocol,
      localPort: view.getUint16(l4At),
      remotePort: view.getUint16(l4At + 2),
      remoteAt: family === 4 ? ipv4DestinationAt(quoteAt) : ipv6DestinationAt(quoteAt),
    });
  }
}

/** What an error means to a program; `null` for what it would not hear of. */
function meaning4(type: number, code: number): GuestErrorCode | null {
  if (type === Icmp4Type.timeExceeded) return "unreachable";
  if (type !== Icmp4Type.destinationUnreachable || code === 4) return null;
  return code === 3 || code === 2 ? "refused" : code === 13 ? "prohibited" : "unreachable";
}

function meaning6(type: number, code: number): GuestErrorCode | null {
  if (type === Icmp6Type.timeExceeded) return "unreachable";
  if (type !== Icmp6Type.destinationUnreachable) return null;
  return code === 4 ? "refused" : code === 1 ? "prohibited" : "unreachable";
}
