/**
 * One question at one upstream: what the ways of asking (UDP, TCP, TLS, HTTPS) have in common.
 *
 *     DnsQuery ─ ask ─▶ Channel ─▶ … the upstream
 *              ◀─ onAnswer | onFailed ─ once, never during `ask`, never after `cancel`
 *
 * A channel has no clock for its attempts: who asked gives up with `cancel`.
 *
 * @module
 */
import type { DnsQuestion } from "../dns/question.ts";
import type { Upstream } from "./dns_upstream_list.ts";

/** What is asked. */
export interface Asked {
  /** The question message; channels send copies, under ids of their own. */
  readonly message: Uint8Array;
  /** What it asks. */
  readonly question: DnsQuestion;
  /** When it is asked. */
  readonly nowMs: number;
}

/** A question that is under way at one upstream. */
export interface Attempt {
  /** Who was asked. */
  readonly upstream: Upstream;
  /** Whether it may wait for a late answer: no descriptor is held for it alone. */
  readonly mayLinger: boolean;
  /** Ends it without a word. */
  cancel(): void;
}

/** Told what becomes of an attempt. */
export interface AttemptOwner {
  /** The answer came, and fits the question but for its id; it is the owner's to keep. */
  onAnswer(attempt: Attempt, answer: Uint8Array): void;
  /**
   * There will be no answer.
   *
   * @param attempt Which one has failed.
   * @param reason For the log, behind the upstream's name.
   * @param isDistrusted Whether the upstream could not show that it is who it should be.
   */
  onFailed(attempt: Attempt, reason: string, isDistrusted?: boolean): void;
}

/** A way of asking. */
export interface Channel {
  /**
   * Asks.
   *
   * @throws Where it can't be asked; the message says why, and which permission lacks.
   */
  ask(asked: Asked, upstream: Upstream, owner: AttemptOwner): Attempt;
  /** Closes what is open; resolves when nothing is under way any more. Nobody is told. */
  close(): Promise<void>;
}

/** What an error says. */
export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
