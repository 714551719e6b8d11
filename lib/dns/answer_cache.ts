/**
 * Answers that may be given again until their time is over (see answer_lifetime.ts), bounded in
 * number and octets: what was used longest ago goes first.
 *
 * An answer belongs to a name, type and class, and to the bits that change it: DO, CD and AD of the
 * question (RFC 4035 section 3.2.2, RFC 6840 section 5.7). A question with EDNS options that an
 * answer may depend on, such as a client subnet, passes by. An answer is kept without its OPT record
 * and comes back as the asker's own: its id, its spelling of the name, its RD and CD bits, TTLs less
 * by the time that has gone, and a new OPT record for an asker with EDNS alone. It is no longer
 * authoritative.
 *
 * With an answer goes what its reader has found in it, so that nobody has to read it again. Answers
 * above 8 KiB are not kept: each of them would put out many others, and cost as much again with each
 * question.
 *
 * A failure (RFC 9520) is kept for one second, so that askers who insist do not multiply it, and
 * who has got a network again need not wait.
 *
 * @module
 */
import { answerLifetime } from "./answer_lifetime.ts";
import { hasHopOptionsOnly, OPT_BYTES, putOpt } from "./edns.ts";
import { hasSameQuestion } from "./match.ts";
import {
  Flag,
  flagsOf,
  HEADER_BYTES,
  putLongWord,
  putWord,
  Rcode,
  rcodeOf,
  RecordType,
  ttlSeconds,
  word,
} from "./message.ts";
import { MessageCopy } from "./message_copy.ts";
import type { DnsQuestion } from "./question.ts";
import { RecordWalker } from "./walker.ts";

/** How long a failure is kept. */
export const FAILURE_SECONDS = 1;

/** What an entry takes beside its key and its answer, about. */
export const ENTRY_BYTES = 200;

/** Longest answer that is kept. */
export const KEPT_ANSWER_MAX_BYTES = 8_192;

/** Bits of a question that have answers of their own, beside DO. */
const KEY_FLAGS = Flag.checkingDisabled | Flag.authenticData;

/** Flags that the asker's question gives back. */
const ASKER_FLAGS = Flag.recursionDesired | Flag.checkingDisabled;

/** Where a record's TTL stands, seen from its data. */
const TTL_BEFORE_DATA = 6;

/** How much a cache holds. */
export interface AnswerCacheOptions {
  /** Most answers; 0 for none. */
  readonly entries: number;
  /** Most octets of all answers and keys. */
  readonly bytes: number;
}

/** What goes with an answer. */
export interface Found<V> {
  /** What was found in it. */
  readonly value: V;
  /** What that takes in memory. */
  readonly bytes: number;
}

/** An answer that was kept. */
export interface KeptAnswer<V> {
  /** A new message for this asker, of whatever length. */
  readonly answer: Uint8Array;
  /** What was found in it; `null` where that was not said. */
  readonly value: V | null;
  /** How long it has been kept. */
  readonly ageSeconds: number;
}

interface Entry<V> {
  readonly name: string;
  readonly answer: Uint8Array;
  readonly value: V | null;
  readonly storedMs: number;
  readonly lifetimeMs: number;
  readonly bytes: number;
}

/** How an answer is kept. */
interface Keeping<V> {
  readonly seconds: number;
  readonly maxTtl: number;
  readonly nowMs: number;
  readonly found: Found<V> | null;
}

/** Answers of upstreams for one guest, with what was found in them. */
export class AnswerCache<V = never> {
  readonly #options: AnswerCacheOptions;
  /** By key; the one that was used longest ago is the first. */
  readonly #entries = new Map<string, Entry<V>>();
  #usedBytes = 0;

  /** @param options How much it holds. */
  constructor(options: AnswerCacheOptions) {
    this.#options = options;
  }

  /** How many answers it holds; some may be over already. */
  get size(): number {
    return this.#entries.size;
  }

  /** Octets of them, with what belongs to them. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /**
   * The answer to a question.
   *
   * @param message The question message.
   * @param question What it asks, from `checkQuestion`.
   * @param nowMs The time.
   * @returns `null` without one.
   */
  get(message: Uint8Array, question: DnsQuestion, nowMs: number): KeptAnswer<V> | null {
    const key = keyOf(message, question);
    const entry = this.#entries.get(key);
    if (entry === undefined || !isCacheable(message, question)) return null;
    const ageMs = Math.max(0, nowMs - entry.storedMs);
    this.#remove(key);
    if (ageMs >= entry.lifetimeMs) return null;
    this.#add(key, entry);
    const ageSeconds = Math.floor(ageMs / 1_000);
    const answer = answerFor(message, question, entry.answer, ageSeconds);
    return { answer, value: entry.value, ageSeconds };
  }

  /**
   * Keeps an answer, where it may be kept.
   *
   * @param message The question message.
   * @param question What it asks, from `checkQuestion`.
   * @param answer The whole answer; it is copied.
   * @param nowMs The time.
   * @param found What was found in it.
   */
  put(
    message: Uint8Array,
    question: DnsQuestion,
    answer: Uint8Array,
    nowMs: number,
    found: Found<V> | null = null,
  ): void {
    const lifetime = answerLifetime(answer, question);
    if (lifetime === null) return;
    const maxTtl = lifetime.negative ? lifetime.seconds : Infinity;
    this.#keep(message, question, answer, { seconds: lifetime.seconds, maxTtl, nowMs, found });
  }

  /**
   * Keeps a failure for {@linkcode FAILURE_SECONDS}.
   *
   * @param message The question message.
   * @param question What it asks, from `checkQuestion`.
   * @param answer The answer that says so; others than SERVFAIL are not kept.
   * @param nowMs The time.
   */
  putFailure(message: Uint8Array, question: DnsQuestion, answer: Uint8Array, nowMs: number): void {
    if (answer.length < HEADER_BYTES || rcodeOf(answer) !== Rcode.serverFailure) return;
    if ((flagsOf(answer) & Flag.truncated) !== 0) return;
    const how = { seconds: FAILURE_SECONDS, maxTtl: Infinity, nowMs, found: null };
    this.#keep(message, question, answer, how);
  }

  /** Forgets all. */
  clear(): void {
    this.#entries.clear();
    this.#usedBytes = 0;
  }

  /**
   * Forgets all answers for a name. It looks at every entry.
   *
   * @param name The name as text, see name.ts.
   */
  delete(name: string): void {
    for (const [key, entry] of this.#entries) if (entry.name === name) this.#remove(key);
  }

  #keep(
    message: Uint8Array,
    question: DnsQuestion,
    answer: Uint8Array,
    how: Keeping<V>,
  ): void {
    if ((flagsOf(message) & Flag.recursionDesired) === 0 || !isCacheable(message, question)) return;
    if (!hasSameQuestion(message, question.end, answer)) return;
    // An answer that was there before is no longer the last one, whether this one is kept or not.
    const key = keyOf(message, question);
    this.#remove(key);
    if (answer.length > KEPT_ANSWER_MAX_BYTES) return;
    const kept = withoutOpt(answer, how.maxTtl);
    if (kept === null) return;
    const bytes = ENTRY_BYTES + key.length + kept.length + (how.found?.bytes ?? 0);
    if (bytes > this.#options.bytes || this.#options.entries === 0) return;
    this.#add(key, {
      name: question.name,
      answer: kept,
      value: how.found?.value ?? null,
      storedMs: how.nowMs,
      lifetimeMs: how.seconds * 1_000,
      bytes,
    });
    for (const oldest of this.#entries.keys()) {
      if (this.size <= this.#options.entries && this.#usedBytes <= this.#options.bytes) break;
      this.#remove(oldest);
    }
  }

  #add(key: string, entry: Entry<V>): void {
    this.#entries.set(key, entry);
    this.#usedBytes += entry.bytes;
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#usedBytes -= entry.bytes;
  }
}

function isCacheable(message: Uint8Array, question: DnsQuestion): boolean {
  return !question.edns || hasHopOptionsOnly(message);
}

function keyOf(message: Uint8Array, question: DnsQuestion): string {
  const bits = (flagsOf(message) & KEY_FLAGS) | (question.dnssecOk ? 1 : 0);
  return `${question.type} ${question.class} ${bits} ${question.name}`;
}

/** An answer without its OPT record and with TTLs of at most `maxTtl`; `null` if malformed. */
function withoutOpt(answer: Uint8Array, maxTtl: number): Uint8Array | null {
  if (!walker.open(answer)) return null;
  copy.begin(answer);
  while (walker.next()) if (walker.type !== RecordType.opt) copy.copy(walker);
  const kept = walker.malformed ? null : copy.finish();
  if (kept !== null) changeTtls(kept, (ttl) => Math.min(ttl, maxTtl));
  return kept;
}

/** A kept answer, as one asker gets it. */
function answerFor(
  message: Uint8Array,
  question: DnsQuestion,
  kept: Uint8Array,
  ageSeconds: number,
): Uint8Array {
  const answer = new Uint8Array(kept.length + (question.edns ? OPT_BYTES : 0));
  answer.set(kept);
  answer.set(message.subarray(0, 2));
  // The question's name in the asker's own spelling, which some compare (0x20).
  answer.set(message.subarray(HEADER_BYTES, question.end), HEADER_BYTES);
  const flags = flagsOf(kept) & ~(ASKER_FLAGS | Flag.authoritative);
  putWord(answer, 2, flags | (flagsOf(message) & ASKER_FLAGS));
  changeTtls(answer, (ttl) => Math.max(0, ttl - ageSeconds));
  if (question.edns) {
    putOpt(answer, kept.length, { dnssecOk: question.dnssecOk });
    putWord(answer, 10, word(answer, 10) + 1);
  }
  return answer;
}

function changeTtls(message: Uint8Array, change: (ttl: number) => number): void {
  walker.open(message);
  while (walker.next()) {
    putLongWord(message, walker.dataAt - TTL_BEFORE_DATA, change(ttlSeconds(walker.ttl)));
  }
}

const walker = new RecordWalker();
const copy = new MessageCopy();
