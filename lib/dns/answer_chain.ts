/**
 * The chain of aliases from a question's name to its addresses, as an answer section has it: CNAME
 * (RFC 1034 section 3.6.2) and DNAME (RFC 6672), whatever the order of the records.
 *
 * Addresses count only where the chain ends, not where they stand for a name that the chain never
 * comes to, nor in another section or class: whoever sends an answer can put those in for any name.
 * A chain that returns to one of its names, goes on after 16 links, or has a DNAME that would make
 * the name too long, ends without addresses. Of more than 64 addresses the first 64 count: who names
 * more of them asks for more memory than a name is worth. The cost is that of the message's length.
 *
 * @module
 */
import { RecordClass, RecordType, ttlSeconds } from "./message.ts";
import { nameEnd } from "./name.ts";
import { type NameNode, NameTree, textOf } from "./name_tree.ts";
import type { DnsQuestion } from "./question.ts";
import { RecordWalker, Section } from "./walker.ts";

/** Most links of a chain. */
export const CHAIN_MAX_LINKS = 16;

/** Most addresses of an answer that count. */
export const CHAIN_MAX_ADDRESSES = 64;

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
  /** The addresses of the last name, the first 64 of them. */
  readonly addresses: readonly ChainAddress[];
}

/** What an address of a chain takes in memory, about. */
const ADDRESS_BYTES = 200;

/** What a chain takes in memory, about. */
export function chainBytes({ names, addresses }: AnswerChain): number {
  const namesBytes = names.reduce((sum, name) => sum + 2 * name.length, 0);
  return namesBytes + addresses.length * ADDRESS_BYTES;
}

/** What a name has that a chain can be made of. */
interface NameRecords {
  /** Where its first CNAME leads. */
  alias: Link | null;
  /** Where its first DNAME leads. */
  subtree: Link | null;
  readonly addresses: ChainAddress[];
}

/** Where an alias leads: `null` where the name would be too long. */
interface Link {
  readonly target: NameNode | null;
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
  let name = records.names.of(question.name);
  if (name === null) return { names: [], addresses: [] };
  const names: NameNode[] = [];
  const seen = new Set([name]);
  let leastTtl = Infinity;
  for (;;) {
    const link = records.linkOf(name);
    if (link === null) return chainOf(names, records.addressesOf(name, leastTtl));
    if (link.target === null || seen.has(link.target) || names.length === CHAIN_MAX_LINKS) {
      return chainOf(names, []);
    }
    name = link.target;
    names.push(name);
    seen.add(name);
    leastTtl = Math.min(leastTtl, link.ttlSeconds);
  }
}

function chainOf(names: readonly NameNode[], addresses: readonly ChainAddress[]): AnswerChain {
  return { names: names.map(textOf), addresses };
}

/** The records of an answer section, by their names. */
class ChainRecords {
  readonly names: NameTree;
  readonly #answer: Uint8Array;
  readonly #records = new Map<NameNode, NameRecords>();
  #hasSubtrees = false;

  constructor(answer: Uint8Array) {
    this.#answer = answer;
    this.names = new NameTree(answer);
  }

  /** Reads them; false where the answer is malformed. */
  read(): boolean {
    if (!walker.open(this.#answer)) return false;
    while (walker.next()) {
      if (walker.section !== Section.answer || walker.class !== RecordClass.in) continue;
      switch (walker.type) {
        case RecordType.a:
          this.#addAddress(4);
          break;
        case RecordType.aaaa:
          this.#addAddress(16);
          break;
        case RecordType.cname:
        case RecordType.dname:
          if (nameEnd(this.#answer, walker.dataAt) !== walker.at) return false;
          this.#addLink(walker.type);
          break;
      }
    }
    return !walker.malformed;
  }

  /** Where a name leads: its alias, or the nearest DNAME above it (RFC 6672 section 2.2). */
  linkOf(name: NameNode): Link | null {
    const alias = this.#records.get(name)?.alias ?? null;
    if (alias !== null || !this.#hasSubtrees) return alias;
    for (let at = name.parent; at !== null; at = at.parent) {
      const subtree = this.#records.get(at)?.subtree ?? null;
      if (subtree === null) continue;
      const target = this.names.moved(name, at, subtree.target!);
      return { target, ttlSeconds: subtree.ttlSeconds };
    }
    return null;
  }

  /** The addresses of a name. */
  addressesOf(name: NameNode, leastTtl: number): ChainAddress[] {
    const addresses = this.#records.get(name)?.addresses ?? [];
    return addresses.map(({ address, ttlSeconds }) => ({
      address,
      ttlSeconds: Math.min(leastTtl, ttlSeconds),
    }));
  }

  #addAddress(bytes: number): void {
    if (walker.dataBytes !== bytes) return;
    const { addresses } = this.#here();
    if (addresses.length === CHAIN_MAX_ADDRESSES) return;
    const address = this.#answer.slice(walker.dataAt, walker.at);
    addresses.push({ address, ttlSeconds: ttlSeconds(walker.ttl) });
  }

  /** Of two links of one kind at one name the first counts. */
  #addLink(type: number): void {
    const here = this.#here();
    const link = { target: this.names.at(walker.dataAt), ttlSeconds: ttlSeconds(walker.ttl) };
    if (type === RecordType.cname) {
      here.alias ??= link;
      return;
    }
    here.subtree ??= link;
    this.#hasSubtrees = true;
  }

  /** What the walker's name has. */
  #here(): NameRecords {
    const name = this.names.at(walker.nameAt);
    const known = this.#records.get(name);
    if (known !== undefined) return known;
    const made: NameRecords = { alias: null, subtree: null, addresses: [] };
    this.#records.set(name, made);
    return made;
  }
}

const walker = new RecordWalker();
