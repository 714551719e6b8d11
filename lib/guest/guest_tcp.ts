/**
 * A TCP connection of the guest for programs: promises over the rings of a `TcpConnection`.
 *
 * One reader and one writer at a time. `finish` closes our direction after what was written, the
 * other one stays open. `close` is what a kernel does for a program that closes its socket: the end
 * after what was written, and an RST where bytes were not read or still come. `abort` is the RST at
 * once.
 * Bytes are copied once on each way: the rings never leave the stack.
 *
 * @module
 */
import type { TcpConnection } from "../stack/tcp/connection.ts";
import { TcpEvent, type TcpOwner, TcpState } from "../stack/tcp/state.ts";
import type { FrameMemory } from "../wire/memory.ts";
import { GuestError, type GuestErrorCode } from "./guest_error.ts";

/** A pending call. */
interface Pending {
  readonly resolve: () => void;
  readonly reject: (error: GuestError) => void;
}

/** A TCP connection of the guest. */
export class GuestTcp implements TcpOwner, Disposable {
  /** Resolves once the handshake is complete. */
  readonly opened: Promise<void>;
  readonly #connection: TcpConnection;
  readonly #memory: FrameMemory;
  readonly #wake: () => void;
  readonly #name: string;
  #opening: Pending | null = null;
  #reading: Pending | null = null;
  #writing: Pending | null = null;
  #failure: GuestErrorCode | null = null;
  /** Whether nobody reads any more. */
  #abandoned = false;

  /** `wake` asks for a turn of the stack; `name` is for messages. */
  constructor(connection: TcpConnection, memory: FrameMemory, wake: () => void, name: string) {
    this.#connection = connection;
    this.#memory = memory;
    this.#wake = wake;
    this.#name = name;
    connection.owner = this;
    this.opened = new Promise((resolve, reject) => this.#opening = { resolve, reject });
    this.opened.catch(() => {}); // whoever cares awaits it
  }

  /** Whether the connection is over, for whatever reason. */
  get isClosed(): boolean {
    return this.#connection.state === TcpState.closed;
  }

  /** Whether a connection that is closed went through both ends first. */
  get #endedInOrder(): boolean {
    const { closeReason } = this.#connection;
    return closeReason === "finished" || closeReason === "evicted";
  }

  /** The connection underneath. */
  get connection(): TcpConnection {
    return this.#connection;
  }

  /**
   * Reads what is there, at least one byte.
   *
   * @returns How many bytes; `null` at the peer's end.
   * @throws {GuestError} Where the connection broke.
   */
  async read(into: Uint8Array): Promise<number | null> {
    for (;;) {
      const connection = this.#connection;
      if (this.#abandoned) throw this.#error("read from");
      const available = connection.receiveSpan();
      if (available > 0) {
        const bytes = Math.min(available, into.length);
        const at = connection.receiver.ring.readSpanAt;
        into.set(this.#memory.bytes.subarray(at, at + bytes));
        connection.consume(bytes);
        this.#wake();
        return bytes;
      }
      // After a reset the peer's end is no end: bytes in front of it may be gone.
      if (this.isClosed && !this.#endedInOrder) throw this.#error("read from");
      if (connection.guestFinished) return null;
      if (this.isClosed) throw this.#error("read from");
      await new Promise<void>((resolve, reject) => this.#reading = { resolve, reject });
    }
  }

  /** Reads to the peer's end; fails where that is beyond `limitBytes`. */
  async readAll(limitBytes = 64 * 1024 * 1024): Promise<Uint8Array<ArrayBuffer>> {
    let all = new Uint8Array(16 * 1024);
    let length = 0;
    for (;;) {
      if (length === all.length) {
        const larger = new Uint8Array(2 * all.length);
        larger.set(all);
        all = larger;
      }
      const count = await this.read(all.subarray(length));
      if (count === null) return all.slice(0, length);
      length += count;
      if (length > limitBytes) {
        throw new GuestError("unavailable", `Cannot read more than ${limitBytes} bytes at once`);
      }
    }
  }

  /**
   * Writes all of `data`: resolves when it is in the send buffer.
   *
   * @throws {GuestError} Where the connection broke or is finished.
   */
  async write(data: Uint8Array): Promise<void> {
    for (let done = 0; done < data.length;) {
      const connection = this.#connection;
      if (this.isClosed || connection.sender.finishing) throw this.#error("write to");
      const bytes = Math.min(connection.sendSpan(), data.length - done);
      if (bytes === 0) {
        await new Promise<void>((resolve, reject) => this.#writing = { resolve, reject });
        continue;
      }
      const at = connection.sender.ring.writeSpanAt;
      this.#memory.bytes.set(data.subarray(done, done + bytes), at);
      connection.commitSend(bytes);
      done += bytes;
      this.#wake();
    }
  }

  /** Sends our end after what was written; reading goes on. */
  finish(): void {
    this.#connection.finish();
    this.#wake();
  }

  /** Ends the connection: in order, unless the peer sends what nobody will read. */
  close(): void {
    const connection = this.#connection;
    const isOpen = connection.state !== TcpState.synSent && connection.receiveSpan() === 0;
    if (!isOpen) return this.abort();
    connection.finish();
    this.#abandoned = true;
    this.#settle(this.#error("use"));
    this.#wake();
  }

  /** Ends the connection with an RST. */
  abort(): void {
    this.#connection.abort();
    this.#connection.receiver.release();
    this.#settle(this.#error("use"));
    this.#wake();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  onTcpEvents(connection: TcpConnection, events: number): void {
    if ((events & TcpEvent.established) !== 0) {
      this.#opening?.resolve();
      this.#opening = null;
    }
    if ((events & TcpEvent.closed) !== 0) {
      if (!this.#endedInOrder) connection.receiver.release();
      this.#settle(connection.closeReason === "finished" ? null : this.#error("use"));
      return;
    }
    if (this.#abandoned && connection.receiveSpan() > 0) return this.abort();
    if ((events & TcpEvent.readable) !== 0) {
      this.#reading?.resolve();
      this.#reading = null;
    }
    if ((events & TcpEvent.writable) !== 0) {
      this.#writing?.resolve();
      this.#writing = null;
    }
  }

  /** ICMP says why the SYN gets no answer: no use in waiting. */
  fail(code: GuestErrorCode): void {
    if (this.#connection.state !== TcpState.synSent) return;
    this.#failure = code;
    this.#connection.abort("refused");
  }

  /** Wakes every pending call; an orderly end lets each find out for itself. */
  #settle(error: GuestError | null): void {
    for (const pending of [this.#opening, this.#reading, this.#writing]) {
      if (error === null) pending?.resolve();
      else pending?.reject(error);
    }
    this.#opening = null;
    this.#reading = null;
    this.#writing = null;
  }

  #error(doing: string): GuestError {
    const { closeReason, sender } = this.#connection;
    const code: GuestErrorCode = this.#failure ?? (
      !this.isClosed || closeReason === "finished" || closeReason === "aborted"
        ? "closed"
        : closeReason === "evicted"
        ? "unavailable"
        : closeReason
    );
    const why = code === "closed" && sender.finishing ? "it was finished" : code;
    return new GuestError(code, `Cannot ${doing} the connection ${this.#name}: ${why}`);
  }
}
