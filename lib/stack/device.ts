/**
 * The stack's only view of the queues: frames come out of it and go into it, as positions in the
 * frame memory. Counts what passes.
 *
 * @module
 */
import { Counter, type Counters } from "./counters.ts";
import { type NetworkFrameQueues, NextFrame } from "./queues.ts";

const RX_FRAMES = Counter["rx.frames"];
const RX_BYTES = Counter["rx.bytes"];
const TX_FRAMES = Counter["tx.frames"];
const TX_BYTES = Counter["tx.bytes"];
const DROP_SHORT = Counter["drop.eth.short"];
const DROP_FULL = Counter["drop.queue.full"];

/** The guest's network device, seen from the gateway. */
export class VirtioNetworkDevice {
  readonly #queues: NetworkFrameQueues;
  readonly #counters: Counters;

  constructor(queues: NetworkFrameQueues, counters: Counters) {
    this.#queues = queues;
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
    }
    return next;
  }

  /** Whether a frame of this size could be sent. */
  hasRoom(frameBytes: number): boolean {
    return this.#queues.hostToGuest.hasRoom(frameBytes);
  }

  /** Whether a segment of this size could be sent and leave room for what can't wait. */
  hasRoomForStream(frameBytes: number): boolean {
    return this.#queues.hostToGuest.hasRoomForStream(frameBytes);
  }

  /** Position for a frame of at most `frameBytes`; -1 when the guest is too far behind (counted). */
  begin(frameBytes: number): number {
    const at = this.#queues.hostToGuest.begin(frameBytes);
    if (at < 0) this.#counters.values[DROP_FULL]!++;
    return at;
  }

  /** Sends the frame of `frameBytes` that was written at `begin`'s position. */
  end(frameBytes: number): void {
    this.#queues.hostToGuest.end(frameBytes);
    this.#counters.values[TX_FRAMES]!++;
    this.#counters.values[TX_BYTES]! += frameBytes;
  }
}
