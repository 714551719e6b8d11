/**
 * The policy at the guest's resolver: which names it may ask for, which addresses it may be told,
 * and which of them are tied to the name that led to them.
 *
 *     question ─▶ refusal: never leaves the gateway
 *     answer   ─▶ pass: addresses and hints filtered ─▶ names judged ─▶ pinned ─▶ kept no longer
 *
 * A lookup is a way out of a fence by itself, as a name can carry what nobody should hear; so a name
 * that is denied is never sent upstream.
 *
 * @module
 */
import type { KeptAnswer } from "../dns/answer_cache.ts";
import { type AnswerChain, answerChain } from "../dns/answer_chain.ts";
import { filterAnswer } from "../dns/answer_filter.ts";
import { withTtlsAtMost } from "../dns/answer_ttl.ts";
import type { DnsQuestion } from "../dns/question.ts";
import type { Denial } from "../policy/denial.ts";
import { PIN_MAX_SECONDS, PinKind } from "../policy/pins.ts";
import type { Policy } from "../policy/policy.ts";
import type { DnsCounts } from "./dns_counts.ts";

/** What the fence works with. */
export interface DnsFenceOptions {
  /** The policy that is in force. */
  readonly policy: () => Policy;
  /** Whether addresses are tied to names even where no rule needs that. */
  readonly remembersNames: boolean;
  readonly counts: DnsCounts;
  /** Hears of each refusal. */
  readonly onDenial: (denial: Denial) => void;
  /** The clock of the pins, in milliseconds. */
  readonly now: () => number;
}

/** An answer that may be given. */
export interface PassedAnswer {
  readonly answer: Uint8Array;
  /** Where it leads, to be kept with it for `passAgain`; `null` where nobody has asked. */
  readonly chain: AnswerChain | null;
}

/** An answer that may be given, or why it may not; `null` where it can't be understood. */
export type Passed = PassedAnswer | Denial | null;

/** Whether an answer was refused. */
export function isDenial(passed: Passed): passed is Denial {
  return passed !== null && !("answer" in passed);
}

/** Judges names and answers for one guest. */
export class DnsFence {
  readonly #options: DnsFenceOptions;

  constructor(options: DnsFenceOptions) {
    this.#options = options;
  }

  /** Why a name must not be looked up, or `null`; `isOwn` says that the gateway answers it itself. */
  refusal({ name }: DnsQuestion, isOwn: boolean): Denial | null {
    const policy = this.#options.policy();
    if (policy.rules.rules.length === 0) return null;
    const denial = policy.judgeLookup(name, isOwn);
    if (denial !== null) this.#options.onDenial(denial);
    return denial;
  }

  /**
   * What a guest gets of an answer.
   *
   * @param answer The whole answer; it is not changed.
   * @param question What was asked.
   * @param isOwn Whether the operator has named who gives it.
   */
  pass(answer: Uint8Array, question: DnsQuestion, isOwn: boolean): Passed {
    const filtered = this.filter(answer, question, isOwn);
    return filtered === null ? null : this.#pin(filtered, question, isOwn, isOwn);
  }

  /**
   * An answer without the addresses and hints that a guest is not to have.
   *
   * @param answer The whole answer; it is not changed.
   * @param question What was asked.
   * @param isOwn Whether the operator has named who gives it.
   * @returns `null` where it can't be understood.
   */
  filter(answer: Uint8Array, question: DnsQuestion, isOwn: boolean): Uint8Array | null {
    const { policy: current, counts, onDenial } = this.#options;
    const policy = current();
    let removed: Uint8Array | null = null;
    const filtered = filterAnswer(answer, {
      keepAddress: (address) => {
        if (policy.keepsAddress(address, isOwn)) return true;
        removed ??= address.slice();
        return false;
      },
      stripHints: policy.fencesNames,
    });
    if (filtered.answer === null) return null;
    counts.stripped += filtered.stripped;
    counts.hintsStripped += filtered.hintsStripped;
    if (removed !== null) onDenial(policy.rebindDenial(question.name, removed));
    return filtered.answer;
  }

  /**
   * Ties the addresses of an answer to its name, and keeps all of them: the operator has written it.
   * The gateway's own address is a private one that no level refuses.
   *
   * @param answer The whole answer; it is not changed.
   * @param question What was asked: an own name.
   * @param leadsOut Whether it ends in what a stranger has answered, which was filtered for itself.
   */
  pin(answer: Uint8Array, question: DnsQuestion, leadsOut: boolean = false): Passed {
    return this.#pin(answer, question, true, !leadsOut);
  }

  /**
   * What a guest gets of an answer that has passed, under the same policy. Its names are judged and
   * its addresses tied as if it had come just then, without another look into it.
   *
   * @param kept The answer, with the chain that it passed with.
   * @param question What was asked.
   * @param isOwn Whether the operator has named who gives it.
   */
  passAgain(kept: KeptAnswer<AnswerChain>, question: DnsQuestion, isOwn: boolean): Passed {
    const { answer, value: chain, ageSeconds } = kept;
    if (chain === null) return this.#pin(answer, question, isOwn, isOwn);
    return this.#follow(chain, question, isOwn, isOwn, ageSeconds) ?? { answer, chain };
  }

  #pin(answer: Uint8Array, question: DnsQuestion, isOwn: boolean, hasOwnEnd: boolean): Passed {
    if (!this.#options.policy().usesNames && !this.#options.remembersNames) {
      return { answer, chain: null };
    }
    const chain = answerChain(answer, question);
    if (chain === null) return null;
    const denial = this.#follow(chain, question, isOwn, hasOwnEnd, 0);
    if (denial !== null) return denial;
    // A guest that kept it for longer would go where nobody remembers that the name led.
    return { answer: withTtlsAtMost(answer, PIN_MAX_SECONDS), chain };
  }

  /** Judges the names of a chain, then ties its addresses to them. */
  #follow(
    chain: AnswerChain,
    question: DnsQuestion,
    isOwn: boolean,
    hasOwnEnd: boolean,
    ageSeconds: number,
  ): Denial | null {
    const policy = this.#options.policy();
    // The question's own name too: the rules may have changed since it was asked.
    for (const [i, name] of [question.name, ...chain.names].entries()) {
      const denial = policy.judgeLookup(name, i > 0 || isOwn);
      if (denial === null) continue;
      this.#options.onDenial(denial);
      return denial;
    }
    const nowMs = this.#options.now();
    const kind = hasOwnEnd ? PinKind.own : PinKind.asked;
    for (const { address, ttlSeconds } of chain.addresses) {
      const leftSeconds = ttlSeconds - ageSeconds;
      policy.pins.pin(question.name, address, leftSeconds, nowMs, kind);
      for (const name of chain.names) {
        policy.pins.pin(name, address, leftSeconds, nowMs, PinKind.alias);
      }
    }
    return null;
  }
}
