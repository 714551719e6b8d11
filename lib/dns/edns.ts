/**
 * The OPT record (RFC 6891 section 6.1): how an own answer writes it, and which options of a
 * question an answer depends on.
 *
 * @module
 */
import { putWord, RecordType, UDP_ADVERTISED_BYTES, word } from "./message.ts";
import { RecordWalker } from "./walker.ts";

/** Octets of an OPT record without options. */
export const OPT_BYTES = 11;

/** The DO bit in the flags. */
const DNSSEC_OK = 0x8000;

/** Options that concern one hop only: cookie (RFC 7873) and padding (RFC 7830). */
const HOP_OPTIONS: readonly number[] = [10, 12];

/** What an OPT record says. */
export interface OptFields {
  /** Whether DNSSEC records are wanted. */
  readonly dnssecOk: boolean;
  /** The UDP size that is taken; what own answers announce where absent. */
  readonly udpBytes?: number;
  /** The response code, of which the record has the high eight bits. */
  readonly rcode?: number;
  /** Octets of options, which the caller puts behind. */
  readonly optionBytes?: number;
}

/**
 * Writes an OPT record of {@linkcode OPT_BYTES}, version 0.
 *
 * @param out Zeroed octets.
 * @param at Where it goes.
 * @param fields What it says.
 */
export function putOpt(out: Uint8Array, at: number, fields: OptFields): void {
  // A root name (one zero octet), then type, size, extended code, version, flags, length.
  putWord(out, at + 1, RecordType.opt);
  putWord(out, at + 3, fields.udpBytes ?? UDP_ADVERTISED_BYTES);
  out[at + 5] = (fields.rcode ?? 0) >> 4;
  putWord(out, at + 7, fields.dnssecOk ? DNSSEC_OK : 0);
  putWord(out, at + 9, fields.optionBytes ?? 0);
}

/**
 * Whether an answer depends on nothing that the options of a question say, such as a client subnet.
 *
 * @param message A message that `checkQuestion` took.
 */
export function hasHopOptionsOnly(message: Uint8Array): boolean {
  if (!walker.open(message)) return false;
  while (walker.next()) {
    if (walker.type !== RecordType.opt) continue;
    const end = walker.dataAt + walker.dataBytes;
    for (let at = walker.dataAt; at < end;) {
      if (at + 4 > end || !HOP_OPTIONS.includes(word(message, at))) return false;
      at += 4 + word(message, at + 2);
      if (at > end) return false;
    }
  }
  return !walker.malformed;
}

const walker = new RecordWalker();
