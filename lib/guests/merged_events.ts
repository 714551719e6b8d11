/**
 * The events of several guests as one stream: of each guest one event at most is held here, the others
 * wait in its own bounded queue, and guests that have something take turns.
 *
 * @module
 */
import type { EventStream, GatewayEvent } from "../host/gateway_event.ts";

type Step = IteratorResult<GatewayEvent, undefined>;

const END: Step = Object.freeze({ done: true, value: undefined });

/** Events by the guests' names, as one stream. */
export class MergedEvents implements EventStream {
  readonly #streams: ReadonlyMap<string, EventStream>;
  /** Streams that are asked for nothing: their last event was handed over. */
  readonly #idle: Set<string>;
  /** Events that are there, the earliest first. */
  readonly #ready: { readonly name: string; readonly event: GatewayEvent }[] = [];
  /** Streams that have not ended. */
  #open: number;
  #failure: { readonly error: unknown } | null = null;
  #wake: (() => void) | null = null;

  /** Begins with streams that listen already. */
  constructor(streams: ReadonlyMap<string, EventStream>) {
    this.#streams = streams;
    this.#idle = new Set(streams.keys());
    this.#open = streams.size;
  }

  /** How many events this reader has lost so far. */
  get dropped(): number {
    return [...this.#streams.values()].reduce((sum, { dropped }) => sum + dropped, 0);
  }

  /** The next event of any guest. One call at a time. */
  async next(): Promise<Step> {
    for (;;) {
      for (const name of this.#idle) void this.#ask(name);
      const first = this.#ready.shift();
      if (first !== undefined) {
        this.#idle.add(first.name);
        return { done: false, value: { ...first.event, guest: first.name } };
      }
      if (this.#failure !== null) throw this.#failure.error;
      if (this.#open === 0) return END;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Leaves all of them. */
  async return(): Promise<Step> {
    await Promise.all([...this.#streams.values()].map((stream) => stream.return!()));
    return END;
  }

  /** Itself. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  async #ask(name: string): Promise<void> {
    this.#idle.delete(name);
    try {
      const { done, value } = await this.#streams.get(name)!.next();
      if (done) this.#open--;
      else this.#ready.push({ name, event: value });
    } catch (error) {
      this.#failure ??= { error };
    }
    this.#wake?.();
    this.#wake = null;
  }
}
