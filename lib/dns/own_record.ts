/**
 * A record that the gateway has itself, ready to be sent: its type, its TTL and its data in octets,
 * names in full.
 *
 * @module
 */
import { putLongWord, RecordType } from "./message.ts";
import { nameOctets } from "./name.ts";

/** How long a guest may keep an own answer where nothing else is said: a reload can change it. */
export const OWN_TTL_SECONDS = 60;

/**
 * Most octets that the records of one name make: two such names, and a chain of aliases that leads
 * to them, still fit a message.
 */
export const OWN_RECORDS_MAX_BYTES = 30_000;

/** Octets of a record beside its data, its name being a pointer. */
const RECORD_HEAD_BYTES = 12;

/** One record, without the name that has it. */
export interface OwnRecord {
  /** Its type's number. */
  readonly type: number;
  /** How long it may be kept. */
  readonly ttlSeconds: number;
  /** Its RDATA. */
  readonly data: Uint8Array;
}

/** The records of one name. */
export type OwnRecords = readonly OwnRecord[];

/**
 * Records of addresses.
 *
 * @param addresses Addresses of 4 or 16 octets.
 * @param ttlSeconds How long they may be kept.
 * @throws {RangeError} Where an address has another length.
 */
export function addressRecords(
  addresses: readonly Uint8Array[],
  ttlSeconds: number = OWN_TTL_SECONDS,
): OwnRecord[] {
  return addresses.map((data) => {
    if (data.length !== 4 && data.length !== 16) {
      throw new RangeError(`Cannot make a record of an address of ${data.length} octets`);
    }
    return { type: data.length === 4 ? RecordType.a : RecordType.aaaa, ttlSeconds, data };
  });
}

/**
 * A record whose data is a name.
 *
 * @param type CNAME, PTR or another such type.
 * @param target The name as text, see name.ts.
 * @param ttlSeconds How long it may be kept.
 */
export function nameRecord(
  type: number,
  target: string,
  ttlSeconds: number = OWN_TTL_SECONDS,
): OwnRecord {
  const data = nameOctets(target);
  if (data === null) throw new RangeError(`Cannot make a record of the name "${target}"`);
  return { type, ttlSeconds, data };
}

/** How many octets the records of one name make in an answer. */
export function recordsBytes(records: OwnRecords): number {
  return records.reduce((bytes, { data }) => bytes + RECORD_HEAD_BYTES + data.length, 0);
}

/**
 * The record that a zone answers with where it has none: its TTL and minimum say how long an asker
 * may keep that (RFC 2308 section 5). The rest is as RFC 6303 section 3 has it.
 *
 * @param zone The zone's name as text.
 * @param ttlSeconds How long that is.
 */
export function zoneRecord(zone: string, ttlSeconds: number = OWN_TTL_SECONDS): OwnRecord {
  const primary = nameOctets(zone);
  if (primary === null) throw new RangeError(`Cannot make a zone of "${zone}"`);
  const data = new Uint8Array(primary.length + NOBODY.length + ZONE_TIMES.length + 4);
  data.set(primary);
  data.set(NOBODY, primary.length);
  data.set(ZONE_TIMES, primary.length + NOBODY.length);
  putLongWord(data, data.length - 4, ttlSeconds);
  return { type: RecordType.soa, ttlSeconds, data };
}

const NOBODY = nameOctets("nobody.invalid")!;

/** Serial, refresh, retry, expire; the minimum stands behind them. */
const ZONE_TIMES = Uint8Array.from(
  [1, 3_600, 1_200, 604_800].flatMap((value) =>
    [24, 16, 8, 0].map((bits) => (value >>> bits) & 0xff)
  ),
);
