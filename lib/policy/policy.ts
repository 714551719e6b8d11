/**
 * What one guest may reach: protect level, rules and pins, joined into one verdict for each flow,
 * each lookup and each address in an answer.
 *
 *     flow:    protect ─▶ deny rules (address, names) ─▶ allow by address ─▶ allow by a pinned name
 *              ─▶ without allow rules: yes ─▶ no (default-deny)
 *     lookup:  deny rules ─▶ without allow rules: yes ─▶ allow rules ─▶ no
 *
 * A flow that only a rule about a domain allows is `inspect`ed where the protocol carries a name:
 * the name in its first bytes has to be one that leads to this address and that a rule allows.
 *
 * A name chooses among public addresses of others. To the host itself and to private addresses it
 * leads only where the operator has written its answer or named the resolver that gives it: whoever
 * owns a domain could else open any of them by pointing it there. The name of a service stands for
 * its places alone (named_places.ts).
 *
 * A flow is judged when it begins, never by the segment, and again when the rules change: then by
 * its grounds, which it keeps, since the pin that it began with may be over.
 *
 * Does not know the gateway's own addresses and sockets, resolves nothing, dials nothing.
 *
 * @module
 */
import { ADDRESS_CLASS_NAMES, AddressClass, classify, embeddedIpv4 } from "./address_class.ts";
import { type Denial, formatDestination, nameRule } from "./denial.ts";
import { type NamedPlaces, NO_PLACES } from "./named_places.ts";
import { PinKind, type Pins } from "./pins.ts";
import { levelThatAllows, type ProtectLevel, refusesClass, refusesHost } from "./protect.ts";
import type { Rule } from "./rule.ts";
import type { AddressQuery, FlowProtocol, RuleSet } from "./rule_set.ts";
import { allowHint, denyHint, protectHint } from "./way_out.ts";

/** A flow that a guest wants. */
export interface FlowQuery {
  /** Where to: 4 or 16 octets. */
  readonly address: Uint8Array;
  /** The port; 0 for ICMP. */
  readonly port: number;
  /** How. */
  readonly protocol: FlowProtocol;
  /** Whether the address is one of the host's own; asked only where that matters. */
  isHost(): boolean;
}

/** Why a flow was let through; it is judged by that again when the rules change. */
export interface Grounds {
  /** The name that led to it: the one that a rule covered, or else the last that was looked up. */
  readonly name: string | null;
  /** What the flow's first bytes showed, where they had to. */
  readonly inspected: "tls" | "http" | null;
  /** The rule; `null` where nothing forbids it. */
  readonly rule: Rule | null;
  /** Whether the name's answer was the operator's own. */
  readonly isOwnName?: boolean;
}

/** What becomes of a flow. */
export type FlowVerdict =
  | { readonly kind: "allow"; readonly grounds: Grounds }
  /** Its first bytes decide. */
  | { readonly kind: "inspect" }
  | { readonly kind: "deny"; readonly denial: Denial };

/** What becomes of a lookup; `null` is yes. */
export type LookupVerdict = Denial | null;

/** What a policy is made from. */
export interface PolicyOptions {
  readonly protect: ProtectLevel;
  /** Where the level stands; empty for what messages have no place of. */
  readonly protectOrigin?: string;
  readonly rules: RuleSet;
  readonly pins: Pins;
  /** Names that stand for places; none when absent. */
  readonly places?: NamedPlaces;
}

const FREE: FlowVerdict = Object.freeze({
  kind: "allow",
  grounds: Object.freeze({ name: null, inspected: null, rule: null }),
});
const NO_NAMES: readonly string[] = [];
const INSPECT: FlowVerdict = Object.freeze({ kind: "inspect" });
const HTTPS_PORT = 443;
const LEADS_NOWHERE: readonly AddressClass[] = [
  AddressClass.reserved,
  AddressClass.broadcast,
  AddressClass.multicast,
];
const MIN_PORT_HINT = 1;

/** The policy of one guest. */
export class Policy {
  readonly protect: ProtectLevel;
  readonly rules: RuleSet;
  readonly pins: Pins;
  readonly places: NamedPlaces;
  readonly #protectOrigin: string;

  constructor({ protect, protectOrigin = "", rules, pins, places = NO_PLACES }: PolicyOptions) {
    this.protect = protect;
    this.#protectOrigin = protectOrigin;
    this.rules = rules;
    this.pins = pins;
    this.places = places;
  }

  /** Whether some rule is about a domain that the guest may reach: answers then lose their hints. */
  get fencesNames(): boolean {
    return this.rules.hasDomainAllow;
  }

  /** Whether names of addresses have any use. */
  get usesNames(): boolean {
    return this.rules.rules.length > 0;
  }

  /** Judges a flow that begins. */
  judgeFlow(flow: FlowQuery, nowMs: number): FlowVerdict {
    const addressClass = classify(flow.address);
    if (refusesClass(this.protect, addressClass)) return this.#protectsClass(flow, addressClass);
    const verdict = this.#judgeByRules(flow, addressClass, nowMs);
    // Whether an address is the host's is asked of the system: only for what else would pass.
    const isRefused = verdict.kind !== "deny" && refusesHost(this.protect) && flow.isHost();
    return isRefused ? this.#protectsHost(flow) : verdict;
  }

  #judgeByRules(flow: FlowQuery, addressClass: AddressClass, nowMs: number): FlowVerdict {
    const { rules, pins } = this;
    const placed = this.#placed(flow);
    const pinned = pins.names(flow.address, nowMs);
    const names = placed.length === 0 ? pinned : [...placed, ...pinned];
    if (rules.rules.length === 0) return free(names);
    const query = queryOf(flow, addressClass);
    const aliases = pins.names(flow.address, nowMs, PinKind.alias);
    const closing = [...placed, ...this.#placedCarried(flow)];
    const denied = this.#denyRule(query, closing.length === 0 ? aliases : [...closing, ...aliases]);
    if (denied !== null) return deniedByRule(flow, denied.rule, denied.name ?? names[0] ?? null);
    const byAddress = rules.address("allow", query);
    if (byAddress !== null) return allowed(byAddress, names[0] ?? null);
    let isInspected = false;
    let stranger: string | null = null;
    for (const name of placed) {
      const match = rules.name("allow", name, flow.port, flow.protocol);
      if (match === null) continue;
      if (this.#isOthersHere(flow)) stranger ??= name;
      else if (match.inspection === null) return allowed(match.rule, name, { isOwnName: true });
      else isInspected = true;
    }
    for (const name of pinned) {
      const match = rules.name("allow", name, flow.port, flow.protocol);
      if (match === null) continue;
      const isOwnName = pins.has(name, flow.address, nowMs, PinKind.own);
      if (!isOwnName && leadsHome(flow, addressClass)) stranger ??= name;
      else if (match.inspection === null) return allowed(match.rule, name, { isOwnName });
      else isInspected = true;
    }
    if (isInspected) return INSPECT;
    if (stranger !== null) return this.#leadsHome(flow, stranger);
    return rules.hasAllow ? this.#byDefault(flow, names) : free(names);
  }

  /**
   * Judges a flow by the name in its first bytes.
   *
   * @param flow The flow, for which `judgeFlow` said `inspect`.
   * @param kind What its bytes are; `other` for neither.
   * @param name The name that they carry; `null` for none.
   * @param reason Why there is no name.
   * @param nowMs The time.
   */
  judgeInspected(
    flow: FlowQuery,
    kind: "tls" | "http" | "other",
    name: string | null,
    reason: string,
    nowMs: number,
  ): FlowVerdict {
    const placed = this.#placed(flow);
    const pinned = [...placed, ...this.pins.names(flow.address, nowMs)];
    const nameless = name === null || kind === "other";
    if (nameless) {
      const detail = `only a name allows it, and its first bytes have none: ${reason}`;
      return this.#defaultDeny(flow, pinned[0] ?? null, "no-name", detail, literalTarget(flow));
    }
    const denied = this.rules.name("deny", name, flow.port, "tcp");
    if (denied !== null) return deniedByRule(flow, denied.rule, name);
    const rule = this.rules.inspected(kind, name, flow.port);
    if (rule === null) {
      const detail = `no rule allows ${name} by ${kind.toUpperCase()} on port ${flow.port}`;
      const isUsual = flow.port === (kind === "tls" ? HTTPS_PORT : 80);
      const target = namedTarget(flow, name, isUsual ? "" : `:${flow.port}/${kind}`);
      return this.#defaultDeny(flow, name, "wrong-name", detail, target);
    }
    if (!pinned.includes(name)) {
      const detail = `${name} was not looked up here, or does not lead to this address`;
      return this.#defaultDeny(flow, name, "wrong-name", detail, null);
    }
    if (placed.includes(name)) {
      if (this.#isOthersHere(flow)) return this.#leadsHome(flow, name);
      return allowed(rule, name, { inspected: kind, isOwnName: true });
    }
    const isOwnName = this.pins.has(name, flow.address, nowMs, PinKind.own);
    if (!isOwnName && leadsHome(flow, classify(flow.address))) return this.#leadsHome(flow, name);
    return allowed(rule, name, { inspected: kind, isOwnName });
  }

  /**
   * Judges a flow that is under way after the rules have changed.
   *
   * @returns `null` where it may go on.
   */
  judgeAgain(flow: FlowQuery, grounds: Grounds, nowMs: number): Denial | null {
    const { name, inspected, isOwnName = false } = grounds;
    const { rules } = this;
    const verdict = this.judgeFlow(flow, nowMs);
    if (verdict.kind === "deny") {
      const { reason } = verdict.denial;
      const isFinal = reason === "protect" || reason === "rule" || reason === "rebind";
      if (name === null || isFinal) return verdict.denial;
    }
    if (name !== null) {
      const denied = rules.name("deny", name, flow.port, flow.protocol);
      if (denied !== null) return denialOf(deniedByRule(flow, denied.rule, name));
    }
    if (verdict.kind === "allow") return null;
    if (name !== null) {
      if (!isOwnName && leadsHome(flow, classify(flow.address))) {
        return denialOf(this.#leadsHome(flow, name));
      }
      if (inspected !== null && rules.inspected(inspected, name, flow.port) !== null) return null;
      const match = rules.name("allow", name, flow.port, flow.protocol);
      if (match !== null && match.inspection === null) return null;
      if (match === null || inspected !== null) return denialOf(this.#byDefault(flow, [name]));
    }
    // Nothing of the flow says what it would have shown.
    return denialOf(this.#defaultDeny(flow, name, "no-name", "only a name allows it", null));
  }

  /**
   * Judges a flow that is under way after names have come to stand for other places.
   *
   * @returns `null` where no rule denies a name that stands for its place by then.
   */
  judgePlace(flow: FlowQuery): Denial | null {
    for (const name of [...this.#placed(flow), ...this.#placedCarried(flow)]) {
      const match = this.rules.name("deny", name, flow.port, flow.protocol);
      if (match !== null) return denialOf(deniedByRule(flow, match.rule, name));
    }
    return null;
  }

  /** Judges a lookup; `isOwn` says that the gateway answers it itself. */
  judgeLookup(name: string, isOwn: boolean): LookupVerdict {
    const { rules } = this;
    const denied = rules.lookup("deny", name);
    if (denied !== null) {
      return lookupDenial(name, denied.text, denied.origin, {
        reason: "rule",
        detail: "a rule denies the name",
        hint: denyHint(denied),
      });
    }
    if (isOwn || !rules.hasAllow || rules.lookup("allow", name) !== null || rules.allowsPublic) {
      return null;
    }
    return lookupDenial(name, "default-deny", this.#defaultOrigin(), {
      reason: "default-deny",
      detail: `no rule names ${name === "" ? "the root" : name}`,
      hint: allowHint(nameRule(name), this.#defaultOrigin()),
    });
  }

  /**
   * Whether an answer for a name may keep an address. Taken out is what leads somewhere that the
   * guest must not be led to: the host, its link, the metadata service, and private addresses where
   * a rule about a domain alone would open them. Addresses of which nobody can be reached stay: that
   * they are refused says more when they are dialled.
   *
   * @param isOwn Whether the operator has written the answer, or named who gives it.
   */
  keepsAddress(address: Uint8Array, isOwn: boolean): boolean {
    const addressClass = classify(address);
    const { rules } = this;
    if (!LEADS_NOWHERE.includes(addressClass) && refusesClass(this.protect, addressClass)) {
      return false;
    }
    if (rules.coversAddress("deny", address, addressClass) !== null) return false;
    if (addressClass === AddressClass.public || isOwn || !rules.hasAllow) return true;
    if (LEADS_NOWHERE.includes(addressClass)) return true;
    return rules.coversAddress("allow", address, addressClass) !== null;
  }

  /** The refusal of an answer that lost an address. */
  rebindDenial(name: string, address: Uint8Array): Denial {
    const addressClass = classify(address);
    const isProtected = refusesClass(this.protect, addressClass);
    const denied = this.rules.coversAddress("deny", address, addressClass);
    const byDefault = denied?.text ?? "default-deny";
    const kind = ADDRESS_CLASS_NAMES[addressClass]!;
    const target = `${formatDestination(address, 0, "icmp")}`;
    return {
      protocol: "dns",
      name,
      destination: "",
      rule: isProtected ? `protect ${this.protect}` : byDefault,
      origin: isProtected ? this.#protectOrigin : denied?.origin ?? this.#defaultOrigin(),
      reason: "rebind",
      detail: `its answer leads to ${target}, a ${kind} address`,
      hint: isProtected || denied === null ? null : denyHint(denied),
    };
  }

  /** The names that stand for the place where a flow goes. */
  #placed({ address, port, protocol }: FlowQuery): readonly string[] {
    return this.places.names(address, port, protocol);
  }

  /** The same of the IPv4 addresses that an address carries: what denies those denies it too. */
  #placedCarried({ address, port, protocol }: FlowQuery): readonly string[] {
    if (address.length === 4) return NO_NAMES;
    return embeddedIpv4(address).flatMap((each) => this.places.names(each, port, protocol));
  }

  /** Whether a place is the host's own, and the gateway publishes no service there. */
  #isOthersHere(flow: FlowQuery): boolean {
    const { address, port, protocol } = flow;
    return !this.places.isHere(address, port, protocol) && flow.isHost();
  }

  #protectsClass(flow: FlowQuery, addressClass: AddressClass): FlowVerdict {
    const level = levelThatAllows(addressClass);
    return this.#protects(flow, `${ADDRESS_CLASS_NAMES[addressClass]} addresses`, level);
  }

  #protectsHost(flow: FlowQuery): FlowVerdict {
    return this.#protects(flow, "the host itself", "metadata");
  }

  #protects(flow: FlowQuery, what: string, level: ProtectLevel | null): FlowVerdict {
    return deny(flow, null, {
      rule: `protect ${this.protect}`,
      origin: this.#protectOrigin,
      reason: "protect",
      detail: `no rule opens ${what}`,
      hint: protectHint(level, this.#protectOrigin),
    });
  }

  /** The refusal of a flow that a stranger's name would lead to the host or into its networks. */
  #leadsHome(flow: FlowQuery, name: string): FlowVerdict {
    const kind = ADDRESS_CLASS_NAMES[classify(flow.address)]!;
    const isHost = kind === "public" || this.#placed(flow).includes(name);
    const where = isHost ? "the host itself" : `a ${kind} address`;
    const detail = `the name leads to ${where}, which a name alone does not open`;
    return this.#defaultDeny(flow, name, "rebind", detail, literalTarget(flow));
  }

  #denyRule(
    query: AddressQuery,
    names: readonly string[],
  ): { rule: Rule; name: string | null } | null {
    const byAddress = this.rules.address("deny", query);
    if (byAddress !== null) return { rule: byAddress, name: null };
    for (const name of names) {
      const match = this.rules.name("deny", name, query.port, query.protocol);
      if (match !== null) return { rule: match.rule, name };
    }
    return null;
  }

  #byDefault(flow: FlowQuery, names: readonly string[]): FlowVerdict {
    const { port, protocol } = flow;
    const name = names[0] ?? null;
    const isQuic = protocol === "udp" && port === HTTPS_PORT && names.some((each) => {
      return this.rules.lookup("allow", each) !== null;
    });
    if (isQuic) {
      const detail = "QUIC hides the name that a rule about a domain needs; TLS does not";
      return this.#defaultDeny(flow, name, "quic", detail, literalTarget(flow));
    }
    const isNamed = name !== null && this.rules.lookup("allow", name) !== null;
    const detail = name === null
      ? "no rule allows this address, and no allowed name leads to it"
      : isNamed
      ? `the rules for ${name} do not name ${protocol} port ${Math.max(MIN_PORT_HINT, port)}`
      : `no rule names ${name}`;
    const suffix = suffixOf(flow);
    const isPlaced = name !== null && this.#placed(flow).includes(name);
    const target = isPlaced ? nameRule(name, suffix) : namedTarget(flow, name, suffix);
    return this.#defaultDeny(flow, name, "default-deny", detail, target);
  }

  #defaultDeny(
    flow: FlowQuery,
    name: string | null,
    reason: Denial["reason"],
    detail: string,
    target: string | null,
  ): FlowVerdict {
    return deny(flow, name, {
      rule: "default-deny",
      origin: this.#defaultOrigin(),
      reason,
      detail,
      hint: allowHint(target, this.#defaultOrigin()),
    });
  }

  /** Where the first allow rule stands: it is what made the default a no. */
  #defaultOrigin(): string {
    return this.rules.rules.find(({ action }) => action === "allow")?.origin ?? "";
  }
}

function queryOf(flow: FlowQuery, addressClass: AddressClass): AddressQuery {
  const { address, port, protocol } = flow;
  return { address, addressClass, port, protocol, isHost: () => flow.isHost() };
}

/** What no rule forbids; its name is of use to the program's judge, and when the rules change. */
function free([name]: readonly string[]): FlowVerdict {
  return name === undefined
    ? FREE
    : { kind: "allow", grounds: { name, inspected: null, rule: null } };
}

function allowed(
  rule: Rule,
  name: string | null,
  how: Pick<Partial<Grounds>, "inspected" | "isOwnName"> = {},
): FlowVerdict {
  return { kind: "allow", grounds: { rule, name, inspected: null, ...how } };
}

/** Whether a flow goes to the host or into its networks, where a stranger's name has no say. */
function leadsHome(flow: FlowQuery, addressClass: AddressClass): boolean {
  return addressClass !== AddressClass.public || flow.isHost();
}

type Refusal = Pick<Denial, "rule" | "origin" | "reason" | "detail" | "hint">;

function deny(flow: FlowQuery, name: string | null, refusal: Refusal): FlowVerdict {
  const { protocol } = flow;
  const destination = formatDestination(flow.address, flow.port, protocol);
  return { kind: "deny", denial: { protocol, name, destination, ...refusal } };
}

function deniedByRule(flow: FlowQuery, rule: Rule, name: string | null): FlowVerdict {
  return deny(flow, name, {
    rule: rule.text,
    origin: rule.origin,
    reason: "rule",
    detail: "a rule denies it",
    hint: denyHint(rule),
  });
}

function lookupDenial(
  name: string,
  rule: string,
  origin: string,
  refusal: Pick<Denial, "reason" | "detail" | "hint">,
): Denial {
  return { protocol: "dns", name, destination: "", rule, origin, ...refusal };
}

function denialOf(verdict: FlowVerdict): Denial | null {
  return verdict.kind === "deny" ? verdict.denial : null;
}

/** The rule text that covers exactly this flow by its address; no rule can name port 0 alone. */
function literalTarget({ address, port, protocol }: FlowQuery): string {
  return `${formatDestination(address, port, port === 0 ? "icmp" : protocol)}/${protocol}`;
}

/** The rule text that covers this flow: by its name, where a stranger's name may open its address. */
function namedTarget(flow: FlowQuery, name: string | null, suffix: string): string {
  const isPublic = classify(flow.address) === AddressClass.public;
  const named = name === null || !isPublic ? null : nameRule(name, suffix);
  return named ?? literalTarget(flow);
}

/** What a rule about a domain needs behind the name to cover this flow. */
function suffixOf({ port, protocol }: FlowQuery): string {
  if (protocol === "icmp") return "/icmp";
  if (protocol === "udp") return `:${port}/udp`;
  return port === HTTPS_PORT || port === 80 ? "" : `:${port}`;
}
