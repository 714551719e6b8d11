/**
 * An engine in virtual time, as far as the registry needs one: subjects, a way of some milliseconds,
 * and what may become of it. It can be lost, which its clients see at once, or held still, which they
 * do not see; what is said to one that stands still is heard when it goes on.
 *
 * @module
 */
import type { Msg, NatsConnection } from "@nats-io/nats-core";
import type { Engine, EngineState } from "../../lib/fleet/engine.ts";
import type { VirtualClock } from "../support/virtual_clock.ts";

type Take = (error: Error | null, message: Msg) => void;

const WAY_MS = 1;

/** The engine, which all clients have in common. */
export class FakeEngine {
  readonly clock: VirtualClock;
  readonly clients = new Set<FakeClient>();
  /** What was published, each with its time. */
  readonly said: { readonly subject: string; readonly atMs: number }[] = [];
  isLost = false;
  isStill = false;
  #waiting: (() => void)[] = [];

  constructor(clock: VirtualClock) {
    this.clock = clock;
  }

  /** Another client. */
  client(): FakeClient {
    const client = new FakeClient(this);
    this.clients.add(client);
    return client;
  }

  /** It is gone, or there again. */
  lose(isLost: boolean): void {
    this.isLost = isLost;
    for (const client of this.clients) client.look();
  }

  /** It stands still, or goes on. */
  still(isStill: boolean): void {
    this.isStill = isStill;
    if (isStill) return;
    for (const task of this.#waiting.splice(0)) this.soon(task);
  }

  /** Does something a moment later, or when it goes on. */
  soon(task: () => void): void {
    if (this.isStill) this.#waiting.push(task);
    else this.clock.after(WAY_MS, task);
  }

  publish(subject: string, data: Uint8Array): void {
    this.said.push({ subject, atMs: this.clock.now() });
    this.soon(() => {
      for (const client of this.clients) client.take(subject, data);
    });
  }
}

/** One client's connection. */
export class FakeClient implements Pick<Engine, "connection" | "onState"> {
  readonly #engine: FakeEngine;
  readonly #listeners = new Set<(state: EngineState) => void>();
  readonly #subscriptions = new Map<object, { pattern: RegExp; take: Take }>();
  /** Whether this one alone is cut off, which it sees at once. */
  isCut = false;
  /** Whether nothing reaches it, which it does not see. */
  isDeaf = false;

  constructor(engine: FakeEngine) {
    this.#engine = engine;
  }

  connection(): NatsConnection | null {
    return this.#engine.isLost || this.isCut ? null : this.#connection;
  }

  onState(listener: (state: EngineState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells of the state. */
  look(): void {
    const state = this.connection() === null ? "connecting" : "connected";
    for (const listener of this.#listeners) listener(state);
  }

  cut(isCut: boolean): void {
    this.isCut = isCut;
    this.look();
  }

  /** It is gone without a word. */
  vanish(): void {
    this.isDeaf = this.isCut = true;
    this.#engine.clients.delete(this);
  }

  take(subject: string, data: Uint8Array): void {
    if (this.isDeaf || this.connection() === null) return;
    for (const { pattern, take } of [...this.#subscriptions.values()]) {
      if (pattern.test(subject)) take(null, { subject, data } as Msg);
    }
  }

  readonly #connection = {
    publish: (subject: string, data: Uint8Array) => {
      if (!this.isDeaf) this.#engine.publish(subject, data);
    },
    flush: () =>
      new Promise<void>((resolve, reject) => {
        this.#engine.soon(() => {
          if (this.isDeaf) return;
          if (this.connection() === null) reject(new Error("lost"));
          else resolve();
        });
      }),
    subscribe: (subject: string, { callback }: { callback: Take }) => {
      const subscription = {
        isClosed: () => !this.#subscriptions.has(subscription),
        unsubscribe: () => void this.#subscriptions.delete(subscription),
      };
      const pattern = new RegExp(`^${subject.replaceAll(".", "\\.").replace("*", "[^.]+")}$`);
      this.#subscriptions.set(subscription, { pattern, take: callback });
      return subscription;
    },
  } as unknown as NatsConnection;
}
