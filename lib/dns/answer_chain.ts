/**
 * The chain of aliases from a question's name to its addresses, as an answer section has it: CNAME
 * (RFC 1034 section 3.6.2) and DNAME (RFC 6672), whatever the order of the records.
 *
 * Addresses count only where the chain ends, not where they stand for a name that the chain never
 * comes to, nor in another section or class: whoever sends an answer can put those in for any name.
 * A chain that returns to one of its names, goes on after 16 links, or has a DNAME that would make
 * the name too long, ends without addresses.
 *
 * @module
 */
import { RecordClass, RecordType, ttlSeconds } from "./message.ts";
import { nameEnd, nameOctets, parentName, readName } from "./name.ts";
import type { DnsQuestion } from "./question.ts";
import { RecordWalker, Section } from "./walker.ts";

/** Most links of a chain. */
export const CHAIN_MAX_LINKS = 16;

/** An address that a name leads to. */
export interface ChainAddress {
  /** The address, 4 or 16 octets; a copy. */
  readonly address: Uint8Array;
  /** How long that may be kept: the shortest TTL of the address and of the links to it. */
  readonly ttlSeconds: number;
}

/** Where a question's name leads. */
export interface AnswerChain {
  /** The names behind the question's, in order; empty where it is no alias. */
  readonly names: readonly string[];
  /** The addresses of the last name. */
  readonly addresses: readonly ChainAddress[];
}

interface Link {
  readonly target: string;
  readonly ttlSeconds: number;
}

/**
 * Follows the chain of an answer.
 *
 * @param answer The whole answer.
 * @param question What was asked; its name is as `readName` gives it.
 * @returns The chain, or `null` where the answer is malformed.
 */
export function answerChain(
  answer: Uint8Array,
  question: Pick<DnsQuestion, "name">,
): AnswerChain | null {
  const records = readRecords(answer);
  if (records === null) return null;
  const names: string[] = [];
  const seen = new Set([question.name]);
  let name = question.name;
  let leastTtl = Infinity;
  for (;;) {
    const link = records.aliases.get(name) ?? subtreeLink(records.subtrees, name);
    if (link === null) break;
    if (link.target === null || seen.has(link.target) || names.length === CHAIN_MAX_LINKS) {
      return { names, addresses: [] };
    }
    name = link.target;
    names.push(name);
    seen.add(name);
    leastTtl = Math.min(leastTtl, link.ttlSeconds);
  }
  const addresses = (records.addresses.get(name) ?? []).map((each) => ({
    address: each.address,
    ttlSeconds: Math.min(leastTtl, each.ttlSeconds),
  }));
  return { names, addresses };
}

interface Records {
  readonly aliases: Map<string, Link>;
  readonly subtrees: Map<string, Link>;
  readonly addresses: Map<string, ChainAddress[]>;
}

/** The records of the answer section that a chain is made of; of two aliases the first counts. */
function readRecords(answer: Uint8Array): Records | null {
  const records: Records = { aliases: new Map(), subtrees: new Map(), addresses: new Map() };
  if (!walker.open(answer)) return null;
  while (walker.next()) {
    if (walker.section !== Section.answer || walker.class !== RecordClass.in) continue;
    switch (walker.type) {
      case RecordType.a:
        addAddress(answer, records.addresses, 4);
        break;
      case RecordType.aaaa:
        addAddress(answer, records.addresses, 16);
        break;
      case RecordType.cname:
        if (!addLink(answer, records.aliases)) return null;
        break;
      case RecordType.dname:
        if (!addLink(answer, records.subtrees)) return null;
        break;
    }
  }
  return walker.malformed ? null : records;
}

function addAddress(
  answer: Uint8Array,
  addresses: Map<string, ChainAddress[]>,
  bytes: number,
): void {
  if (walker.dataBytes !== bytes) return;
  const owner = readName(answer, walker.nameAt)!;
  const address = answer.slice(walker.dataAt, walker.dataAt + bytes);
  const one = { address, ttlSeconds: ttlSeconds(walker.ttl) };
  const list = addresses.get(owner);
  if (list === undefined) addresses.set(owner, [one]);
  else list.push(one);
}

function addLink(answer: Uint8Array, links: Map<string, Link>): boolean {
  if (nameEnd(answer, walker.dataAt) !== walker.dataAt + walker.dataBytes) return false;
  const owner = readName(answer, walker.nameAt)!;
  if (links.has(owner)) return true;
  const target = readName(answer, walker.dataAt)!;
  links.set(owner, { target, ttlSeconds: ttlSeconds(walker.ttl) });
  return true;
}

/**
 * Where a DNAME above a name leads it (RFC 6672 section 2.2), by the nearest one: a target of
 * `null` where the name would be too long, `null` without a DNAME.
 */
function subtreeLink(
  subtrees: ReadonlyMap<string, Link>,
  name: string,
): { target: string | null; ttlSeconds: number } | null {
  if (subtrees.size === 0) return null;
  for (let at = parentName(name); at !== null; at = parentName(at)) {
    const link = subtrees.get(at);
    if (link === undefined) continue;
    const labels = at === "" ? name : name.slice(0, name.length - at.length - 1);
    const target = link.target === "" ? labels : `${labels}.${link.target}`;
    return { target: nameOctets(target) === null ? null : target, ttlSeconds: link.ttlSeconds };
  }
  return null;
}

const walker = new RecordWalker();
