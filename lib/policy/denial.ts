/**
 * A refusal as data: what was refused, by which rule, why, and the line that would allow it.
 *
 *     DENY  tcp pypi.org:443  by default-deny (gateway.yaml:4): no rule names pypi.org
 *     allow it with  policy: { allow: ["pypi.org:443"] }
 *
 * Everything in it may come from the guest: names are text as `dns/name.ts` writes them, without
 * control characters. It is plain data, so that it can cross a worker's port or a socket.
 *
 * @module
 */
import { formatIp } from "../wire/address.ts";
import { parseRule } from "./rule.ts";
import { formatTarget } from "./rule_target.ts";

/**
 * Why something was refused. Part of what {@linkcode formatDenial} makes text of.
 */
export type DenialReason =
  /** The address is of a class that the protect level refuses. */
  | "protect"
  /** A socket of the gateway itself. */
  | "own-socket"
  /** A deny rule covers it. */
  | "rule"
  /** There are allow rules, and none covers it. */
  | "default-deny"
  /** Only a name could allow it, and the first bytes carry none. */
  | "no-name"
  /** The first bytes carry a name that does not lead to this address. */
  | "wrong-name"
  /** QUIC hides the name; clients fall back to TLS. */
  | "quic"
  /** A resolver's answer led to an address that the name has no business with. */
  | "rebind"
  /** A client of a published port that is not let in. */
  | "source"
  /** The embedding program said no, or nothing. */
  | "judge"
  /** All traffic goes through an upstream proxy, which takes no datagrams. */
  | "proxy"
  /** A ping of the world, which Deno does not let the gateway send. */
  | "no-ping";

/** What each reason means, in one line. */
export const DENIAL_REASONS: Readonly<Record<DenialReason, string>> = {
  "protect": "the address is of a class that the protect level refuses",
  "own-socket": "a socket of the gateway itself",
  "rule": "a deny rule covers it",
  "default-deny": "there are allow rules, and none covers it",
  "no-name": "only a name could allow it, and the first bytes carry none",
  "wrong-name": "the first bytes carry a name that does not lead to this address",
  "quic": "QUIC hides the name; clients fall back to TLS",
  "rebind": "a resolver's answer led to an address that the name has no business with",
  "source": "a client of a published port that is not let in",
  "judge": "the embedding program said no, or nothing",
  "proxy": "all traffic goes through an upstream proxy, which takes no datagrams",
  "no-ping": "a ping of the world, which Deno does not let the gateway send",
};

/**
 * One refusal. {@linkcode formatDenial} makes text of it.
 */
export interface Denial {
  /** What was tried. */
  readonly protocol: "tcp" | "udp" | "icmp" | "dns";
  /** The name that was asked for, or that leads to the destination; `null` where none is known. */
  readonly name: string | null;
  /** Address and port as a literal, `1.2.3.4:443` or `[2001:db8::1]:443`; empty for a lookup. */
  readonly destination: string;
  /** The rule as it is written, `default-deny`, or `protect LEVEL`. */
  readonly rule: string;
  /** Where the rule stands; empty for what is built in. */
  readonly origin: string;
  /** The kind of refusal. */
  readonly reason: DenialReason;
  /** The reason in words. */
  readonly detail: string;
  /** What to write to allow it; `null` where nothing does. */
  readonly hint: string | null;
}

/** A destination as a literal, with its port where the protocol has one. */
export function formatDestination(address: Uint8Array, port: number, protocol: string): string {
  const literal = formatIp(address);
  if (protocol === "icmp") return literal;
  return address.length === 16 ? `[${literal}]:${port}` : `${literal}:${port}`;
}

/** A destination by its name, where it has one. */
export function nameOrDestination(denial: Denial): string {
  const { protocol, destination } = denial;
  const name = denial.name === "" ? "." : denial.name;
  if (name === null || protocol === "icmp") return name ?? destination;
  return name + (/:[0-9]+$/.exec(destination)?.[0] ?? "");
}

/**
 * A refusal in two lines: what and why, and the way out where there is one.
 *
 * @example A line for a person
 * ```ts
 * import { type Denial, formatDenial } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * const denial: Denial = {
 *   protocol: "tcp",
 *   name: "pypi.org",
 *   destination: "192.0.2.7:443",
 *   rule: "default-deny",
 *   origin: "",
 *   reason: "default-deny",
 *   detail: "there are allow rules, and none covers it",
 *   hint: 'policy: { allow: ["pypi.org:443"] }',
 * };
 * assertEquals(formatDenial(denial), [
 *   "DENY  tcp pypi.org:443  by default-deny: there are allow rules, and none covers it",
 *   'allow it with  policy: { allow: ["pypi.org:443"] }',
 * ]);
 * ```
 */
export function formatDenial(denial: Denial): string[] {
  const { protocol, rule, origin, detail, hint } = denial;
  const by = origin === "" ? rule : `${rule} (${origin})`;
  const line = `DENY  ${protocol} ${nameOrDestination(denial)}  by ${by}: ${detail}`;
  return hint === null ? [line] : [line, `allow it with  ${hint}`];
}

/**
 * The rule that is about a name and what stands behind it, such as `:22`.
 *
 * @returns `null` where no rule says that: a guest's question may have any octets in its name.
 */
export function nameRule(name: string, suffix: string = ""): string | null {
  const target = formatTarget({ kind: "domain", name, wildcard: false });
  const rule = parseRule(target + suffix, "allow");
  if (typeof rule === "string" || rule.target.kind !== "domain") return null;
  return rule.target.name === name && !rule.target.wildcard ? rule.text : null;
}
