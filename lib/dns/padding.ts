/**
 * Padding of questions (RFC 7830), so that their length tells no name: to the next multiple of 128
 * octets (RFC 8467 section 4.1), where the question has EDNS. Without EDNS nothing can carry it.
 *
 * Only an OPT that is the last record is touched: what follows it would be a signature over all
 * before it. An answer to a question that was padded here is given to its asker without the
 * padding, which the asker has not asked for and for which its datagram may have no room.
 *
 * @module
 */
import { putWord, RecordType, word } from "./message.ts";
import { RecordWalker, Section } from "./walker.ts";

/** Lengths of padded questions are multiples of this. */
export const PAD_BLOCK_BYTES = 128;

const OPTION_PADDING = 12;
/** Octets of an option's code and length. */
const OPTION_HEAD_BYTES = 4;

/**
 * A question with padding.
 *
 * @param message The question message, checked before.
 * @returns A padded copy; `message` itself where it has no place for padding, or has some already.
 */
export function padQuestion(message: Uint8Array): Uint8Array {
  const dataAt = lastOptionsAt(message);
  if (dataAt < 0 || paddingAt(message, dataAt) >= 0) return message;
  const bare = message.length + OPTION_HEAD_BYTES;
  const padded = new Uint8Array(Math.ceil(bare / PAD_BLOCK_BYTES) * PAD_BLOCK_BYTES);
  padded.set(message);
  putWord(padded, message.length, OPTION_PADDING);
  putWord(padded, message.length + 2, padded.length - bare);
  putWord(padded, dataAt - 2, padded.length - dataAt);
  return padded;
}

/**
 * An answer without padding.
 *
 * @param answer The answer, whatever it is.
 * @returns A shorter copy; `answer` itself where there is no padding to take out.
 */
export function unpadAnswer(answer: Uint8Array): Uint8Array {
  const dataAt = lastOptionsAt(answer);
  const at = dataAt < 0 ? -1 : paddingAt(answer, dataAt);
  if (at < 0) return answer;
  const end = at + OPTION_HEAD_BYTES + word(answer, at + 2);
  const bare = new Uint8Array(answer.length - (end - at));
  bare.set(answer.subarray(0, at));
  bare.set(answer.subarray(end), at);
  putWord(bare, dataAt - 2, bare.length - dataAt);
  return bare;
}

/** Where the options of an OPT begin that ends the message; -1 where none does. */
function lastOptionsAt(message: Uint8Array): number {
  let dataAt = -1;
  if (!walker.open(message)) return -1;
  while (walker.next()) {
    const isOpt = walker.type === RecordType.opt && walker.section === Section.additional;
    dataAt = isOpt && walker.at === message.length ? walker.dataAt : -1;
  }
  return walker.malformed ? -1 : dataAt;
}

/** Where the first padding option is; -1 where there is none, or the options are malformed. */
function paddingAt(message: Uint8Array, dataAt: number): number {
  for (let at = dataAt; at + OPTION_HEAD_BYTES <= message.length;) {
    const end = at + OPTION_HEAD_BYTES + word(message, at + 2);
    if (end > message.length) return -1;
    if (word(message, at) === OPTION_PADDING) return at;
    at = end;
  }
  return -1;
}

const walker = new RecordWalker();
