/**
 * What a guest may reach of the other guests of its shared network, by the rules of its own policy.
 *
 *     deny rules (address, class, names) ─▶ allow by address or class ─▶ allow by a name
 *     ─▶ without allow rules: yes ─▶ no (default-deny)
 *
 * A neighbor's name is `NAME.internal`, always: nobody has to look it up first, and nothing has to
 * show it in its first bytes, since the configuration ties it to its addresses. A name that the
 * operator has given its address, and that was looked up, counts too; other people's names don't.
 *
 * A deny rule about one of a neighbor's configured addresses means all that it has: it makes others of
 * its MAC, which nobody would think of. A group is nobody's name: where there are rules, it has to be
 * allowed by its address, since each of its members is reached by it, those too that a rule denies.
 *
 * The protect levels are about the networks of the host, and so not about neighbors.
 *
 * @module
 */
import { classify } from "./address_class.ts";
import { type Denial, formatDestination, nameRule } from "./denial.ts";
import { PinKind } from "./pins.ts";
import type { FlowQuery, Policy } from "./policy.ts";
import type { Rule } from "./rule.ts";
import { allowHint, denyHint } from "./way_out.ts";

/**
 * Judges a flow to a neighbor.
 *
 * @param policy The policy of the guest that begins it.
 * @param flow The flow; whether its address is the host's is never asked.
 * @param name The neighbor's name; `null` for a group.
 * @param configured The neighbor's configured addresses.
 * @param nowMs The time, on the clock of the pins.
 * @returns The rule that allows it, or `null` where none has to; else the refusal.
 */
export function judgeNeighbor(
  { rules, pins }: Policy,
  flow: Omit<FlowQuery, "isHost">,
  name: string | null,
  configured: readonly Uint8Array[],
  nowMs: number,
): { readonly rule: Rule | null } | { readonly denial: Denial } {
  if (rules.rules.length === 0) return UNRULED;
  const { address, port, protocol } = flow;
  const own = name === null ? [] : [name];
  const query = {
    address,
    addressClass: classify(address),
    port,
    protocol,
    isHost: () => false,
  };
  for (const each of [address, ...configured]) {
    const itself = { ...query, address: each, addressClass: classify(each) };
    const denied = rules.address("deny", itself);
    if (denied !== null) return { denial: byRule(flow, denied, name) };
  }
  for (const each of [...own, ...pins.names(address, nowMs, PinKind.alias)]) {
    const match = rules.name("deny", each, port, protocol);
    if (match !== null) return { denial: byRule(flow, match.rule, each) };
  }
  const allowed = rules.address("allow", query);
  if (allowed !== null) return { rule: allowed };
  for (const each of [...own, ...pins.names(address, nowMs, PinKind.own)]) {
    const match = rules.name("allow", each, port, protocol);
    if (match !== null) return { rule: match.rule };
  }
  return rules.hasAllow || name === null ? { denial: byDefault(rules.rules, flow, name) } : UNRULED;
}

const UNRULED = Object.freeze({ rule: null });

type Flow = Omit<FlowQuery, "isHost">;

function byRule({ address, port, protocol }: Flow, rule: Rule, name: string | null): Denial {
  return {
    protocol,
    name,
    destination: formatDestination(address, port, protocol),
    rule: rule.text,
    origin: rule.origin,
    reason: "rule",
    detail: "a rule denies it",
    hint: denyHint(rule),
  };
}

function byDefault(rules: readonly Rule[], flow: Flow, name: string | null): Denial {
  const { address, port, protocol } = flow;
  const destination = formatDestination(address, port, protocol);
  const suffix = protocol === "icmp" ? "/icmp" : protocol === "udp" ? `:${port}/udp` : `:${port}`;
  const byAddress = port === 0
    ? `${formatDestination(address, 0, "icmp")}/${protocol}`
    : `${destination}/${protocol}`;
  const origin = rules.find(({ action }) => action === "allow")?.origin ?? "";
  return {
    protocol,
    name,
    destination,
    rule: "default-deny",
    origin,
    reason: "default-deny",
    detail: name === null
      ? "no rule allows this group of guests"
      : `no rule names ${name}${protocol === "icmp" ? "" : ` with ${protocol} port ${port}`}`,
    hint: allowHint((name === null ? null : nameRule(name, suffix)) ?? byAddress, origin),
  };
}
