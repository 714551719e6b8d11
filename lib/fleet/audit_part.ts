/**
 * The audit as a part of a gateway's place in its fleet: it hears of the guests and of the fleet's
 * policy as long as the gateway is there, and has a moment to deliver the last of it.
 *
 * @module
 */
import type { FleetPolicyReport } from "../host/fleet_report.ts";
import { Audit } from "./audit.ts";
import type { StartPart } from "./fleet_part.ts";

/** How long what is left may be sent when the guests have ended. */
const DRAIN_MS = 1_000;

/** Starts the audit. */
export const auditPart: StartPart = async ({ settings, engine, served, policy, logger }) => {
  const { fleet, gateway, dir, auditBytes: maxBytes } = settings;
  const place = { fleet, gateway, dir, maxBytes };
  const audit = await Audit.open({ ...place, engine, guests: served, logger });
  let last = policy.report();
  const look = (): void => {
    const now = policy.report();
    notePolicy(audit, last, now);
    last = now;
  };
  const end = policy.onChange(look);
  return {
    report: () => ({ audit: audit.report() }),
    close: async () => {
      end();
      await audit.close(DRAIN_MS);
    },
  };
};

/** Notes another policy in force, and another one that is not. */
function notePolicy(audit: Audit, last: FleetPolicyReport, now: FleetPolicyReport): void {
  if (now.atMs !== last.atMs || now.source !== last.source) {
    audit.happen("policy-changed", now.revision === null ? {} : { revision: now.revision });
  }
  const { rejected } = now;
  const isKnown = rejected?.why === last.rejected?.why &&
    rejected?.revision === last.rejected?.revision;
  if (rejected === null || isKnown) return;
  const { revision, why: reason } = rejected;
  audit.happen("policy-rejected", revision === null ? { reason } : { revision, reason });
}
