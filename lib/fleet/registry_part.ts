/**
 * The registry as a part of a gateway's place in its fleet.
 *
 * @module
 */
import type { FleetPolicyReport } from "../host/fleet_report.ts";
import type { FleetPart, StartPart } from "./fleet_part.ts";
import { Heartbeat, type PolicyStanding } from "./heartbeat.ts";

/** Announces this gateway, and has its guests told the names of the fleet's services. */
export const startRegistry: StartPart = (context): FleetPart => {
  const { engine, guests, logger, policy, served, settings } = context;
  const heartbeat = new Heartbeat({
    engine,
    fleet: settings.fleet,
    gateway: settings.gateway,
    advertise: settings.advertise,
    guests: guests.map((guest) => ({ settings: guest, gateway: served.get(guest.name)! })),
    policy: () => {
      const { waiting, shed } = context.report().audit;
      return { ...standingOf(policy.report()), audit: { waiting, shed } };
    },
    logger,
  });
  heartbeat.start();
  const unfollow = policy.onChange(() => heartbeat.changed());
  return {
    report: () => ({ registry: heartbeat.report() }),
    portsChanged: () => heartbeat.changed(),
    async close() {
      unfollow();
      await heartbeat.close();
    },
  };
};

/** How a gateway stands to its fleet's policy, in the words of an announcement. */
export function standingOf({ source, revision, rejected }: FleetPolicyReport): PolicyStanding {
  // Where there is no bucket, there is no revision that is refused.
  const refused = rejected === null || rejected.revision === null
    ? null
    : { revision: rejected.revision, why: rejected.why };
  if (source === "closed") return { revision, policy: "closed", rejected: refused };
  if (rejected !== null) return { revision, policy: "rejected", rejected: refused };
  return { revision, policy: source === "copy" ? "stale" : "in force", rejected: null };
}
