/**
 * Error answers: the head and the question of the message that asked, a response code, and for an
 * asker with EDNS an OPT record that says more (RFC 8914). Written octet by octet from what was
 * checked before, so that no message of a guest can make it fail.
 *
 * @module
 */
import { OPT_BYTES, putOpt } from "./edns.ts";
import { type ExtendedError, Flag, flagsOf, HEADER_BYTES, putWord, type Rcode } from "./message.ts";
import type { DnsQuestion } from "./question.ts";

/** What an error answer says. */
export interface ErrorAnswer {
  /** The response code. */
  readonly rcode: Rcode;
  /** Why, for an asker with EDNS; `null` for no more than the code. */
  readonly extended?: ExtendedError | null;
  /** The reason in words for whoever looks at the answer; cut to 128 octets. */
  readonly text?: string;
}

/** Longest reason in words. */
const TEXT_MAX_BYTES = 128;

/** The option that carries an extended error. */
const OPTION_EXTENDED_ERROR = 15;

/**
 * Makes an error answer.
 *
 * @param message The message that asked: at least a header.
 * @param question What it asked, or `null` where that could not be read.
 * @param answer What to say.
 */
export function errorAnswer(
  message: Uint8Array,
  question: DnsQuestion | null,
  answer: ErrorAnswer,
): Uint8Array {
  const questionEnd = question?.end ?? HEADER_BYTES;
  const edns = question !== null && question.edns;
  const extended = edns ? answer.extended ?? null : null;
  const text = extended === null ? NO_TEXT : reason(answer.text ?? "");
  const optionBytes = extended === null ? 0 : 6 + text.length;
  const out = new Uint8Array(questionEnd + (edns ? OPT_BYTES + optionBytes : 0));
  out.set(message.subarray(0, questionEnd));
  const kept = flagsOf(message) & (OPCODE_MASK | Flag.recursionDesired | Flag.checkingDisabled);
  putWord(out, 2, kept | Flag.response | Flag.recursionAvailable | (answer.rcode & 0x0f));
  putWord(out, 4, question === null ? 0 : 1);
  putWord(out, 6, 0);
  putWord(out, 8, 0);
  putWord(out, 10, edns ? 1 : 0);
  if (!edns) return out;
  putOpt(out, questionEnd, { dnssecOk: question.dnssecOk, rcode: answer.rcode, optionBytes });
  if (extended === null) return out;
  const at = questionEnd + OPT_BYTES;
  putWord(out, at, OPTION_EXTENDED_ERROR);
  putWord(out, at + 2, 2 + text.length);
  putWord(out, at + 4, extended);
  out.set(text, at + 6);
  return out;
}

const OPCODE_MASK = 0x7800;
const NO_TEXT = new Uint8Array(0);
const encoder = new TextEncoder();

function reason(text: string): Uint8Array {
  const bytes = new Uint8Array(TEXT_MAX_BYTES);
  // encodeInto stops before a character that does not fit whole.
  return bytes.subarray(0, encoder.encodeInto(text, bytes).written);
}
