/**
 * What the metrics are made of, read from a gateway at one moment.
 *
 * @module
 */
import type { FleetReport } from "../host/fleet_report.ts";
import type { GuestFigures, GuestLink } from "../host/guest_network.ts";
import type { GuestTotals } from "../host/guest_totals.ts";
import type { GatewaySnapshot } from "../host/served_gateway.ts";
import type { GuestWorker } from "../host/served_guests.ts";
import { glanceAtAll } from "./guest_glance.ts";
import type { ControlContext } from "./route.ts";

/** A guest's gateway at one moment. */
export interface GuestMetrics {
  /** Whether the guest's VMM is there, or away while all is kept; `null` where there is none. */
  readonly link: GuestLink | null;
  /** What the guest that is attached holds; `null` where none is. */
  readonly figures: GuestFigures | null;
  /** What all guests have counted. */
  readonly totals: GuestTotals;
  /** How many rules allow something, and how many deny something. */
  readonly rules: { readonly allow: number; readonly deny: number };
  /** How many sockets listen for the guest. */
  readonly published: number;
}

/** A gateway at one moment. */
export interface MetricsSnapshot {
  /** The module's version. */
  readonly version: string;
  /** The version of Deno. */
  readonly deno: string;
  /** When the control interface was opened, in milliseconds since 1970. */
  readonly startedMs: number;
  /** The one guest, or several by their names; `null` where one's gateway has no answer. */
  readonly guests: GuestMetrics | ReadonlyMap<string, GuestMetrics | null>;
  /** The workers that serve them. */
  readonly workers: readonly GuestWorker[];
  /** How many read events. */
  readonly readers: number;
  /** How the gateway stands in its fleet; `null` where it is in none. */
  readonly fleet: FleetReport | null;
  /** The process's memory, in bytes. */
  readonly memory: Readonly<Deno.MemoryUsage>;
}

/**
 * Reads a gateway.
 *
 * @throws {GatewayError} Where the one guest's gateway has no answer.
 */
export async function metricsSnapshot(
  { guests, feed, version, startedMs, answerMs, fleet }: ControlContext,
): Promise<MetricsSnapshot> {
  const glances = await glanceAtAll(guests, answerMs);
  const [first] = glances;
  if (!guests.areSeveral && first?.fault) throw first.fault;
  const metrics = new Map(glances.map(({ name, snapshot }) => {
    return [name, snapshot === null ? null : metricsOf(snapshot)];
  }));
  return {
    version,
    deno: Deno.version.deno,
    startedMs,
    guests: guests.areSeveral ? metrics : [...metrics.values()][0] ?? metrics,
    workers: await guests.workers(),
    readers: feed.readers,
    fleet: fleet?.() ?? null,
    memory: Deno.memoryUsage(),
  };
}

function metricsOf({ policy, guest, totals, published }: GatewaySnapshot): GuestMetrics {
  return {
    link: guest?.link ?? null,
    figures: guest?.figures ?? null,
    totals,
    rules: { allow: policy.allow.length, deny: policy.deny.length },
    published: published.length,
  };
}
