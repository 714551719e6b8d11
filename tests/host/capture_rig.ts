/**
 * A capture without a guest: frames by hand in a memory of its own, on a clock of the test's.
 *
 * @module
 */
import { parseCaptureFilter } from "../../lib/capture/capture_filter.ts";
import { SNAP_MAX_BYTES } from "../../lib/capture/pcapng.ts";
import { type CaptureClock, CaptureTap } from "../../lib/host/capture_tap.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

/** When the virtual clock says 0. */
const EPOCH_MS = Date.UTC(2026, 10, 29, 3, 0, 0);
const FRAME_AT = 100;

/** A clock of a test, with a time of day. */
export class CaptureTestClock extends VirtualClock implements CaptureClock {
  readonly timeOfDay = (): number => EPOCH_MS + this.now();
}

/** A capture and the frames for it. */
export class CaptureRig {
  readonly clock = new CaptureTestClock();
  readonly memory = new FrameMemory(1);
  readonly tap: CaptureTap;

  constructor(options: { filter?: string; snapLength?: number; bufferBytes?: number } = {}) {
    const { filter, snapLength = SNAP_MAX_BYTES, bufferBytes } = options;
    const parsed = filter === undefined ? null : parseCaptureFilter(filter);
    if (typeof parsed === "string") throw new Error(parsed);
    this.tap = new CaptureTap({
      filter: parsed,
      snapLength,
      clock: this.clock,
      ...(bufferBytes === undefined ? {} : { bufferBytes }),
    });
    this.tap.memory = this.memory;
  }

  /** A frame of the guest. */
  received(frame: Uint8Array): void {
    this.memory.bytes.set(frame, FRAME_AT);
    this.tap.received(FRAME_AT, frame.length);
    this.memory.bytes.fill(0xee, FRAME_AT, FRAME_AT + frame.length);
  }

  /** A frame for the guest. */
  sent(frame: Uint8Array): void {
    this.memory.bytes.set(frame, FRAME_AT);
    this.tap.sent(FRAME_AT, frame.length);
    this.memory.bytes.fill(0xee, FRAME_AT, FRAME_AT + frame.length);
  }

  /** Ends it, and gives the whole file. */
  async file(): Promise<Uint8Array> {
    const parts = [this.tap.opening()];
    this.tap.close();
    for (let next = await this.tap.next(); next !== null; next = await this.tap.next()) {
      parts.push(next.slice());
    }
    parts.push(this.tap.ending());
    return Uint8Array.from(parts.flatMap((part) => [...part]));
  }
}
