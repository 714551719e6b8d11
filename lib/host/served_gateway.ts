/**
 * A gateway that runs here, as the control interface works on it: the server of this isolate, or one
 * in a worker, which answers with promises.
 *
 * What is asked and answered is plain data that can be cloned into another isolate. So are errors: a
 * `ConfigError` or a `GatewayError`, whose `cause` is told by its `name` alone, as a clone has no class.
 *
 * @module
 */
import type { VmmEndpoint } from "../config/endpoint.ts";
import type { PolicyConfig } from "../config/options.ts";
import type { CounterName } from "../stack/counters.ts";
import type { DnsCounts } from "./dns_counts.ts";
import type { Awaitable, Gateway } from "./gateway.ts";
import type { GuestFigures, GuestLink } from "./guest_network.ts";
import type { OwnName } from "./guest_names.ts";
import type { GuestTotals } from "./guest_totals.ts";
import type { PublishedPort } from "../config/published.ts";

/**
 * What a guest that is attached holds and has counted. As
 * {@linkcode VirtioNetworkServer} shows.
 */
export interface GuestSnapshot {
  /** Whether its VMM is there, or away while everything of the guest is kept for it. */
  readonly link: GuestLink;
  /** How many flows, timers and bytes it holds. */
  readonly figures: GuestFigures;
  /** What its stack has counted; kinds that never happened are left out. */
  readonly counters: Partial<Record<CounterName, number>>;
  /** What became of its questions. */
  readonly dns: DnsCounts;
  /** How many answers of upstreams are kept for it. */
  readonly keptAnswers: number;
}

/** A gateway at one moment. As {@linkcode VirtioNetworkServer} yields it. */
export interface GatewaySnapshot {
  /** Where the VMM is met. */
  readonly endpoint: VmmEndpoint;
  /** The ports that lead to the guest. */
  readonly published: readonly PublishedPort[];
  /** The policy in force, whole, its rules in canonical form. */
  readonly policy: Required<PolicyConfig>;
  /** The guest that is attached; `null` where none is. */
  readonly guest: GuestSnapshot | null;
  /** What all guests have counted, those that have left too. */
  readonly totals: GuestTotals;
  /** How many streams of captured frames are read. */
  readonly captures: number;
  /** The guest's own addresses, as they are configured. */
  readonly guestAddresses: readonly string[];
  /** The zones that are answered from own names alone. */
  readonly localZones: readonly string[];
}

/** What changes often at a gateway, at a small price. */
export interface GatewayPulse {
  /** The ports that lead to the guest. */
  readonly published: readonly PublishedPort[];
  /** Whether a guest is attached, or away while everything is kept for it. */
  readonly attached: boolean;
  /** How many TCP and UDP flows it has. */
  readonly flows: number;
  /** What all guests have counted: what was refused, and bytes of frames from them and to them. */
  readonly refused: number;
  readonly upBytes: number;
  readonly downBytes: number;
}

/** A gateway that runs here. As {@linkcode VirtioNetworkServer} is one. */
export interface ServedGateway extends Gateway {
  /** All of it that is asked for at once. */
  snapshot(): Awaitable<GatewaySnapshot>;
  /**
   * What is asked for twice a second.
   *
   * @internal
   */
  pulse(): Awaitable<GatewayPulse>;
  /** The names that the gateway answers itself, without local zones and reverse names. */
  ownNames(): Awaitable<readonly OwnName[]>;
  /**
   * As gvproxy has it: makes a zone a local one, with addresses of names in front of what they have,
   * and those of all other names.
   *
   * @internal
   */
  addZone(
    zone: string,
    names: ReadonlyMap<string, readonly Uint8Array[]>,
    others: readonly Uint8Array[],
  ): Awaitable<void>;
  /**
   * For a fleet: as `setPolicy`, and remembered first, so that a guest which no worker serves at this
   * moment is never served again with another one.
   *
   * @internal
   */
  enforcePolicy(policy: PolicyConfig): Awaitable<void>;
  /**
   * Gives a zone the names of services, in place of all that it had; nothing of it is asked of
   * upstreams. Said in whole each time, and the last word counts.
   *
   * @param services A line a service, see dns/service_zone.ts.
   *
   * @internal
   */
  setZoneNames(zone: string, services: string): Awaitable<void>;
}
