/**
 * What the metrics are made of, read from a gateway at one moment.
 *
 * @module
 */
import type { GuestFigures } from "../host/guest_network.ts";
import type { GuestTotals } from "../host/guest_totals.ts";
import type { ControlContext } from "./route.ts";

/** A gateway at one moment. */
export interface MetricsSnapshot {
  /** The module's version. */
  readonly version: string;
  /** The version of Deno. */
  readonly deno: string;
  /** When the control interface was opened, in milliseconds since 1970. */
  readonly startedMs: number;
  /** What the guest that is attached holds; `null` where none is. */
  readonly figures: GuestFigures | null;
  /** What all guests have counted. */
  readonly totals: GuestTotals;
  /** How many rules allow something, and how many deny something. */
  readonly rules: { readonly allow: number; readonly deny: number };
  /** How many sockets listen for the guest. */
  readonly published: number;
  /** How many read events. */
  readonly readers: number;
  /** The process's memory, in bytes. */
  readonly memory: Readonly<Deno.MemoryUsage>;
}

/** Reads a gateway. */
export async function metricsSnapshot(
  { gateway, feed, version, startedMs }: ControlContext,
): Promise<MetricsSnapshot> {
  const { policy: { allow, deny }, guest, totals, published } = await gateway.snapshot();
  return {
    version,
    deno: Deno.version.deno,
    startedMs,
    figures: guest?.figures ?? null,
    totals,
    rules: { allow: allow.length, deny: deny.length },
    published: published.length,
    readers: feed.readers,
    memory: Deno.memoryUsage(),
  };
}
