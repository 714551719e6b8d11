/**
 * Own aliases that lead to names of others: the question to go on with, and one answer of both
 * parts. A stub resolver follows no alias by itself, so it is given the whole chain.
 *
 * @module
 */
import { Flag, flagsOf, putWord, RecordType } from "./message.ts";
import { MessageCopy } from "./message_copy.ts";
import { nameOctets } from "./name.ts";
import { plainQuestion } from "./plain_question.ts";
import type { DnsQuestion } from "./question.ts";
import { RecordWalker } from "./walker.ts";

/** Bits of the flags word that are the response code. */
const RCODE_MASK = 0x000f;

/**
 * The question with which an upstream is asked for the rest of a chain.
 *
 * @param message The guest's question message.
 * @param question What it asks, from `checkQuestion`.
 * @param target The name to go on with, from `OwnNames.foreignTarget`.
 * @returns A question message of the same id, type, class and EDNS parameters, without options.
 */
export function questionFor(
  message: Uint8Array,
  question: DnsQuestion,
  target: string,
): Uint8Array {
  const name = nameOctets(target);
  if (name === null) throw new RangeError(`Cannot ask for the name "${target}"`);
  return plainQuestion(message, question, name);
}

/**
 * Puts an upstream's answer behind own aliases.
 *
 * @param own The answer with the aliases, from `OwnNames.answer`.
 * @param rest What the upstream answered to {@linkcode questionFor}.
 * @returns The answer to the guest's question, or `null` where `rest` is malformed or too long: the
 * asker is to get SERVFAIL.
 */
export function joinAnswers(own: Uint8Array, rest: Uint8Array): Uint8Array | null {
  if (!walker.open(own)) return null;
  copy.begin(own);
  while (walker.next()) if (walker.type !== RecordType.opt) copy.copy(walker);
  if (!walker.open(rest)) return null;
  copy.from(rest);
  while (walker.next()) copy.copy(walker);
  const joined = walker.malformed ? null : copy.finish();
  if (joined === null) return null;
  // Neither part is the other's authority, and the own one was verified by nobody.
  const taken = RCODE_MASK | Flag.truncated;
  putWord(
    joined,
    2,
    (flagsOf(own) & ~(RCODE_MASK | Flag.authoritative)) | (flagsOf(rest) & taken),
  );
  return joined;
}

const walker = new RecordWalker();
const copy = new MessageCopy();
