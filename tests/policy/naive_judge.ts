/**
 * A policy by its words: all that is said of a flow is gathered, and the strictest word that counts
 * is the answer. Rules are asked by linear scan (`naive_matcher.ts`), pins are a list.
 *
 * @module
 */
import { ADDRESS_CLASS_NAMES, classify } from "../../lib/policy/address_class.ts";
import type { FlowQuery } from "../../lib/policy/policy.ts";
import type { ProtectLevel } from "../../lib/policy/protect.ts";
import type { Rule } from "../../lib/policy/rule.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { NaiveMatcher } from "./naive_matcher.ts";

/** A name that leads to an address, for ever. */
export interface NaivePin {
  readonly name: string;
  readonly address: Uint8Array;
  /** Whether the operator has written its answer. */
  readonly isOwn?: boolean;
}

/** What is refused at a level, beside what every level refuses. */
const REFUSED: Readonly<Record<ProtectLevel, readonly string[]>> = {
  off: [],
  metadata: ["link-local", "metadata"],
  strict: ["link-local", "metadata", "private"],
};
const ALWAYS_REFUSED = ["loopback", "unspecified", "multicast", "broadcast", "reserved"];
/** Classes that an answer may hold, since nobody can be reached there. */
const NOBODY = ["multicast", "broadcast", "reserved"];

/** Answers what a `Policy` answers, as texts. */
export class NaiveJudge {
  readonly #matcher: NaiveMatcher;
  readonly #rules: readonly Rule[];
  readonly #protect: ProtectLevel;
  readonly #pins: readonly NaivePin[];

  constructor(rules: readonly Rule[], protect: ProtectLevel, pins: readonly NaivePin[]) {
    this.#matcher = new NaiveMatcher(rules);
    this.#rules = rules;
    this.#protect = protect;
    this.#pins = pins;
  }

  get #hasAllow(): boolean {
    return this.#rules.some(({ action }) => action === "allow");
  }

  /** `allow`, `inspect`, or `deny` with the reason. */
  flow(flow: FlowQuery): string {
    const kind = ADDRESS_CLASS_NAMES[classify(flow.address)]!;
    if (this.#refuses(kind)) return "deny protect";
    const word = this.#byRules(flow);
    const isHost = this.#protect === "strict" && flow.isHost();
    return isHost && !word.startsWith("deny") ? "deny protect" : word;
  }

  #byRules(flow: FlowQuery): string {
    const { port, protocol } = flow;
    const names = this.#namesOf(flow.address);
    const query = { ...flow, addressClass: classify(flow.address) };
    const deniedNames = names.filter((name) => this.#matcher.name("deny", name, port, protocol));
    if (this.#matcher.address("deny", query) !== null || deniedNames.length > 0) return "deny rule";
    if (!this.#hasAllow) return "allow";
    if (this.#matcher.address("allow", query) !== null) return "allow";
    const named = names.map((name) => this.#matcher.name("allow", name, port, protocol));
    const wanted = named.filter((_, i) => this.#mayName(flow, names[i]!));
    if (wanted.some((match) => match !== null && match.inspection === null)) return "allow";
    if (wanted.some((match) => match !== null)) return "inspect";
    if (named.some((match) => match !== null)) return "deny rebind";
    const couldBeQuic = protocol === "udp" && port === 443;
    const isNamed = names.some((name) => this.#matcher.lookup("allow", name) !== null);
    return couldBeQuic && isNamed ? "deny quic" : "deny default-deny";
  }

  /** The same for a flow that is to be inspected, once its bytes have come. */
  shown(flow: FlowQuery, kind: "tls" | "http" | "other", name: string | null): string {
    if (kind === "other" || name === null) return "deny no-name";
    if (this.#matcher.name("deny", name, flow.port, "tcp") !== null) return "deny rule";
    const isAllowed = this.#matcher.inspected(kind, name, flow.port) !== null;
    const isRight = isAllowed && this.#namesOf(flow.address).includes(name);
    if (!isRight) return "deny wrong-name";
    return this.#mayName(flow, name) ? "allow" : "deny rebind";
  }

  lookup(name: string, isOwn: boolean): string {
    if (this.#matcher.lookup("deny", name) !== null) return "deny rule";
    if (isOwn || !this.#hasAllow || this.#matcher.lookup("allow", name) !== null) return "allow";
    const opensAll = this.#rules.some(({ action, target, protocol }) =>
      action === "allow" && protocol !== "icmp" &&
      (target.kind === "class"
        ? target.name === "public"
        : target.kind === "prefix" && target.bits === 0)
    );
    return opensAll ? "allow" : "deny default-deny";
  }

  keeps(address: Uint8Array, isOwn: boolean): boolean {
    const addressClass = classify(address);
    const kind = ADDRESS_CLASS_NAMES[addressClass]!;
    if (this.#refuses(kind) && !NOBODY.includes(kind)) return false;
    if (this.#matcher.coversAddress("deny", address, addressClass) !== null) return false;
    if (kind === "public" || NOBODY.includes(kind) || isOwn || !this.#hasAllow) return true;
    return this.#matcher.coversAddress("allow", address, addressClass) !== null;
  }

  /** A name leads to the host and into its networks only by the operator's own answer. */
  #mayName(flow: FlowQuery, name: string): boolean {
    const text = formatIp(flow.address);
    const isOwn = this.#pins.some((pin) => {
      return pin.name === name && formatIp(pin.address) === text && pin.isOwn === true;
    });
    const isPublic = ADDRESS_CLASS_NAMES[classify(flow.address)] === "public";
    return isOwn || (isPublic && !flow.isHost());
  }

  #refuses(kind: string): boolean {
    return ALWAYS_REFUSED.includes(kind) || REFUSED[this.#protect].includes(kind);
  }

  #namesOf(address: Uint8Array): string[] {
    const text = formatIp(address);
    return this.#pins.filter((pin) => formatIp(pin.address) === text).map(({ name }) => name);
  }
}
