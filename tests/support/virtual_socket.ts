/**
 * Stream sockets without a kernel: one end as the code under test sees it, a `Deno.TcpConn`, the
 * other end in the hands of the test.
 *
 *     VirtualConn ── what it writes ──▶ ByteQueue ──▶ take()   VirtualPeer
 *                 ◀── read() ── ByteQueue ◀── what the peer writes
 *
 * As with a kernel's, an operation ends at a later step of the clock, takes only a part where the
 * dice say so, waits where there is no room, and looks at the caller's memory when it ends: a read
 * writes into it as late as that, a write reads it as late as that. A close takes the operations
 * that are pending with it. Closing with bytes unread resets the connection, and a reset takes the
 * bytes that were still on their way.
 *
 * @module
 */
import type { VirtualClock } from "./virtual_clock.ts";

/** How the machine handles a socket. */
export interface SocketOptions {
  /** Most bytes on their way in each direction. Default 64 KiB. */
  readonly bufferBytes?: number;
  /** Most bytes of the next operation. Default: as many as there are. */
  readonly transferBytes?: () => number;
  /** How long the next operation takes, once it can be done. Default 0: to the next step. */
  readonly operationMs?: () => number;
  readonly local?: Deno.NetAddr;
  readonly remote?: Deno.NetAddr;
  /** Called when the code under test has closed its end. */
  readonly onClosed?: (conn: VirtualConn) => void;
}

/** An address of TCP. */
export function tcpAddress(hostname: string, port: number): Deno.NetAddr {
  return { transport: "tcp", hostname, port };
}

/** An error as the system makes it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code} (virtual)`), { code });
}

/** Bytes in one direction. */
class ByteQueue {
  readonly capacityBytes: number;
  readonly #chunks: Uint8Array[] = [];
  lengthBytes = 0;
  /** No more bytes will be written. */
  isFinished = false;

  constructor(capacityBytes: number) {
    this.capacityBytes = capacityBytes;
  }

  get roomBytes(): number {
    return Math.max(0, this.capacityBytes - this.lengthBytes);
  }

  /** Takes a copy of the bytes, as many as fit. */
  push(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.roomBytes);
    if (count > 0) this.#chunks.push(bytes.slice(0, count));
    this.lengthBytes += count;
    return count;
  }

  /** Moves bytes into `into`. */
  pull(into: Uint8Array): number {
    let done = 0;
    while (done < into.length && this.#chunks.length > 0) {
      const chunk = this.#chunks[0]!;
      const count = Math.min(chunk.length, into.length - done);
      into.set(chunk.subarray(0, count), done);
      done += count;
      if (count === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(count);
    }
    this.lengthBytes -= done;
    return done;
  }

  discard(): void {
    this.#chunks.length = 0;
    this.lengthBytes = 0;
  }
}

interface Pending<T> {
  readonly bytes: Uint8Array;
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
  isScheduled: boolean;
}

/** What both ends share. */
class Wire {
  readonly clock: VirtualClock;
  readonly toPeer: ByteQueue;
  readonly toConn: ByteQueue;
  /** Why the connection broke; `null` while it has not. */
  failure: string | null = null;
  /** The code under test has closed its end. */
  connClosed = false;
  /** The peer takes nothing any more. */
  peerClosed = false;
  onConn: () => void = () => {};
  onPeer: () => void = () => {};

  constructor(clock: VirtualClock, bufferBytes: number) {
    this.clock = clock;
    this.toPeer = new ByteQueue(bufferBytes);
    this.toConn = new ByteQueue(bufferBytes);
  }

  break(code: string): void {
    if (this.failure !== null) return;
    this.failure = code;
    this.toPeer.discard();
    this.toConn.discard();
    this.onConn();
    this.onPeer();
  }
}

/** Makes a connection: the end for the code under test, and the test's end. */
export function openSocket(
  clock: VirtualClock,
  options: SocketOptions = {},
): [VirtualConn, VirtualPeer] {
  const wire = new Wire(clock, options.bufferBytes ?? 64 * 1024);
  return [new VirtualConn(wire, options), new VirtualPeer(wire)];
}

/** The end that the code under test has. */
export class VirtualConn implements Deno.TcpConn {
  readonly localAddr: Deno.NetAddr;
  readonly remoteAddr: Deno.NetAddr;
  readonly #wire: Wire;
  readonly #options: SocketOptions;
  #reading: Pending<number | null> | null = null;
  #writing: Pending<number> | null = null;

  constructor(wire: Wire, options: SocketOptions) {
    this.#wire = wire;
    this.#options = options;
    this.localAddr = options.local ?? tcpAddress("10.0.0.1", 40_000);
    this.remoteAddr = options.remote ?? tcpAddress("10.0.0.2", 80);
    wire.onConn = () => this.#look();
  }

  /** Whether it was closed. */
  get isClosed(): boolean {
    return this.#wire.connClosed;
  }

  read(into: Uint8Array): Promise<number | null> {
    if (this.isClosed) return Promise.reject(new Deno.errors.BadResource("closed"));
    if (this.#reading !== null) return Promise.reject(new Deno.errors.Busy("a read is pending"));
    return new Promise((resolve, reject) => {
      this.#reading = { bytes: into, resolve, reject, isScheduled: false };
      this.#look();
    });
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.isClosed) return Promise.reject(new Deno.errors.BadResource("closed"));
    if (this.#writing !== null) return Promise.reject(new Deno.errors.Busy("a write is pending"));
    return new Promise((resolve, reject) => {
      this.#writing = { bytes, resolve, reject, isScheduled: false };
      this.#look();
    });
  }

  closeWrite(): Promise<void> {
    const { toPeer, failure } = this.#wire;
    if (this.isClosed) return Promise.reject(new Deno.errors.BadResource("closed"));
    if (failure !== null) return Promise.reject(systemError("ENOTCONN"));
    toPeer.isFinished = true;
    this.#wire.onPeer();
    return Promise.resolve();
  }

  close(): void {
    if (this.isClosed) throw new Deno.errors.BadResource("closed");
    const wire = this.#wire;
    wire.connClosed = true;
    for (const pending of [this.#reading, this.#writing]) {
      if (pending === null) continue;
      wire.clock.soon(() => pending.reject(new Deno.errors.Interrupted("operation canceled")));
    }
    this.#reading = null;
    this.#writing = null;
    wire.toPeer.isFinished = true;
    if (wire.toConn.lengthBytes > 0) wire.break("ECONNRESET");
    wire.onPeer();
    this.#options.onClosed?.(this);
  }

  setNoDelay(): void {}
  setKeepAlive(): void {}
  ref(): void {}
  unref(): void {}

  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    throw new Error("Cannot use streams: the gateway reads and writes");
  }

  get writable(): WritableStream<Uint8Array<ArrayBufferLike>> {
    throw new Error("Cannot use streams: the gateway reads and writes");
  }

  [Symbol.dispose](): void {
    if (!this.isClosed) this.close();
  }

  /** Starts the end of an operation that can be done. */
  #look(): void {
    const { toConn, toPeer, failure, peerClosed } = this.#wire;
    const over = failure !== null;
    if (over || toConn.lengthBytes > 0 || toConn.isFinished) {
      this.#schedule(this.#reading, (pending) => this.#endRead(pending));
    }
    if (over || peerClosed || toPeer.roomBytes > 0) {
      this.#schedule(this.#writing, (pending) => this.#endWrite(pending));
    }
  }

  #schedule<T>(pending: Pending<T> | null, end: (pending: Pending<T>) => void): void {
    if (pending === null || pending.isScheduled) return;
    pending.isScheduled = true;
    const { clock } = this.#wire;
    const ms = this.#options.operationMs?.() ?? 0;
    if (ms > 0) clock.after(ms, () => end(pending));
    else clock.soon(() => end(pending));
  }

  #endRead(pending: Pending<number | null>): void {
    if (this.#reading !== pending) return; // the close took it
    this.#reading = null;
    const { toConn, failure } = this.#wire;
    if (failure !== null) return pending.reject(systemError(failure));
    if (toConn.lengthBytes === 0) return pending.resolve(null);
    const most = this.#options.transferBytes?.() ?? Infinity;
    const count = toConn.pull(pending.bytes.subarray(0, most));
    pending.resolve(count);
    this.#wire.onPeer();
  }

  #endWrite(pending: Pending<number>): void {
    if (this.#writing !== pending) return; // the close took it
    const { toPeer, failure, peerClosed } = this.#wire;
    this.#writing = null;
    if (failure !== null || peerClosed) {
      pending.reject(systemError("EPIPE"));
      this.#wire.break("ECONNRESET");
      return;
    }
    const most = this.#options.transferBytes?.() ?? Infinity;
    pending.resolve(toPeer.push(pending.bytes.subarray(0, most)));
    this.#wire.onPeer();
  }
}

/** The other end, in the hands of the test. */
export class VirtualPeer {
  /** Where the connection leads, as the code under test asked for it. */
  label = "";
  /** Called, at a later step, when bytes or room have come, or an end. */
  onChange: (() => void) | null = null;
  readonly #wire: Wire;
  #isTelling = false;

  constructor(wire: Wire) {
    this.#wire = wire;
    wire.onPeer = () => this.#tell();
  }

  /** Bytes that have come and were not taken. */
  get availableBytes(): number {
    return this.#wire.toPeer.lengthBytes;
  }

  /** Bytes that `write` would take. */
  get roomBytes(): number {
    const { failure, connClosed, toConn } = this.#wire;
    return failure !== null || connClosed || toConn.isFinished ? 0 : toConn.roomBytes;
  }

  /** Whether the other end has finished sending and everything was taken. */
  get isEnded(): boolean {
    const { toPeer, failure } = this.#wire;
    return failure === null && toPeer.isFinished && toPeer.lengthBytes === 0;
  }

  /** Whether the code under test has closed its end. */
  get isClosed(): boolean {
    return this.#wire.connClosed;
  }

  /** Why the connection broke; `null` while it has not. */
  get failure(): string | null {
    return this.#wire.failure;
  }

  /** Takes what has come, at most `most` bytes. */
  take(most = Infinity): Uint8Array<ArrayBuffer> {
    const { toPeer } = this.#wire;
    const bytes = new Uint8Array(Math.min(most, toPeer.lengthBytes));
    toPeer.pull(bytes);
    if (bytes.length > 0) this.#wire.onConn();
    return bytes;
  }

  /** Sends as many of the bytes as there is room for, and says how many. */
  write(bytes: Uint8Array): number {
    if (this.#wire.connClosed && bytes.length > 0) this.#wire.break("ECONNRESET");
    const count = Math.min(this.roomBytes, bytes.length);
    this.#wire.toConn.push(bytes.subarray(0, count));
    if (count > 0) this.#wire.onConn();
    return count;
  }

  /** Sends no more; it may still take. */
  finish(): void {
    this.#wire.toConn.isFinished = true;
    this.#wire.onConn();
  }

  /** Closes: in order, unless bytes were not taken; what comes later is answered with a reset. */
  close(): void {
    if (this.availableBytes > 0) return this.reset();
    this.#wire.peerClosed = true;
    this.finish();
  }

  /** Breaks the connection, as an RST would. */
  reset(code = "ECONNRESET"): void {
    this.#wire.peerClosed = true;
    this.#wire.break(code);
  }

  #tell(): void {
    if (this.#isTelling || this.onChange === null) return;
    this.#isTelling = true;
    this.#wire.clock.soon(() => {
      this.#isTelling = false;
      this.onChange?.();
    });
  }
}
