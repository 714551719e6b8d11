/**
 * The events of a guest in a worker, for one reader: those of one worker after another, each from the
 * moment on when it serves the guest.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import type { EventStream, GatewayEvent } from "../host/gateway_event.ts";
import type { WorkerStream } from "./guest_worker.ts";

const END = { done: true, value: undefined } as const;

/** A reader's events. One `next` at a time. */
export class GuestEvents implements EventStream {
  /** How many events this reader has lost so far. */
  dropped = 0;
  readonly #onEnd: () => void;
  #stream: WorkerStream | null = null;
  #isOver = false;
  /** Whether the reader has been told of a guest that is attached. */
  #isAttached = false;
  /** Resolves when there is another stream, or an end. */
  #change = Promise.withResolvers<void>();

  /** `onEnd` hears that nothing more is to be had. */
  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  /** Goes on with this stream. */
  goOn(stream: WorkerStream): void {
    if (this.#isOver) return stream.leave();
    this.#stream = stream;
    this.#changed();
  }

  /** The guest is served no more, or nobody reads. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stream?.leave();
    this.#onEnd();
    this.#changed();
  }

  /** The next event, once there is one. */
  async next(): Promise<IteratorResult<GatewayEvent, undefined>> {
    while (!this.#isOver) {
      const stream = this.#stream;
      if (stream === null) {
        await this.#change.promise;
        continue;
      }
      try {
        const event = await stream.next() as GatewayEvent | null;
        if (event !== null) return { done: false, value: this.#seen(event) };
        if (this.#stream === stream) this.end(); // in order, and for good
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error;
        if (this.#stream === stream) this.#stream = null; // its worker has failed
        if (!this.#isAttached) continue;
        const reason = "its worker failed";
        return {
          done: false,
          value: this.#seen({ type: "guest-left", timeMs: Date.now(), reason }),
        };
      }
    }
    return END;
  }

  /** Leaves it. */
  return(): Promise<IteratorResult<GatewayEvent, undefined>> {
    this.end();
    return Promise.resolve(END);
  }

  /** Itself. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  #seen(event: GatewayEvent): GatewayEvent {
    if (event.type === "guest-attached") this.#isAttached = true;
    if (event.type === "guest-left") this.#isAttached = false;
    if (event.type === "events-lost") this.dropped += event.count;
    return event;
  }

  #changed(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}
