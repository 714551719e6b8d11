/**
 * The way of other guests' frames out of their rings and into the guest's lane.
 *
 * Rings take turns, 64 KiB of each; who found no room is first once there is some. A run is copied in
 * one go where the lane has its frames one behind the other, as it does without headers. While the
 * lane is full nobody is told that frames are wanted, so nobody wakes this guest for more.
 *
 * Nothing is judged here: whoever sent it did. What of it begins a flow is noted, so that the guest's
 * answers pass.
 *
 * @module
 */
import { Counter, type Counters } from "./counters.ts";
import type { LanFlows } from "./lan_flows.ts";
import { LanFrame, Piece } from "./lan_frame.ts";
import type { LanMembers } from "./lan_members.ts";
import { copyShared, type LanRings } from "./lan_rings.ts";
import { LanSegments } from "./lan_segments.ts";
import type { Link } from "./link.ts";
import { LENGTH_BYTES } from "./queues.ts";
import { ETHERNET_HEADER_BYTES, ethernetDestinationAt, isGroupMac } from "../wire/ethernet.ts";
import { IpProtocol } from "../wire/ipv4.ts";

/** What a receiver is made of. */
export interface LanReceiverOptions {
  readonly link: Link;
  readonly members: LanMembers;
  readonly rings: LanRings;
  readonly flows: LanFlows;
}

/** How a `drain` ended. */
export const Drained = { empty: 0, more: 1, blocked: 2 } as const;
/** One of `Drained`. */
export type Drained = typeof Drained[keyof typeof Drained];

/** Octets of each ring that go to the guest in one turn. */
const RING_TURN_BYTES = 256 * 1024;

const TX_FRAMES = Counter["lan.tx.frames"];
const TX_BYTES = Counter["lan.tx.bytes"];
const DROP_LONG = Counter["drop.lan.long"];
const BUG = Counter["bug.lan"];

/** Takes frames of the others for the guest. */
export class LanReceiver {
  readonly #link: Link;
  readonly #counters: Counters;
  readonly #members: LanMembers;
  readonly #rings: LanRings;
  readonly #view: DataView;
  readonly #flows: LanFlows;
  readonly #segments: LanSegments;
  readonly #frame = new LanFrame();
  readonly #frameMaxBytes: number;
  /** By member: whether its ring may hold something. */
  readonly #waiting: Uint8Array;
  #waitingCount = 0;
  /** By member: how much of the run at hand has been taken. */
  readonly #taken: Uint32Array;
  #next = 0;

  constructor({ link, members, rings, flows }: LanReceiverOptions) {
    this.#link = link;
    this.#counters = link.counters;
    this.#members = members;
    this.#rings = rings;
    this.#view = new DataView(rings.bytes.buffer);
    this.#flows = flows;
    this.#segments = new LanSegments(link);
    this.#frameMaxBytes = ETHERNET_HEADER_BYTES + link.mtu;
    this.#waiting = new Uint8Array(members.count);
    this.#taken = new Uint32Array(members.count);
  }

  /** Moves frames of the others into the guest's lane, as far as there is room. */
  drain(nowMs: number): Drained {
    const count = this.#members.count;
    if (!this.#link.device.hasRoomForStream(this.#frameMaxBytes)) {
      const isWanted = this.#waitingCount > 0 || this.#rings.isPending(this.#members.self);
      return isWanted ? Drained.blocked : Drained.empty;
    }
    this.#takeNote();
    let isBlocked = false;
    for (let i = 0; i < count && this.#waitingCount > 0 && !isBlocked; i++) {
      const from = this.#next;
      if (this.#waiting[from] !== 0) isBlocked = this.#drainRing(from, nowMs);
      // Who found no room is first when there is some.
      if (!isBlocked) this.#next = from + 1 === count ? 0 : from + 1;
    }
    if (isBlocked) return Drained.blocked;
    return this.#waitingCount > 0 ? Drained.more : Drained.empty;
  }

  /** Forgets what was being taken: the rings begin anew. */
  reset(): void {
    this.#waiting.fill(0);
    this.#waitingCount = 0;
    this.#taken.fill(0);
  }

  /** Who has sent something since the last time. */
  #takeNote(): void {
    const rings = this.#rings;
    rings.takePending(this.#members.self);
    for (let bits = rings.pendingLow; bits !== 0; bits &= bits - 1) {
      this.#note(31 - Math.clz32(bits & -bits));
    }
    for (let bits = rings.pendingHigh; bits !== 0; bits &= bits - 1) {
      this.#note(63 - Math.clz32(bits & -bits));
    }
  }

  #note(from: number): void {
    if (this.#waiting[from] !== 0) return;
    this.#waiting[from] = 1;
    this.#waitingCount++;
  }

  /** Moves frames of one ring; whether the lane was full before the ring's turn was over. */
  #drainRing(from: number, nowMs: number): boolean {
    const rings = this.#rings;
    const { self } = this.#members;
    let left = RING_TURN_BYTES;
    while (left > 0) {
      const runBytes = rings.peek(from, self);
      if (runBytes <= 0) {
        if (runBytes < 0) this.#counters.values[BUG]!++;
        this.#taken[from] = 0;
        this.#waiting[from] = 0;
        this.#waitingCount--;
        return false;
      }
      const before = this.#counters.values[TX_BYTES]!;
      const isWhole = rings.isLarge
        ? this.#takeLarge(from, runBytes, nowMs)
        : this.#takeRun(from, runBytes, nowMs);
      left -= this.#counters.values[TX_BYTES]! - before;
      if (!isWhole) return true;
      this.#taken[from] = 0;
      rings.pop(from, self);
    }
    return false;
  }

  /** Moves frames of the run that was found; whether all of them. */
  #takeRun(from: number, runBytes: number, nowMs: number): boolean {
    const { memory: { bytes }, device } = this.#link;
    const { bytes: ring, runAt } = this.#rings;
    const isWatched = device.tap !== null;
    let at = runAt + this.#taken[from]!;
    // What is copied in one go: where the lane has the next frame right behind the last.
    let copyTo = 0;
    let copyFrom = 0;
    let copyBytes = 0;
    while (at < runAt + runBytes) {
      const frameAt = at + LENGTH_BYTES;
      const frameBytes = this.#view.getUint32(at);
      if (!device.hasRoomForStream(frameBytes)) break;
      at = frameAt + frameBytes;
      if (frameBytes > this.#frameMaxBytes) {
        this.#counters.values[DROP_LONG]!++;
        continue;
      }
      const to = device.beginStream(frameBytes);
      const isBehind = to === copyTo + copyBytes + LENGTH_BYTES &&
        frameAt === copyFrom + copyBytes + LENGTH_BYTES;
      if (isBehind && !isWatched) {
        copyBytes += LENGTH_BYTES + frameBytes;
      } else {
        copyShared(bytes, copyTo, ring, copyFrom, copyBytes);
        copyTo = to;
        copyFrom = frameAt;
        copyBytes = frameBytes;
        if (isWatched) copyShared(bytes, to, ring, frameAt, frameBytes);
      }
      device.end(frameBytes);
      this.#counters.values[TX_FRAMES]!++;
      this.#counters.values[TX_BYTES]! += frameBytes;
      this.#noteFlow(from, frameAt, frameBytes, nowMs);
    }
    copyShared(bytes, copyTo, ring, copyFrom, copyBytes);
    this.#taken[from] = at - runAt;
    return at >= runAt + runBytes;
  }

  /** Moves pieces of the segment that was found; whether all of them. */
  #takeLarge(from: number, runBytes: number, nowMs: number): boolean {
    const { bytes, runAt } = this.#rings;
    const segments = this.#segments;
    const frameAt = runAt + LENGTH_BYTES;
    const frameBytes = runBytes - LENGTH_BYTES;
    if (this.#taken[from] === 0) this.#noteFlow(from, frameAt, frameBytes, nowMs);
    const taken = segments.send(bytes, this.#view, frameAt, frameBytes, this.#taken[from]!);
    this.#counters.values[TX_FRAMES]! += segments.frames;
    this.#counters.values[TX_BYTES]! += segments.bytes;
    if (taken < 0) return true;
    this.#taken[from] = taken;
    return false;
  }

  /** Takes note of the flow that a frame in a ring belongs to. */
  #noteFlow(from: number, at: number, bytes: number, nowMs: number): void {
    const view = this.#view;
    const frame = this.#frame;
    if (isGroupMac(view, ethernetDestinationAt(at)) || !frame.parse(view, at, bytes)) return;
    const { packet: { protocol, family }, piece, hasExtensions } = frame;
    const isFlow = protocol === IpProtocol.tcp || protocol === IpProtocol.udp ||
      protocol === (family === 4 ? IpProtocol.icmp : IpProtocol.icmp6);
    if (!isFlow || piece === Piece.later || hasExtensions) return;
    this.#flows.note(view, frame, from, nowMs);
  }
}
