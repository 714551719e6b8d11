/**
 * Questions to upstreams over TLS: one connection for each upstream, opened when it is needed
 * and kept while it is used; one that has to be replaced ends beside the new one.
 *
 * Questions with EDNS are padded. Where a peer closes a connection that has served before, as it
 * may at any time, what was in it is asked once more over another one; any other end is a failure
 * of that upstream. One that ends connections without an answer is left alone for a while after
 * {@linkcode FRUITLESS_MAX} of them, as handshakes are dear on both sides.
 *
 * @module
 */
import { padQuestion, unpadAnswer } from "../dns/padding.ts";
import type { Asked, Attempt, AttemptOwner, Channel } from "./dns_attempt.ts";
import { TlsConnection, type TlsEnd, type TlsQuestion } from "./dns_tls_connection.ts";
import type { Upstream } from "./dns_upstream_list.ts";
import type { HostSystem } from "./host_system.ts";

/** Connections in a row without one answer, before there is a pause. */
export const FRUITLESS_MAX = 2;

/** How long an upstream is left alone then. */
export const PAUSE_MS = 1_000;

/** What the channel works with. */
export interface TlsChannelOptions {
  /** The machine. */
  readonly system: HostSystem;
  /** Longest time until a connection is open. */
  readonly openingMs: number;
  /** Called for each answer to nothing that was asked. */
  readonly onUnmatched: () => void;
}

/** Asks over TLS. */
export class TlsChannel implements Channel {
  readonly #options: TlsChannelOptions;
  readonly #peers = new Map<Upstream, Peer>();

  /** @param options What the channel works with. */
  constructor(options: TlsChannelOptions) {
    this.#options = options;
  }

  /** How many connections there are. */
  get openConnections(): number {
    let sum = 0;
    for (const peer of this.#peers.values()) sum += peer.connections.size;
    return sum;
  }

  ask(asked: Asked, upstream: Upstream, owner: AttemptOwner): Attempt {
    let peer = this.#peers.get(upstream);
    if (peer === undefined) this.#peers.set(upstream, peer = new Peer(upstream, this.#options));
    const attempt = new TlsAttempt(asked, upstream, peer, owner);
    attempt.send();
    return attempt;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#peers.values()].map((peer) => peer.close()));
  }
}

/** The connections to one upstream. */
class Peer {
  readonly connections = new Set<TlsConnection>();
  readonly #upstream: Upstream;
  readonly #options: TlsChannelOptions;
  readonly #settling = new Set<Promise<void>>();
  #current: TlsConnection | null = null;
  #fruitless = 0;
  #pausedUntilMs = -Infinity;

  constructor(upstream: Upstream, options: TlsChannelOptions) {
    this.#upstream = upstream;
    this.#options = options;
  }

  /** The connection for another question. */
  connection(): TlsConnection {
    const nowMs = this.#options.system.now();
    if (this.#current !== null) {
      if (this.#current.isUsable(nowMs)) return this.#current;
      this.#current.retire();
    }
    if (nowMs < this.#pausedUntilMs) throw new Error("its connections end without an answer");
    return this.#current = this.#connect();
  }

  async close(): Promise<void> {
    for (const connection of this.connections) connection.end("the gateway closes");
    await Promise.all(this.#settling);
  }

  #connect(): TlsConnection {
    const { place } = this.#upstream;
    if (place.kind !== "tls") throw new TypeError(`${this.#upstream.name} is not asked over TLS`);
    const connection = new TlsConnection({
      ...this.#options,
      place,
      onEnded: (ended) => this.#onEnded(ended),
    });
    this.connections.add(connection);
    this.#settling.add(connection.settled);
    connection.settled.then(() => this.#settling.delete(connection.settled));
    return connection;
  }

  #onEnded(connection: TlsConnection): void {
    this.connections.delete(connection);
    if (this.#current === connection) this.#current = null;
    this.#fruitless = connection.answered > 0 ? 0 : this.#fruitless + 1;
    if (this.#fruitless < FRUITLESS_MAX) return;
    this.#fruitless = 0;
    this.#pausedUntilMs = this.#options.system.now() + PAUSE_MS;
  }
}

class TlsAttempt implements Attempt, TlsQuestion {
  readonly upstream: Upstream;
  readonly mayLinger = true;
  readonly message: Uint8Array;
  readonly questionEnd: number;
  readonly #isPadded: boolean;
  readonly #peer: Peer;
  readonly #owner: AttemptOwner;
  #takeBack: (() => void) | null = null;
  #isSecond = false;

  constructor(asked: Asked, upstream: Upstream, peer: Peer, owner: AttemptOwner) {
    this.upstream = upstream;
    this.message = padQuestion(asked.message);
    this.#isPadded = this.message !== asked.message;
    this.questionEnd = asked.question.end;
    this.#peer = peer;
    this.#owner = owner;
  }

  /** Puts it into a connection. */
  send(): void {
    this.#takeBack = this.#peer.connection().ask(this);
  }

  cancel(): void {
    this.#takeBack?.();
    this.#takeBack = null;
  }

  onAnswer(answer: Uint8Array): void {
    this.#owner.onAnswer(this, this.#isPadded ? unpadAnswer(answer) : answer);
  }

  onEnd({ reason, isDistrusted, wasServed }: TlsEnd): void {
    if (wasServed && !this.#isSecond) {
      this.#isSecond = true;
      try {
        return this.send();
      } catch {
        // what is to be told is how the first one ended
      }
    }
    this.#owner.onFailed(this, reason, isDistrusted);
  }
}
