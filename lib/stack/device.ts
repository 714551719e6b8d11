/**
 * The stack's only view of the queues: frames come out of it and go into it, as positions in the
 * frame memory. Counts what passes, and reads and writes the virtio-net header of links that have it.
 *
 * Of a device that offloads the other end takes TCP segments longer than the MTU: with a header they
 * go with a sum that is left to do and say where to cut, without one they are whole.
 *
 * @module
 */
import { TCP_CHECKSUM_OFFSET } from "../wire/tcp.ts";
import { VnetGso, writeVnetHeader, writeVnetSegmentation } from "../wire/virtio_net.ts";
import { Counter, type Counters } from "./counters.ts";
import { Offload, OffloadFault } from "./offload.ts";
import {
  type HostToGuestQueue,
  LENGTH_BYTES,
  type NetworkFrameQueues,
  NextFrame,
} from "./queues.ts";

const RX_FRAMES = Counter["rx.frames"];
const RX_BYTES = Counter["rx.bytes"];
const TX_FRAMES = Counter["tx.frames"];
const TX_BYTES = Counter["tx.bytes"];
const DROP_SHORT = Counter["drop.eth.short"];
const DROP_FULL = Counter["drop.queue.full"];
const DROP_HEADER = Counter["drop.vnet.hdr"];
const DROP_KIND = Counter["drop.vnet.kind"];
const DROP_AWAY = Counter["drop.link.away"];

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
  /** What the header of the frame that `receive` found leaves to do. */
  readonly offload: Offload = new Offload();
  /** Whether the other end takes TCP segments that are longer than the MTU. */
  readonly takesLarge: boolean;
  /** Whether frames have a virtio-net header. */
  readonly hasHeaders: boolean;
  /** Octets in front of each frame. */
  readonly prefixBytes: number;
  /** Whether there is no link: what is sent is dropped, and counted. */
  isAway = false;
  readonly #queues: NetworkFrameQueues;
  readonly #counters: Counters;
  /** Where the frame goes that was begun. */
  #lane: HostToGuestQueue;
  #beganAt = -1;

  /** `takesLarge` says that the other end has agreed to GUEST_CSUM, GUEST_TSO4 and GUEST_TSO6. */
  constructor(queues: NetworkFrameQueues, counters: Counters, takesLarge = false) {
    this.#queues = queues;
    this.takesLarge = takesLarge;
    this.hasHeaders = queues.headerBytes > 0;
    this.prefixBytes = LENGTH_BYTES + queues.headerBytes;
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
      if (this.hasHeaders && !this.#readHeader()) return NextFrame.refused;
    }
    return next;
  }

  #readHeader(): boolean {
    const { memory, headerBytes, guestToHost } = this.#queues;
    const { frameAt, frameBytes } = guestToHost;
    const fault = this.offload.read(memory.view, frameAt - headerBytes, frameBytes);
    if (fault === OffloadFault.none) return true;
    this.#counters.values[fault === OffloadFault.malformed ? DROP_HEADER : DROP_KIND]!++;
    return false;
  }

  /** Whether a frame of this size could be sent. */
  hasRoom(frameBytes: number): boolean {
    return !this.isAway && this.#queues.hostToGuest.hasRoom(frameBytes);
  }

  /** Whether a frame of this size with a stream's data could be sent. */
  hasRoomForStream(frameBytes: number): boolean {
    return !this.isAway && this.#queues.streams.hasRoom(frameBytes);
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
    const at = this.isAway ? -1 : lane.begin(frameBytes);
    this.#beganAt = at;
    if (at < 0) this.#counters.values[this.isAway ? DROP_AWAY : DROP_FULL]!++;
    return at;
  }

  /** Sends the frame of `frameBytes` that was written at `begin`'s position; nothing is left to do. */
  end(frameBytes: number): void {
    if (this.hasHeaders) {
      const { memory, headerBytes } = this.#queues;
      writeVnetHeader(memory.view, this.#beganAt - headerBytes);
    }
    this.#send(frameBytes);
  }

  /**
   * As `end`, for a TCP segment that is to be cut behind each `segmentBytes` of its data; its sum is
   * that of the pseudo-header alone. For a device that has headers and takes large segments.
   */
  endLarge(
    frameBytes: number,
    family: 4 | 6,
    tcpStart: number,
    tcpHeaderBytes: number,
    segmentBytes: number,
  ): void {
    const { memory, headerBytes } = this.#queues;
    writeVnetSegmentation(
      memory.view,
      this.#beganAt - headerBytes,
      family === 4 ? VnetGso.tcp4 : VnetGso.tcp6,
      tcpStart + tcpHeaderBytes,
      segmentBytes,
      tcpStart,
      TCP_CHECKSUM_OFFSET,
    );
    this.#send(frameBytes);
  }

  #send(frameBytes: number): void {
    if (this.tap !== null) this.tap.sent(this.#beganAt, frameBytes);
    this.#lane.end(frameBytes);
    this.#counters.values[TX_FRAMES]!++;
    this.#counters.values[TX_BYTES]! += frameBytes;
  }
}
