/**
 * Takes out of an answer the addresses that a guest is not to have.
 *
 * A and AAAA records whose address is refused go, in whatever section and class, and so do those
 * whose data has another length than an address. Of service bindings (SVCB, HTTPS) the address
 * hints go that hold a refused address; where the names of connections are inspected, all hints and
 * the keys for encrypted client hellos (RFC 9460 section 7.3, RFC 9848), since they lead past it.
 * A malformed binding goes as a whole. A signature (RRSIG) over a set of records that lost one, or
 * in which one was changed, would no longer be true and goes too, and with anything gone the
 * answer's AD bit, which said that all of it was verified.
 *
 * @module
 */
import { Flag, flagsOf, putWord, RecordType, word } from "./message.ts";
import { MessageCopy } from "./message_copy.ts";
import { nameHash } from "./name.ts";
import { ParamKey, withoutParams } from "./service_binding.ts";
import { RecordWalker } from "./walker.ts";

/** What has to go. */
export interface AnswerFilter {
  /**
   * Whether a guest may have an address.
   *
   * @param address A view of its 4 or 16 octets, to be copied by whoever keeps it.
   */
  keepAddress(address: Uint8Array): boolean;
  /** Whether bindings lose all address hints and keys for encrypted client hellos. */
  readonly stripHints: boolean;
}

/** An answer without what had to go. */
export interface FilteredAnswer {
  /**
   * The answer: the same array where nothing had to go. `null` where it is malformed, so that
   * nobody can tell which addresses it would give to whom: the asker is to get SERVFAIL.
   */
  readonly answer: Uint8Array | null;
  /** How many address records went. */
  readonly stripped: number;
  /** How many bindings went or lost parameters. */
  readonly hintsStripped: number;
}

/** What is to be done. */
interface Plan {
  /** Other data for a record, by its place among all; `null` where the record goes. */
  readonly changes: Map<number, Uint8Array | null>;
  /** The sets that lost or changed a record, see `setKey`. */
  readonly sets: Set<number>;
  stripped: number;
  hintsStripped: number;
}

/**
 * Filters an answer.
 *
 * @param answer The whole answer; it is only read.
 * @param filter What has to go.
 * @returns The filtered answer.
 */
export function filterAnswer(answer: Uint8Array, filter: AnswerFilter): FilteredAnswer {
  const plan = planFor(answer, filter);
  if (plan === null) return MALFORMED;
  const { stripped, hintsStripped } = plan;
  if (plan.changes.size === 0) return { answer, stripped, hintsStripped };
  return { answer: carryOut(answer, plan), stripped, hintsStripped };
}

const MALFORMED: FilteredAnswer = Object.freeze({ answer: null, stripped: 0, hintsStripped: 0 });

function planFor(answer: Uint8Array, filter: AnswerFilter): Plan | null {
  const plan: Plan = { changes: new Map(), sets: new Set(), stripped: 0, hintsStripped: 0 };
  if (!walker.open(answer)) return null;
  for (let index = 0; walker.next(); index++) {
    const data = answer.subarray(walker.dataAt, walker.dataAt + walker.dataBytes);
    const changed = changedData(walker.type, data, filter);
    if (changed === data) continue;
    if (isBinding(walker.type)) plan.hintsStripped++;
    else plan.stripped++;
    plan.changes.set(index, changed);
    plan.sets.add(setKey(answer, walker.type));
  }
  return walker.malformed ? null : plan;
}

/** The data that a record is to have: the same array, another, or `null` where the record goes. */
function changedData(type: number, data: Uint8Array, filter: AnswerFilter): Uint8Array | null {
  switch (type) {
    case RecordType.a:
      return data.length === 4 && filter.keepAddress(data) ? data : null;
    case RecordType.aaaa:
      return data.length === 16 && filter.keepAddress(data) ? data : null;
    case RecordType.svcb:
    case RecordType.https:
      return withoutParams(data, (key, value) => isUnwanted(key, value, filter));
    default:
      return data;
  }
}

function isUnwanted(key: number, value: Uint8Array, filter: AnswerFilter): boolean {
  switch (key) {
    case ParamKey.ech:
      return filter.stripHints;
    case ParamKey.ipv4Hint:
      return filter.stripHints || !keepsAll(value, 4, filter);
    case ParamKey.ipv6Hint:
      return filter.stripHints || !keepsAll(value, 16, filter);
    default:
      return false;
  }
}

function keepsAll(addresses: Uint8Array, bytes: number, filter: AnswerFilter): boolean {
  if (addresses.length % bytes !== 0) return false;
  for (let at = 0; at < addresses.length; at += bytes) {
    if (!filter.keepAddress(addresses.subarray(at, at + bytes))) return false;
  }
  return true;
}

function isBinding(type: number): boolean {
  return type === RecordType.svcb || type === RecordType.https;
}

function carryOut(answer: Uint8Array, plan: Plan): Uint8Array | null {
  walker.open(answer);
  copy.begin(answer);
  for (let index = 0; walker.next(); index++) {
    const changed = plan.changes.get(index);
    if (changed === null || (changed === undefined && isLostSignature(answer, plan))) continue;
    if (changed === undefined) copy.copy(walker);
    else copy.replace(walker, changed);
  }
  const filtered = copy.finish();
  if (filtered !== null) putWord(filtered, 2, flagsOf(filtered) & ~Flag.authenticData);
  return filtered;
}

/** Whether the walker stands at a signature over a set that lost or changed a record. */
function isLostSignature(answer: Uint8Array, plan: Plan): boolean {
  if (walker.type !== RecordType.rrsig || walker.dataBytes < 2) return false;
  return plan.sets.has(setKey(answer, word(answer, walker.dataAt)));
}

/**
 * A number for the set of that type that the walker's record belongs to. That two sets have the
 * same one is rare, and costs no more than a signature that was still true.
 */
function setKey(answer: Uint8Array, type: number): number {
  const rest = Math.imul((type << 16) | walker.class, 0x9e3779b1);
  return (nameHash(answer, walker.nameAt) ^ rest) >>> 0;
}

const walker = new RecordWalker();
const copy = new MessageCopy();
