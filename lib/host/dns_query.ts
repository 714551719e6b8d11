/**
 * One question on its way through the upstreams, over UDP or TCP, until one has answered or the
 * time is over.
 *
 * Over UDP the upstreams are asked in order, twice round; each is given its share of the time, in
 * the second round the double of the first, and an answer that comes after its share is still
 * taken. Over TCP each is asked once. An upstream that says that it could not answer (SERVFAIL,
 * REFUSED, NOTIMP, FORMERR) hands the question to those that have not answered; where all say so,
 * the first such answer is the answer. One with as many questions as it may have is passed over.
 *
 * @module
 */
import type { DnsQuestion } from "../dns/question.ts";
import { isFailure } from "../dns/match.ts";
import { rcodeOf } from "../dns/message.ts";
import type { HostSystem } from "./host_system.ts";
import type { Timer } from "./host_clock.ts";
import type { DnsSocketPool, PendingQuestion } from "./dns_socket_pool.ts";
import { askOverTcp } from "./dns_tcp.ts";
import type { Upstream, UpstreamList } from "./dns_upstream_list.ts";

/** Why a question has no answer. */
export type DnsFailure = "timeout" | "network" | "busy" | "closed";

/** The answer, under any id, or why there is none. */
export type DnsOutcome = Uint8Array | DnsFailure;

/** How a guest asks, and so how upstreams are asked. */
export type DnsTransport = "udp" | "tcp";

/** What a query works with. */
export interface QueryOptions {
  /** The question message. */
  message: Uint8Array;
  /** What it asks. */
  question: DnsQuestion;
  /** All upstreams. */
  list: UpstreamList;
  /** The machine. */
  system: HostSystem;
  /** Sockets for UDP. */
  pool: DnsSocketPool;
  /** After this the query ends. */
  timeoutMs: number;
  /** Most questions at one upstream. */
  inFlightPerUpstream: number;
  /** Called for each try that comes to nothing. */
  onTryFailed: () => void;
}

/** A question on its way. */
export interface Query {
  /** Settles once, and never rejects. */
  readonly outcome: Promise<DnsOutcome>;
  /** Ends the query now, with `closed` as its outcome. */
  close(): void;
}

/** Smallest share of the time that an upstream is given. */
const SHARE_MIN_MS = 200;

interface Try {
  readonly upstream: Upstream;
  readonly pending: PendingQuestion;
}

/** A question on its way over UDP. */
export class UdpQuery implements Query {
  readonly outcome: Promise<DnsOutcome>;
  readonly #options: QueryOptions;
  readonly #settle: (outcome: DnsOutcome) => void;
  readonly #plan: readonly Upstream[];
  readonly #tries = new Set<Try>();
  readonly #refusers = new Set<Upstream>();
  readonly #shareMs: number;
  readonly #deadlineTimer: Timer;
  #shareTimer: Timer | undefined;
  #next = 0;
  #latest: Try | null = null;
  #failure: DnsFailure = "network";
  #fallback: Uint8Array | null = null;
  #done = false;

  /** @param options What the query works with. */
  constructor(options: QueryOptions) {
    this.#options = options;
    const { promise, resolve } = Promise.withResolvers<DnsOutcome>();
    this.outcome = promise;
    this.#settle = resolve;
    const order = options.list.order();
    this.#plan = [...order, ...order];
    // One part for each upstream in the first round, two in the second.
    this.#shareMs = Math.max(SHARE_MIN_MS, options.timeoutMs / (3 * Math.max(1, order.length)));
    this.#deadlineTimer = options.system.setTimer(() => this.#onDeadline(), options.timeoutMs);
    this.#step();
  }

  close(): void {
    this.#fallback = null;
    this.#finish("closed");
  }

  /** Asks the next upstream that can be asked. */
  #step(): void {
    this.#options.system.clearTimer(this.#shareTimer);
    this.#latest = null;
    while (this.#next < this.#plan.length) {
      const round = this.#next < this.#plan.length / 2 ? 1 : 2;
      const upstream = this.#plan[this.#next++]!;
      if (this.#refusers.has(upstream)) continue;
      // A question that an upstream has not answered yet is counted there once.
      if (!this.#waitsFor(upstream) && upstream.inFlight >= this.#options.inFlightPerUpstream) {
        this.#failure = "busy";
        continue;
      }
      this.#latest = this.#try(upstream);
      if (this.#latest === null) continue;
      this.#shareTimer = this.#options.system.setTimer(
        () => this.#onShareOver(),
        round * this.#shareMs,
      );
      return;
    }
    if (this.#tries.size === 0) this.#finish(this.#failure);
  }

  #try(upstream: Upstream): Try | null {
    const { message, question, pool, list } = this.#options;
    try {
      const pending = pool.ask(message, question.end, upstream.address, {
        onAnswer: (answer) => this.#onAnswer(made, answer),
        onError: (error) => this.#onError(made, error),
      });
      const made: Try = { upstream, pending };
      if (!this.#waitsFor(upstream)) upstream.inFlight++;
      this.#tries.add(made);
      return made;
    } catch (error) {
      list.failed(upstream, `can't be asked: ${textOf(error)}`);
      this.#options.onTryFailed();
      return null;
    }
  }

  #onAnswer(from: Try, answer: Uint8Array): void {
    this.#drop(from);
    this.#options.list.answered(from.upstream);
    if (!isFailure(rcodeOf(answer))) return this.#finish(answer);
    this.#options.onTryFailed();
    this.#fallback ??= answer;
    this.#refusers.add(from.upstream);
    if (this.#plan.every((upstream) => this.#refusers.has(upstream))) {
      return this.#finish(this.#fallback);
    }
    if (this.#latest === from || this.#latest === null) this.#step();
  }

  #onError(from: Try, error: unknown): void {
    this.#drop(from);
    this.#options.list.failed(from.upstream, `can't be asked: ${textOf(error)}`);
    this.#options.onTryFailed();
    if (this.#latest === from || this.#latest === null) this.#step();
  }

  #onShareOver(): void {
    this.#noteSilence();
    this.#step();
  }

  #onDeadline(): void {
    this.#noteSilence();
    this.#finish("timeout");
  }

  #noteSilence(): void {
    if (this.#latest === null) return;
    this.#options.list.failed(this.#latest.upstream, "no answer");
    this.#options.onTryFailed();
  }

  #waitsFor(upstream: Upstream): boolean {
    for (const one of this.#tries) if (one.upstream === upstream) return true;
    return false;
  }

  #drop(one: Try): void {
    this.#tries.delete(one);
    if (!this.#waitsFor(one.upstream)) one.upstream.inFlight--;
  }

  #finish(outcome: DnsOutcome): void {
    if (this.#done) return;
    this.#done = true;
    this.#options.system.clearTimer(this.#deadlineTimer);
    this.#options.system.clearTimer(this.#shareTimer);
    for (const one of this.#tries) {
      one.pending.cancel();
      this.#drop(one);
    }
    this.#settle(typeof outcome === "string" ? this.#fallback ?? outcome : outcome);
  }
}

/** A question on its way over TCP. */
export class TcpQuery implements Query {
  readonly outcome: Promise<DnsOutcome>;
  readonly #options: QueryOptions;
  readonly #stop = new AbortController();

  /** @param options What the query works with. */
  constructor(options: QueryOptions) {
    this.#options = options;
    this.outcome = this.#run();
  }

  close(): void {
    this.#stop.abort();
  }

  async #run(): Promise<DnsOutcome> {
    const { list, inFlightPerUpstream, timeoutMs } = this.#options;
    const order = list.order();
    let failure: DnsFailure = "network";
    let fallback: Uint8Array | null = null;
    for (const upstream of order) {
      if (upstream.inFlight >= inFlightPerUpstream) {
        failure = "busy";
        continue;
      }
      const outcome = await this.#ask(upstream, timeoutMs / order.length);
      if (this.#stop.signal.aborted) return "closed";
      if (typeof outcome === "string") {
        failure = outcome;
        list.failed(upstream, outcome === "timeout" ? "no answer" : "no answer over TCP");
      } else {
        list.answered(upstream);
        if (!isFailure(rcodeOf(outcome))) return outcome;
        fallback ??= outcome;
      }
      this.#options.onTryFailed();
    }
    return fallback ?? failure;
  }

  async #ask(upstream: Upstream, timeoutMs: number): Promise<Uint8Array | "timeout" | "network"> {
    const { message, question, system } = this.#options;
    upstream.inFlight++;
    try {
      return await askOverTcp({
        system,
        message,
        questionEnd: question.end,
        upstream: upstream.address,
        timeoutMs,
        signal: this.#stop.signal,
      });
    } finally {
      upstream.inFlight--;
    }
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
