/**
 * Answers made from questions, and messages as keys.
 *
 * @module
 */
import { HEADER_BYTES } from "../../lib/dns/message.ts";
import { nameEnd } from "../../lib/dns/name.ts";
import { nameOf } from "./input.ts";
import { put, splice } from "./mutate.ts";

/** An answer to a question: its head and question as they are, then whatever. */
export function answerOf(question: Uint8Array, rest: Uint8Array): Uint8Array {
  const end = question.length >= HEADER_BYTES ? nameEnd(question, HEADER_BYTES) + 4 : -1;
  const headBytes = end < HEADER_BYTES + 5 || end > question.length ? question.length : end;
  const counts = rest.slice(0, 6);
  const message = splice(question.slice(0, headBytes), headBytes, 0, rest.slice(6));
  put(message, 2, [0x81, 0x80]);
  put(message, 6, counts);
  return message;
}

/** A message without its id, as a key. */
export function bodyOf(message: Uint8Array): string {
  return nameOf([message.subarray(2)]);
}
