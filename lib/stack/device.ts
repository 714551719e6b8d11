/**
 * The stack's only view of the queues: frames come out of it and go into it, as positions in the
 * frame memory. Counts what passes.
 *
 * @module
 */
import { Counter, type Counters } from "./counters.ts";
import { type HostToGuestQueue, type NetworkFrameQueues, NextFrame } from "./queues.ts";

const RX_FRAMES = Counter["rx.frames"];
const RX_BYTES = Counter["rx.bytes"];
const TX_FRAMES = Counter["tx.frames"];
const TX_BYTES = Counter["tx.bytes"];
const DROP_SHORT = Counter["drop.eth.short"];
const DROP_FULL = Counter["drop.queue.full"];

/** Sees every frame that passes, in the call that passes it: the octets stay only for that call. */
export interface FrameTap {
  /** A frame of the guest. */
  received(at: number, bytes: number): void;
  /** A frame for the guest. */
  sent(at: number, bytes: number): void;
}

/** The guest's network device, seen from the gateway. */
export class VirtioNetworkDevice {
  /** Who looks on, if anybody does. */
  tap: FrameTap | null = null;
  readonly #queues: NetworkFrameQueues;
  readonly #counters: Counters;
  /** Where the frame goes that was begun. */
  #lane: HostToGuestQueue;
  #beganAt = -1;

  constructor(queues: NetworkFrameQueues, counters: Counters) {
    this.#queues = queues;
    this.#lane = queues.hostToGuest;
    this.#counters = counters;
  }

  /** Position of the frame that `receive` found: its Ethernet header. */
  get frameAt(): number {
    return this.#queues.guestToHost.frameAt;
  }

  /** Length of that frame. */
  get frameBytes(): number {
    return this.#queues.guestToHost.frameBytes;
  }

  /** Steps to the next frame from the guest. */
  receive(): NextFrame {
    const queue = this.#queues.guestToHost;
    const next = queue.next();
    if (queue.runts > 0) {
      this.#counters.values[DROP_SHORT]! += queue.runts;
      queue.runts = 0;
    }
    if (next === NextFrame.frame) {
      this.#counters.values[RX_FRAMES]!++;
      this.#counters.values[RX_BYTES]! += queue.frameBytes;
      if (this.tap !== null) this.tap.received(queue.frameAt, queue.frameBytes);
    }
    return next;
  }

  /** Whether a frame of this size could be sent. */
  hasRoom(frameBytes: number): boolean {
    return this.#queues.hostToGuest.hasRoom(frameBytes);
  }

  /** Whether a frame of this size with a stream's data could be sent. */
  hasRoomForStream(frameBytes: number): boolean {
    return this.#queues.streams.hasRoom(frameBytes);
  }

  /** As `begin`, for a frame with a stream's data, which may wait behind others. */
  beginStream(frameBytes: number): number {
    return this.#begin(this.#queues.streams, frameBytes);
  }

  /** Position for a frame of at most `frameBytes`; -1 when the guest is too far behind (counted). */
  begin(frameBytes: number): number {
    return this.#begin(this.#queues.hostToGuest, frameBytes);
  }

  #begin(lane: HostToGuestQueue, frameBytes: number): number {
    this.#lane = lane;
    const at = lane.begin(frameBytes);
    this.#beganAt = at;
    if (at < 0) this.#counters.values[DROP_FULL]!++;
    return at;
  }

  /** Sends the frame of `frameBytes` that was written at `begin`'s position. */
  end(frameBytes: number): void {
    if (this.tap !== null) this.tap.sent(this.#beganAt, frameBytes);
    this.#lane.end(frameBytes);
    this.#counters.values[TX_FRAMES]!++;
    this.#counters.values[TX_BYTES]! += frameBytes;
  }
}
