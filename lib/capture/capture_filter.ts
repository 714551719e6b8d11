/**
 * Which frames a capture has, in words that people know from tcpdump.
 *
 *     filter     term, then any number of: and term, or term       equal rank, from the left
 *     term       not term | ( filter ) | primitive
 *     primitive  [PROTOCOL] [src|dst] port N
 *                [PROTOCOL] [src|dst] host ADDRESS | [src|dst] net ADDRESS/BITS
 *                PROTOCOL: tcp, udp, icmp (of either family), arp, ip, ip6
 *
 * Names and single values without a word in front of them are not taken. An ICMP error passes where
 * the packet passes that it is about. Limits: `FILTER_MAX` characters.
 *
 * @module
 */
import { formatIp, parseIp } from "../wire/address.ts";
import { EtherType } from "../wire/ethernet.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { FrameFields, isAddressAt, readQuoted } from "./frame_fields.ts";

/** Longest filter, in characters. */
export const FILTER_MAX = 1_024;

type Test = (view: DataView, fields: FrameFields) => boolean;

/** A filter that was understood. */
export class CaptureFilter {
  /** The text that it was made of. */
  readonly text: string;
  readonly #test: Test;
  readonly #quoted = new FrameFields();

  /** For `parseCaptureFilter`. */
  constructor(text: string, test: Test) {
    this.text = text;
    this.#test = test;
  }

  /** Whether a frame is wanted. */
  passes(view: DataView, fields: FrameFields): boolean {
    if (this.#test(view, fields)) return true;
    return readQuoted(view, fields, this.#quoted) && this.#test(view, this.#quoted);
  }
}

/**
 * Reads a filter.
 *
 * @param text The filter; not empty.
 * @returns The filter, or what is wrong with it and the way out.
 */
export function parseCaptureFilter(text: string): CaptureFilter | string {
  if (text.length > FILTER_MAX) return `has over ${FILTER_MAX} characters`;
  const parser = new FilterParser(text);
  try {
    return new CaptureFilter(text, parser.whole());
  } catch (error) {
    if (error instanceof FilterFault) return error.message;
    throw error;
  }
}

/** The text is no filter. */
class FilterFault extends Error {}

const WORDS = "tcp, udp, icmp, arp, ip, ip6, port, host, net, src, dst, and, or, not";
const JOINS: Readonly<Record<string, "and" | "or">> = {
  and: "and",
  "&&": "and",
  or: "or",
  "||": "or",
};

const PROTOCOLS: Readonly<Record<string, Test>> = {
  tcp: (_view, { protocol }) => protocol === IpProtocol.tcp,
  udp: (_view, { protocol }) => protocol === IpProtocol.udp,
  icmp: (_view, { protocol }) => protocol === IpProtocol.icmp || protocol === IpProtocol.icmp6,
  arp: (_view, { type }) => type === EtherType.arp,
  ip: (_view, { type }) => type === EtherType.ipv4,
  ip6: (_view, { type }) => type === EtherType.ipv6,
};

/** Which end of a packet a value is compared with. */
type End = "src" | "dst" | "either";

class FilterParser {
  readonly #words: readonly string[];
  #at = 0;

  constructor(text: string) {
    this.#words = text.match(/[()]|!|&&|\|\||[^\s()!&|]+|[&|]/g) ?? [];
  }

  whole(): Test {
    const test = this.#filter();
    const word = this.#peek();
    if (word === ")") throw new FilterFault("has a ) without its (");
    if (word !== undefined) throw this.#unjoined(word);
    return test;
  }

  #peek(): string | undefined {
    return this.#words[this.#at];
  }

  /** The next word; `wanted` says what should stand there. */
  #next(wanted: string): string {
    const word = this.#words[this.#at++];
    if (word === undefined) {
      const last = this.#words.at(-1);
      throw new FilterFault(last === undefined ? "is empty" : `ends behind "${last}"; ${wanted}`);
    }
    return word;
  }

  #filter(): Test {
    let test = this.#term();
    for (;;) {
      const join = JOINS[this.#peek() ?? ""];
      if (join === undefined) return test;
      this.#at++;
      const left = test;
      const right = this.#term();
      test = join === "and"
        ? (view, fields) => left(view, fields) && right(view, fields)
        : (view, fields) => left(view, fields) || right(view, fields);
    }
  }

  #term(): Test {
    const word = this.#next("write what comes next, such as tcp port 443");
    if (word === "not" || word === "!") {
      const test = this.#term();
      return (view, fields) => !test(view, fields);
    }
    if (word !== "(") return this.#primitive(word);
    const test = this.#filter();
    const closing = this.#next("write the ) that is missing");
    if (closing !== ")") throw this.#unjoined(closing);
    return test;
  }

  #primitive(first: string): Test {
    const protocol = Object.hasOwn(PROTOCOLS, first) ? PROTOCOLS[first]! : null;
    if (protocol === null) return this.#value(first);
    const next = this.#peek() ?? "";
    if (!["src", "dst", "port", "host", "net"].includes(next)) return protocol;
    const test = this.#value(this.#next(""));
    return (view, fields) => protocol(view, fields) && test(view, fields);
  }

  #value(first: string): Test {
    const end: End = first === "src" || first === "dst" ? first : "either";
    const kind = end === "either"
      ? first
      : this.#next(`write ${end} port N, or ${end} host ADDRESS`);
    switch (kind) {
      case "port":
        return portTest(end, this.#port());
      case "host":
        return hostTest(end, this.#host());
      case "net":
        return this.#net(end);
      default:
        throw end === "either" ? unknownWord(kind) : new FilterFault(
          `"${kind}" behind ${end}: write ${end} port N, or ${end} host ADDRESS`,
        );
    }
  }

  #port(): number {
    const text = this.#next("write port N");
    const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : NaN;
    if (port <= 65_535) return port;
    throw new FilterFault(`"${text}" is not a port from 0 to 65535`);
  }

  #host(): Uint8Array {
    const text = this.#next("write host ADDRESS");
    const address = parseIp(text);
    if (address !== null) return address;
    const [head = "", bits] = text.split("/");
    throw new FilterFault(
      bits !== undefined && parseIp(head) !== null
        ? `"${text}" is a network; write net ${text}`
        : `"${text}" is not an address; names are not looked up, write host 10.0.0.5 or host fd00::1`,
    );
  }

  #net(end: End): Test {
    const text = this.#next("write net ADDRESS/BITS");
    const [, head = "", length = ""] = /^([^/]+)\/([0-9]{1,3})$/.exec(text) ?? [];
    const address = parseIp(head);
    const bits = Number(length);
    if (address === null || bits > 8 * address.length) {
      throw new FilterFault(`"${text}" is not a network; write net 10.0.0.0/8 or net fd00::/8`);
    }
    const first = masked(address, bits);
    if (first.some((octet, i) => octet !== address[i])) {
      throw new FilterFault(
        `"${text}" has bits set behind the prefix; did you mean ${formatIp(first)}/${bits}?`,
      );
    }
    return netTest(end, address, bits);
  }

  #unjoined(word: string): FilterFault {
    if (parseIp(word) !== null) return new FilterFault(`"${word}" has no word; write host ${word}`);
    const isKnown = WORDS.split(", ").includes(word) || word === "(" || word === "!";
    return isKnown
      ? new FilterFault(`"${word}" follows without and or or; write: and ${word}`)
      : unknownWord(word);
  }
}

function unknownWord(word: string): FilterFault {
  if (parseIp(word) !== null) return new FilterFault(`"${word}" has no word; write host ${word}`);
  if (/^[0-9]+$/.test(word)) return new FilterFault(`"${word}" has no word; write port ${word}`);
  return new FilterFault(`"${word}" is no word of a filter; there are ${WORDS}`);
}

function portTest(end: End, port: number): Test {
  switch (end) {
    case "src":
      return (_view, { sourcePort }) => sourcePort === port;
    case "dst":
      return (_view, { destinationPort }) => destinationPort === port;
    case "either":
      return (_view, { sourcePort, destinationPort }) =>
        sourcePort === port || destinationPort === port;
  }
}

function hostTest(end: End, address: Uint8Array): Test {
  return addressTest(end, address.length, (view, at) => isAddressAt(view, at, address));
}

function netTest(end: End, address: Uint8Array, bits: number): Test {
  const whole = address.subarray(0, bits >> 3);
  const rest = bits & 7;
  const mask = (0xff00 >> rest) & 0xff;
  return addressTest(end, address.length, (view, at) => {
    if (!isAddressAt(view, at, whole)) return false;
    return rest === 0 || (view.getUint8(at + whole.length) & mask) === address[whole.length];
  });
}

function addressTest(
  end: End,
  bytes: number,
  isIt: (view: DataView, at: number) => boolean,
): Test {
  switch (end) {
    case "src":
      return (view, { addressBytes, sourceAt }) => addressBytes === bytes && isIt(view, sourceAt);
    case "dst":
      return (view, { addressBytes, destinationAt }) =>
        addressBytes === bytes && isIt(view, destinationAt);
    case "either":
      return (view, { addressBytes, sourceAt, destinationAt }) =>
        addressBytes === bytes && (isIt(view, sourceAt) || isIt(view, destinationAt));
  }
}

/** An address with nothing behind its first bits. */
function masked(address: Uint8Array, bits: number): Uint8Array {
  return address.map((octet, i) => {
    const kept = Math.min(8, Math.max(0, bits - 8 * i));
    return octet & (0xff00 >> kept) & 0xff;
  });
}
