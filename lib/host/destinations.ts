/**
 * Where a guest's flow leads: the policy's word on it, the ways to the host's loopback that were
 * opened, and the gateway's own sockets, which no guest reaches.
 *
 * The guest's destination comes as octets and leaves as canonical literals; nothing in between is
 * text that a resolver could read differently. Of the gateway's own sockets a guest reaches those alone
 * that a fleet knows as a service. Whether an address is one of the host's own can't
 * be listed without another permission, so it is tried: only an own address can be bound.
 *
 * A way to the host's loopback is the operator's word for its port, so no allow rule is needed for
 * it; a deny rule for the loopback, for the gateway's own address or for a name of it closes it.
 *
 * @module
 */
import type { HostService } from "../config/options.ts";
import { AddressClass, classify, embeddedIpv4 } from "../policy/address_class.ts";
import { type Denial, type DenialReason, formatDestination } from "../policy/denial.ts";
import type { FlowQuery, Grounds, Policy } from "../policy/policy.ts";
import type { DoorVerdict } from "../policy/explain.ts";
import type { Rule } from "../policy/rule.ts";
import type { FlowProtocol } from "../policy/rule_set.ts";
import { denyHint } from "../policy/way_out.ts";
import { formatIp, parseIp, sameBytes } from "../wire/address.ts";
import type { GuestSubnets } from "./guest_subnets.ts";
import { NOT_RUN, type PingObstacle } from "./ping_program.ts";
import { isPermissionError, mayUseAddress, mayUseAnyAddress } from "./permissions.ts";

/** A place at the host's side. */
export interface DialTarget {
  /** Canonical literals, to be tried in order. */
  readonly hostnames: readonly string[];
  /** The port. */
  readonly port: number;
  /** Whether an address of the host itself is meant, and so fine. */
  readonly own: boolean;
}

/** A destination's verdict: what to dial, or why not. */
export type DestinationVerdict =
  | { readonly kind: "dial"; readonly target: DialTarget; readonly grounds: Grounds }
  /** The flow's first bytes decide; see `judgeInspected`. */
  | { readonly kind: "inspect" }
  | { readonly kind: "deny"; readonly denial: Denial }
  /** The gateway's own address, where nothing listens. */
  | { readonly kind: "silent" }
  /** An address of guests, by way of the gateway: nobody has it there. */
  | { readonly kind: "unreachable" };

/** What the verdicts rest on. */
export interface DestinationsOptions {
  readonly policy: Policy;
  readonly hostLoopback: boolean;
  readonly hostServices: readonly HostService[];
  readonly gatewayIp4: Uint8Array;
  readonly gatewayIp6: Uint8Array;
  readonly gatewayLinkLocal: Uint8Array;
  /** Ports of the gateway's own sockets on the host (frame stream, published ports). */
  readonly ownPorts: (protocol: "tcp" | "udp") => ReadonlySet<number>;
  /** Whether connects go through a proxy, which takes no datagrams and is where they lead. */
  readonly isProxied: boolean;
  /** Whether a literal and a port are where that proxy itself listens. */
  readonly isProxy?: (hostname: string, port: number) => boolean;
  readonly now: () => number;
  /** Tries whether a socket can be bound to a literal. */
  readonly canBind: (hostname: string) => boolean | null;
  /** The networks of guests; none when absent. */
  readonly guestSubnets?: GuestSubnets;
  /** What keeps an address from being pinged; nothing can be when absent. */
  readonly pingObstacle?: (address: Uint8Array) => PingObstacle | null;
}

/** Why a place is refused that no rule is about. */
const PLACES: readonly DenialReason[] = ["own-socket", "proxy", "no-ping"];
const NOTHING_LISTENS: DestinationVerdict = { kind: "silent" };
const NOBODY_THERE: DestinationVerdict = { kind: "unreachable" };
const LOOPBACK: Readonly<Record<4 | 6, readonly string[]>> = {
  4: ["127.0.0.1", "::1"],
  6: ["::1", "127.0.0.1"],
};
const OPENED: Grounds = Object.freeze({ name: null, inspected: null, rule: null });
const OWN_CACHE_MS = 5_000;
const OWN_CACHE_MAX = 1_024;

/** Judges destinations for one guest. */
export class Destinations {
  /** What the guest may reach; another one takes its place when the rules change. */
  policy: Policy;
  readonly #options: DestinationsOptions;
  readonly #services: ReadonlyMap<number, number>;
  readonly #own = new Map<string, { readonly own: boolean; readonly untilMs: number }>();

  constructor(options: DestinationsOptions) {
    this.policy = options.policy;
    this.#options = options;
    this.#services = new Map(options.hostServices.map((s) => [s.gatewayPort, s.hostPort]));
  }

  /** Judges a destination of the guest; `destination` has 4 or 16 octets. */
  judge(destination: Uint8Array, port: number, protocol: FlowProtocol): DestinationVerdict {
    if (this.#isGateway(destination)) return this.#judgeGateway(destination, port, protocol);
    if (this.#options.guestSubnets?.has(destination)) return NOBODY_THERE;
    const flow = this.flow(destination, port, protocol);
    const verdict = this.policy.judgeFlow(flow, this.#options.now());
    if (verdict.kind !== "allow") return verdict;
    return this.#dial(flow, verdict.grounds);
  }

  /**
   * Judges a TCP destination by what its first bytes showed, for which `judge` said `inspect`, and
   * by the names of its address when the flow began, at `beganMs`.
   */
  judgeInspected(
    destination: Uint8Array,
    port: number,
    shown: { kind: "tls" | "http" | "other"; name: string | null; reason: string },
    beganMs: number,
  ): DestinationVerdict {
    const flow = this.flow(destination, port, "tcp");
    const { kind, name, reason } = shown;
    // The rules may have changed since: what no longer needs a name is not asked for one.
    const again = this.policy.judgeFlow(flow, beganMs);
    const verdict = again.kind === "inspect"
      ? this.policy.judgeInspected(flow, kind, name, reason, beganMs)
      : again;
    if (verdict.kind !== "allow") return verdict;
    return this.#dial(flow, verdict.grounds);
  }

  /** Judges a flow that is under way by rules that have changed; `null` lets it go on. */
  judgeAgain(
    destination: Uint8Array,
    port: number,
    protocol: FlowProtocol,
    grounds: Grounds,
  ): Denial | null {
    if (this.#isGateway(destination)) {
      const verdict = this.#judgeGateway(destination, port, protocol);
      return verdict.kind === "deny" ? verdict.denial : null;
    }
    const flow = this.flow(destination, port, protocol);
    return this.policy.judgeAgain(flow, grounds, this.#options.now());
  }

  /** Judges a flow that is under way by what names stand for by now; `null` lets it go on. */
  judgePlace(destination: Uint8Array, port: number, protocol: FlowProtocol): Denial | null {
    return this.policy.judgePlace(this.flow(destination, port, protocol));
  }

  /** Why a connection that was made must not be: it leads back to the host. `null` lets it be. */
  judgeConnected(
    local: Deno.NetAddr,
    remote: Deno.NetAddr,
    grounds: Grounds,
  ): Denial | null {
    if (this.#options.isProxied || local.hostname !== remote.hostname) return null;
    const address = parseIp(remote.hostname);
    if (address === null) return null;
    const { port } = remote;
    const isOwnPort = this.#options.ownPorts("tcp").has(port);
    if (isOwnPort && !this.policy.places.isHere(address, port, "tcp")) {
      return ownSocket(address, port, "tcp");
    }
    const flow: FlowQuery = { address, port, protocol: "tcp", isHost: () => true };
    return this.policy.judgeAgain(flow, grounds, this.#options.now());
  }

  /** A flow as the policy asks about it. */
  flow(address: Uint8Array, port: number, protocol: FlowProtocol): FlowQuery {
    return { address, port, protocol, isHost: () => this.#isHost(address) };
  }

  /** Whether an address, or an IPv4 address that it carries, is the host's own. */
  #isHost(address: Uint8Array): boolean {
    if (this.isOwn(formatIp(address))) return true;
    if (address.length === 4) return false;
    // The subnet's own address is every router's on it (RFC 4291 section 2.6.1), and can't be bound.
    if (address.subarray(8).every((octet) => octet === 0)) return true;
    return embeddedIpv4(address).some((carried) => this.isOwn(formatIp(carried)));
  }

  /** Whether `hostname`, a literal, is an address of the host. */
  isOwn(hostname: string): boolean {
    const now = this.#options.now();
    const known = this.#own.get(hostname);
    if (known !== undefined && known.untilMs > now) return known.own;
    if (this.#own.size >= OWN_CACHE_MAX) this.#own.clear();
    const own = this.#options.canBind(hostname);
    if (own === null) return true; // not known now: the safe answer, which is not kept
    this.#own.set(hostname, { own, untilMs: now + OWN_CACHE_MS });
    return own;
  }

  /** What the gateway's own places make of a flow; `null` where the policy alone decides. */
  explainDoor({ address, port, protocol }: FlowQuery): DoorVerdict {
    if (protocol === "icmp" && this.#isGateway(address)) return "opened";
    const verdict = this.judge(address, port, protocol);
    if (verdict.kind === "silent" || verdict.kind === "unreachable") return verdict.kind;
    if (verdict.kind === "dial") return verdict.target.own ? "opened" : null;
    if (verdict.kind === "inspect") return null;
    const { denial } = verdict;
    return PLACES.includes(denial.reason) || this.#isGateway(address) ? denial : null;
  }

  #dial(flow: FlowQuery, grounds: Grounds): DestinationVerdict {
    const { address, port, protocol } = flow;
    const hostname = formatIp(address);
    const isOwnPort = protocol !== "icmp" && this.#options.ownPorts(protocol).has(port);
    if (isOwnPort && !this.policy.places.isHere(address, port, protocol) && flow.isHost()) {
      return { kind: "deny", denial: ownSocket(address, port, protocol) };
    }
    if (protocol === "tcp" && this.#isProxy(flow, hostname)) {
      return { kind: "deny", denial: proxySocket(address, port) };
    }
    if (this.#options.isProxied && protocol !== "tcp") {
      return { kind: "deny", denial: notThroughProxy(address, port, protocol) };
    }
    if (protocol === "icmp") {
      const { pingObstacle = () => NOT_RUN } = this.#options;
      const obstacle = pingObstacle(address);
      if (obstacle !== null) return { kind: "deny", denial: noPing(address, obstacle) };
    }
    return { kind: "dial", target: { hostnames: [hostname], port, own: false }, grounds };
  }

  /** Whether a flow leads to the proxy: it could be asked for anything there. */
  #isProxy({ port, isHost }: FlowQuery, hostname: string): boolean {
    const { isProxy } = this.#options;
    if (isProxy === undefined) return false;
    return isProxy(hostname, port) || (isProxy(LOOPBACK[4][0]!, port) && isHost());
  }

  #isGateway(destination: Uint8Array): boolean {
    const { gatewayIp4, gatewayIp6, gatewayLinkLocal } = this.#options;
    return sameBytes(destination, gatewayIp4) || sameBytes(destination, gatewayIp6) ||
      sameBytes(destination, gatewayLinkLocal);
  }

  #judgeGateway(
    destination: Uint8Array,
    port: number,
    protocol: FlowProtocol,
  ): DestinationVerdict {
    if (protocol === "icmp") return NOTHING_LISTENS; // the stack has answered what there is
    const service = this.#services.get(port);
    const hostPort = service ?? (this.#options.hostLoopback ? port : -1);
    if (hostPort < 0) return NOTHING_LISTENS;
    if (this.#options.ownPorts(protocol).has(hostPort)) {
      return { kind: "deny", denial: ownSocket(destination, port, protocol) };
    }
    const hostnames = LOOPBACK[destination.length === 4 ? 4 : 6];
    const { isProxy } = this.#options;
    if (protocol === "tcp" && hostnames.some((hostname) => isProxy?.(hostname, hostPort))) {
      return { kind: "deny", denial: proxySocket(destination, port) };
    }
    const denial = this.#deniesDoor(destination, port, protocol) ??
      this.#deniesLoopback(hostnames, hostPort, protocol);
    if (denial !== null) return { kind: "deny", denial };
    return { kind: "dial", target: { hostnames, port: hostPort, own: true }, grounds: OPENED };
  }

  /** A deny rule for the gateway's address as the guest sees it, or for one of its names. */
  #deniesDoor(address: Uint8Array, port: number, protocol: "tcp" | "udp"): Denial | null {
    const { rules, pins } = this.policy;
    if (rules.rules.length === 0) return null;
    const addressClass = classify(address);
    const isHost = () => false;
    const rule = rules.address("deny", { address, addressClass, isHost, port, protocol });
    // The address is a private one by chance: a rule about that class does not mean it.
    if (rule?.target.kind === "prefix") return denied({ address, port, protocol }, rule, null);
    for (const name of pins.names(address, this.#options.now())) {
      const match = rules.name("deny", name, port, protocol);
      if (match !== null) return denied({ address, port, protocol }, match.rule, name);
    }
    return null;
  }

  /** A deny rule for the place at the host's loopback that the door leads to. */
  #deniesLoopback(
    hostnames: readonly string[],
    port: number,
    protocol: "tcp" | "udp",
  ): Denial | null {
    const { rules } = this.policy;
    if (rules.rules.length === 0) return null;
    const addressClass = AddressClass.loopback;
    const isHost = () => true;
    for (const hostname of hostnames) {
      const address = parseIp(hostname)!;
      const rule = rules.address("deny", { address, addressClass, isHost, port, protocol });
      if (rule !== null) return denied({ address, port, protocol }, rule, null);
    }
    return null;
  }
}

function denied(
  { address, port, protocol }: Pick<FlowQuery, "address" | "port"> & { protocol: "tcp" | "udp" },
  rule: Rule,
  name: string | null,
): Denial {
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

function ownSocket(address: Uint8Array, port: number, protocol: "tcp" | "udp"): Denial {
  return {
    protocol,
    name: null,
    destination: formatDestination(address, port, protocol),
    rule: "own sockets",
    origin: "",
    reason: "own-socket",
    detail: "the gateway itself listens there",
    hint: null,
  };
}

function proxySocket(address: Uint8Array, port: number): Denial {
  return {
    ...ownSocket(address, port, "tcp"),
    rule: "upstream proxy",
    detail: "the upstream proxy itself listens there, which would lead anywhere",
  };
}

function notThroughProxy(
  address: Uint8Array,
  port: number,
  protocol: "udp" | "icmp",
): Denial {
  return {
    protocol,
    name: null,
    destination: formatDestination(address, port, protocol),
    rule: "upstream proxy",
    origin: "",
    reason: "proxy",
    detail: "the upstream proxy carries TCP alone, and nothing goes past it",
    hint: null,
  };
}

function noPing(address: Uint8Array, { detail, flag }: PingObstacle): Denial {
  return {
    protocol: "icmp",
    name: null,
    destination: formatDestination(address, 0, "icmp"),
    rule: "permission",
    origin: "",
    reason: "no-ping",
    detail,
    hint: flag,
  };
}

/**
 * Tries to bind any port of the address; what the permissions forbid counts as not own, and `null`
 * says that the system had no answer (no descriptors, say).
 */
export function canBind(hostname: string): boolean | null {
  if (!mayUseAnyAddress() && !mayUseAddress(hostname, 0)) return false;
  try {
    Deno.listen({ hostname, port: 0 }).close();
    return true;
  } catch (error) {
    return error instanceof Deno.errors.AddrNotAvailable || isPermissionError(error) ? false : null;
  }
}
