/**
 * One capture on a guest's link: frames become blocks of pcapng in a bounded buffer, for one reader.
 *
 *     frame ─▶ names of DNS answers ─▶ filter ─▶ comment ─▶ one copy, cut ─▶ buffer ─▶ next()
 *
 * Whoever passes a frame never waits: where the reader is behind, blocks are lost, and the next one
 * that finds room says how many. What waits is given out after `FLUSH_MS`, or once half of the
 * buffer is full, but no more than `BYTES_PER_SECOND`: writing all of a guest's bulk to a disk would
 * take the guest a third of its speed, and a frame that is lost takes next to nothing. A capture may
 * outlast a guest, and see the next one.
 *
 * @module
 */
import { CaptureBuffer } from "../capture/capture_buffer.ts";
import type { CaptureFilter } from "../capture/capture_filter.ts";
import { answerNames, CaptureNames } from "../capture/capture_names.ts";
import { CaptureTime } from "../capture/capture_time.ts";
import { DenialMarks, udpPayload } from "../capture/denial_marks.ts";
import { FrameFields, readFrame } from "../capture/frame_fields.ts";
import {
  BLOCK_NAMES_MAX,
  Direction,
  interfaceBlock,
  joinBlocks,
  type NamedAddress,
  namesBlock,
  PacketBlock,
  sectionBlock,
  statisticsBlock,
} from "../capture/pcapng.ts";
import type { Denial } from "../policy/denial.ts";
import type { FrameTap } from "../stack/device.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import type { FrameMemory } from "../wire/memory.ts";
import { type HostClock, systemClock, type Timer } from "./host_clock.ts";

/** A clock that also knows the time of day. */
export interface CaptureClock extends HostClock {
  /** Milliseconds since 1970. */
  timeOfDay(): number;
}

/** The process's own clock. */
export const captureClock: CaptureClock = { ...systemClock, timeOfDay: () => Date.now() };

/** What a capture is made with. */
export interface CaptureTapOptions {
  /** Which frames it has; `null` for all. */
  readonly filter: CaptureFilter | null;
  /** Octets that are kept of each frame. */
  readonly snapLength: number;
  readonly clock: CaptureClock;
  /** Size of each of the two buffers. */
  readonly bufferBytes?: number;
}

/** The program that wrote a file, as the file says. */
const APPLICATION = "virtio-gateway";
/** The interface, as the file names it. */
const INTERFACE = "guest";
const DESCRIPTION = "the guest's link, seen from the gateway: inbound is what the guest sends";

/** So much of one guest's traffic waits for the reader. */
const BUFFER_BYTES = 1024 * 1024;
const FLUSH_MS = 100;
const BYTES_PER_SECOND = 64 * 1024 * 1024;
const DNS_PORT = 53;

/** A capture of one guest after another. */
export class CaptureTap implements FrameTap {
  /** Where the frames of the guest are that is attached. */
  memory: FrameMemory | null = null;
  readonly #options: CaptureTapOptions;
  readonly #buffer: CaptureBuffer;
  readonly #fullBytes: number;
  readonly #time: CaptureTime;
  readonly #packet = new PacketBlock();
  readonly #fields = new FrameFields();
  readonly #names = new CaptureNames();
  readonly #marks = new DenialMarks();
  #seen = 0;
  #accepted = 0;
  #lost = 0;
  #timer: Timer | undefined;
  #isDue = false;
  /** When the reader may have more. */
  #nextMs = 0;
  /** Whether that is waited for. */
  #isPaced = false;
  #isClosed = false;
  /** Tells the reader, who waits. */
  #wake: (() => void) | null = null;

  /** Nothing is captured until it is some device's tap. */
  constructor(options: CaptureTapOptions) {
    const { clock, bufferBytes = BUFFER_BYTES } = options;
    this.#options = options;
    this.#buffer = new CaptureBuffer(bufferBytes);
    this.#fullBytes = bufferBytes >> 1;
    this.#time = new CaptureTime(clock.now(), clock.timeOfDay());
  }

  /** Frames that passed, those that the filter let through, and those of them that were lost. */
  get counts(): { seen: number; accepted: number; lost: number } {
    return { seen: this.#seen, accepted: this.#accepted, lost: this.#lost };
  }

  received(at: number, bytes: number): void {
    this.#take(at, bytes, Direction.inbound);
  }

  sent(at: number, bytes: number): void {
    this.#take(at, bytes, Direction.outbound);
  }

  /** Takes note of a refusal, of which the guest is about to be told. */
  denied(denial: Denial): void {
    this.#marks.note(denial, this.#options.clock.now());
  }

  /** Tells the reader of names that it does not know yet, as far as there is room. */
  tellNames(names: readonly NamedAddress[]): void {
    const unknown = this.#names.learn(names);
    for (let at = 0; at < unknown.length; at += BLOCK_NAMES_MAX) {
      this.#buffer.push(namesBlock(unknown.slice(at, at + BLOCK_NAMES_MAX)));
      this.#filled();
    }
  }

  /** What a file begins with: its head, and all names that are known. */
  opening(): Uint8Array {
    const { filter, snapLength } = this.#options;
    return joinBlocks([
      sectionBlock(APPLICATION),
      interfaceBlock({
        name: INTERFACE,
        description: DESCRIPTION,
        snapLength,
        filter: filter?.text ?? "",
      }),
      this.#names.blocks(),
    ]);
  }

  /** What a file ends with: how much of what passed is there. */
  ending(): Uint8Array {
    const { clock } = this.#options;
    this.#time.set(clock.now());
    return statisticsBlock(this.#time, this.counts);
  }

  /**
   * Waits for blocks. For one reader, who asks again once it is done with what it got.
   *
   * @returns Whole blocks, which stay as they are until the next call; `null` after `close`, once
   * nothing is left.
   */
  async next(): Promise<Uint8Array<ArrayBuffer> | null> {
    for (;;) {
      const isFilled = this.#buffer.filledBytes > 0;
      if (isFilled && (this.#isDue || this.#isClosed)) return this.#give();
      if (this.#isClosed) return null;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Nothing more is taken; what waits is still given out. */
  close(): void {
    this.#isClosed = true;
    this.#stopTimer();
    this.#tellReader();
  }

  #take(at: number, bytes: number, direction: Direction): void {
    const { memory } = this;
    if (memory === null || this.#isClosed) return;
    const { filter, snapLength, clock } = this.#options;
    const isOutbound = direction === Direction.outbound;
    const packet = this.#packet;
    packet.comment = null;
    this.#seen++;
    if (isOutbound || filter !== null) {
      const fields = this.#fields;
      readFrame(memory.view, at, bytes, fields);
      if (isOutbound && isDnsAnswer(fields)) this.#readNames(memory.view);
      if (filter !== null && !filter.passes(memory.view, fields)) return;
      if (isOutbound && !this.#marks.isEmpty) {
        packet.comment = this.#marks.take(memory.view, fields, clock.now());
      }
    }
    this.#accepted++;
    const buffer = this.#buffer;
    packet.direction = direction;
    packet.originalBytes = bytes;
    packet.capturedBytes = Math.min(bytes, snapLength);
    packet.lost = buffer.lost;
    const blockBytes = packet.bytes;
    const blockAt = buffer.begin(blockBytes);
    if (blockAt < 0) {
      this.#lost++;
      return;
    }
    const nowMs = clock.now();
    if (buffer.filledBytes === 0) this.#time.check(nowMs, clock.timeOfDay());
    this.#time.set(nowMs);
    packet.timeHigh = this.#time.high;
    packet.timeLow = this.#time.low;
    const dataAt = packet.write(buffer.view, blockAt);
    buffer.bytes.set(memory.bytes.subarray(at, at + packet.capturedBytes), dataAt);
    buffer.end(blockBytes);
    this.#filled();
  }

  /** Whatever the filter says: the names are for those that it lets through. */
  #readNames(view: DataView): void {
    this.tellNames(answerNames(udpPayload(view, this.#fields)));
  }

  #filled(): void {
    if (this.#isDue || this.#isPaced) return;
    if (this.#buffer.filledBytes >= this.#fullBytes) this.#due();
    else this.#timer ??= this.#options.clock.setTimer(() => this.#due(), FLUSH_MS);
  }

  #due(): void {
    this.#stopTimer();
    const { clock } = this.#options;
    const waitMs = this.#nextMs - clock.now();
    this.#isPaced = waitMs > 0;
    if (this.#isPaced) {
      this.#timer = clock.setTimer(() => this.#due(), waitMs);
      return;
    }
    this.#isDue = true;
    this.#tellReader();
  }

  #give(): Uint8Array<ArrayBuffer> {
    this.#isDue = false;
    this.#isPaced = false;
    this.#stopTimer();
    const blocks = this.#buffer.take();
    const nowMs = this.#options.clock.now();
    this.#nextMs = Math.max(nowMs, this.#nextMs) + 1000 * blocks.length / BYTES_PER_SECOND;
    return blocks;
  }

  #tellReader(): void {
    this.#wake?.();
    this.#wake = null;
  }

  #stopTimer(): void {
    this.#options.clock.clearTimer(this.#timer);
    this.#timer = undefined;
  }
}

function isDnsAnswer({ protocol, sourcePort, payloadAt }: FrameFields): boolean {
  return sourcePort === DNS_PORT && protocol === IpProtocol.udp && payloadAt >= 0;
}
