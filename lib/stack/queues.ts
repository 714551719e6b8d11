/**
 * The two frame buffers between a guest's stream and the stack, and the three wakes.
 *
 *     stream reader ──▶ guestToHost ──hostWake──▶ turn ──▶ hostToGuest ──guestWake──▶ stream writer
 *                                  host sockets ──relayWake──▶ turn
 *
 * Both buffers hold frames as they stand on the wire, each behind its 4-byte big-endian length, so
 * one read or write moves many frames and nothing is copied in between. On links that have it, a
 * header of virtio-net stands between the two and counts to the length. In one isolate a wake is a
 * flag and one scheduled turn: however often it is set, its loop runs once.
 *
 * What goes to the guest has two lanes: `streams` for the data of TCP flows, which can wait, and
 * `hostToGuest` for all else (answers, datagrams, ACKs, the first bytes of a quiet flow), which
 * would be dropped or be late behind a bulk download. The writer takes turns between them.
 *
 * Limits: one read buffer of 1 MiB plus one frame; two write buffers for each lane, of which the
 * one being filled takes at most `fillLimitBytes`. Knows no sockets and no protocol.
 *
 * @module
 */
import type { FrameMemory } from "../wire/memory.ts";
import { VNET_HEADER_BYTES } from "../wire/virtio_net.ts";

/** Octets of the length in front of each frame. */
export const LENGTH_BYTES = 4;
/** The longest frame that the framing allows: a longer length ends the link. */
export const MAX_FRAME_BYTES = 65_550;
/** The shortest frame: an Ethernet header. */
export const MIN_FRAME_BYTES = 14;
/** How much one read asks for. */
export const READ_BYTES = 1024 * 1024;

/** What is aligned to cache lines is copied at full speed. */
const LINE_BYTES = 64;
/** Room for one entry more: whole lines, so that every buffer begins with one. */
const SLACK_BYTES = Math.ceil((LENGTH_BYTES + VNET_HEADER_BYTES + MAX_FRAME_BYTES) / LINE_BYTES) *
  LINE_BYTES;
/** How much each buffer towards the guest holds: a few frames of the largest size. */
export const LANE_BYTES: number = 256 * 1024;
/** Size of the region of frame memory that one pair of queues needs. */
export const QUEUES_BYTES: number = READ_BYTES + SLACK_BYTES + 4 * (LANE_BYTES + SLACK_BYTES);

/** A flag plus one scheduled run. */
export class Wake {
  #set = false;
  #schedule: () => void;

  /** `schedule` is called once for each time the flag goes from clear to set. */
  constructor(schedule: () => void) {
    this.#schedule = schedule;
  }

  /** Asks for a run, if none is due already. */
  set(): void {
    if (this.#set) return;
    this.#set = true;
    this.#schedule();
  }

  /** Called by the run itself as it begins. */
  clear(): void {
    this.#set = false;
  }
}

/** What a walk over the read buffer found next; what the device refuses is passed over. */
export const NextFrame = { frame: 0, none: 1, tooLong: 2, refused: 3 } as const;
/** One of `NextFrame`. */
export type NextFrame = typeof NextFrame[keyof typeof NextFrame];

/** Frames from the guest, as they came: filled by the stream reader, walked in place. */
export class GuestToHostQueue {
  readonly #memory: FrameMemory;
  readonly #at: number;
  readonly #capacityBytes = READ_BYTES + SLACK_BYTES;
  readonly #headerBytes: number;
  #start: number;
  #end: number;
  /** Position and length of the frame that `next` found; the length also where it is too long. */
  frameAt = 0;
  frameBytes = 0;
  /** Lengths below an Ethernet header that were passed over. */
  runts = 0;

  /** `headerBytes` is what stands between a length and its frame. */
  constructor(memory: FrameMemory, at: number, headerBytes = 0) {
    this.#memory = memory;
    this.#at = at;
    this.#headerBytes = headerBytes;
    this.#start = at;
    this.#end = at;
  }

  /** Where the next read goes. */
  get fillAt(): number {
    return this.#end;
  }

  /** How many bytes the next read may bring; never 0 after `compact`. */
  get fillBytes(): number {
    return Math.min(READ_BYTES, this.#at + this.#capacityBytes - this.#end);
  }

  /** Bytes that were read and not walked yet. */
  get pendingBytes(): number {
    return this.#end - this.#start;
  }

  /** Takes note of bytes that were read to `fillAt`. */
  filled(bytes: number): void {
    this.#end += bytes;
  }

  /** Finds the next whole frame; runts are passed over and counted, the stream stays in step. */
  next(): NextFrame {
    const view = this.#memory.view;
    const headerBytes = this.#headerBytes;
    for (;;) {
      const available = this.#end - this.#start;
      if (available < LENGTH_BYTES) return NextFrame.none;
      const length = view.getUint32(this.#start);
      if (length > MAX_FRAME_BYTES + headerBytes) {
        this.frameBytes = length;
        return NextFrame.tooLong;
      }
      if (available < LENGTH_BYTES + length) return NextFrame.none;
      this.frameAt = this.#start + LENGTH_BYTES + headerBytes;
      this.frameBytes = length - headerBytes;
      this.#start += LENGTH_BYTES + length;
      if (length >= MIN_FRAME_BYTES + headerBytes) return NextFrame.frame;
      this.runts++;
    }
  }

  /** Forgets what is left: the stream that it came on is over. */
  reset(): void {
    this.#start = this.#at;
    this.#end = this.#at;
  }

  /** Moves what is left (a part of a frame) to the front, so that the next read has room. */
  compact(): void {
    const left = this.#end - this.#start;
    if (this.#start === this.#at) return;
    if (left > 0) this.#memory.bytes.copyWithin(this.#at, this.#start, this.#end);
    this.#start = this.#at;
    this.#end = this.#at + left;
  }
}

/** A lane to the guest: one buffer is filled by the stack while the other is being written. */
export class HostToGuestQueue {
  readonly #memory: FrameMemory;
  readonly #halves: readonly [number, number];
  /** Octets in front of a frame, the length among them. */
  readonly #prefixBytes: number;
  #filling: 0 | 1 = 0;
  #fillBytes = 0;
  /** How many bytes the buffer that is being filled may hold. */
  fillLimitBytes: number;
  /** Frames in the buffer that is being filled. */
  frames = 0;

  /**
   * `at` is a region of twice `capacityBytes` plus one frame each; `headerBytes` is what stands
   * between a length and its frame, for whoever writes the frame to fill in.
   */
  constructor(memory: FrameMemory, at: number, capacityBytes: number, headerBytes = 0) {
    this.#memory = memory;
    this.#prefixBytes = LENGTH_BYTES + headerBytes;
    this.#halves = [at, at + capacityBytes + SLACK_BYTES];
    this.fillLimitBytes = capacityBytes;
  }

  /** Bytes that wait for the writer. */
  get queuedBytes(): number {
    return this.#fillBytes;
  }

  /** Whether a frame of this size would fit. */
  hasRoom(frameBytes: number): boolean {
    return this.#fillBytes === 0 ||
      this.#fillBytes + this.#prefixBytes + frameBytes <= this.fillLimitBytes;
  }

  /** The position for a frame of at most `frameBytes`, or -1 when there is no room. */
  begin(frameBytes: number): number {
    if (!this.hasRoom(frameBytes) || frameBytes > MAX_FRAME_BYTES) return -1;
    return this.#halves[this.#filling] + this.#fillBytes + this.#prefixBytes;
  }

  /** Queues the frame of `frameBytes` that was written at `begin`'s position. */
  end(frameBytes: number): void {
    const bytes = this.#prefixBytes + frameBytes;
    const at = this.#halves[this.#filling] + this.#fillBytes;
    this.#memory.view.setUint32(at, bytes - LENGTH_BYTES);
    this.#fillBytes += bytes;
    this.frames++;
  }

  /** Forgets the frames that wait for the writer. */
  reset(): void {
    this.#fillBytes = 0;
    this.frames = 0;
  }

  /** Hands the filled buffer to the writer: its position; its size is `queuedBytes` before the call. */
  take(): number {
    const at = this.#halves[this.#filling];
    this.#filling = this.#filling === 0 ? 1 : 0;
    this.#fillBytes = 0;
    this.frames = 0;
    return at;
  }
}

/** Both buffers and the three wakes of one guest. */
export class NetworkFrameQueues {
  /** Frames from the guest. */
  readonly guestToHost: GuestToHostQueue;
  /** Frames for the guest that must not wait. */
  readonly hostToGuest: HostToGuestQueue;
  /** Frames for the guest with the data of streams. */
  readonly streams: HostToGuestQueue;
  /** Frames for the guest are queued: the writer has work. */
  readonly guestWake: Wake;
  /** Frames from the guest are queued: the turn has work. */
  readonly hostWake: Wake;
  /** A host socket made progress: the turn has work. */
  readonly relayWake: Wake;
  /** Where the frames stand. */
  readonly memory: FrameMemory;
  /** Octets of the virtio-net header in front of each frame; 0 where the link has none. */
  readonly headerBytes: number;

  /**
   * `at` is a region of `QUEUES_BYTES` in `memory`; the wakes call what schedules their loops.
   * `hasHeaders` says that each frame has a virtio-net header in front.
   */
  constructor(
    memory: FrameMemory,
    at: number,
    wakes: { readonly write: () => void; readonly turn: () => void },
    hasHeaders = false,
  ) {
    const headerBytes = hasHeaders ? VNET_HEADER_BYTES : 0;
    this.memory = memory;
    this.headerBytes = headerBytes;
    this.guestToHost = new GuestToHostQueue(memory, at, headerBytes);
    const streamsAt = at + READ_BYTES + SLACK_BYTES;
    this.streams = new HostToGuestQueue(memory, streamsAt, LANE_BYTES, headerBytes);
    const quickAt = streamsAt + 2 * (LANE_BYTES + SLACK_BYTES);
    this.hostToGuest = new HostToGuestQueue(memory, quickAt, LANE_BYTES, headerBytes);
    this.guestWake = new Wake(wakes.write);
    this.hostWake = new Wake(wakes.turn);
    this.relayWake = new Wake(wakes.turn);
  }

  /** Forgets every frame, whole or not: another stream begins. No operation may work on them. */
  reset(): void {
    this.guestToHost.reset();
    this.hostToGuest.reset();
    this.streams.reset();
  }

  /** Bytes of both lanes that wait for the writer. */
  get queuedBytes(): number {
    return this.hostToGuest.queuedBytes + this.streams.queuedBytes;
  }
}
