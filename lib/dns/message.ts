/**
 * The twelve octets at the head of a DNS message (RFC 1035 section 4.1.1), and the numbers that the
 * gateway knows by name. Every accessor expects a message of at least {@linkcode HEADER_BYTES}.
 *
 * @module
 */

/** Length of the header. */
export const HEADER_BYTES = 12;

/** Longest message: what a 16-bit length can say. */
export const MESSAGE_MAX_BYTES = 65_535;

/** Longest question message that is taken from a guest: room for every EDNS option and signature. */
export const QUESTION_MAX_BYTES = 4_096;

/** UDP answer size of a guest that announces none (RFC 1035 section 4.2.1). */
export const UDP_DEFAULT_BYTES = 512;

/** UDP size that own answers announce (RFC 9715 section 3.1). */
export const UDP_ADVERTISED_BYTES = 1_232;

/** Record types that the gateway treats by themselves; all others just pass. */
export const RecordType = {
  a: 1,
  cname: 5,
  soa: 6,
  ptr: 12,
  txt: 16,
  sig: 24,
  aaaa: 28,
  srv: 33,
  dname: 39,
  opt: 41,
  rrsig: 46,
  svcb: 64,
  https: 65,
  tsig: 250,
  ixfr: 251,
  axfr: 252,
  any: 255,
} as const;

/**
 * A TTL as it counts: one with its highest bit set counts as 0 (RFC 2181 section 8).
 *
 * @param ttl The record's 32 bits.
 */
export function ttlSeconds(ttl: number): number {
  return ttl > 0x7fff_ffff ? 0 : ttl;
}

/** Classes (RFC 1035 section 3.2.4). */
export const RecordClass = { in: 1, any: 255 } as const;

/** Response codes (RFC 1035 section 4.1.1; badVersion is RFC 6891's, of more than four bits). */
export const Rcode = {
  noError: 0,
  formatError: 1,
  serverFailure: 2,
  nameError: 3,
  notImplemented: 4,
  refused: 5,
  badVersion: 16,
} as const;

/** One of {@linkcode Rcode}. */
export type Rcode = typeof Rcode[keyof typeof Rcode];

/** Extended error codes (RFC 8914 section 4). */
export const ExtendedError = {
  other: 0,
  forged: 4,
  blocked: 15,
  censored: 16,
  filtered: 17,
  prohibited: 18,
  notSupported: 21,
  noReachableAuthority: 22,
  networkError: 23,
} as const;

/** One of {@linkcode ExtendedError}. */
export type ExtendedError = typeof ExtendedError[keyof typeof ExtendedError];

/** Bits of the flags word at offset 2. */
export const Flag = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  recursionAvailable: 0x0080,
  authenticData: 0x0020,
  checkingDisabled: 0x0010,
} as const;

/** The 16-bit word at `at`. */
export function word(message: Uint8Array, at: number): number {
  return (message[at]! << 8) | message[at + 1]!;
}

/** Puts a 16-bit word at `at`. */
export function putWord(message: Uint8Array, at: number, value: number): void {
  message[at] = value >> 8;
  message[at + 1] = value & 0xff;
}

/** The 32-bit word at `at`. */
export function longWord(message: Uint8Array, at: number): number {
  return ((word(message, at) << 16) | word(message, at + 2)) >>> 0;
}

/** Puts a 32-bit word at `at`. */
export function putLongWord(message: Uint8Array, at: number, value: number): void {
  putWord(message, at, value >>> 16);
  putWord(message, at + 2, value & 0xffff);
}

/** The message's id. */
export const idOf = (message: Uint8Array): number => word(message, 0);

/** Replaces the message's id, in place. */
export const setId = (message: Uint8Array, id: number): void => putWord(message, 0, id);

/** The flags word. */
export const flagsOf = (message: Uint8Array): number => word(message, 2);

/** The kind of query (RFC 1035 section 4.1.1): 0 is an ordinary one. */
export const opcodeOf = (message: Uint8Array): number => (message[2]! >> 3) & 0x0f;

/** The low four bits of the response code. */
export const rcodeOf = (message: Uint8Array): number => message[3]! & 0x0f;

/** Number of entries in the question section. */
export const questionCount = (message: Uint8Array): number => word(message, 4);

/** Number of records in all three sections behind the question. */
export const recordCount = (message: Uint8Array): number =>
  word(message, 6) + word(message, 8) + word(message, 10);
