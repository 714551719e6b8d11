/**
 * The names that the gateway answers by itself: `gateway.internal`, `host.internal` where it
 * exists, static records, and local zones.
 *
 * A name with own records is answered here for every type; one that it does not have is NOERROR
 * without records (RFC 2308 section 2.2). Inside a local zone a name without records does not exist,
 * unless another one stands below it, and both are said with the zone's SOA, so that an asker may
 * keep them; outside of zones such names are for the upstreams. `*.x` stands for the names below x
 * that do not exist, when x is the nearest that does (RFC 4592): not for x itself, and not for
 * names below an own name that stands beside it.
 *
 * An alias (CNAME) is followed through own records, 16 links at most; where it leads to a name that
 * is none of them, the answer has the aliases only and `foreignTarget` says where to go on (see
 * foreign_chain.ts). The reverse name of each address leads back to the first name that has it,
 * unless it has records itself; a wildcard is no name to lead back to.
 *
 * The names of services of others (service_zone.ts) come last: whoever has written records of their
 * own for such a name is answered with those. They have no reverse names.
 *
 * Own names are of the class IN. Who asks for one in another class is refused, and nobody else is
 * asked: what a guest calls its neighbours is nothing for the upstreams to hear, in any class.
 *
 * @module
 */
import { Rcode, RecordClass, RecordType } from "./message.ts";
import { normalizeName, normalizeOwner, parentName, readName } from "./name.ts";
import { encodeOwnAnswer, type OwnAnswer, type PlacedRecord } from "./own_answer.ts";
import {
  nameRecord,
  OWN_RECORDS_MAX_BYTES,
  type OwnRecord,
  type OwnRecords,
  recordsBytes,
  zoneRecord,
} from "./own_record.ts";
import type { DnsQuestion } from "./question.ts";
import type { ServiceZone } from "./service_zone.ts";
import { ZoneTable } from "./zone_table.ts";

/** Most aliases that are followed. */
const ALIASES_MAX = 16;

/** What own names are made from. */
export interface OwnNamesOptions {
  /** Names, also `*.x`, and their records. */
  readonly records: ReadonlyMap<string, OwnRecords>;
  /** Names of local zones. */
  readonly zones: readonly string[];
  /** The names of services at this moment; none when absent. */
  readonly services?: () => ServiceZone | null;
}

/** What is known of a name. */
interface Found {
  /** Whether the name exists. */
  readonly exists: boolean;
  /** Its records. */
  readonly records: OwnRecords;
  /** Whether it is the name of a service, or would be. */
  readonly isService: boolean;
}

/** An own answer, and where its aliases lead out of the own names. */
interface Chain extends OwnAnswer {
  readonly foreign: string | null;
  /** What the names of services have to do with it. */
  readonly services: ServicePart;
}

/**
 * What the names of services have to do with an answer: nothing, it is one of them, or an alias of the
 * operator's leads to one.
 */
export type ServicePart = "none" | "all" | "end";

/** What is said of an own name in another class. */
const OTHER_CLASS: Chain = Object.freeze({
  rcode: Rcode.refused,
  answers: [],
  authorities: [],
  foreign: null,
  services: "none",
});

/** Names with their records, ready to be answered from. */
export class OwnNames {
  readonly #records = new Map<string, OwnRecords>();
  /** Names above those with records. */
  readonly #above = new Set<string>();
  readonly #zones: ZoneTable<PlacedRecord>;
  readonly #services: () => ServiceZone | null;

  /**
   * @param options Records and zones.
   * @throws {RangeError} Where a name or a record is none; a configuration was checked before.
   */
  constructor({ records, zones, services = () => null }: OwnNamesOptions) {
    this.#services = services;
    for (const [text, own] of records) {
      const name = normalizeOwner(text);
      if (name === null) throw new RangeError(`Cannot answer for "${text}": not a host name`);
      if (recordsBytes(own) > OWN_RECORDS_MAX_BYTES) {
        throw new RangeError(`Cannot answer for "${text}": its records do not fit a message`);
      }
      this.#records.set(name, own);
    }
    this.#addReverse();
    const places = zones.map(placedZone);
    this.#zones = new ZoneTable(places.map((zone) => [zone.name, zone]));
    for (const zone of places) this.#addZone(zone);
    for (const name of this.#records.keys()) {
      for (let at = parentName(name); at !== null; at = parentName(at)) this.#above.add(at);
    }
  }

  /**
   * Answers a question about an own name.
   *
   * @param message The question message.
   * @param question What it asks, from `checkQuestion`.
   * @returns The answer, or `null` where the name is not an own one.
   */
  answer(message: Uint8Array, question: DnsQuestion): Uint8Array | null {
    const chain = this.#follow(question);
    return chain === null ? null : encodeOwnAnswer(message, question, chain);
  }

  /** What the names of services have to do with the answer to a question about an own name. */
  servicePart(question: DnsQuestion): ServicePart {
    return this.#services() === null ? "none" : this.#follow(question)?.services ?? "none";
  }

  /** Whether a name, as `readName` gives it, is answered here. */
  has(name: string): boolean {
    return this.#find(name) !== null;
  }

  /**
   * Where the aliases of an own name lead out of the own names.
   *
   * @param question What is asked, from `checkQuestion`.
   * @returns The first name of the chain that is not an own one; `null` where the answer is whole.
   */
  foreignTarget(question: DnsQuestion): string | null {
    return this.#follow(question)?.foreign ?? null;
  }

  #follow(question: DnsQuestion): Chain | null {
    if (question.class !== RecordClass.in && question.class !== RecordClass.any) {
      return this.#find(question.name) === null ? null : OTHER_CLASS;
    }
    const { type } = question;
    const answers: PlacedRecord[] = [];
    const seen = new Set<string>();
    let name = question.name;
    for (;;) {
      const found = this.#find(name);
      if (found === null) {
        if (answers.length === 0) return null;
        const rcode = Rcode.noError;
        return { rcode, answers, authorities: [], foreign: name, services: "none" };
      }
      const wanted = found.records.filter((own) => type === RecordType.any || own.type === type);
      answers.push(...wanted.map((record) => ({ name, record })));
      const alias = wanted.length > 0 ? undefined : found.records.find(isAlias);
      seen.add(name);
      if (alias === undefined) return this.#end(name, found, answers, wanted.length > 0);
      answers.push({ name, record: alias });
      name = readName(alias.data, 0)!;
      if (seen.has(name) || seen.size > ALIASES_MAX) {
        const rcode = Rcode.noError;
        return { rcode, answers, authorities: [], foreign: null, services: "none" };
      }
    }
  }

  /** The chain that ends at a name; where it has nothing, its zone says so. */
  #end(name: string, found: Found, answers: readonly PlacedRecord[], isWhole: boolean): Chain {
    const soa = isWhole ? null : this.#soaOf(name);
    const isAlias = answers.length > 0 && answers[0]!.name !== name;
    return {
      rcode: found.exists ? Rcode.noError : Rcode.nameError,
      answers,
      authorities: soa === null ? [] : [soa],
      foreign: null,
      services: !found.isService ? "none" : isAlias ? "end" : "all",
    };
  }

  /** What is said with a name that has nothing: the record of its zone. */
  #soaOf(name: string): PlacedRecord | null {
    const services = this.#services();
    if (services?.covers(name)) return services.soa;
    return this.#zones.find(name)?.value ?? null;
  }

  /** What is known of a name, or `null` where it is none of the own ones. */
  #find(name: string): Found | null {
    const own = this.#records.get(name);
    if (own !== undefined) return { exists: true, records: own, isService: false };
    const exists = this.#above.has(name);
    const wildcard = exists ? undefined : this.#wildcardFor(name);
    if (wildcard !== undefined) return { exists: true, records: wildcard, isService: false };
    const services = this.#services();
    if (services?.covers(name)) {
      const found = services.find(name);
      return { exists: exists || found.exists, records: found.records, isService: true };
    }
    return this.#zones.find(name) === null ? null : { exists, records: [], isService: false };
  }

  /** The records of the wildcard right below the nearest name above that exists. */
  #wildcardFor(name: string): OwnRecords | undefined {
    for (let at = parentName(name); at !== null; at = parentName(at)) {
      if (this.#above.has(at)) return this.#records.get(`*.${at}`);
      if (this.#records.has(at)) return undefined;
    }
    return undefined;
  }

  #addReverse(): void {
    const reverse = new Map<string, OwnRecord>();
    for (const [name, own] of this.#records) {
      if (name.startsWith("*.")) continue;
      for (const { type, data, ttlSeconds } of own) {
        if (type !== RecordType.a && type !== RecordType.aaaa) continue;
        const at = reverseName(data);
        if (!reverse.has(at)) reverse.set(at, nameRecord(RecordType.ptr, name, ttlSeconds));
      }
    }
    for (const [name, record] of reverse) {
      if (!this.#records.has(name)) this.#records.set(name, [record]);
    }
  }

  /** A zone's own name exists, and has the zone's record. */
  #addZone({ name, record }: PlacedRecord): void {
    const own = this.#records.get(name) ?? [];
    if (!own.some(isAlias)) this.#records.set(name, [...own, record]);
  }
}

function placedZone(text: string): PlacedRecord {
  const name = normalizeName(text);
  if (name === null) throw new RangeError(`Cannot answer for the zone "${text}": not a host name`);
  return { name, record: zoneRecord(name) };
}

function isAlias({ type }: OwnRecord): boolean {
  return type === RecordType.cname;
}

/** The name under which an address is looked up in reverse (RFC 1035 section 3.5, RFC 3596). */
export function reverseName(address: Uint8Array): string {
  if (address.length === 4) return `${Array.from(address).reverse().join(".")}.in-addr.arpa`;
  if (address.length !== 16) throw new RangeError(`Cannot reverse ${address.length} octets`);
  const nibbles = Array.from(address, (octet) => octet.toString(16).padStart(2, "0")).join("");
  return `${Array.from(nibbles).reverse().join(".")}.ip6.arpa`;
}
