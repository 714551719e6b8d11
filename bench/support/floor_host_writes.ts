/**
 * The bytes of a guest's stream on their way to the host: from a ring into the socket, in the
 * gateway's order. One write is under way; a transfer's small piece waits for one more look at the
 * link.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type { FloorRing } from "./floor_wire.ts";

/** As `lib/host/tcp_relay.ts` has them: what a transfer is, and what it writes without waiting. */
const TRANSFER_BYTES = 8 * 1024;
const WRITE_BYTES = 64 * 1024;
const nothing = () => {};

/** Writes what a ring has. */
export class HostWrites {
  readonly #host: Deno.TcpConn;
  readonly #ring: FloorRing;
  readonly #onWritten: () => void;
  #isWriting = false;
  #isHeld = false;
  #ended = false;
  #meanWriteBytes = 0;
  readonly #onLooked = (): void => {
    this.#isHeld = false;
    this.#write();
  };
  readonly #onCount = (count: number): void => {
    this.#isWriting = false;
    this.#ring.consume(count);
    this.#write();
    this.#onWritten();
  };
  readonly #onFailed: (error: unknown) => void;

  /** `onWritten` is called when a write has ended and the next one is under way, if there is one. */
  constructor(
    host: Deno.TcpConn,
    ring: FloorRing,
    onWritten: () => void,
    onFailed: (error: unknown) => void = nothing,
  ) {
    this.#host = host;
    this.#ring = ring;
    this.#onWritten = onWritten;
    this.#onFailed = (error) => {
      this.#isWriting = false;
      onFailed(error);
    };
  }

  /** Whether a write works on the ring. */
  get isWriting(): boolean {
    return this.#isWriting;
  }

  /** Begins no other write. */
  end(): void {
    this.#ended = true;
  }

  /** What has come brings a write, or waits for one more look at the link. */
  pump(): void {
    const { lengthBytes } = this.#ring;
    if (this.#isWriting || lengthBytes === 0) return;
    if (this.#meanWriteBytes < TRANSFER_BYTES || lengthBytes >= WRITE_BYTES) return this.#write();
    if (this.#isHeld) return;
    this.#isHeld = true;
    setImmediate(this.#onLooked);
  }

  #write(): void {
    if (this.#isWriting || this.#ended || this.#ring.lengthBytes === 0) return;
    const { content } = this.#ring;
    this.#meanWriteBytes += (Math.min(content.length, WRITE_BYTES) - this.#meanWriteBytes) / 4;
    this.#isWriting = true;
    this.#host.write(content).then(this.#onCount, this.#onFailed);
  }
}
