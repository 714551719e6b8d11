/**
 * A VMM at standard input and output, as inetd, ssh or a shell's pipes start a gateway: the frame
 * stream comes in at the one and goes out at the other. There is one guest; when its stream has
 * ended, so has the gateway's work.
 *
 * A read of standard input can't be cut short, so it goes into a buffer of its own.
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

/** One guest on two pipes. */
export class StdioLink {
  readonly #pair: StdioPair;
  readonly #over = Promise.withResolvers<null>();
  readonly #buffer = new Uint8Array(READ_BYTES);
  #taken = false;

  constructor(pair: StdioPair) {
    this.#pair = pair;
  }

  /** The guest, once; then `null`, when it has left or the link is closed. */
  accept(): Promise<FrameTransport | null> {
    if (this.#taken) return this.#over.promise;
    this.#taken = true;
    const { output } = this.#pair;
    return Promise.resolve({
      read: (into) => this.#read(into),
      write: (bytes) => output.write(bytes),
      close: () => this.close(),
    });
  }

  close(): void {
    this.#taken = true;
    this.#over.resolve(null);
    closeQuietly(this.#pair.input);
    closeQuietly(this.#pair.output);
  }

  async #read(into: Uint8Array): Promise<number | null> {
    const room = this.#buffer.subarray(0, into.length);
    const count = await Promise.race([this.#pair.input.read(room), this.#over.promise]);
    if (count !== null) into.set(room.subarray(0, count));
    return count;
  }
}
