/**
 * The frame stream between a VMM and the queues: two async loops on one connection.
 *
 * The reader fills the read buffer (up to 1 MiB a read), lets the turn walk it, and reads again
 * once every whole frame has been walked; it never waits for a host's socket. The writer takes
 * whichever buffer the stack has filled and writes it whole: the frame in flight is always
 * finished, since a VMM that sees the end inside a frame may spin on it.
 *
 * How much of streams the stack may queue follows from how fast the guest drains: about 5 ms of it,
 * between 64 and 256 KiB. Below an MTU of 9,000 it is 64 KiB while anything else goes to the guest,
 * so that a short answer never stands behind a long queue. Does not know what a frame means.
 *
 * @module
 */
import { closeQuietly } from "./close_quietly.ts";
import type { FrameTransport } from "./frame_transport.ts";
import { type HostClock, systemClock, type Timer } from "./host_clock.ts";
import type { FrameMemory } from "../wire/memory.ts";
import type { NetworkFrameQueues } from "../stack/queues.ts";

/** Why a stream ended. */
export type StreamEnd =
  | "closed by the VMM"
  | "broken framing"
  | "read failed"
  | "write failed"
  | "stopped";

/** What the bridge calls. */
export interface FrameStreamHandlers {
  /**
   * Frames have arrived: runs a turn. Returns `null` when all of them were walked, else a promise
   * that resolves when they have been.
   */
  readonly onFrames: () => Promise<void> | null;
  /** A buffer was taken to be written: the stack has the other one to fill. */
  readonly onRoom: () => void;
}

/** Even an abrupt end gives the frame in flight so long. */
const FRAME_GRACE_MS = 100;
const QUEUE_MS = 5;
const FILL_MIN_BYTES = 64 * 1024;
const FILL_MAX_BYTES = 256 * 1024;
/** From here on 64 KiB are a frame or a few, and a write of so little costs too much. */
const LARGE_MTU = 9000;
/** So long after a short answer another one is expected. */
const SHARED_MS = 100;
/** Writes shorter than this say nothing about the guest's speed. */
const RATE_SAMPLE_BYTES = 16 * 1024;
/** What earlier writes still count beside the last one. */
const RATE_MEMORY = 7 / 8;

/** Reader and writer of one guest's stream. */
export class FrameStreamBridge {
  readonly #conn: FrameTransport;
  readonly #memory: FrameMemory;
  readonly #queues: NetworkFrameQueues;
  readonly #handlers: FrameStreamHandlers;
  readonly #clock: HostClock;
  readonly #hasLargeFrames: boolean;
  /** Octets and time of the last writes: one that the socket's buffer takes at once says little. */
  #recentBytes = 0;
  #recentMs = 0;
  /** Until when streams leave room for what must not wait. */
  #sharedUntilMs = 0;
  #reading: Promise<StreamEnd> | null = null;
  #writing: Promise<void> = Promise.resolve();
  #isWriting = false;
  #ended: StreamEnd | null = null;
  /** What the operation said that ended it. */
  #fault = "";
  #closed = false;

  constructor(
    conn: FrameTransport,
    memory: FrameMemory,
    queues: NetworkFrameQueues,
    mtu: number,
    handlers: FrameStreamHandlers,
    clock: HostClock = systemClock,
  ) {
    this.#conn = conn;
    this.#memory = memory;
    this.#queues = queues;
    this.#handlers = handlers;
    this.#clock = clock;
    this.#hasLargeFrames = mtu >= LARGE_MTU;
    queues.streams.fillLimitBytes = this.#hasLargeFrames ? FILL_MAX_BYTES : FILL_MIN_BYTES;
  }

  /** Reads until the stream ends; resolves with why. The caller then closes. */
  run(): Promise<StreamEnd> {
    return this.#reading ??= this.#read();
  }

  async #read(): Promise<StreamEnd> {
    const { guestToHost } = this.#queues;
    const { bytes } = this.#memory;
    while (this.#ended === null) {
      guestToHost.compact();
      const at = guestToHost.fillAt;
      let count: number | null;
      try {
        count = await this.#conn.read(bytes.subarray(at, at + guestToHost.fillBytes));
      } catch (error) {
        this.#fail("read failed", error);
        break;
      }
      if (count === null) {
        this.end("closed by the VMM");
        break;
      }
      if (this.#ended !== null) break;
      guestToHost.filled(count);
      const walked = this.#handlers.onFrames();
      if (walked !== null) await walked;
    }
    return this.#ended ?? "stopped";
  }

  /** Starts writing what is queued, unless the writer is at it. */
  flush(): void {
    if (this.#isWriting || this.#closed || this.#queues.queuedBytes === 0) return;
    this.#isWriting = true; // before the writer says that there is room: that may flush again
    this.#writing = this.#write();
  }

  /** Whether the stream is over. */
  get ended(): boolean {
    return this.#ended !== null;
  }

  /** What the system or the transport said where an operation failed; empty otherwise. */
  get fault(): string {
    return this.#fault;
  }

  /** Notes why the stream is over; the reader stops at its next step. */
  end(reason: StreamEnd): void {
    this.#ended ??= reason;
  }

  #fail(reason: StreamEnd, error: unknown): void {
    if (this.#ended === null) this.#fault = (error as Error).message;
    this.end(reason);
  }

  /**
   * Lets the write under way finish, for at most `graceMs`, and closes the connection. Resolves
   * when no operation works on the queues any more.
   */
  async close(graceMs: number): Promise<void> {
    this.end("stopped");
    if (this.#isWriting) {
      let timer: Timer | undefined;
      const timeout = new Promise<void>((resolve) =>
        timer = this.#clock.setTimer(resolve, Math.max(graceMs, FRAME_GRACE_MS))
      );
      await Promise.race([this.#writing, timeout]);
      this.#clock.clearTimer(timer);
    }
    this.#closed = true;
    closeQuietly(this.#conn);
    await this.#writing;
    await this.#reading;
  }

  async #write(): Promise<void> {
    const { hostToGuest, streams } = this.#queues;
    let queue = streams;
    while (this.#queues.queuedBytes > 0 && !this.#closed) {
      const other = queue === streams ? hostToGuest : streams;
      if (other.queuedBytes > 0) queue = other;
      const bytes = queue.queuedBytes;
      const at = queue.take();
      const startedMs = this.#clock.now();
      if (queue === hostToGuest) this.#share(startedMs);
      const written = this.#writeAll(at, at + bytes); // has entered the kernel on return
      this.#handlers.onRoom();
      await written;
      if (bytes < RATE_SAMPLE_BYTES) continue;
      const nowMs = this.#clock.now();
      this.#adapt(bytes, nowMs - startedMs, nowMs);
    }
    this.#isWriting = false; // in one step with the last look at the queue
  }

  async #writeAll(at: number, end: number): Promise<void> {
    const { bytes } = this.#memory;
    try {
      while (at < end) at += await this.#conn.write(bytes.subarray(at, end));
    } catch (error) {
      this.#fail("write failed", error);
      this.#closed = true;
      closeQuietly(this.#conn); // wakes the reader
    }
  }

  /** What must not wait is on its way: the next may come soon. */
  #share(nowMs: number): void {
    if (this.#hasLargeFrames) return;
    this.#sharedUntilMs = nowMs + SHARED_MS;
    this.#queues.streams.fillLimitBytes = FILL_MIN_BYTES;
  }

  /** Follows the guest's speed with the size of the queue: two buffers are about `QUEUE_MS` of it. */
  #adapt(bytes: number, elapsedMs: number, nowMs: number): void {
    this.#recentBytes = this.#recentBytes * RATE_MEMORY + bytes;
    this.#recentMs = this.#recentMs * RATE_MEMORY + Math.max(elapsedMs, 0.01);
    if (nowMs < this.#sharedUntilMs) return;
    const limit = this.#recentBytes / this.#recentMs * QUEUE_MS / 2;
    this.#queues.streams.fillLimitBytes = Math.round(
      Math.min(FILL_MAX_BYTES, Math.max(FILL_MIN_BYTES, limit)),
    );
  }
}
