/**
 * Rules and queries as short texts, for tests.
 *
 *     allow *.pypi.org:443/tls          a rule
 *     tcp 192.0.2.1:443                 a flow to an address; a name in its place: to a name
 *     icmp fd00::1                      ICMP has no port; IPv6 with a port stands in brackets
 *     tcp 192.0.2.1:443 at host         the address is the host's own
 *     any 192.0.2.1                     an address whatever port and protocol come with it
 *     lookup pypi.org                   the look-up of a name
 *     tls pypi.org:443                  traffic that has shown this name
 *
 * @module
 */
import { assert } from "@std/assert";
import { normalizeName } from "../../lib/dns/name.ts";
import { type AddressClass, classify } from "../../lib/policy/address_class.ts";
import { parseRule, type Rule } from "../../lib/policy/rule.ts";
import type { FlowProtocol, RuleSet } from "../../lib/policy/rule_set.ts";
import { parseIp } from "../../lib/wire/address.ts";

/** Reads `ACTION RULE`; the origin is the place in the list. */
export function ruleOf(text: string, place = 0): Rule {
  const [action, body = ""] = text.trim().split(" ");
  assert(action === "allow" || action === "deny", text);
  const rule = parseRule(body, action);
  assert(typeof rule !== "string", String(rule));
  return { ...rule, action, origin: `rule ${place + 1}` };
}

/** Reads rules between semicolons. */
export function rulesOf(text: string): Rule[] {
  return text.split(";").map((each) => each.trim()).filter((each) => each !== "").map(ruleOf);
}

/** Reads an address that must be one. */
export function bytesOf(text: string): Uint8Array {
  const bytes = parseIp(text);
  assert(bytes !== null, `${text} is no address`);
  return bytes;
}

/** A query, taken apart. */
export interface Query {
  readonly verb: FlowProtocol | "any" | "lookup" | "tls" | "http";
  readonly port: number;
  readonly isHost: boolean;
  readonly address: Uint8Array | null;
  readonly addressClass: AddressClass;
  /** Normalized; empty where the place is an address. */
  readonly name: string;
}

const QUERY =
  /^(tcp|udp|icmp|any|lookup|tls|http) (?:\[([^\]]+)\]:([0-9]+)|([^\s:]+):([0-9]+)|(\S+))( at host)?$/;

/** Names with octets that are no host name's, as they come out of messages. */
const ESCAPED =
  /^(?=.*\\)(?:\\[.\\]|\\[0-9]{3}|[a-z0-9_-])+(?:\.(?:\\[.\\]|\\[0-9]{3}|[a-z0-9_-])+)*$/;

/** Reads a query that must be one. */
export function queryOf(text: string): Query {
  const query = readQuery(text);
  assert(query !== null, `${text} is no query`);
  return query;
}

/** Reads a query; `null` where the text is none. */
export function readQuery(text: string): Query | null {
  const match = QUERY.exec(text);
  if (match === null) return null;
  const [, verb, inBrackets, port6, place, port, alone, atHost] = match;
  const where = inBrackets ?? place ?? alone ?? "";
  const address = verb === "lookup" ? null : parseIp(where);
  const name = address !== null ? "" : ESCAPED.test(where) ? where : normalizeName(where);
  if (name === null || (verb === "any" && address === null)) return null;
  const portNumber = Number(port6 ?? port ?? 0);
  if (portNumber > 65_535) return null;
  return {
    verb: verb as Query["verb"],
    port: portNumber,
    isHost: atHost !== undefined,
    address,
    addressClass: address === null ? 0 : classify(address),
    name,
  };
}

/** What tells rules apart in an outcome: a `RuleSet`, or something that answers the same. */
export type Matcher = Pick<
  RuleSet,
  "address" | "coversAddress" | "name" | "lookup" | "inspected"
>;

/**
 * What rules say to a query: the deny that covers it, or else the allow, with what the traffic must
 * show; `nothing` where no rule covers it.
 */
export function outcomeOf(matcher: Matcher, query: Query): string {
  for (const action of ["deny", "allow"] as const) {
    const said = answerOf(matcher, action, query);
    if (said !== null) return said;
  }
  return "nothing";
}

function answerOf(matcher: Matcher, action: Rule["action"], query: Query): string | null {
  const { verb, address, addressClass, name, port, isHost } = query;
  if (verb === "tls" || verb === "http") {
    return action === "deny" ? null : shown(matcher.inspected(verb, name, port));
  }
  if (verb === "lookup") return shown(matcher.lookup(action, name));
  if (verb === "any") return shown(matcher.coversAddress(action, address!, addressClass));
  if (address !== null) {
    const rule = matcher.address(action, {
      address,
      addressClass,
      port,
      protocol: verb,
      isHost: () => isHost,
    });
    return shown(rule);
  }
  const match = matcher.name(action, name, port, verb);
  return shown(match?.rule ?? null, match?.inspection ?? null);
}

function shown(rule: Rule | null, inspection: string | null = null): string | null {
  if (rule === null) return null;
  return `${rule.action} ${rule.text}${inspection === null ? "" : ` as ${inspection}`}`;
}
