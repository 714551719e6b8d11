/**
 * One question on its way through the upstreams until one has answered or the time is over.
 *
 *     upstreams in order:   A ──── B ── C        first round, one share of the time each
 *                           A ──────── B ────…   second round, the double (over UDP only)
 *
 * An upstream is asked its own way: plain ones over what the guest asked over, encrypted ones over
 * theirs. So a question leaves in the clear only where the list names a plain upstream. What the
 * guest asked over UDP goes round twice, as a datagram may be lost and a connection may be dead
 * without a word; what it asked over TCP goes round once. An answer that comes after its
 * upstream's share is still taken, except from a connection that would be held for it alone.
 *
 * An upstream that says that it could not answer (SERVFAIL, REFUSED, NOTIMP, FORMERR) hands the
 * question to those that have not answered; where all say so, the first such answer is the answer.
 * One with as many questions as it may have is passed over. Guests that ask the same meanwhile are
 * told the same.
 *
 * @module
 */
import { assert } from "@std/assert";
import type { TraceSpan } from "../config/tracer.ts";
import { isFailure } from "../dns/match.ts";
import { rcodeOf, setId } from "../dns/message.ts";
import type { DnsQuestion } from "../dns/question.ts";
import type { WheelEntry } from "../stack/timing_wheel.ts";
import {
  type Asked,
  type Attempt,
  type AttemptOwner,
  type Channel,
  textOf,
} from "./dns_attempt.ts";
import type { Shareable } from "./dns_shares.ts";
import { QueryTrace } from "./dns_trace.ts";
import type { Upstream, UpstreamList } from "./dns_upstream_list.ts";

/** Why a question has no answer. */
export type DnsFailure = "timeout" | "network" | "busy" | "closed";

/** The answer, or why there is none; `recalled` where it is to be judged again. */
export type DnsOutcome = Uint8Array | DnsFailure | "recalled";

/** How a guest asks. */
export type DnsTransport = "udp" | "tcp";

/** What queries work with; one for all of them. */
export interface QueryHost {
  /** After this a query ends. */
  readonly timeoutMs: number;
  /** Most questions at one upstream. */
  readonly inFlightPerUpstream: number;
  /** The clock, in milliseconds. */
  now(): number;
  /** How an upstream is asked. */
  channelTo(upstream: Upstream, isTcp: boolean): Channel;
  /** Has `onDue` called at a time, instead of any other. */
  schedule(query: DnsQuery, atMs: number): void;
  /** Called for each try that comes to nothing. */
  onTryFailed(): void;
  /** Called once, before anybody is told how the query ended. */
  onEnded(query: DnsQuery, askers: number): void;
}

/** What a query is made from. */
export interface QueryOptions {
  /** The question message; it is the query's until it has ended. */
  readonly message: Uint8Array;
  /** What it asks. */
  readonly question: DnsQuestion;
  /** Whether the guest asked over TCP. */
  readonly isTcp: boolean;
  /** Whom to ask. */
  readonly list: UpstreamList;
  /** What the question is traced by; `null` or absent where it is not. */
  readonly span?: TraceSpan | null;
}

/** Smallest share of the time that an upstream is given. */
const SHARE_MIN_MS = 200;

/** Someone who waits for the outcome. */
interface Asker {
  readonly id: number;
  readonly resolve: (outcome: DnsOutcome) => void;
}

/** A question on its way. */
export class DnsQuery implements Asked, AttemptOwner, Shareable, WheelEntry {
  readonly message: Uint8Array;
  readonly question: DnsQuestion;
  nowMs: number;
  readonly isTcp: boolean;
  // What the tables that hold it keep in it.
  shareHash = 0;
  shareNext: this | null = null;
  deadlineMs = 0;
  wheelSlot = -1;
  wheelPrevious: WheelEntry | null = null;
  wheelNext: WheelEntry | null = null;

  readonly #host: QueryHost;
  readonly #list: UpstreamList;
  readonly #order: readonly Upstream[];
  readonly #shareMs: number;
  readonly #endMs: number;
  readonly #trace: QueryTrace | null;
  readonly #askers: Asker[] = [];
  /** At upstreams that may still answer. */
  readonly #attempts: Attempt[] = [];
  /** Those that said that they could not answer; made where one does. */
  #refusers: Upstream[] | null = null;
  /** How many upstreams had their turn, in all rounds. */
  #turns = 0;
  /** Whose share of the time it is. */
  #latest: Attempt | null = null;
  #failure: DnsFailure = "network";
  #fallback: Uint8Array | null = null;
  #done = false;

  /**
   * @param options What is asked, and whom.
   * @param host What queries work with.
   */
  constructor({ message, question, isTcp, list, span = null }: QueryOptions, host: QueryHost) {
    this.message = message;
    this.question = question;
    this.isTcp = isTcp;
    this.#host = host;
    this.#list = list;
    this.#trace = span === null ? null : new QueryTrace(span);
    this.nowMs = host.now();
    this.#order = list.order(this.nowMs);
    // Of all parts one for each upstream in the first round, two in the second.
    const parts = this.#order.length * (isTcp ? 1 : 3);
    this.#shareMs = Math.max(SHARE_MIN_MS, host.timeoutMs / Math.max(1, parts));
    this.#endMs = this.nowMs + host.timeoutMs;
  }

  /** Has someone told the outcome, under the id that they asked with. */
  join(id: number): Promise<DnsOutcome> {
    return new Promise((resolve) => this.#askers.push({ id, resolve }));
  }

  /** Asks the first upstream; before it somebody must have joined. */
  start(): void {
    this.#step();
  }

  /** Ends the query, with `closed` or `recalled` as its outcome: nobody is asked any more. */
  end(outcome: "closed" | "recalled"): void {
    this.#fallback = null;
    this.#finish(outcome);
  }

  /** The time that was asked for with `schedule` has come. */
  onDue(): void {
    this.nowMs = this.#host.now();
    const silent = this.#latest;
    if (silent !== null) {
      this.#failure = "timeout";
      this.#list.failed(silent.upstream, "no answer");
      this.#host.onTryFailed();
      if (!silent.mayLinger) {
        this.#trace?.failed(silent, "timeout");
        silent.cancel();
        this.#drop(silent);
      }
    }
    if (this.nowMs >= this.#endMs) this.#finish("timeout");
    else this.#step();
  }

  onAnswer(attempt: Attempt, answer: Uint8Array): void {
    this.#trace?.answered(attempt, answer);
    this.#drop(attempt);
    this.#list.answered(attempt.upstream);
    if (!isFailure(rcodeOf(answer))) return this.#finish(answer);
    this.#host.onTryFailed();
    this.#fallback ??= answer;
    (this.#refusers ??= []).push(attempt.upstream);
    if (this.#order.every((upstream) => this.#refusers!.includes(upstream))) {
      return this.#finish(this.#fallback);
    }
    this.#goOnFrom(attempt);
  }

  onFailed(attempt: Attempt, reason: string, isDistrusted?: boolean): void {
    this.#trace?.failed(attempt, isDistrusted ? "untrusted" : "network", reason);
    this.#drop(attempt);
    this.#failure = "network";
    this.#list.failed(attempt.upstream, reason, isDistrusted);
    this.#host.onTryFailed();
    this.#goOnFrom(attempt);
  }

  /** The next one's turn comes at once where nobody else has theirs. */
  #goOnFrom(attempt: Attempt): void {
    if (this.#latest !== attempt && this.#latest !== null) return;
    this.nowMs = this.#host.now();
    this.#step();
  }

  /** Asks the next upstream that can be asked. */
  #step(): void {
    this.#latest = null;
    const { length } = this.#order;
    const turns = this.isTcp ? length : 2 * length;
    while (this.#turns < turns) {
      const shareMs = this.#turns < length ? this.#shareMs : 2 * this.#shareMs;
      const upstream = this.#order[this.#turns++ % length]!;
      if (this.#refusers !== null && this.#refusers.includes(upstream)) continue;
      this.#latest = this.#try(upstream);
      if (this.#latest === null) continue;
      this.#host.schedule(this, Math.min(this.#endMs, this.nowMs + shareMs));
      return;
    }
    if (this.#attempts.length === 0) this.#finish(this.#failure);
    else this.#host.schedule(this, this.#endMs);
  }

  #try(upstream: Upstream): Attempt | null {
    // A question that an upstream has not answered yet is counted there once.
    const waits = this.#waitsFor(upstream);
    if (!waits && upstream.inFlight >= this.#host.inFlightPerUpstream) {
      this.#failure = "busy";
      return null;
    }
    const span = this.#trace?.asking(upstream, this.isTcp) ?? null;
    try {
      const attempt = this.#host.channelTo(upstream, this.isTcp).ask(this, upstream, this);
      this.#trace?.asked(attempt, span);
      if (!waits) upstream.inFlight++;
      this.#attempts.push(attempt);
      return attempt;
    } catch (error) {
      span?.fail("network", textOf(error));
      this.#failure = "network";
      this.#list.failed(upstream, `can't be asked: ${textOf(error)}`);
      this.#host.onTryFailed();
      return null;
    }
  }

  #waitsFor(upstream: Upstream): boolean {
    for (const attempt of this.#attempts) if (attempt.upstream === upstream) return true;
    return false;
  }

  #drop(attempt: Attempt): void {
    const at = this.#attempts.indexOf(attempt);
    assert(at >= 0, "nobody hears of an attempt that is over");
    this.#attempts.splice(at, 1);
    if (!this.#waitsFor(attempt.upstream)) attempt.upstream.inFlight--;
  }

  #finish(outcome: DnsOutcome): void {
    if (this.#done) return;
    this.#done = true;
    for (let one = this.#attempts.at(-1); one !== undefined; one = this.#attempts.at(-1)) {
      // Whose share of the time is not over was not too late: nobody waits for it any more.
      const isEarly = one === this.#latest && outcome !== "timeout";
      this.#trace?.failed(one, isEarly ? "cancelled" : "timeout");
      one.cancel();
      this.#drop(one);
    }
    this.#host.onEnded(this, this.#askers.length);
    const told = typeof outcome === "string" ? this.#fallback ?? outcome : outcome;
    this.#askers.forEach(({ id, resolve }, i) => {
      if (typeof told === "string") return resolve(told);
      const answer = i === 0 ? told : told.slice();
      setId(answer, id);
      resolve(answer);
    });
  }
}
