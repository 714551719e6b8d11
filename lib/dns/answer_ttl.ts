/**
 * Bounds how long whoever gets an answer may keep its records.
 *
 * @module
 */
import { putLongWord, RecordType, ttlSeconds } from "./message.ts";
import { RecordWalker } from "./walker.ts";

/** A record's TTL and the length of its data stand in front of that. */
const TTL_BEFORE_DATA = 6;

/**
 * An answer whose records may be kept for `maxSeconds` at most.
 *
 * @param answer The whole answer, well-formed; it is only read.
 * @param maxSeconds Longest time.
 * @returns The same array where no record's time is longer.
 */
export function withTtlsAtMost(answer: Uint8Array, maxSeconds: number): Uint8Array {
  let cut: Uint8Array | null = null;
  if (!walker.open(answer)) return answer;
  while (walker.next()) {
    // The TTL of an OPT record is none, but flags.
    if (walker.type === RecordType.opt || ttlSeconds(walker.ttl) <= maxSeconds) continue;
    cut ??= answer.slice();
    putLongWord(cut, walker.dataAt - TTL_BEFORE_DATA, maxSeconds);
  }
  return cut ?? answer;
}

const walker = new RecordWalker();
