/**
 * The names that the gateway answers by itself: `gateway.internal`, `host.internal` where it
 * exists, and static records. A name has IPv4 and IPv6 addresses; for a type that it does not have
 * the answer is NOERROR without records (RFC 2308 section 2.2, type 3: no SOA, so the asker does
 * not cache it). The reverse name of each address leads back to the first name that has it.
 *
 * @module
 */
import dnsPacket from "dns-packet";
import { formatIp } from "../wire/address.ts";
import {
  Flag,
  flagsOf,
  HEADER_BYTES,
  RecordClass,
  RecordType,
  UDP_ADVERTISED_BYTES,
} from "./message.ts";
import { normalizeName } from "./name.ts";
import type { DnsQuestion } from "./question.ts";

/** How long a guest may keep an own answer: short, since a reload can change it. */
export const OWN_TTL_SECONDS = 60;

/** Names with their addresses, ready to be answered from. */
export class OwnNames {
  readonly #addresses = new Map<string, readonly Uint8Array[]>();
  readonly #reverse = new Map<string, string>();

  /**
   * @param records Names and their addresses of 4 or 16 octets.
   * @throws {RangeError} Where a name or an address is none; a configuration was checked before.
   */
  constructor(records: ReadonlyMap<string, readonly Uint8Array[]>) {
    for (const [text, addresses] of records) {
      const name = normalizeName(text);
      if (name === null) throw new RangeError(`Cannot answer for "${text}": not a host name`);
      this.#addresses.set(name, addresses);
      for (const address of addresses) {
        const reverse = reverseName(address);
        if (!this.#reverse.has(reverse)) this.#reverse.set(reverse, name);
      }
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
    if (question.class !== RecordClass.in && question.class !== RecordClass.any) return null;
    const addresses = this.#addresses.get(question.name);
    if (addresses !== undefined) {
      return encode(message, question, addressRecords(question.type, addresses));
    }
    const owner = this.#reverse.get(question.name);
    if (owner === undefined) return null;
    const wanted = question.type === RecordType.ptr || question.type === RecordType.any;
    return encode(message, question, wanted ? [{ type: "PTR", data: owner }] : []);
  }
}

interface OwnRecord {
  readonly type: "A" | "AAAA" | "PTR";
  readonly data: string;
}

function addressRecords(type: number, addresses: readonly Uint8Array[]): OwnRecord[] {
  const records: OwnRecord[] = [];
  for (const address of addresses) {
    const own = address.length === 4 ? RecordType.a : RecordType.aaaa;
    if (type !== own && type !== RecordType.any) continue;
    records.push({ type: own === RecordType.a ? "A" : "AAAA", data: formatIp(address) });
  }
  return records;
}

function encode(
  message: Uint8Array,
  question: DnsQuestion,
  records: readonly OwnRecord[],
): Uint8Array {
  const kept = flagsOf(message) & (Flag.recursionDesired | Flag.checkingDisabled);
  const options = {
    type: "OPT",
    name: ".",
    udpPayloadSize: UDP_ADVERTISED_BYTES,
    flags: question.dnssecOk ? 0x8000 : 0,
    options: [],
  };
  const encoded: Uint8Array = dnsPacket.encode({
    type: "response",
    id: question.id,
    flags: kept | Flag.recursionAvailable | Flag.authoritative,
    questions: [{ name: question.name, type: typeText(question.type), class: "IN" }],
    answers: records.map((record) => ({
      ...record,
      name: question.name,
      ttl: OWN_TTL_SECONDS,
      class: "IN",
    })),
    additionals: question.edns ? [options] : [],
  });
  const answer = new Uint8Array(encoded);
  // The question goes back as it came: askers check the case of its letters (and the class).
  answer.set(message.subarray(HEADER_BYTES, question.end), HEADER_BYTES);
  return answer;
}

/** What dns-packet takes for a type of any number. */
function typeText(type: number): string {
  return `UNKNOWN_${type}`;
}

/** The name under which an address is looked up in reverse (RFC 1035 section 3.5, RFC 3596). */
export function reverseName(address: Uint8Array): string {
  if (address.length === 4) return `${Array.from(address).reverse().join(".")}.in-addr.arpa`;
  if (address.length !== 16) throw new RangeError(`Cannot reverse ${address.length} octets`);
  const nibbles = Array.from(address, (octet) => octet.toString(16).padStart(2, "0")).join("");
  return `${Array.from(nibbles).reverse().join(".")}.ip6.arpa`;
}
