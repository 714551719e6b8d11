/**
 * How long an answer may be kept (RFC 1035 section 3.2.1, RFC 2308 sections 2 and 5, RFC 2181
 * section 8).
 *
 * An answer with records of the asked type lives as long as its shortest TTL, a day at most. One
 * without (NODATA, NXDOMAIN) lives as long as its SOA record and that record's minimum say, 15
 * minutes at most, and without an SOA not at all. Never kept are failures, truncated answers, those
 * with a record of TTL 0, and malformed ones.
 *
 * @module
 */
import {
  Flag,
  flagsOf,
  HEADER_BYTES,
  longWord,
  opcodeOf,
  Rcode,
  rcodeOf,
  RecordClass,
  RecordType,
  ttlSeconds,
} from "./message.ts";
import type { DnsQuestion } from "./question.ts";
import { RecordWalker, Section } from "./walker.ts";

/** Longest that an answer with records is kept. */
export const POSITIVE_MAX_SECONDS = 86_400;

/** Longest that an answer without records is kept. */
export const NEGATIVE_MAX_SECONDS = 900;

/** Shortest data of an SOA record: two root names and five words. */
const ZONE_MIN_BYTES = 22;

/** How long an answer lives. */
export interface AnswerLifetime {
  /** From when it came, at least 1. */
  readonly seconds: number;
  /** Whether it says that there is nothing. */
  readonly negative: boolean;
}

/**
 * Judges an answer.
 *
 * @param answer The whole answer.
 * @param question What was asked.
 * @returns How long it lives, or `null` where it must not be kept.
 */
export function answerLifetime(
  answer: Uint8Array,
  question: Pick<DnsQuestion, "type" | "class">,
): AnswerLifetime | null {
  if (answer.length < HEADER_BYTES || opcodeOf(answer) !== 0) return null;
  const flags = flagsOf(answer) & (Flag.response | Flag.truncated);
  const rcode = rcodeOf(answer);
  if (flags !== Flag.response) return null;
  if (rcode !== Rcode.noError && rcode !== Rcode.nameError) return null;
  let leastTtl = POSITIVE_MAX_SECONDS;
  let zoneSeconds = Infinity;
  let isFound = false;
  if (!walker.open(answer)) return null;
  while (walker.next()) {
    if (walker.type === RecordType.opt) {
      // The high bits of the response code.
      if (walker.ttl >>> 24 !== 0) return null;
      continue;
    }
    const ttl = ttlSeconds(walker.ttl);
    leastTtl = Math.min(leastTtl, ttl);
    if (walker.section === Section.answer) isFound ||= isAsked(question);
    else if (isZoneRecord()) {
      const minimum = ttlSeconds(longWord(answer, walker.dataAt + walker.dataBytes - 4));
      zoneSeconds = Math.min(zoneSeconds, minimum);
    }
  }
  if (walker.malformed) return null;
  const negative = rcode === Rcode.nameError || !isFound;
  if (negative && zoneSeconds === Infinity) return null;
  const seconds = negative ? Math.min(leastTtl, zoneSeconds, NEGATIVE_MAX_SECONDS) : leastTtl;
  return seconds === 0 ? null : { seconds, negative };
}

function isAsked(question: Pick<DnsQuestion, "type" | "class">): boolean {
  return (question.type === RecordType.any || question.type === walker.type) &&
    (question.class === RecordClass.any || question.class === walker.class);
}

function isZoneRecord(): boolean {
  return walker.section === Section.authority && walker.type === RecordType.soa &&
    walker.dataBytes >= ZONE_MIN_BYTES;
}

const walker = new RecordWalker();
