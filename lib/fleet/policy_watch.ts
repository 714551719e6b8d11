/**
 * Has the documents of a fleet's policy read whenever they may have changed: when the engine is
 * connected, and again each time that it comes back; when a change is published; and every few
 * seconds, whatever was heard, since a bucket can be restored, purged, or made anew with nothing said.
 *
 *     published ─┐
 *     connected ─┼─▶ read the bucket ─▶ the same as before: nothing
 *     5 s       ─┘                  └▶ not the same: all of it is handed over
 *
 * What is published is only a sign. It may come before the leader has stored the change, so the bucket
 * is looked at a few times more behind it. No gap is trusted, and no number has to grow: what differs
 * counts.
 *
 * @module
 */
import type { NatsConnection, Subscription } from "@nats-io/nats-core";
import { pause, systemClock } from "../host/host_clock.ts";
import type { Engine } from "./engine.ts";
import type { BucketState, PolicyBucket } from "./policy_bucket.ts";

/** Who is told what the bucket is. */
export interface WatchHandlers {
  /**
   * It is something else than before; the next one waits until the promise has settled.
   *
   * @returns Whether that is done with; else it is read again, and handed over, in a moment.
   */
  onState(state: BucketState): Promise<boolean>;
  /** It was read, and may be what it was. */
  onRead(): void;
  /** It could not be read. */
  onFault(error: Error): void;
}

/** Between two looks where nothing is heard, and how much more at random. */
const LOOK_MS = 5_000;
const LOOK_JITTER_MS = 1_000;
/** When it is looked at again behind a sign. */
const SIGN_MS: readonly number[] = [20, 50, 100, 200, 400, 800];
/**
 * Behind a sign there may come more: all of them together are one reason to read. They are gathered for
 * longer where they come on and on and nothing has changed: somebody else than the bucket has made them.
 */
const GATHER_MS = 10;
const GATHER_MAX_MS = 640;
/** Where it could not be read. */
const FAULT_MS = 500;

/** Watches a bucket until it is closed. */
export class PolicyWatch {
  /** Resolves when it has ended. */
  readonly finished: Promise<void>;
  readonly #engine: Engine;
  readonly #bucket: PolicyBucket;
  readonly #handlers: WatchHandlers;
  readonly #stop = new AbortController();
  readonly #subscriptions: Subscription[] = [];
  #heard: NatsConnection | null = null;
  #known: string | null = null;
  /** Looks that are still due behind the last sign. */
  #looks = 0;
  #isSigned = false;
  #gatherMs = GATHER_MS;
  #wake = (): void => {};

  /** Begins at once. */
  constructor(engine: Engine, bucket: PolicyBucket, handlers: WatchHandlers) {
    this.#engine = engine;
    this.#bucket = bucket;
    this.#handlers = handlers;
    this.finished = this.#run();
  }

  /** Ends it; what is being handed over is waited for. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake();
    await this.finished;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const endListening = this.#engine.onState((state) => {
      if (state === "connected") this.#sign();
    });
    while (!signal.aborted) {
      const connection = await this.#engine.whenConnected(signal).catch(() => null);
      if (connection === null) break;
      this.#listen(connection);
      const isRead = await this.#gatherAndRead(connection);
      await this.#pause(isRead ? this.#nextMs() : FAULT_MS);
    }
    endListening();
    this.#listen(null);
  }

  async #gatherAndRead(connection: NatsConnection): Promise<boolean> {
    const wasSigned = this.#isSigned;
    if (wasSigned) await pause(systemClock, this.#gatherMs, this.#stop.signal);
    this.#isSigned = false;
    const before = this.#known;
    const isRead = await this.#read(connection);
    const isVain = wasSigned && this.#known === before;
    this.#gatherMs = isVain ? Math.min(2 * this.#gatherMs, GATHER_MAX_MS) : GATHER_MS;
    return isRead;
  }

  async #read(connection: NatsConnection): Promise<boolean> {
    const known = this.#known;
    this.#known = null; // whatever is not taken to the end is read again
    try {
      const state = await this.#bucket.read(connection, known);
      if (this.#stop.signal.aborted) return true;
      this.#handlers.onRead();
      if (state !== null && !await this.#handlers.onState(state)) return false;
      this.#known = state === null ? known : "id" in state ? state.id : null;
      return true;
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#handlers.onFault(error as Error);
      return false;
    }
  }

  #nextMs(): number {
    if (this.#looks > 0) return SIGN_MS[SIGN_MS.length - this.#looks--]!;
    return LOOK_MS + Math.random() * LOOK_JITTER_MS;
  }

  #sign(): void {
    this.#looks = SIGN_MS.length;
    this.#isSigned = true;
    this.#wake();
  }

  /** Until a sign, or for so long. */
  #pause(ms: number): Promise<void> {
    if (this.#isSigned || this.#stop.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Listens for signs on a connection; one that is the same as before has its subscriptions. */
  #listen(connection: NatsConnection | null): void {
    if (connection === this.#heard) return;
    for (const subscription of this.#subscriptions.splice(0)) {
      try {
        subscription.unsubscribe();
      } catch {
        // Its connection is over.
      }
    }
    this.#heard = connection;
    if (connection === null) return;
    for (const subject of this.#bucket.subjects) {
      // Where that is not permitted, changes are found by looking.
      const callback = (error: Error | null): void => {
        if (error === null) this.#sign();
      };
      try {
        this.#subscriptions.push(connection.subscribe(subject, { callback }));
      } catch {
        this.#heard = null; // the connection has ended just now
      }
    }
  }
}
