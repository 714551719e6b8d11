/** Messages made record by record, and read back, for the tests of what changes answers. */
import { nameOctets, readName } from "../../lib/dns/name.ts";
import { checkQuestion, type DnsQuestion } from "../../lib/dns/question.ts";
import { RecordWalker } from "../../lib/dns/walker.ts";

/** What `checkQuestion` makes of a message that is a question. */
export function questionOf(message: Uint8Array): DnsQuestion {
  const check = checkQuestion(message);
  if (check.kind !== "question") throw new Error(`not a question: ${JSON.stringify(check)}`);
  return check.question;
}

/** A 16-bit number as octets. */
export function two(value: number): number[] {
  return [value >> 8 & 0xff, value & 0xff];
}

/** A 32-bit number as octets. */
export function four(value: number): number[] {
  return [...two(value >>> 16), ...two(value & 0xffff)];
}

/** A name's octets, in full. */
export function name(text: string): number[] {
  return [...nameOctets(text)!];
}

/** A record to be written. */
export interface RawRecord {
  /** Its name as text, or its octets, for a pointer. */
  readonly owner: string | readonly number[];
  /** Its type. */
  readonly type: number;
  /** Its data. */
  readonly data: readonly number[];
  /** Its TTL, 60 where absent. */
  readonly ttl?: number;
  /** Its class, IN where absent. */
  readonly class?: number;
}

/** What an answer is made from. */
export interface RawAnswer {
  /** Records of the answer section. */
  readonly answers?: readonly RawRecord[];
  /** Records of the authority section. */
  readonly authorities?: readonly RawRecord[];
  /** Records of the additional section. */
  readonly additionals?: readonly RawRecord[];
  /** Flags beside the response bit; RD and RA where absent. */
  readonly flags?: number;
}

/** An answer to a question message. */
export function answerTo(question: Uint8Array, raw: RawAnswer): Uint8Array {
  const sections = [raw.answers ?? [], raw.authorities ?? [], raw.additionals ?? []];
  return Uint8Array.from([
    ...question.subarray(0, 2),
    ...two(0x8000 | (raw.flags ?? 0x0180)),
    0,
    1,
    ...sections.flatMap((records) => two(records.length)),
    ...question.subarray(12, questionOf(question).end),
    ...sections.flat().flatMap((record) => [
      ...(typeof record.owner === "string" ? name(record.owner) : record.owner),
      ...two(record.type),
      ...two(record.class ?? 1),
      ...four(record.ttl ?? 60),
      ...two(record.data.length),
      ...record.data,
    ]),
  ]);
}

/** A record that was read. */
export interface ReadRecord {
  /** 0 answer, 1 authority, 2 additional. */
  readonly section: number;
  /** Its name as text. */
  readonly owner: string;
  /** Its type. */
  readonly type: number;
  /** Its class. */
  readonly class: number;
  /** Its TTL. */
  readonly ttl: number;
  /** Its data as it stands there. */
  readonly data: readonly number[];
}

/** All records of a message; it throws where there is something else. */
export function recordsOf(message: Uint8Array): ReadRecord[] {
  const walker = new RecordWalker();
  const records: ReadRecord[] = [];
  if (!walker.open(message)) throw new Error("no message");
  while (walker.next()) {
    records.push({
      section: walker.section,
      owner: readName(message, walker.nameAt)!,
      type: walker.type,
      class: walker.class,
      ttl: walker.ttl,
      data: [...message.subarray(walker.dataAt, walker.dataAt + walker.dataBytes)],
    });
  }
  if (walker.malformed || walker.at !== message.length) throw new Error("malformed");
  return records;
}
