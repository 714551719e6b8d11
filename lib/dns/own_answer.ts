/**
 * Answers made of own records: authoritative where they say something, the question in the asker's
 * own spelling, OPT for an asker with EDNS.
 *
 * @module
 */
import { OPT_BYTES, putOpt } from "./edns.ts";
import {
  Flag,
  flagsOf,
  HEADER_BYTES,
  putLongWord,
  putWord,
  Rcode,
  RecordClass,
} from "./message.ts";
import { nameOctets } from "./name.ts";
import type { OwnRecord } from "./own_record.ts";
import type { DnsQuestion } from "./question.ts";

/** A record and the name that has it. */
export interface PlacedRecord {
  /** The name as text, see name.ts. */
  readonly name: string;
  /** The record. */
  readonly record: OwnRecord;
}

/** What an own answer says. */
export interface OwnAnswer {
  /** The response code. */
  readonly rcode: Rcode;
  /** Records of the answer section. */
  readonly answers: readonly PlacedRecord[];
  /** Records of the authority section. */
  readonly authorities: readonly PlacedRecord[];
}

/** Type, class, TTL and RDLENGTH. */
const RECORD_FIXED_BYTES = 10;

/** A pointer to the question's name. */
const QUESTION_NAME = Uint8Array.of(0xc0, HEADER_BYTES);

/**
 * Makes an own answer.
 *
 * @param message The question message.
 * @param question What it asks, from `checkQuestion`.
 * @param answer What to say; its records fit a message, see `OWN_RECORDS_MAX_BYTES`.
 */
export function encodeOwnAnswer(
  message: Uint8Array,
  question: DnsQuestion,
  answer: OwnAnswer,
): Uint8Array {
  const records = [...answer.answers, ...answer.authorities].map(({ name, record }) => ({
    name: name === question.name ? QUESTION_NAME : nameOctets(name)!,
    record,
  }));
  const bytes = records.reduce(
    (sum, { name, record }) => sum + name.length + RECORD_FIXED_BYTES + record.data.length,
    question.end + (question.edns ? OPT_BYTES : 0),
  );
  const out = new Uint8Array(bytes);
  // The question goes back as it came: askers check the case of its letters (and the class).
  out.set(message.subarray(0, question.end));
  const kept = flagsOf(message) & (Flag.recursionDesired | Flag.checkingDisabled);
  const authority = answer.rcode === Rcode.refused ? 0 : Flag.authoritative;
  putWord(out, 2, kept | Flag.response | Flag.recursionAvailable | authority | answer.rcode);
  putWord(out, 6, answer.answers.length);
  putWord(out, 8, answer.authorities.length);
  putWord(out, 10, question.edns ? 1 : 0);
  let at = question.end;
  for (const { name, record } of records) {
    out.set(name, at);
    at += name.length;
    putWord(out, at, record.type);
    putWord(out, at + 2, RecordClass.in);
    putLongWord(out, at + 4, record.ttlSeconds);
    putWord(out, at + 8, record.data.length);
    out.set(record.data, at + RECORD_FIXED_BYTES);
    at += RECORD_FIXED_BYTES + record.data.length;
  }
  if (question.edns) putOpt(out, at, { dnssecOk: question.dnssecOk });
  return out;
}
