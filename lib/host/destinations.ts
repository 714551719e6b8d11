/**
 * Where a guest's flow leads: the policy's word on the address, the ways to the host's loopback
 * that were opened, and the gateway's own sockets, which no guest reaches.
 *
 * The guest's destination comes as octets and leaves as canonical literals; nothing in between is
 * text that a resolver could read differently. Whether an address is one of the host's own can't
 * be listed without another permission, so it is tried: only an own address can be bound.
 *
 * @module
 */
import type { HostService, ProtectLevel } from "../config/options.ts";
import { Judge } from "../policy/judge.ts";
import { formatIp, sameBytes } from "../wire/address.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { isPermissionError, mayUseAddress, mayUseAnyAddress } from "./permissions.ts";

/** A destination's verdict: what to dial, or why not. */
export type DestinationVerdict =
  | {
    readonly allowed: true;
    /** Canonical literals, to be tried in order. */
    readonly hostnames: readonly string[];
    readonly port: number;
    /** Whether an address of the host itself is meant, and so fine. */
    readonly own: boolean;
  }
  | { readonly allowed: false; readonly reason: string };

/** What the verdicts rest on. */
export interface DestinationsOptions {
  readonly protect: ProtectLevel;
  readonly hostLoopback: boolean;
  readonly hostServices: readonly HostService[];
  readonly gatewayIp4: Uint8Array;
  readonly gatewayIp6: Uint8Array;
  readonly gatewayLinkLocal: Uint8Array;
  /** Ports of the gateway's own TCP sockets on the host (frame stream, published ports). */
  readonly ownPorts: () => ReadonlySet<number>;
  readonly now: () => number;
  /** Tries whether a socket can be bound to a literal. */
  readonly canBind: (hostname: string) => boolean | null;
}

const NOTHING_LISTENS: DestinationVerdict = { allowed: false, reason: "nothing listens" };
const OWN_SOCKET: DestinationVerdict = { allowed: false, reason: "a socket of the gateway itself" };
const OWN_ADDRESS: DestinationVerdict = { allowed: false, reason: "an address of the host itself" };
const LOOPBACK: Readonly<Record<4 | 6, readonly string[]>> = {
  4: ["127.0.0.1", "::1"],
  6: ["::1", "127.0.0.1"],
};
const OWN_CACHE_MS = 5_000;
const OWN_CACHE_MAX = 1_024;

/** Judges destinations for one guest. */
export class Destinations {
  readonly #options: DestinationsOptions;
  readonly #judge: Judge;
  readonly #services: ReadonlyMap<number, number>;
  readonly #own = new Map<string, { readonly own: boolean; readonly untilMs: number }>();

  constructor(options: DestinationsOptions) {
    this.#options = options;
    this.#judge = new Judge({ protect: options.protect });
    this.#services = new Map(options.hostServices.map((s) => [s.gatewayPort, s.hostPort]));
  }

  /** Judges a destination of the guest; `destination` has 4 or 16 octets. */
  judge(destination: Uint8Array, port: number, protocol: "tcp" | "udp"): DestinationVerdict {
    if (this.#isGateway(destination)) {
      return this.#judgeGateway(destination.length === 4 ? 4 : 6, port, protocol);
    }
    const verdict = this.#judge.judge(destination, port, IpProtocol[protocol]);
    if (!verdict.allow) return { allowed: false, reason: verdict.reason };
    const hostname = formatIp(destination);
    const { protect, ownPorts } = this.#options;
    const ownPort = protocol === "tcp" && ownPorts().has(port);
    if ((protect === "strict" || ownPort) && this.isOwn(hostname)) {
      return protect === "strict" ? OWN_ADDRESS : OWN_SOCKET;
    }
    return { allowed: true, hostnames: [hostname], port, own: false };
  }

  /** Whether a connection that was made leads back to the host although it must not. */
  isForbiddenOwn(local: Deno.NetAddr, remote: Deno.NetAddr): boolean {
    if (local.hostname !== remote.hostname) return false;
    return this.#options.protect === "strict" || this.#options.ownPorts().has(remote.port);
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

  #isGateway(destination: Uint8Array): boolean {
    const { gatewayIp4, gatewayIp6, gatewayLinkLocal } = this.#options;
    return sameBytes(destination, gatewayIp4) || sameBytes(destination, gatewayIp6) ||
      sameBytes(destination, gatewayLinkLocal);
  }

  #judgeGateway(family: 4 | 6, port: number, protocol: "tcp" | "udp"): DestinationVerdict {
    const service = this.#services.get(port);
    const hostPort = service ?? (this.#options.hostLoopback ? port : -1);
    if (hostPort < 0) return NOTHING_LISTENS;
    if (protocol === "tcp" && this.#options.ownPorts().has(hostPort)) return OWN_SOCKET;
    return { allowed: true, hostnames: LOOPBACK[family], port: hostPort, own: true };
  }
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
