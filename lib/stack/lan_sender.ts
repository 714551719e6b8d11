/**
 * The way of a guest's frames into the rings to the others of its network.
 *
 * Frames for one member that stand together in the read buffer go out together, as one run: they are
 * gathered, and copied once. So the read buffer must not move before `flush`. What has a header in
 * front gets its length written over the end of it, as the device has read that header.
 *
 * A partial checksum, which only the guest's own card would finish, is finished on the way. A frame
 * that is too long for the link is dropped, unless it is a TCP segment, which is cut at its far end
 * (`lan_segments.ts`).
 *
 * A member that does not take its frames costs drops, each counted, and nobody waits for it. Frames to
 * groups are limited, since each costs a copy for every member.
 *
 * @module
 */
import { isSumLeft } from "./checksum_check.ts";
import { Counter, type Counters } from "./counters.ts";
import { type LanFrame, Piece } from "./lan_frame.ts";
import type { LanMembers } from "./lan_members.ts";
import { LAN_RUN_BYTES, type LanRings } from "./lan_rings.ts";
import { isCuttable } from "./lan_segments.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import { LENGTH_BYTES } from "./queues.ts";
import { TokenBucket } from "./token_bucket.ts";
import { checksumOf, combineSums, pseudoHeaderSum4, pseudoHeaderSum6 } from "../wire/checksum.ts";
import { ETHERNET_HEADER_BYTES } from "../wire/ethernet.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { tcpChecksum } from "../wire/tcp.ts";
import { UDP_HEADER_BYTES, udpLengthBytes } from "../wire/udp.ts";

/** What a sender is made of. */
export interface LanSenderOptions {
  readonly link: Link;
  readonly members: LanMembers;
  readonly rings: LanRings;
  /** Tells whoever serves a member that frames wait for it. */
  readonly wake: (member: number) => void;
}

/** Frames to groups, a second. */
export const GROUP_FRAMES_PER_SECOND = 4_096;
/** Frames to groups, at once. */
export const GROUP_FRAMES_BURST = 1_024;
const TCP_CHECKSUM_AT = 16;
const UDP_CHECKSUM_AT = 6;

const RX_FRAMES = Counter["lan.rx.frames"];
const RX_BYTES = Counter["lan.rx.bytes"];
const DROP_LONG = Counter["drop.lan.long"];
const DROP_AWAY = Counter["drop.lan.away"];
const DROP_FULL = Counter["drop.lan.full"];
const DROP_STORM = Counter["drop.lan.storm"];
const DROP_CHECKSUM = Counter["drop.csum"];
const PARTIAL = Counter["csum.partial"];

/** Sends frames that may go. */
export class LanSender {
  readonly #link: Link;
  readonly #counters: Counters;
  readonly #members: LanMembers;
  readonly #rings: LanRings;
  readonly #wake: (member: number) => void;
  readonly #groupFrames = new TokenBucket(GROUP_FRAMES_PER_SECOND, GROUP_FRAMES_BURST);
  readonly #frameMaxBytes: number;
  /** The run that is gathered: for whom, and where it stands; there is none while `#runEnd` is -1. */
  #runTo = -1;
  #runAt = 0;
  #runEnd = -1;
  #runFrames = 0;
  /** By member: whether it got something since the last flush. */
  readonly #sentTo: Uint8Array;
  #hasSent = false;

  constructor({ link, members, rings, wake }: LanSenderOptions) {
    this.#link = link;
    this.#counters = link.counters;
    this.#members = members;
    this.#rings = rings;
    this.#wake = wake;
    this.#frameMaxBytes = ETHERNET_HEADER_BYTES + link.mtu;
    this.#sentTo = new Uint8Array(members.count);
  }

  /** Sends a frame that is no flow; `to` is -1 for a group. */
  send(to: number, at: number, bytes: number, nowMs: number): void {
    if (bytes > this.#frameMaxBytes) this.#drop(DROP_LONG);
    else this.#carry(to, at, bytes, nowMs);
  }

  /** Sends a frame whose packet is at hand: it may be too long, or lack its sum. */
  sendPacket(frame: LanFrame, to: number, at: number, bytes: number, nowMs: number): void {
    if (bytes > this.#frameMaxBytes) {
      const { memory: { view }, mtu } = this.#link;
      if (to < 0 || !isCuttable(view, frame, mtu)) this.#drop(DROP_LONG);
      else if (this.#isSumRight(frame)) this.#carryLarge(to, at, bytes);
    } else if (this.#completeSum(frame)) {
      this.#carry(to, at, bytes, nowMs);
    }
  }

  /** Sends what was gathered, and wakes whom it is for. */
  flush(): void {
    this.#sendRun();
    if (!this.#hasSent) return;
    this.#hasSent = false;
    const { self } = this.#members;
    for (let member = 0; member < this.#sentTo.length; member++) {
      if (this.#sentTo[member] === 0) continue;
      this.#sentTo[member] = 0;
      if (this.#rings.announce(self, member)) this.#wake(member);
    }
  }

  /** Forgets what was gathered: the read buffer may have moved. */
  forget(): void {
    this.#runEnd = -1;
  }

  /** Puts the sum in where the guest has left it to its card; false where it is not taken so. */
  #completeSum({ packet, piece }: LanFrame): boolean {
    const { memory } = this.#link;
    const { view } = memory;
    const { family, protocol, sourceAt, destinationAt, payloadAt, payloadBytes } = packet;
    if (piece !== Piece.whole) return true;
    let [sumAt, bytes] = [payloadAt + TCP_CHECKSUM_AT, payloadBytes];
    if (protocol === IpProtocol.udp) {
      bytes = udpLengthBytes(view, payloadAt);
      sumAt = payloadAt + UDP_CHECKSUM_AT;
      if (bytes < UDP_HEADER_BYTES || bytes > payloadBytes) return true; // the receiver sees it
    } else if (protocol !== IpProtocol.tcp) {
      return true;
    }
    const pseudo = family === 4
      ? pseudoHeaderSum4(view, sourceAt, destinationAt, protocol, bytes)
      : pseudoHeaderSum6(view, sourceAt, destinationAt, protocol, bytes);
    if (view.getUint16(sumAt) !== pseudo) return true;
    const sum = memory.sum(payloadAt, bytes);
    if (combineSums(pseudo, sum) === 0xffff) return true; // right by chance
    if (!this.#mayBePartial(packet)) return this.#drop(DROP_CHECKSUM);
    this.#counters.values[PARTIAL]!++;
    // The field holds the pseudo-header's sum, so what was summed is all that belongs into it.
    const checksum = checksumOf(sum);
    view.setUint16(sumAt, checksum === 0 && protocol === IpProtocol.udp ? 0xffff : checksum);
    return true;
  }

  /** Whether the sum of a long segment is right or left to do: its far end makes another one. */
  #isSumRight({ packet }: LanFrame): boolean {
    const { memory } = this.#link;
    const { view } = memory;
    const { family, protocol, sourceAt, destinationAt, payloadAt, payloadBytes } = packet;
    const pseudo = family === 4
      ? pseudoHeaderSum4(view, sourceAt, destinationAt, protocol, payloadBytes)
      : pseudoHeaderSum6(view, sourceAt, destinationAt, protocol, payloadBytes);
    if (combineSums(pseudo, memory.sum(payloadAt, payloadBytes)) === 0xffff) return true;
    const isPartial = tcpChecksum(view, payloadAt) === pseudo && this.#mayBePartial(packet);
    if (!isPartial) return this.#drop(DROP_CHECKSUM);
    this.#counters.values[PARTIAL]!++;
    return true;
  }

  /** As for what goes to the gateway: where sums are verified, a header has to say that one is left. */
  #mayBePartial(packet: Packet): boolean {
    return !this.#link.config.verifyChecksums || isSumLeft(this.#link, packet);
  }

  #carry(to: number, at: number, bytes: number, nowMs: number): void {
    if (to < 0) this.#carryToGroup(at, bytes, nowMs);
    else if (!this.#rings.isAttached(to)) this.#drop(DROP_AWAY);
    else this.#gather(to, at, bytes);
  }

  #gather(to: number, at: number, bytes: number): void {
    const runAt = at - LENGTH_BYTES;
    const isNext = to === this.#runTo && runAt === this.#runEnd &&
      at + bytes - this.#runAt <= LAN_RUN_BYTES;
    if (!isNext) {
      this.#sendRun();
      this.#runTo = to;
      this.#runAt = runAt;
      this.#runFrames = 0;
    }
    // Where a header stands in front of the frame, its end makes way: the device has read it.
    this.#link.memory.view.setUint32(runAt, bytes);
    this.#runEnd = at + bytes;
    this.#runFrames++;
  }

  /** Sends the run that was gathered, as much of it as finds room. */
  #sendRun(): void {
    if (this.#runEnd < 0) return;
    const to = this.#runTo;
    const at = this.#runAt;
    let [end, frames] = [this.#runEnd, this.#runFrames];
    this.#runEnd = -1;
    const rings = this.#rings;
    const { self } = this.#members;
    if (!rings.hasRoom(self, to, end - at)) {
      [end, frames] = this.#fitting(to, at, end);
      this.#counters.values[DROP_FULL]! += this.#runFrames - frames;
      if (frames === 0) return;
    }
    rings.push(self, to, this.#link.memory.bytes, at, end - at);
    this.#sent(to, frames, end - at - frames * LENGTH_BYTES);
  }

  /** How much of a run finds room: its end, and how many frames that are. */
  #fitting(to: number, at: number, end: number): [end: number, frames: number] {
    const { view } = this.#link.memory;
    const { self } = this.#members;
    let frames = 0;
    let fits = at;
    while (fits < end) {
      const next = fits + LENGTH_BYTES + view.getUint32(fits);
      if (!this.#rings.hasRoom(self, to, next - at)) break;
      fits = next;
      frames++;
    }
    return [fits, frames];
  }

  #carryLarge(to: number, at: number, bytes: number): void {
    this.#sendRun();
    if (!this.#rings.isAttached(to)) {
      this.#drop(DROP_AWAY);
      return;
    }
    const { memory } = this.#link;
    memory.view.setUint32(at - LENGTH_BYTES, bytes);
    const { self } = this.#members;
    const runBytes = LENGTH_BYTES + bytes;
    if (this.#rings.push(self, to, memory.bytes, at - LENGTH_BYTES, runBytes, true)) {
      this.#sent(to, 1, bytes);
    } else {
      this.#drop(DROP_FULL);
    }
  }

  #carryToGroup(at: number, bytes: number, nowMs: number): void {
    if (!this.#groupFrames.take(nowMs)) {
      this.#drop(DROP_STORM);
      return;
    }
    this.#sendRun();
    const { memory } = this.#link;
    const { count, self } = this.#members;
    const runBytes = LENGTH_BYTES + bytes;
    memory.view.setUint32(at - LENGTH_BYTES, bytes);
    let isSent = false;
    for (let to = 0; to < count; to++) {
      if (to === self || !this.#rings.isAttached(to)) continue;
      if (this.#rings.push(self, to, memory.bytes, at - LENGTH_BYTES, runBytes)) {
        this.#sent(to, isSent ? 0 : 1, isSent ? 0 : bytes);
        isSent = true;
      } else {
        this.#drop(DROP_FULL);
      }
    }
  }

  #sent(to: number, frames: number, bytes: number): void {
    this.#sentTo[to] = 1;
    this.#hasSent = true;
    this.#counters.values[RX_FRAMES]! += frames;
    this.#counters.values[RX_BYTES]! += bytes;
  }

  #drop(counter: number): false {
    this.#counters.values[counter]!++;
    return false;
  }
}
