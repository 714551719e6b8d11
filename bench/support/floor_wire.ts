/**
 * What the floor programs share: memory, frames whose headers are constant, a writer with two
 * buffers, rings. Sizes are the gateway's, so that the operations on the sockets are the same ones;
 * nothing is parsed, summed, timed or kept for a second sending.
 *
 *     length 4 │ Ethernet 14 │ IPv4 20 │ TCP 32, of which two fields count │ data
 *                                        at 34 a stream's number or a step, at 38 a count of bytes
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { combineSums, swapSum } from "../../lib/wire/checksum.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";

/** Octets of the length in front of a frame. */
export const LENGTH_BYTES = 4;
/** Octets of headers in front of TCP data, and in front of a datagram's. */
export const TCP_HEADERS_BYTES: number = 14 + 20 + 32;
export const UDP_HEADERS_BYTES: number = 14 + 20 + 8;
/** Where a frame has the number of its stream or the step of an exchange, and its count. */
export const STREAM_AT = 34;
export const COUNT_AT = 38;
/** How much one read of the frame stream asks for. */
export const READ_BYTES = 1024 * 1024;
/** The window of a stream whose guest sends. */
export const WINDOW_BYTES = 4 * 1024 * 1024;
/** The gateway's buffers grow no further than all of them have room for. */
export const BUFFERS_BYTES = 256 * 1024 * 1024;
/** So many frames of one read are a turn of the gateway's. */
export const TURN_FRAMES = 256;
/** What one stream sends before the others have their turn. */
export const TURN_BYTES = 64 * 1024;

const SMALL_MTU = 9_000;

/** What is queued for one write to the guest, and what of it while not only streams go there. */
export const FILL_BYTES = 256 * 1024;
const SHARED_FILL_BYTES = 64 * 1024;
const SHARED_MS = 100;

/** How much of streams is queued, as at the gateway: at a small MTU little behind what can't wait. */
export class StreamFill {
  readonly #isSmall: boolean;
  #sharedUntilMs = 0;
  /** The time of the turn. */
  nowMs = 0;

  constructor(mtu: number) {
    this.#isSmall = mtu < SMALL_MTU;
  }

  /** Something that can't wait is on its way. */
  share(): void {
    this.#sharedUntilMs = this.nowMs + SHARED_MS;
  }

  get limitBytes(): number {
    return this.#isSmall && this.nowMs < this.#sharedUntilMs ? SHARED_FILL_BYTES : FILL_BYTES;
  }
}

/** What of one stream is in flight to the guest. */
export function flightBytes(mtu: number): number {
  return mtu < SMALL_MTU ? 1024 * 1024 : 4 * 1024 * 1024;
}

const FRAME_MAX_BYTES = 65_600;
const BUFFER_BYTES = READ_BYTES + FRAME_MAX_BYTES;

/** Places in one memory, one behind the other. */
export class Layout {
  readonly memory: FrameMemory;
  #next = 0;

  constructor(sizeBytes: number) {
    this.memory = new FrameMemory(sizeBytes + 3 * BUFFER_BYTES + 4096);
  }

  /** Where the next octets will be taken, for a later `rewind`. */
  get mark(): number {
    return this.#next;
  }

  /** Gives back all that was taken since a mark. */
  rewind(mark: number): void {
    this.#next = mark;
  }

  /** Takes so many octets: their position. */
  take(bytes: number): number {
    const at = this.#next;
    this.#next += (bytes + 63) & ~63;
    return at;
  }
}

/** Reads the frame stream, up to 1 MiB at once, and walks the frames in place. */
export class FrameReader {
  readonly #conn: Deno.Conn;
  readonly #memory: FrameMemory;
  readonly #at: number;

  constructor(conn: Deno.Conn, layout: Layout) {
    this.#conn = conn;
    this.#memory = layout.memory;
    this.#at = layout.take(BUFFER_BYTES);
  }

  /**
   * Until the stream ends: each frame goes to `take`, and each read ends with `walked`; so do so
   * many frames of one read, after which the event loop has a turn.
   */
  async run(
    take: (at: number, bytes: number) => void,
    walked: () => void,
    turnFrames = Infinity,
  ): Promise<void> {
    const { bytes, view } = this.#memory;
    let have = 0;
    for (;;) {
      const from = this.#at + have;
      const count = await this.#conn.read(bytes.subarray(from, from + READ_BYTES));
      if (count === null) return;
      const end = from + count;
      let at = this.#at;
      let frames = 0;
      while (end - at >= LENGTH_BYTES) {
        const length = view.getUint32(at);
        if (end - at < LENGTH_BYTES + length) break;
        take(at + LENGTH_BYTES, length);
        at += LENGTH_BYTES + length;
        if (++frames < turnFrames) continue;
        frames = 0;
        walked();
        await new Promise<void>((resolve) => void setImmediate(resolve));
      }
      have = end - at;
      if (have > 0) bytes.copyWithin(this.#at, at, end);
      walked();
    }
  }
}

/** Writes frames: one buffer is filled while the other one is written. */
export class FrameWriter {
  readonly memory: FrameMemory;
  readonly #conn: Deno.Conn;
  readonly #halves: readonly [number, number];
  readonly #limitBytes: number;
  readonly #templateAt: number;
  readonly #onRoom: () => void;
  #filling: 0 | 1 = 0;
  #fillBytes = 0;
  #isWriting = false;

  /** `onRoom` is called when a buffer has been handed to the kernel. */
  constructor(conn: Deno.Conn, layout: Layout, limitBytes: number, onRoom: () => void) {
    this.#conn = conn;
    this.memory = layout.memory;
    this.#halves = [layout.take(BUFFER_BYTES), layout.take(BUFFER_BYTES)];
    this.#templateAt = layout.take(128);
    this.#limitBytes = limitBytes;
    this.#onRoom = onRoom;
  }

  /** Bytes that wait for the writer. */
  get queuedBytes(): number {
    return this.#fillBytes;
  }

  /**
   * Begins a frame: the position of its data, behind headers that are copied, with room for the
   * length in front of them, from a template; -1 where a write would have more than the limit.
   */
  begin(
    headersBytes: number,
    dataBytes: number,
    templateAt: number = this.#templateAt,
    limitBytes: number = this.#limitBytes,
  ): number {
    const bytes = LENGTH_BYTES + headersBytes + dataBytes;
    if (this.#fillBytes > 0 && this.#fillBytes + bytes > limitBytes) return -1;
    const at = this.#halves[this.#filling] + this.#fillBytes;
    this.#fillBytes += bytes;
    this.memory.copy(at, templateAt, LENGTH_BYTES + headersBytes);
    this.memory.view.setUint32(at, headersBytes + dataBytes);
    return at + LENGTH_BYTES + headersBytes;
  }

  /** A frame without data, or with one octet of it. */
  small(stream: number, count: number, dataBytes = 0): void {
    const at = this.begin(TCP_HEADERS_BYTES, dataBytes) - TCP_HEADERS_BYTES;
    if (at < 0) throw new Error("Cannot send: the buffer for small frames is full");
    this.memory.view.setUint16(at + STREAM_AT, stream);
    this.memory.view.setUint32(at + COUNT_AT, count);
  }

  /** Starts writing what has been filled, unless the last write is still under way. */
  flush(): void {
    if (!this.#isWriting && this.#fillBytes > 0) void this.#write();
  }

  async #write(): Promise<void> {
    this.#isWriting = true;
    const { bytes } = this.memory;
    while (this.#fillBytes > 0) {
      let at = this.#halves[this.#filling];
      const end = at + this.#fillBytes;
      this.#filling = this.#filling === 0 ? 1 : 0;
      this.#fillBytes = 0;
      let written = this.#conn.write(bytes.subarray(at, end)); // has entered the kernel on return
      this.#onRoom();
      try {
        for (at += await written; at < end; at += await written) {
          written = this.#conn.write(bytes.subarray(at, end));
        }
      } catch {
        return; // the other end is gone; the reader notices it too
      }
    }
    this.#isWriting = false;
  }
}

/** A ring of bytes; the sockets read and write in place. */
export class FloorRing {
  readonly #memory: FrameMemory;
  readonly #at: number;
  readonly capacityBytes: number;
  #head = 0;
  lengthBytes = 0;
  /** Whether a read is under way into what was free: its place stays then. */
  isLent = false;

  /** `capacityBytes` is a power of two. */
  constructor(layout: Layout, capacityBytes: number) {
    this.#memory = layout.memory;
    this.#at = layout.take(capacityBytes);
    this.capacityBytes = capacityBytes;
  }

  /** The contiguous bytes of content. */
  get content(): Uint8Array<ArrayBuffer> {
    const from = this.#at + this.#head;
    const bytes = Math.min(this.lengthBytes, this.capacityBytes - this.#head);
    return this.#memory.bytes.subarray(from, from + bytes);
  }

  /** The contiguous free bytes behind the content. */
  get free(): Uint8Array<ArrayBuffer> {
    const index = (this.#head + this.lengthBytes) & (this.capacityBytes - 1);
    const bytes = Math.min(this.capacityBytes - this.lengthBytes, this.capacityBytes - index);
    return this.#memory.bytes.subarray(this.#at + index, this.#at + index + bytes);
  }

  /** Bytes that were read into `free` are content. */
  commit(bytes: number): void {
    this.lengthBytes += bytes;
  }

  /** Drops all content. */
  clear(): void {
    this.#head = 0;
    this.lengthBytes = 0;
  }

  /** Drops the first bytes of the content. */
  consume(bytes: number): void {
    this.lengthBytes -= bytes;
    const isAtRest = this.lengthBytes === 0 && !this.isLent;
    this.#head = isAtRest ? 0 : (this.#head + bytes) & (this.capacityBytes - 1);
  }

  /** Appends a copy of bytes of the memory. */
  append(from: number, bytes: number): void {
    const index = (this.#head + this.lengthBytes) & (this.capacityBytes - 1);
    const first = Math.min(bytes, this.capacityBytes - index);
    this.#memory.copy(this.#at + index, from, first);
    if (first < bytes) this.#memory.copy(this.#at, from + first, bytes - first);
    this.lengthBytes += bytes;
  }

  /** Copies content from `offset` on to another place of the memory. */
  copyOut(offset: number, to: number, bytes: number): void {
    const index = (this.#head + offset) & (this.capacityBytes - 1);
    const first = Math.min(bytes, this.capacityBytes - index);
    this.#memory.copy(to, this.#at + index, first);
    if (first < bytes) this.#memory.copy(to + first, this.#at, bytes - first);
  }

  /** As `copyOut`, and returns the sum of what was copied. */
  copySumOut(offset: number, to: number, bytes: number): number {
    const index = (this.#head + offset) & (this.capacityBytes - 1);
    const first = Math.min(bytes, this.capacityBytes - index);
    const sum = this.#memory.copySum(to, this.#at + index, first);
    if (first === bytes) return sum;
    const rest = this.#memory.copySum(to + first, this.#at, bytes - first);
    return combineSums(sum, (first & 1) === 0 ? rest : swapSum(rest));
  }
}

/** Makes a turn due: once, in the next microtask, however often it is asked for. */
export function oncePerMicrotask(turn: () => void): () => void {
  let isDue = false;
  const run = () => {
    isDue = false;
    turn();
  };
  return () => {
    if (isDue) return;
    isDue = true;
    queueMicrotask(run);
  };
}
