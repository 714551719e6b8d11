/**
 * What is done with answers alone: aliases followed, addresses and hints taken out, kept for later.
 *
 * Oracles: nothing throws; the chain is the one that a naive search finds; a filtered answer is
 * well-formed, has the records that were there and no other, none that is refused, and nothing to
 * take out a second time; its chain is the old one without the refused addresses; what a cache
 * gives has the asker's id and question, no OPT unasked, no larger TTL, and is over in a day.
 *
 * @module
 */
import { AnswerCache } from "../../lib/dns/answer_cache.ts";
import { answerChain, CHAIN_MAX_ADDRESSES, CHAIN_MAX_LINKS } from "../../lib/dns/answer_chain.ts";
import { type AnswerFilter, filterAnswer } from "../../lib/dns/answer_filter.ts";
import { hasSameQuestion } from "../../lib/dns/match.ts";
import {
  Flag,
  flagsOf,
  HEADER_BYTES,
  idOf,
  RecordType,
  ttlSeconds,
} from "../../lib/dns/message.ts";
import { nameEnd, nameOctets, readName } from "../../lib/dns/name.ts";
import { checkQuestion } from "../../lib/dns/question.ts";
import { withoutParams } from "../../lib/dns/service_binding.ts";
import { RecordWalker } from "../../lib/dns/walker.ts";
import { hold } from "./rig.ts";
import type { Signal } from "./signal.ts";

const KIND_CHAIN = 52;
const KIND_FILTER = 53;
const KIND_CACHE = 54;
const DAY_MS = 86_400_000;
const HINTS: readonly number[] = [4, 5, 6];

/** A record as it stands in a message. */
interface Seen {
  readonly section: number;
  readonly owner: string;
  readonly type: number;
  readonly class: number;
  readonly ttl: number;
  readonly dataAt: number;
  readonly data: Uint8Array;
}

/** Refuses every other address. */
const FILTERS: readonly AnswerFilter[] = [false, true].map((stripHints) => ({
  keepAddress: (address) => (address.at(-1)! & 1) === 0,
  stripHints,
}));

/** All that is done with an answer. */
export function judgeAnswer(message: Uint8Array, signal: Signal): void {
  const records = recordsOf(message);
  const name = message.length > HEADER_BYTES ? readName(message, HEADER_BYTES) : null;
  judgeChain(message, name ?? "", records, signal);
  for (const filter of FILTERS) judgeFilter(message, name ?? "", records, filter, signal);
  judgeCache(message, records, signal);
}

/** The records, or `null` where the message is malformed. */
function recordsOf(message: Uint8Array): Seen[] | null {
  const walker = new RecordWalker();
  const records: Seen[] = [];
  if (!walker.open(message)) return null;
  while (walker.next()) {
    const { section, type, ttl, dataAt, dataBytes } = walker;
    const owner = readName(message, walker.nameAt)!;
    const data = message.subarray(dataAt, dataAt + dataBytes);
    records.push({ section, owner, type, class: walker.class, ttl, dataAt, data });
  }
  return walker.malformed ? null : records;
}

function judgeChain(
  message: Uint8Array,
  name: string,
  records: readonly Seen[] | null,
  signal: Signal,
): void {
  const chain = answerChain(message, { name });
  const naive = records === null ? null : naiveChain(message, name, records);
  const text = chain && [
    ...chain.names,
    ...chain.addresses.map(({ address, ttlSeconds }) => `${address} ${ttlSeconds}`),
  ];
  hold(`${text}` === `${naive}`, () => `the chain is ${text}, naively ${naive}`);
  signal.note(KIND_CHAIN, chain?.names.length ?? 99, Math.min(3, chain?.addresses.length ?? 3));
}

/** Each link sought among all records. */
function naiveChain(message: Uint8Array, start: string, all: readonly Seen[]): string[] | null {
  const records = all.filter((each) => each.section === 0 && each.class === 1);
  const isLink = ({ type }: Seen) => type === RecordType.cname || type === RecordType.dname;
  for (const { dataAt, data } of records.filter(isLink)) {
    if (nameEnd(message, dataAt) !== dataAt + data.length) return null;
  }
  const names: string[] = [];
  let name = start;
  let ttl = Infinity;
  for (;;) {
    const here = records.filter(({ owner }) => owner === name);
    const alias = here.find(({ type }) => type === RecordType.cname);
    const subtree = records
      .filter(({ type, owner }) => type === RecordType.dname && isBelow(name, owner))
      .sort((one, other) => other.owner.length - one.owner.length)[0];
    const link = alias ?? subtree;
    if (link === undefined) {
      const bytes = (type: number) =>
        type === RecordType.a ? 4 : type === RecordType.aaaa ? 16 : -1;
      const ends = here.filter(({ type, data }) => data.length === bytes(type))
        .slice(0, CHAIN_MAX_ADDRESSES);
      return [
        ...names,
        ...ends.map((each) => `${each.data} ${Math.min(ttl, ttlSeconds(each.ttl))}`),
      ];
    }
    let target = readName(message, link.dataAt)!;
    if (link !== alias) {
      const labels = link.owner === "" ? name : name.slice(0, -link.owner.length - 1);
      target = target === "" ? labels : `${labels}.${target}`;
    }
    const isOver = target === start || names.includes(target) || names.length === CHAIN_MAX_LINKS;
    if (isOver || nameOctets(target) === null) return names;
    names.push(target);
    name = target;
    ttl = Math.min(ttl, ttlSeconds(link.ttl));
  }
}

/** Whether a name stands below another, by the octets of both. */
function isBelow(name: string, above: string): boolean {
  const octets = nameOctets(name);
  const end = nameOctets(above);
  if (octets === null || end === null) return false;
  let at = 0;
  while (octets[at] !== 0) {
    at += 1 + octets[at]!;
    if (`${octets.subarray(at)}` === `${end}`) return true;
  }
  return false;
}

function judgeFilter(
  message: Uint8Array,
  name: string,
  records: readonly Seen[] | null,
  filter: AnswerFilter,
  signal: Signal,
): void {
  const { answer, stripped, hintsStripped } = filterAnswer(message, filter);
  const how = answer === null ? 0 : answer === message ? 1 : 2;
  signal.note(KIND_FILTER, Math.min(stripped, 4) * 8 + Math.min(hintsStripped, 4), how);
  if (records === null) return hold(answer === null, "nobody can filter a malformed answer");
  if (answer === null) return;
  const left = recordsOf(answer);
  hold(left !== null, "a filtered answer is well-formed");
  hold(left!.every((record) => isClean(record, filter)), "nothing that is refused is left");
  if (answer === message) return hold(stripped + hintsStripped === 0, "the same is the same");
  hold(stripped + hintsStripped > 0, "another answer is another");
  hold((flagsOf(answer) & Flag.authenticData) === 0, "a changed answer was verified by nobody");
  hold(filterAnswer(answer, filter).answer === answer, "filtered once is filtered");
  let at = 0;
  for (const record of left!) {
    while (at < records.length && !isSameHead(records[at]!, record)) at++;
    hold(at++ < records.length, "what is left was there, in its order");
  }
  const gone = records.filter((record) => !isClean(record, filter) || record.type === 46).length;
  hold(left!.length >= records.length - gone, "what is kept is left");
  const before = answerChain(message, { name });
  const after = answerChain(answer, { name });
  if (before === null || before.addresses.length === CHAIN_MAX_ADDRESSES) return;
  hold(`${after?.names}` === `${before.names}`, "the chain is what it was");
  hold(
    after?.addresses.length ===
      before.addresses.filter(({ address }) => filter.keepAddress(address)).length,
    "the chain leads to the addresses that are kept",
  );
}

function isSameHead(one: Seen, other: Seen): boolean {
  return one.section === other.section && one.owner === other.owner && one.type === other.type &&
    one.class === other.class && one.ttl === other.ttl;
}

/** Whether a record has nothing that is refused. */
function isClean({ type, data }: Seen, filter: AnswerFilter): boolean {
  switch (type) {
    case RecordType.a:
      return data.length === 4 && filter.keepAddress(data);
    case RecordType.aaaa:
      return data.length === 16 && filter.keepAddress(data);
    case RecordType.svcb:
    case RecordType.https:
      return withoutParams(data, (key) => filter.stripHints && HINTS.includes(key)) === data;
    default:
      return true;
  }
}

function judgeCache(message: Uint8Array, records: readonly Seen[] | null, signal: Signal): void {
  const asked = questionIn(message);
  if (asked === null) return;
  const check = checkQuestion(asked);
  if (check.kind !== "question") return;
  const { question } = check;
  const cache = new AnswerCache({ entries: 2, bytes: 70_000 });
  cache.put(asked, question, message, 1_000);
  const kept = cache.get(asked, question, 1_000)?.answer ?? null;
  signal.note(KIND_CACHE, kept === null ? 0 : 1, cache.size);
  if (kept !== null) {
    const before = records!.filter(({ type }) => type !== RecordType.opt);
    const after = recordsOf(kept);
    hold(idOf(kept) === question.id, "a kept answer has the asker's id");
    hold(hasSameQuestion(asked, question.end, kept), "a kept answer has the asker's question");
    hold(after?.length === before.length, "a kept answer has all records but OPT");
    after!.forEach((record, i) => {
      const { ttl } = before[i]!;
      hold(isSameHead({ ...before[i]!, ttl: record.ttl }, record), "a kept record is the same");
      hold(record.ttl > 0 && record.ttl <= ttl, "a kept record lives no longer than it did");
    });
  }
  hold(cache.get(asked, question, 1_000 + DAY_MS) === null, "nothing is kept for more than a day");
  hold(cache.size === 0 && cache.usedBytes === 0, "what is over is forgotten");
}

/** A question message with the question of an answer; `null` where it has not one. */
function questionIn(message: Uint8Array): Uint8Array | null {
  const end = message.length < HEADER_BYTES ? -1 : nameEnd(message, HEADER_BYTES);
  if (end < 0 || end + 4 > message.length) return null;
  const asked = message.slice(0, end + 4);
  asked.set([1, 0, 0, 1, 0, 0, 0, 0, 0, 0], 2);
  return asked;
}
