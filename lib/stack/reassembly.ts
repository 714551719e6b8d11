/**
 * Datagrams put together from the guest's fragments (RFC 791, RFC 815, RFC 8200 section 4.5).
 *
 * Each set has a fixed slot of frame memory, of which pages are touched only as octets arrive:
 * addresses, two bitmaps in units of 8 octets (what is there; where a fragment begins), room for
 * the headers, and the payload. So a finished datagram stands contiguous behind its header, and
 * adding a fragment costs its own length whatever the sender does.
 *
 * An exact copy of a fragment is passed over (RFC 8200 section 4.5); any other overlap, and an end
 * that contradicts what is known, spoils the datagram: it counts once as `drop.frag.overlap`, and
 * its slot remembers it until the timeout, so that pieces to come make no datagram (RFC 5722).
 * First fragments must hold the L4 header (RFC 1858, RFC 3128).
 *
 * Limits: `fragmentSets` sets, `fragmentBytes` of payload in all of them, oldest out first;
 * 65,535 octets a packet; `fragmentMs` (IPv6 `fragment6Ms`) from the first piece.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import { type IcmpErrors, IcmpReason } from "./icmp_errors.ts";
import { hasL4Header } from "./l4_header.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import {
  IpProtocol,
  ipv4FragmentOffsetBytes,
  ipv4Identification,
  ipv4MoreFragments,
  writeIpv4Checksum,
} from "../wire/ipv4.ts";
import { IPV6_HEADER_BYTES, ipv6DestinationAt, ipv6SourceAt, sameIpv6 } from "../wire/ipv6.ts";
import type { Ipv6Extensions } from "../wire/ipv6_extensions.ts";

/** Bounds of the incomplete sets. */
export interface ReassemblyLimits {
  readonly fragmentSets: number;
  readonly fragmentBytes: number;
  readonly fragmentMs: number;
  readonly fragment6Ms: number;
}

const MAX_PACKET_BYTES = 65_535;
const UNIT_BYTES = 8;
const UNITS = 8192;
const BITMAP_BYTES = UNITS / 8;
/** The longest IPv6 header with what stands in front of the fragment header. */
const HEADER_ROOM_BYTES = 256;

const PRESENT_OFFSET = 32;
const STARTS_OFFSET = PRESENT_OFFSET + BITMAP_BYTES;
const PAYLOAD_OFFSET = STARTS_OFFSET + BITMAP_BYTES + HEADER_ROOM_BYTES;
const SLOT_BYTES = PAYLOAD_OFFSET + 65_536;

const DROP_HEADER = Counter["drop.ip.hdr"];
const DROP_OVERLAP = Counter["drop.frag.overlap"];
const DROP_BIG = Counter["drop.frag.big"];
const DROP_TINY = Counter["drop.frag.tiny"];
const DROP_LIMIT = Counter["drop.frag.limit"];
const DROP_TIMEOUT = Counter["drop.frag.timeout"];
const DROP_EXTENSIONS = Counter["drop.ext.limit"];

/** Size of the region of frame memory that a `Reassembly` needs; mostly never touched. */
export function reassemblyBytes(limits: Pick<ReassemblyLimits, "fragmentSets">): number {
  return limits.fragmentSets * SLOT_BYTES;
}

const SetState = { free: 0, filling: 1, spoiled: 2 } as const;
type SetState = typeof SetState[keyof typeof SetState];

/** One datagram on its way; its octets are in the slot at `at`. */
class FragmentSet {
  readonly at: number;
  state: SetState = SetState.free;
  family: 4 | 6 = 4;
  protocol = 0;
  identification = 0;
  /** Counts up from set to set, so that the smallest is the oldest. */
  order = 0;
  deadlineMs = 0;
  /** Octets of payload that are there. */
  presentBytes = 0;
  /** End of the furthest piece. */
  endBytes = 0;
  /** Octets of the whole payload; -1 until its last piece is there. */
  totalBytes = -1;
  /** Octets of headers in front of the payload; 0 until its first piece is there. */
  headerBytes = 0;
  /** Offset in the headers of the octet that names the payload's protocol. */
  protocolOffset = 0;
  /** Octets of the first piece. */
  firstBytes = 0;

  constructor(at: number) {
    this.at = at;
  }
}

/** The guest's fragment sets. */
export class Reassembly {
  readonly #link: Link;
  readonly #limits: ReassemblyLimits;
  readonly #errors: IcmpErrors;
  readonly #sets: readonly FragmentSet[];
  #order = 0;
  #inUse = 0;
  #heldBytes = 0;
  #nextDeadlineMs = Infinity;

  /** `at` is a region of `reassemblyBytes(limits)` in the link's memory. */
  constructor(link: Link, at: number, limits: ReassemblyLimits, errors: IcmpErrors) {
    this.#link = link;
    this.#limits = limits;
    this.#errors = errors;
    this.#sets = Array.from(
      { length: limits.fragmentSets },
      (_, i) => new FragmentSet(at + i * SLOT_BYTES),
    );
  }

  /** Sets that are incomplete or remembered as spoiled. */
  get sets(): number {
    return this.#inUse;
  }

  /** Payload octets that incomplete sets hold. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** When `advance` is due; `Infinity` while there is no set. */
  pollAt(): number {
    return this.#nextDeadlineMs;
  }

  /** Gives up the sets whose time is over (RFC 1122 section 3.3.2, RFC 8200 section 4.5). */
  advance(nowMs: number): void {
    if (nowMs < this.#nextDeadlineMs) return;
    let next = Infinity;
    for (const set of this.#sets) {
      if (set.state === SetState.free) continue;
      if (set.deadlineMs > nowMs) {
        next = Math.min(next, set.deadlineMs);
        continue;
      }
      if (set.state === SetState.filling) this.#expire(set, nowMs);
      this.#free(set);
    }
    this.#nextDeadlineMs = next;
  }

  /** Gives up all sets without a word: the guest is gone. */
  closeAll(): void {
    for (const set of this.#sets) if (set.state !== SetState.free) this.#free(set);
    this.#nextDeadlineMs = Infinity;
  }

  /**
   * Takes an IPv4 fragment, as the packet describes it.
   *
   * @returns Whether it completed its datagram, which the packet then describes.
   */
  process4(packet: Packet, nowMs: number): boolean {
    const { view } = this.#link.memory;
    const { headerAt, headerBytes, protocol, payloadAt, payloadBytes } = packet;
    const offset = ipv4FragmentOffsetBytes(view, headerAt);
    const last = !ipv4MoreFragments(view, headerAt);
    const tiny = offset === 0
      ? !hasL4Header(view, protocol, payloadAt, payloadBytes)
      : offset === UNIT_BYTES && protocol === IpProtocol.tcp;
    if (tiny) return this.#drop(DROP_TINY);
    const set = this.#setOf(packet, ipv4Identification(view, headerAt), nowMs);
    if (set === null) return false;
    if (!this.#add(set, packet, offset, last, headerBytes)) return false;
    if (offset === 0) this.#keepHeader(set, headerAt, headerBytes, packet.protocolAt - headerAt);
    return set.presentBytes === set.totalBytes && this.#finish4(set, packet);
  }

  /**
   * Takes an IPv6 fragment: `extensions` say where its header stands, and the packet's payload are
   * the octets behind that. A first fragment was seen to hold all its headers.
   *
   * @returns Whether it completed its datagram, which the packet then describes: its payload is
   * the whole fragmentable part, which begins with `packet.protocol`.
   */
  process6(packet: Packet, extensions: Ipv6Extensions, nowMs: number): boolean {
    const { headerAt } = packet;
    const headerBytes = extensions.fragmentAt - headerAt;
    if (headerBytes > HEADER_ROOM_BYTES) return this.#drop(DROP_EXTENSIONS);
    const offset = extensions.fragmentOffsetBytes;
    const last = !extensions.moreFragments;
    const set = this.#setOf(packet, extensions.identification, nowMs);
    if (set === null) return false;
    if (!this.#add(set, packet, offset, last, headerBytes - IPV6_HEADER_BYTES)) return false;
    if (offset === 0) {
      this.#keepHeader(set, headerAt, headerBytes, extensions.fragmentNamedAt - headerAt);
      // The first fragment names the protocol, whatever the others say; its header is left out.
      set.protocol = packet.protocol;
      const namedAt = set.at + PAYLOAD_OFFSET - headerBytes + set.protocolOffset;
      this.#link.memory.view.setUint8(namedAt, packet.protocol);
    }
    return set.presentBytes === set.totalBytes && this.#finish6(set, packet);
  }

  /** The set of the packet, made if there is none; `null` when it is spoiled. */
  #setOf(packet: Packet, identification: number, nowMs: number): FragmentSet | null {
    for (const set of this.#sets) {
      if (set.state === SetState.free || set.identification !== identification) continue;
      if (!this.#isSetOf(set, packet)) continue;
      return set.state === SetState.spoiled ? null : set;
    }
    return this.#open(packet, identification, nowMs);
  }

  #isSetOf(set: FragmentSet, packet: Packet): boolean {
    const { view } = this.#link.memory;
    if (set.family !== packet.family) return false;
    if (packet.family === 6) {
      return sameIpv6(view, set.at, packet.sourceAt) &&
        sameIpv6(view, set.at + 16, packet.destinationAt);
    }
    return set.protocol === packet.protocol &&
      view.getUint32(set.at) === view.getUint32(packet.sourceAt) &&
      view.getUint32(set.at + 16) === view.getUint32(packet.destinationAt);
  }

  #open(packet: Packet, identification: number, nowMs: number): FragmentSet {
    const { memory } = this.#link;
    const set = this.#sets.find(isFree) ?? this.#evictOldest(null)!;
    const addressBytes = packet.family === 4 ? 4 : 16;
    memory.copy(set.at, packet.sourceAt, addressBytes);
    memory.copy(set.at + 16, packet.destinationAt, addressBytes);
    memory.fill(set.at + PRESENT_OFFSET, 2 * BITMAP_BYTES);
    set.state = SetState.filling;
    set.family = packet.family;
    set.protocol = packet.protocol;
    set.identification = identification;
    set.order = ++this.#order;
    set.deadlineMs = nowMs +
      (packet.family === 4 ? this.#limits.fragmentMs : this.#limits.fragment6Ms);
    set.presentBytes = 0;
    set.endBytes = 0;
    set.totalBytes = -1;
    set.headerBytes = 0;
    set.firstBytes = 0;
    this.#inUse++;
    this.#nextDeadlineMs = Math.min(this.#nextDeadlineMs, set.deadlineMs);
    return set;
  }

  /** Adds the packet's payload at `offset`; `countedBytes` of headers count against the maximum. */
  #add(
    set: FragmentSet,
    packet: Packet,
    offset: number,
    last: boolean,
    countedBytes: number,
  ): boolean {
    const { payloadAt, payloadBytes } = packet;
    const end = offset + payloadBytes;
    if (payloadBytes === 0 || (!last && payloadBytes % UNIT_BYTES !== 0)) {
      return this.#spoil(set, DROP_HEADER);
    }
    if (countedBytes + end > MAX_PACKET_BYTES) return this.#spoil(set, DROP_BIG);
    if (last ? set.endBytes > end : set.totalBytes >= 0 && end >= set.totalBytes) {
      return this.#spoil(set, DROP_OVERLAP);
    }
    if (last && set.totalBytes >= 0 && set.totalBytes !== end) {
      return this.#spoil(set, DROP_OVERLAP);
    }
    const from = offset / UNIT_BYTES;
    const to = Math.ceil(end / UNIT_BYTES);
    if (anyBit(this.#link.memory.bytes, set.at + PRESENT_OFFSET, from, to)) {
      // RFC 8200 section 4.5: an exact duplicate is the network's doing and passed over.
      const again = (!last || set.totalBytes === end) &&
        this.#isDuplicate(set, from, to, payloadAt, payloadBytes);
      return again ? false : this.#spoil(set, DROP_OVERLAP);
    }
    if (!this.#makeRoom(set, payloadBytes)) return false;
    this.#store(set, from, to, payloadAt, payloadBytes);
    set.endBytes = Math.max(set.endBytes, end);
    if (last) set.totalBytes = end;
    if (offset === 0) set.firstBytes = payloadBytes;
    return true;
  }

  #store(set: FragmentSet, from: number, to: number, payloadAt: number, bytes: number): void {
    const { memory } = this.#link;
    memory.copy(set.at + PAYLOAD_OFFSET + from * UNIT_BYTES, payloadAt, bytes);
    setBits(memory.bytes, set.at + PRESENT_OFFSET, from, to);
    setBits(memory.bytes, set.at + STARTS_OFFSET, from, from + 1);
    set.presentBytes += bytes;
    this.#heldBytes += bytes;
  }

  /** Whether exactly this piece with exactly these octets is there. */
  #isDuplicate(
    set: FragmentSet,
    from: number,
    to: number,
    payloadAt: number,
    payloadBytes: number,
  ): boolean {
    const { bytes } = this.#link.memory;
    const starts = set.at + STARTS_OFFSET;
    const present = set.at + PRESENT_OFFSET;
    if (!anyBit(bytes, starts, from, from + 1) || anyBit(bytes, starts, from + 1, to)) return false;
    if (!anyBit(bytes, present, to - 1, to)) return false;
    if (to < UNITS && anyBit(bytes, present, to, to + 1) && !anyBit(bytes, starts, to, to + 1)) {
      return false;
    }
    const held = set.at + PAYLOAD_OFFSET + from * UNIT_BYTES;
    for (let i = 0; i < payloadBytes; i++) {
      if (bytes[held + i] !== bytes[payloadAt + i]) return false;
    }
    return true;
  }

  /** Keeps within `fragmentBytes`: older sets go first, the set itself only when it is alone. */
  #makeRoom(set: FragmentSet, bytes: number): boolean {
    while (this.#heldBytes + bytes > this.#limits.fragmentBytes) {
      if (this.#evictOldest(set) === null) return this.#spoil(set, DROP_LIMIT);
    }
    return true;
  }

  #evictOldest(except: FragmentSet | null): FragmentSet | null {
    let oldest: FragmentSet | null = null;
    for (const set of this.#sets) {
      if (set.state === SetState.free || set === except) continue;
      if (oldest === null || set.order < oldest.order) oldest = set;
    }
    if (oldest === null) return null;
    if (oldest.state === SetState.filling) this.#drop(DROP_LIMIT);
    this.#free(oldest);
    return oldest;
  }

  #keepHeader(set: FragmentSet, headerAt: number, bytes: number, protocolOffset: number): void {
    this.#link.memory.copy(set.at + PAYLOAD_OFFSET - bytes, headerAt, bytes);
    set.headerBytes = bytes;
    set.protocolOffset = protocolOffset;
  }

  #finish4(set: FragmentSet, packet: Packet): boolean {
    const { memory } = this.#link;
    const at = set.at + PAYLOAD_OFFSET - set.headerBytes;
    const packetBytes = set.headerBytes + set.totalBytes;
    this.#free(set);
    // The first piece may have more options than the one that was checked for size.
    if (packetBytes > MAX_PACKET_BYTES) return this.#drop(DROP_BIG);
    memory.view.setUint16(at + 2, packetBytes);
    memory.view.setUint16(at + 6, 0);
    writeIpv4Checksum(memory, at, set.headerBytes);
    packet.sourceAt = at + 12;
    packet.destinationAt = at + 16;
    this.#describe(set, packet, at);
    return true;
  }

  #finish6(set: FragmentSet, packet: Packet): boolean {
    const { view } = this.#link.memory;
    const at = set.at + PAYLOAD_OFFSET - set.headerBytes;
    const payloadBytes = set.headerBytes - IPV6_HEADER_BYTES + set.totalBytes;
    this.#free(set);
    if (payloadBytes > MAX_PACKET_BYTES) return this.#drop(DROP_BIG);
    view.setUint16(at + 4, payloadBytes);
    packet.sourceAt = ipv6SourceAt(at);
    packet.destinationAt = ipv6DestinationAt(at);
    packet.protocol = set.protocol;
    this.#describe(set, packet, at);
    return true;
  }

  #describe(set: FragmentSet, packet: Packet, at: number): void {
    packet.headerAt = at;
    packet.headerBytes = set.headerBytes;
    packet.protocolAt = at + set.protocolOffset;
    packet.payloadAt = set.at + PAYLOAD_OFFSET;
    packet.payloadBytes = set.totalBytes;
    packet.reassembled = true;
  }

  /** The error names the first piece; without one there is none to send. */
  #expire(set: FragmentSet, nowMs: number): void {
    this.#drop(DROP_TIMEOUT);
    if (set.headerBytes === 0) return;
    const at = set.at + PAYLOAD_OFFSET - set.headerBytes;
    const bytes = set.headerBytes + set.firstBytes;
    this.#errors.sendQuoted(set.family, at, bytes, IcmpReason.reassemblyTimeExceeded, nowMs);
  }

  /** Drops what is there and remembers the datagram, so that no later piece revives it. */
  #spoil(set: FragmentSet, counter: number): false {
    this.#heldBytes -= set.presentBytes;
    set.presentBytes = 0;
    set.state = SetState.spoiled;
    return this.#drop(counter);
  }

  /** The slot's octets stay as they are until the next set begins. */
  #free(set: FragmentSet): void {
    this.#heldBytes -= set.presentBytes;
    set.presentBytes = 0;
    set.state = SetState.free;
    this.#inUse--;
  }

  #drop(counter: number): false {
    this.#link.counters.values[counter]!++;
    return false;
  }
}

function isFree(set: FragmentSet): boolean {
  return set.state === SetState.free;
}

/** Whether any bit of [from, to) is set in the map at `at`. */
function anyBit(bytes: Uint8Array, at: number, from: number, to: number): boolean {
  for (let i = from; i < to;) {
    const octet = bytes[at + (i >> 3)]!;
    if ((i & 7) === 0 && to - i >= 8) {
      if (octet !== 0) return true;
      i += 8;
    } else {
      if ((octet & (1 << (i & 7))) !== 0) return true;
      i++;
    }
  }
  return false;
}

/** Sets all bits of [from, to) in the map at `at`. */
function setBits(bytes: Uint8Array, at: number, from: number, to: number): void {
  for (let i = from; i < to;) {
    if ((i & 7) === 0 && to - i >= 8) {
      bytes[at + (i >> 3)] = 0xff;
      i += 8;
    } else {
      bytes[at + (i >> 3)]! |= 1 << (i & 7);
      i++;
    }
  }
}
