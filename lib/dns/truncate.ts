/**
 * Cuts an answer down to what fits a UDP datagram of the asker's (RFC 1035 section 4.2.1, RFC 6891
 * section 6.2.5): the question and OPT stay, all other records go, and the TC bit sends the asker
 * to TCP. Part of a record set would be of no use: RFC 2181 section 9 has the asker drop it.
 *
 * @module
 */
import { Flag, flagsOf, HEADER_BYTES, putWord, RecordType } from "./message.ts";
import { RecordWalker, Section } from "./walker.ts";

/**
 * The answer, or its truncated form where it is longer than `maxBytes`.
 *
 * @param answer The whole answer.
 * @param maxBytes What fits.
 * @returns `answer` itself, or a new message of at most `maxBytes` where these hold a header.
 */
export function fitUdp(answer: Uint8Array, maxBytes: number): Uint8Array {
  if (answer.length <= maxBytes) return answer;
  let questionEnd = HEADER_BYTES;
  let optAt = 0;
  let optEnd = 0;
  if (walker.open(answer)) {
    questionEnd = walker.at;
    while (walker.next()) {
      if (walker.type !== RecordType.opt || walker.section !== Section.additional) continue;
      // Only the root's name is one octet that needs no other part of the message.
      if (answer[walker.nameAt] !== 0) continue;
      optAt = walker.nameAt;
      optEnd = walker.at;
      break;
    }
  }
  if (questionEnd > maxBytes) questionEnd = HEADER_BYTES;
  if (questionEnd + optEnd - optAt > maxBytes) optAt = optEnd = 0;
  const cut = new Uint8Array(questionEnd + optEnd - optAt);
  cut.set(answer.subarray(0, questionEnd));
  cut.set(answer.subarray(optAt, optEnd), questionEnd);
  putWord(cut, 2, flagsOf(answer) | Flag.truncated);
  if (questionEnd === HEADER_BYTES) putWord(cut, 4, 0);
  putWord(cut, 6, 0);
  putWord(cut, 8, 0);
  putWord(cut, 10, optEnd > optAt ? 1 : 0);
  return cut;
}

const walker = new RecordWalker();
