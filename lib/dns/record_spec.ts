/**
 * The records of a name as a configuration has them, and what is wrong with them.
 *
 * A list is of addresses, IPv4 and IPv6. A mapping has lists by type; a list of one may stand as its
 * text alone:
 *
 *     records:
 *       db.internal: ["10.0.0.5", "fd00::5"]
 *       www.internal: { cname: web.internal, ttl: 300 }
 *       "*.dev.internal": { a: 10.0.0.6, txt: ["owner=team a"] }
 *       _sip._tcp.internal: { srv: ["10 5 5060 sip.internal"] }
 *       5.0.0.10.in-addr.arpa: { ptr: db.internal }
 *
 * A service (RFC 2782) is written as in zone files: priority, weight, port, target. An empty list
 * is a name that exists and has nothing.
 *
 * @module
 */
import { parseIp, parseIp4, parseIp6 } from "../wire/address.ts";
import { putWord, RecordType } from "./message.ts";
import { nameOctets, normalizeName, normalizeOwner } from "./name.ts";
import {
  addressRecords,
  nameRecord,
  OWN_RECORDS_MAX_BYTES,
  OWN_TTL_SECONDS,
  type OwnRecord,
  recordsBytes,
} from "./own_record.ts";

/** Longest TTL of an own record: a day. */
export const OWN_TTL_MAX_SECONDS = 86_400;

/**
 * Records of a name by type. A part of {@linkcode DnsConfig}.
 */
export interface RecordFields {
  /** IPv4 addresses. */
  readonly a?: string | readonly string[];
  /** IPv6 addresses. */
  readonly aaaa?: string | readonly string[];
  /** The name that this one is an alias of; it then has no other records. */
  readonly cname?: string;
  /** Texts; each is a record. */
  readonly txt?: string | readonly string[];
  /** Services: `"priority weight port target"`. */
  readonly srv?: string | readonly string[];
  /** Names, for a name in `in-addr.arpa` or `ip6.arpa`. */
  readonly ptr?: string | readonly string[];
  /** How long an asker may keep them, in seconds. */
  readonly ttl?: number;
}

/**
 * The records of a name: addresses, or records by type. A part of {@linkcode DnsConfig}.
 */
export type RecordSpec = readonly string[] | RecordFields;

/** What a text of one type becomes: RDATA or a record, or what is wrong with it. */
type Reader = (text: string, ttlSeconds: number) => OwnRecord | string;

const READERS: Readonly<Record<string, Reader>> = {
  a: (text, ttlSeconds) => {
    const address = parseIp4(text);
    if (address !== null) return addressRecords([address], ttlSeconds)[0]!;
    return `"${text}" is no IPv4 address${parseIp6(text) === null ? "" : "; it goes under aaaa"}`;
  },
  aaaa: (text, ttlSeconds) => {
    const address = parseIp6(text);
    if (address !== null) return addressRecords([address], ttlSeconds)[0]!;
    return `"${text}" is no IPv6 address${parseIp4(text) === null ? "" : "; it goes under a"}`;
  },
  cname: targetReader(RecordType.cname),
  ptr: targetReader(RecordType.ptr),
  txt: (text, ttlSeconds) => ({ type: RecordType.txt, ttlSeconds, data: textData(text) }),
  srv: readService,
};

/**
 * Reads the records of a name.
 *
 * @param name The name: a host name, or `*.` and a host name.
 * @param spec Its records, a {@linkcode RecordSpec}; anything else is said to be wrong.
 * @returns The records, or a text that says what is wrong and the way out.
 */
export function parseRecordSpec(name: string, spec: unknown): OwnRecord[] | string {
  if (normalizeOwner(name) === null) {
    return `"${name}" is no host name; try "db.internal", or "*.internal" for all below it`;
  }
  const records = Array.isArray(spec) ? readAddresses(spec) : readFields(spec);
  if (typeof records === "string") return records;
  const bytes = recordsBytes(records);
  if (bytes <= OWN_RECORDS_MAX_BYTES) return records;
  return `its records make ${bytes} octets, at most ${OWN_RECORDS_MAX_BYTES} fit an answer`;
}

function readAddresses(list: readonly unknown[]): OwnRecord[] | string {
  const addresses: Uint8Array[] = [];
  for (const text of list) {
    const address = typeof text === "string" ? parseIp(text) : null;
    if (address === null) {
      return `${quote(text)} is no address; other records go into a mapping, as in { cname: … }`;
    }
    addresses.push(address);
  }
  return addressRecords(addresses);
}

function readFields(spec: unknown): OwnRecord[] | string {
  if (typeof spec !== "object" || spec === null) {
    return `${quote(spec)} is no list of addresses and no mapping of ${FIELDS}`;
  }
  const fields = Object.entries(spec).filter(([, value]) => value !== undefined);
  const ttl = fields.find(([field]) => field === "ttl")?.[1] ?? OWN_TTL_SECONDS;
  if (!Number.isInteger(ttl) || ttl < 0 || ttl > OWN_TTL_MAX_SECONDS) {
    return `ttl: ${quote(ttl)} is no number of seconds from 0 to ${OWN_TTL_MAX_SECONDS}`;
  }
  const records: OwnRecord[] = [];
  for (const [field, value] of fields) {
    if (field === "ttl") continue;
    const read = Object.hasOwn(READERS, field) ? READERS[field] : undefined;
    if (read === undefined) return `unknown record type ${quote(field)}; known: ${FIELDS}`;
    for (const text of Array.isArray(value) ? value : [value]) {
      const record = typeof text === "string" ? read(text, ttl) : `${quote(text)} is no text`;
      if (typeof record === "string") return `${field}: ${record}`;
      records.push(record);
    }
  }
  if (records.length > 1 && records.some(({ type }) => type === RecordType.cname)) {
    return "cname: an alias has one target and no other records (RFC 1034 section 3.6.2)";
  }
  return records;
}

const FIELDS = [...Object.keys(READERS), "ttl"].join(", ");

function targetReader(type: number): Reader {
  return (text, ttlSeconds) => {
    const target = normalizeName(text);
    return target === null ? `"${text}" is no host name` : nameRecord(type, target, ttlSeconds);
  };
}

function readService(text: string, ttlSeconds: number): OwnRecord | string {
  const [priority, weight, port, to, ...rest] = text.trim().split(/\s+/);
  const numbers = [priority, weight, port].map((part) => readUint16(part ?? ""));
  // A target of "." says that there is no such service (RFC 2782).
  const target = to === "." ? "" : normalizeName(to ?? "");
  if (numbers.some((number) => number === null) || target === null || rest.length > 0) {
    return `"${text}" is no service; write "priority weight port target", as in ` +
      '"10 5 5060 sip.internal"';
  }
  const name = nameOctets(target)!;
  const data = new Uint8Array(6 + name.length);
  numbers.forEach((number, i) => putWord(data, 2 * i, number!));
  data.set(name, 6);
  return { type: RecordType.srv, ttlSeconds, data };
}

function readUint16(text: string): number | null {
  return /^[0-9]{1,5}$/.test(text) && Number(text) <= 0xffff ? Number(text) : null;
}

/** Longest string inside a text record; a longer text goes on in the next (RFC 1035 section 3.3). */
const STRING_MAX_BYTES = 255;

function textData(text: string): Uint8Array {
  const octets = new TextEncoder().encode(text);
  const strings = Math.max(1, Math.ceil(octets.length / STRING_MAX_BYTES));
  const data = new Uint8Array(strings + octets.length);
  for (let i = 0; i < strings; i++) {
    const part = octets.subarray(i * STRING_MAX_BYTES, (i + 1) * STRING_MAX_BYTES);
    const at = i * (STRING_MAX_BYTES + 1);
    data[at] = part.length;
    data.set(part, at + 1);
  }
  return data;
}

/** A value of whatever type, as it may be said in an error. */
function quote(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 64) ?? String(value);
}
