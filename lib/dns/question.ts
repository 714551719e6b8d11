/**
 * Judges what a guest sends to port 53: an answerable question, an error that names its fault, or
 * nothing to answer.
 *
 * A question message has exactly one question (RFC 9619) with an uncompressed name, no answer or
 * authority records, at most one OPT with the root's name (RFC 6891 section 6.1.1), a signature of
 * the whole (TSIG, RFC 8945; SIG(0), RFC 2931) at most as its last record, no other record, nothing
 * behind the last one, and at most {@linkcode QUESTION_MAX_BYTES}. So nothing rides along behind a
 * name that may be asked for. A response is never answered, so no two servers can be made to answer
 * each other. Zone transfers are refused, since one question is given one message.
 *
 * @module
 */
import {
  ExtendedError,
  Flag,
  flagsOf,
  HEADER_BYTES,
  idOf,
  opcodeOf,
  QUESTION_MAX_BYTES,
  questionCount,
  Rcode,
  RecordType,
  UDP_DEFAULT_BYTES,
  word,
} from "./message.ts";
import { plainNameEnd, readName } from "./name.ts";
import { RecordWalker, Section } from "./walker.ts";

/** What a question message asks, and with which EDNS parameters. */
export interface DnsQuestion {
  /** The message's id. */
  readonly id: number;
  /** The name as text, see name.ts. */
  readonly name: string;
  /** The record type asked for. */
  readonly type: number;
  /** The class asked for. */
  readonly class: number;
  /** Offset behind the question section, which begins at 12. */
  readonly end: number;
  /** Whether the message has an OPT record. */
  readonly edns: boolean;
  /** The largest answer over UDP that the asker takes: 512 without EDNS. */
  readonly udpBytes: number;
  /** Whether the asker wants DNSSEC records (the DO bit). */
  readonly dnssecOk: boolean;
  /** Whether the message ends in a signature of the whole. */
  readonly signed: boolean;
}

/** What is to be done with a message. */
export type QuestionCheck =
  | { readonly kind: "question"; readonly question: DnsQuestion }
  | {
    readonly kind: "error";
    readonly rcode: Rcode;
    /** What was asked, as far as it could be read: an error answer repeats it. */
    readonly question: DnsQuestion | null;
    readonly extended: ExtendedError | null;
  }
  | { readonly kind: "ignore" };

const IGNORE: QuestionCheck = Object.freeze({ kind: "ignore" });

/**
 * Judges a message.
 *
 * @param message The whole message as it came, without a length prefix.
 * @returns What is to be done with it.
 */
export function checkQuestion(message: Uint8Array): QuestionCheck {
  if (message.length < HEADER_BYTES) return IGNORE;
  if ((flagsOf(message) & Flag.response) !== 0) return IGNORE;
  if (opcodeOf(message) !== 0) return wrong(Rcode.notImplemented, null);
  if (message.length > QUESTION_MAX_BYTES || questionCount(message) !== 1) return FORMAT_ERROR;
  const nameEndAt = plainNameEnd(message, HEADER_BYTES);
  if (nameEndAt < 0 || nameEndAt + 4 > message.length) return FORMAT_ERROR;
  const options = readOptions(message);
  const question: DnsQuestion = {
    id: idOf(message),
    name: readName(message, HEADER_BYTES)!,
    type: word(message, nameEndAt),
    class: word(message, nameEndAt + 2),
    end: nameEndAt + 4,
    edns: options !== null && options.present,
    udpBytes: Math.max(UDP_DEFAULT_BYTES, options?.udpBytes ?? 0),
    dnssecOk: options !== null && options.dnssecOk,
    signed: options !== null && options.signed,
  };
  if (options === null) return wrong(Rcode.formatError, question);
  if (options.version !== 0) return wrong(Rcode.badVersion, question);
  if (question.type === RecordType.axfr || question.type === RecordType.ixfr) {
    return wrong(Rcode.refused, question, ExtendedError.notSupported);
  }
  if (word(message, 8) !== 0) return wrong(Rcode.formatError, question);
  return { kind: "question", question };
}

function wrong(
  rcode: Rcode,
  question: DnsQuestion | null,
  extended: ExtendedError | null = null,
): QuestionCheck {
  return { kind: "error", rcode, question, extended };
}

const FORMAT_ERROR = Object.freeze(wrong(Rcode.formatError, null));

/** What stands behind the question. */
interface Options {
  present: boolean;
  udpBytes: number;
  version: number;
  dnssecOk: boolean;
  signed: boolean;
}

/** The EDNS parameters, or `null` where the records of the message are not in order. */
function readOptions(message: Uint8Array): Options | null {
  const options: Options = {
    present: false,
    udpBytes: 0,
    version: 0,
    dnssecOk: false,
    signed: false,
  };
  // An answer record in a question has no meaning; the authority section is for IXFR alone.
  if (word(message, 6) !== 0 || !walker.open(message)) return null;
  while (walker.next()) {
    const isOpt = walker.type === RecordType.opt;
    if (walker.section !== Section.additional) {
      if (isOpt) return null;
      continue;
    }
    if (options.signed) return null;
    if (isSignature(message)) {
      options.signed = true;
      continue;
    }
    if (!isOpt || options.present || message[walker.nameAt] !== 0) return null;
    options.present = true;
    options.udpBytes = walker.class;
    options.version = (walker.ttl >>> 16) & 0xff;
    options.dnssecOk = (walker.ttl & 0x8000) !== 0;
  }
  return walker.malformed || walker.at !== message.length ? null : options;
}

/** Whether the walker stands at a signature of the whole message. */
function isSignature(message: Uint8Array): boolean {
  if (walker.type === RecordType.tsig) return true;
  // A SIG that covers a type is a record like any other.
  return walker.type === RecordType.sig && walker.dataBytes >= 2 &&
    word(message, walker.dataAt) === 0;
}

const walker = new RecordWalker();
