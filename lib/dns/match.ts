/**
 * Whether a message that came from an upstream's address answers a question (RFC 5452 section 9):
 * a response of the same id, opcode and question section. Names compare without case, since some
 * servers fold it. Only an error may leave the question out, as old servers do with FORMERR.
 *
 * @module
 */
import {
  Flag,
  flagsOf,
  HEADER_BYTES,
  idOf,
  opcodeOf,
  questionCount,
  Rcode,
  rcodeOf,
  recordCount,
} from "./message.ts";
import { lower } from "./name.ts";

/**
 * Whether `answer` answers `asked`.
 *
 * @param asked The question message, as it was sent.
 * @param questionEnd Offset behind the question section of `asked`.
 * @param answer What came back.
 */
export function isAnswerTo(asked: Uint8Array, questionEnd: number, answer: Uint8Array): boolean {
  if (answer.length < HEADER_BYTES || idOf(answer) !== idOf(asked)) return false;
  if ((flagsOf(answer) & Flag.response) === 0 || opcodeOf(answer) !== opcodeOf(asked)) return false;
  if (questionCount(answer) === 0) return recordCount(answer) === 0 && isFailure(rcodeOf(answer));
  return hasSameQuestion(asked, questionEnd, answer);
}

/**
 * Whether a message has the one question that another has, in any spelling.
 *
 * @param asked A question message whose name stands in full.
 * @param questionEnd Offset behind the question section of `asked`.
 * @param answer The other message: at least a header.
 */
export function hasSameQuestion(
  asked: Uint8Array,
  questionEnd: number,
  answer: Uint8Array,
): boolean {
  if (questionCount(answer) !== 1 || answer.length < questionEnd) return false;
  const nameEndAt = questionEnd - 4;
  for (let at = HEADER_BYTES; at < questionEnd; at++) {
    const same = at < nameEndAt
      // Length octets are below 64, so folding letters leaves them as they are.
      ? lower(answer[at]!) === lower(asked[at]!)
      : answer[at] === asked[at];
    if (!same) return false;
  }
  return true;
}

/** Whether a response code says that this server could not answer, where another one might. */
export function isFailure(rcode: number): boolean {
  return rcode === Rcode.formatError || rcode === Rcode.serverFailure ||
    rcode === Rcode.notImplemented || rcode === Rcode.refused;
}
