/**
 * Which clients a published port lets in: the same rules as for the guest's own flows, asked about
 * the address that a client comes from.
 *
 * An IPv4 client of an IPv6 socket comes from a mapped address (RFC 4291 section 2.5.5.2): what
 * counts is the IPv4 address in it.
 *
 * @module
 */
import { classify } from "./address_class.ts";
import { type Denial, formatDestination } from "./denial.ts";
import { parseSource, type Rule } from "./rule.ts";
import { RuleSet } from "./rule_set.ts";

const MAPPED_PREFIX = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/** The sources of one published port. */
export class Sources {
  readonly #rules: RuleSet;
  readonly #isHost: (address: Uint8Array) => boolean;
  readonly #protocol: "tcp" | "udp";

  /**
   * @param texts CIDRs, addresses and classes.
   * @param isHost Whether an address is one of the host's own.
   * @param protocol What the port carries.
   * @throws {RangeError} Where a text is none of them; a configuration was checked before.
   */
  constructor(
    texts: readonly string[],
    isHost: (address: Uint8Array) => boolean,
    protocol: "tcp" | "udp" = "tcp",
  ) {
    this.#isHost = isHost;
    this.#protocol = protocol;
    this.#rules = new RuleSet(texts.map((text): Rule => {
      const target = parseSource(text);
      if (typeof target === "string") throw new RangeError(`Cannot let clients in: ${target}`);
      return { action: "allow", target, ports: null, protocol: null, text, origin: "allowFrom" };
    }));
  }

  /** Why a client from `address` of 4 or 16 octets is not let in to the guest's port, or `null`. */
  refusal(address: Uint8Array, guestPort: number): Denial | null {
    const source = unmapped(address);
    const rule = this.#rules.address("allow", {
      address: source,
      addressClass: classify(source),
      isHost: () => this.#isHost(source),
      port: guestPort,
      protocol: this.#protocol,
    });
    if (rule !== null) return null;
    const from = formatDestination(source, 0, "icmp");
    const isUdp = this.#protocol === "udp";
    return {
      protocol: this.#protocol,
      name: null,
      destination: `published port ${guestPort}`,
      rule: "allowFrom",
      origin: "",
      reason: "source",
      detail: `a client from ${from} is not let in`,
      hint: `publish: [{ guest: ${guestPort}, ${
        isUdp ? "protocol: udp, " : ""
      }allowFrom: ["${from}"] }]`,
    };
  }
}

function unmapped(address: Uint8Array): Uint8Array {
  const isMapped = address.length === 16 &&
    MAPPED_PREFIX.every((octet, i) => address[i] === octet);
  return isMapped ? address.slice(12) : address;
}
