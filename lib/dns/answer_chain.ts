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
import { nameEnd, nameHash, nameOctets, parentName, readName } from "./name.ts";
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

/** A record that a chain can be made of. */
interface ChainRecord {
  readonly type: number;
  readonly ttlSeconds: number;
  readonly nameAt: number;
  readonly dataAt: number;
  readonly dataBytes: number;
}

/** Where an alias leads: `null` where the name would be too long. */
interface Link {
  readonly target: string | null;
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
  const records = new ChainRecords(answer);
  if (!records.read()) return null;
  const names: string[] = [];
  const seen = new Set([question.name]);
  let name = question.name;
  let leastTtl = Infinity;
  for (;;) {
    const here = records.of(name);
    const link = records.aliasIn(here) ?? records.subtreeOf(name);
    if (link === null) return { names, addresses: records.addressesIn(here, leastTtl) };
    if (link.target === null || seen.has(link.target) || names.length === CHAIN_MAX_LINKS) {
      return { names, addresses: [] };
    }
    name = link.target;
    names.push(name);
    seen.add(name);
    leastTtl = Math.min(leastTtl, link.ttlSeconds);
  }
}

/** The records of an answer section, by their names. */
class ChainRecords {
  readonly #answer: Uint8Array;
  readonly #byHash = new Map<number, ChainRecord[]>();
  #hasSubtrees = false;

  constructor(answer: Uint8Array) {
    this.#answer = answer;
  }

  /** Reads them; false where the answer is malformed. */
  read(): boolean {
    if (!walker.open(this.#answer)) return false;
    while (walker.next()) {
      if (walker.section !== Section.answer || walker.class !== RecordClass.in) continue;
      switch (walker.type) {
        case RecordType.a:
        case RecordType.aaaa:
          this.#add();
          break;
        case RecordType.cname:
        case RecordType.dname:
          if (nameEnd(this.#answer, walker.dataAt) !== walker.at) return false;
          if (walker.type === RecordType.dname) this.#hasSubtrees = true;
          this.#add();
          break;
      }
    }
    return !walker.malformed;
  }

  /** The records of a name. */
  of(name: string): readonly ChainRecord[] {
    const octets = nameOctets(name);
    if (octets === null) return NONE;
    const near = this.#byHash.get(nameHash(octets, 0)) ?? NONE;
    return near.filter(({ nameAt }) => readName(this.#answer, nameAt) === name);
  }

  /** Where an alias among records of a name leads; of two the first counts. */
  aliasIn(records: readonly ChainRecord[]): Link | null {
    return this.#linkIn(records, RecordType.cname);
  }

  /** Where a DNAME above a name leads it, by the nearest one (RFC 6672 section 2.2). */
  subtreeOf(name: string): Link | null {
    if (!this.#hasSubtrees) return null;
    for (let at = parentName(name); at !== null; at = parentName(at)) {
      const link = this.#linkIn(this.of(at), RecordType.dname);
      if (link === null) continue;
      const labels = at === "" ? name : name.slice(0, name.length - at.length - 1);
      const target = link.target === "" ? labels : `${labels}.${link.target}`;
      return { target: nameOctets(target) === null ? null : target, ttlSeconds: link.ttlSeconds };
    }
    return null;
  }

  /** The addresses among records of a name. */
  addressesIn(records: readonly ChainRecord[], leastTtl: number): ChainAddress[] {
    return records
      .filter(({ type, dataBytes }) =>
        (type === RecordType.a && dataBytes === 4) || (type === RecordType.aaaa && dataBytes === 16)
      )
      .map((record) => ({
        address: this.#answer.slice(record.dataAt, record.dataAt + record.dataBytes),
        ttlSeconds: Math.min(leastTtl, record.ttlSeconds),
      }));
  }

  #linkIn(records: readonly ChainRecord[], type: number): Link | null {
    const record = records.find((each) => each.type === type);
    if (record === undefined) return null;
    return { target: readName(this.#answer, record.dataAt), ttlSeconds: record.ttlSeconds };
  }

  #add(): void {
    const { type, nameAt, dataAt, dataBytes } = walker;
    const record = { type, ttlSeconds: ttlSeconds(walker.ttl), nameAt, dataAt, dataBytes };
    const hash = nameHash(this.#answer, nameAt);
    const list = this.#byHash.get(hash);
    if (list === undefined) this.#byHash.set(hash, [record]);
    else list.push(record);
  }
}

const NONE: readonly ChainRecord[] = [];
const walker = new RecordWalker();
