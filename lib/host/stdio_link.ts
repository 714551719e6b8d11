/**
 * A VMM at standard input and output, as inetd, ssh or a shell's pipes start a gateway: the frame
 * stream comes in at the one and goes out at the other. There is one guest; when its stream has
 * ended, so has the gateway's work.
 *
 * Neither operation of a pipe can be cut short, so each has a buffer of its own, and is left alone
 * where the guest has ended.
 *
 * @module
 */
import { closeQuietly } from "./close_quietly.ts";
import type { FrameTransport } from "./frame_transport.ts";

/** The two ends, as `Deno.stdin` and `Deno.stdout` are. */
export interface StdioPair {
  readonly input: { read(into: Uint8Array): Promise<number | null>; close(): void };
  readonly output: { write(bytes: Uint8Array): Promise<number>; close(): void };
}

const READ_BYTES = 256 * 1024;
const WRITE_BYTES = 256 * 1024;

/** One guest on two pipes. */
export class StdioLink {
  readonly #pair: StdioPair;
  readonly #over = Promise.withResolvers<null>();
  readonly #buffer = new Uint8Array(READ_BYTES);
  #taken = false;
  #closed = false;
  /** What the end of the guest makes come back. */
  #cancelRead = () => {};
  #cancelWrite = () => {};

  constructor(pair: StdioPair) {
    this.#pair = pair;
  }

  /** The guest, once; then `null`, when it has left or the link is closed. */
  accept(): Promise<FrameTransport | null> {
    if (this.#taken) return this.#over.promise;
    this.#taken = true;
    return Promise.resolve({
      read: (into) => this.#read(into),
      write: (bytes) => this.#write(bytes),
      close: () => this.#end(),
    });
  }

  /** Takes no guest any more; one that is there may end in order. */
  close(): void {
    this.#over.resolve(null);
    if (!this.#taken) this.#end();
  }

  #end(): void {
    this.#taken = true;
    this.#closed = true;
    this.#over.resolve(null);
    this.#cancelRead();
    this.#cancelWrite();
    closeQuietly(this.#pair.input);
    closeQuietly(this.#pair.output);
  }

  async #read(into: Uint8Array): Promise<number | null> {
    if (this.#closed) return null;
    const room = this.#buffer.subarray(0, into.length);
    const count = await new Promise<number | null>((resolve, reject) => {
      this.#cancelRead = () => resolve(null);
      this.#pair.input.read(room).then(resolve, reject);
    });
    if (count === null || this.#closed) return null;
    into.set(room.subarray(0, count));
    return count;
  }

  async #write(bytes: Uint8Array): Promise<number> {
    if (this.#closed) throw new Error("the pipe is closed");
    // A copy: a write that nobody reads goes on when what was here may be another guest's.
    const own = bytes.slice(0, WRITE_BYTES);
    return await new Promise<number>((resolve, reject) => {
      this.#cancelWrite = () => reject(new Error("the pipe is closed"));
      this.#pair.output.write(own).then(resolve, reject);
    });
  }
}
