/**
 * Would the policy let the guest reach a target, by which rule, and what to write to change that.
 *
 * A target is `pypi.org`, `pypi.org:443`, `10.0.0.5:5432/tcp`, `[2001:db8::1]:443` or a URL. Without
 * a port the ports that a name is used with are asked for: 443 and 80. A name whose addresses are
 * not known here is judged as far as its name goes, and the answer says so.
 *
 * Asks the same policy as the flows do, so it can't differ from what happens.
 *
 * @module
 */
import { normalizeName } from "../dns/name.ts";
import { parseIp } from "../wire/address.ts";
import { type Denial, formatDestination, nameOrDestination, nameRule } from "./denial.ts";
import type { FlowQuery, Policy } from "./policy.ts";
import type { Rule } from "./rule.ts";
import type { FlowProtocol } from "./rule_set.ts";
import { allowHint, denyHint } from "./way_out.ts";

/** What is asked about. */
export interface ExplainTarget {
  /** The name, or `null` where the target is an address. */
  readonly name: string | null;
  /** The addresses: the target itself, or what the name is known to lead to. */
  readonly addresses: readonly Uint8Array[];
  /** The port; `null` where none was named. */
  readonly port: number | null;
  /** The protocol. */
  readonly protocol: FlowProtocol;
}

/**
 * The answer about one lookup or flow. Part of what {@linkcode Gateway.explain} yields.
 */
export interface Finding {
  /** Such as `dns pypi.org` or `tcp pypi.org:443`. */
  readonly what: string;
  /** Whether it would pass. */
  readonly allowed: boolean;
  /** The rule that decides; empty where no rule forbids it. */
  readonly rule: string;
  /** Where the rule stands. */
  readonly origin: string;
  /** The reason in words. */
  readonly detail: string;
  /** What to write to change a no; `null` where it is a yes, or nothing does. */
  readonly hint: string | null;
}

/**
 * The whole answer. As {@linkcode Gateway.explain} yields it.
 */
export interface Explanation {
  /** Whether all of it would pass; without a port, whether some of it would. */
  readonly allowed: boolean;
  /** The lookup first, then each flow. */
  readonly findings: readonly Finding[];
}

const SCHEME_PORTS: Readonly<Record<string, number>> = {
  "http:": 80,
  "ws:": 80,
  "https:": 443,
  "wss:": 443,
  "ssh:": 22,
  "ftp:": 21,
};
const TARGET = /^(?:\[([^\]]+)\]|([^:/]+))(?::([0-9]{1,5}))?(?:\/(tcp|udp|icmp))?$/;
const WAY_OUT = "write NAME, NAME:PORT, ADDRESS:PORT/tcp, [V6]:PORT or a URL";

/** Reads a target, or says what is wrong with it. */
export function parseTarget(text: string): ExplainTarget | string {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return parseUrl(text);
  const whole = parseIp(text);
  if (whole !== null) return targetOf(text, null, "tcp");
  const match = text.length > 512 ? null : TARGET.exec(text);
  if (match === null) return `"${text}" is no target: ${WAY_OUT}`;
  const [, v6, host, portText, protocol = "tcp"] = match;
  const port = portText === undefined ? null : Number(portText);
  if (port !== null && (port === 0 || port > 65_535)) return `"${text}": no port is ${portText}`;
  return targetOf(v6 ?? host!, port, protocol as FlowProtocol);
}

function parseUrl(text: string): ExplainTarget | string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return `"${text}" is no URL`;
  }
  const port = url.port === "" ? SCHEME_PORTS[url.protocol] ?? null : Number(url.port);
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  if (host === "") return `"${text}" names no host: ${WAY_OUT}`;
  return targetOf(host, port, "tcp");
}

function targetOf(
  host: string,
  port: number | null,
  protocol: FlowProtocol,
): ExplainTarget | string {
  const address = parseIp(host);
  if (address !== null) return { name: null, addresses: [address], port, protocol };
  const name = normalizeName(asciiName(host));
  if (name === null) return `"${host}" is neither a name nor an address: ${WAY_OUT}`;
  return { name, addresses: [], port, protocol };
}

/** A name with letters beyond ASCII as resolvers know it. */
function asciiName(host: string): string {
  if (/^[\x20-\x7e]*$/.test(host)) return host;
  try {
    return new URL(`http://${host}/`).hostname;
  } catch {
    return host;
  }
}

/** What is known of the gateway and its host beside the policy. */
export interface ExplainWorld {
  /** Whether an address is one of the host's own. */
  isHost(address: Uint8Array): boolean;
  /** Whether the gateway answers a name itself; no name when absent. */
  isOwnName?(name: string): boolean;
  /**
   * What becomes of a flow that the policy alone does not decide, as one to the gateway's own
   * address; `null` where the policy does.
   */
  door?(flow: FlowQuery): DoorVerdict;
  /** What the policy makes of a flow to another guest of the network; `null` where it goes to none. */
  neighbor?(flow: FlowQuery): { readonly rule: Rule | null } | { readonly denial: Denial } | null;
}

/**
 * What the gateway makes of a flow to a place of its own: `unreachable` is an address of guests, which
 * nobody has on the host. `null` where it is none.
 */
export type DoorVerdict = Denial | "opened" | "silent" | "unreachable" | null;

/**
 * Explains a target.
 *
 * @param policy The policy that the guest is judged by.
 * @param target What is asked about; its addresses may have been added from live pins.
 * @param world What is known beside the policy.
 * @param nowMs The time, on the clock of the pins.
 */
export function explain(
  policy: Policy,
  target: ExplainTarget,
  world: ExplainWorld,
  nowMs: number,
): Explanation {
  const { name, protocol } = target;
  const findings: Finding[] = [];
  if (name !== null) findings.push(lookupFinding(policy, name, world.isOwnName?.(name) ?? false));
  const ports = protocol === "icmp" ? [0] : target.port !== null ? [target.port] : [443, 80];
  for (const port of ports) {
    for (const address of target.addresses) {
      findings.push(addressFinding(policy, target, address, port, world, nowMs));
    }
    if (target.addresses.length === 0 && name !== null) {
      findings.push(nameFinding(policy, name, port, protocol));
    }
  }
  const flows = name === null ? findings : findings.slice(1);
  const isOpen = name === null || findings[0]!.allowed;
  const passes = ports.length === 1
    ? flows.every(({ allowed }) => allowed)
    : flows.some(({ allowed }) => allowed);
  return { allowed: isOpen && passes, findings };
}

function lookupFinding(policy: Policy, name: string, isOwn: boolean): Finding {
  const denial = policy.judgeLookup(name, isOwn);
  if (denial !== null) return denied(denial);
  const rule = policy.rules.lookup("allow", name);
  return {
    what: `dns ${name}`,
    allowed: true,
    rule: rule?.text ?? "",
    origin: rule?.origin ?? "",
    detail: isOwn ? "the gateway answers it itself" : "the name may be looked up",
    hint: null,
  };
}

function addressFinding(
  policy: Policy,
  target: ExplainTarget,
  address: Uint8Array,
  port: number,
  world: ExplainWorld,
  nowMs: number,
): Finding {
  const { protocol } = target;
  const flow: FlowQuery = { address, port, protocol, isHost: () => world.isHost(address) };
  const destination = formatDestination(address, port, protocol);
  const what = `${protocol} ${target.name === null ? "" : `${target.name} at `}${destination}`;
  const neighbor = world.neighbor?.(flow) ?? null;
  if (neighbor !== null) {
    return "denial" in neighbor
      ? { ...denied(neighbor.denial), what }
      : allowedFinding(what, neighbor.rule, "another guest of the network");
  }
  const door = world.door?.(flow) ?? null;
  if (door !== null) return doorFinding(door, what, port, protocol);
  const verdict = policy.judgeFlow(flow, nowMs);
  switch (verdict.kind) {
    case "deny":
      return { ...denied(verdict.denial), what };
    case "inspect":
      return inspectedFinding(policy, target.name, what, port);
    case "allow": {
      const { rule } = verdict.grounds;
      const allows = rule === null ? "nothing forbids it" : "the rule covers it";
      const detail = protocol === "icmp" && world.door === undefined
        ? `${allows}, where the gateway may run ping`
        : allows;
      return allowedFinding(what, rule, detail);
    }
  }
}

function allowedFinding(what: string, rule: Rule | null, detail: string): Finding {
  const { text = "", origin = "" } = rule ?? {};
  return { what, allowed: true, rule: text, origin, detail, hint: null };
}

/** A flow to the gateway's own places. */
function doorFinding(
  door: NonNullable<DoorVerdict>,
  what: string,
  port: number,
  protocol: FlowProtocol,
): Finding {
  if (typeof door === "object") return { ...denied(door), what };
  if (door === "unreachable") {
    const detail = "an address of guests, which nobody has on the host";
    return { what, allowed: false, rule: "guest networks", origin: "", detail, hint: null };
  }
  const allowed = door === "opened";
  if (protocol === "icmp") {
    return { what, allowed, rule: "", origin: "", detail: "the gateway answers it", hint: null };
  }
  const detail = allowed ? "the operator has opened it" : "nothing listens there";
  const hint = allowed ? null : `hostServices: ["${port}:${port}"]`;
  return { what, allowed, rule: "", origin: "", detail, hint };
}

function nameFinding(
  policy: Policy,
  name: string,
  port: number,
  protocol: FlowProtocol,
): Finding {
  const { rules } = policy;
  const what = `${protocol} ${name}${protocol === "icmp" ? "" : `:${port}`}`;
  const no = rules.name("deny", name, port, protocol);
  if (no !== null) {
    const { text, origin } = no.rule;
    const hint = denyHint(no.rule);
    return { what, allowed: false, rule: text, origin, detail: "a rule denies it", hint };
  }
  const match = rules.name("allow", name, port, protocol);
  if (match !== null) {
    if (match.inspection !== null) return inspectedFinding(policy, name, what, port);
    const { text, origin } = match.rule;
    const detail = "once the guest has looked the name up";
    return { what, allowed: true, rule: text, origin, detail, hint: null };
  }
  if (!rules.hasAllow || rules.allowsPublic) {
    const detail = "as far as the name goes; its address is judged when it is dialled";
    return { what, allowed: true, rule: "", origin: "", detail, hint: null };
  }
  const first = rules.rules.find(({ action }) => action === "allow")!;
  const isQuic = protocol === "udp" && port === 443;
  const suffix = protocol === "icmp"
    ? "/icmp"
    : protocol === "udp"
    ? `:${port}/udp`
    : port === 443 || port === 80
    ? ""
    : `:${port}`;
  return {
    what,
    allowed: false,
    rule: "default-deny",
    origin: first.origin,
    detail: isQuic
      ? "QUIC hides the name that a rule about a domain needs; TLS does not"
      : `no rule names ${name} for it, unless one allows its address`,
    hint: isQuic ? null : allowHint(nameRule(name, suffix), first.origin),
  };
}

/** A flow that its first bytes decide. */
function inspectedFinding(
  policy: Policy,
  name: string | null,
  what: string,
  port: number,
): Finding {
  if (name === null) {
    return {
      what,
      allowed: true,
      rule: "",
      origin: "",
      detail: "if its first bytes carry an allowed name that leads to it",
      hint: null,
    };
  }
  const tls = policy.rules.inspected("tls", name, port);
  const http = policy.rules.inspected("http", name, port);
  const rule = tls ?? http;
  if (rule === null) {
    return {
      what,
      allowed: false,
      rule: "default-deny",
      origin: "",
      detail: `another name leads to this address, and no rule names ${name}`,
      hint: allowHint(nameRule(name)),
    };
  }
  const means = tls !== null && http !== null ? "TLS or HTTP" : tls !== null ? "TLS" : "HTTP";
  return {
    what,
    allowed: true,
    rule: rule.text,
    origin: rule.origin,
    detail: `${means} with this name, once the guest has looked it up`,
    hint: null,
  };
}

function denied(denial: Denial): Finding {
  const { rule, origin, detail, hint, protocol } = denial;
  const what = `${protocol} ${nameOrDestination(denial)}`;
  return { what, allowed: false, rule, origin, detail, hint };
}

/** The answer for a terminal: one line for each finding, and the way out under a no. */
export function formatFinding(finding: Finding): string[] {
  const { what, allowed, rule, origin, detail, hint } = finding;
  const by = rule === "" ? "" : `  by ${rule}${origin === "" ? "" : ` (${origin})`}`;
  const line = `${allowed ? "ALLOW" : "DENY "} ${what}${by}: ${detail}`;
  return hint === null ? [line] : [line, `      allow it with  ${hint}`];
}
