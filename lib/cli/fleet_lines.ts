/**
 * How a gateway stands in its fleet, for a terminal.
 *
 * @module
 */
import type { FleetReport } from "../host/fleet_report.ts";

/**
 * The lines, without the word in front of them.
 *
 * @param report How it stands.
 */
export function fleetTexts(report: FleetReport): string[] {
  const { fleet, gateway, policy, registry, audit } = report;
  const { waiting, sent, shed, problem } = audit;
  return [
    `${fleet}, as ${gateway}; ${engineText(report.engine)}`,
    policyText(policy),
    ...(policy.rejected === null ? [] : [`refused: ${rejectedText(policy.rejected)}`]),
    `${count(registry.gateways, "gateway")}, ${count(registry.services, "service")}` +
    (registry.conflicts === 0 ? "" : `, ${count(registry.conflicts, "name")} announced twice`),
    `audit: ${waiting} waiting, ${sent} sent${shed === 0 ? "" : `, ${shed} dropped`}` +
    (problem === null ? "" : `; ${problem}`),
  ];
}

function engineText({ state, server, error }: FleetReport["engine"]): string {
  if (state === "connected") return `connected to the engine at ${server}`;
  const why = error === null ? "" : `: ${error}`;
  return state === "refused" ? `refused by the engine${why}` : `no engine (${state})${why}`;
}

function policyText({ source, revision, documents }: FleetReport["policy"]): string {
  if (source === "closed") return "policy: none has come yet, and everything is closed";
  const keys = documents.map(({ key, revision }) => `${key} of ${revision}`).join(", ");
  const from = source === "copy" ? "as it was kept here" : "from the engine";
  return `policy: revision ${revision} ${from}: ${keys === "" ? "no documents" : keys}`;
}

function rejectedText({ revision, why }: NonNullable<FleetReport["policy"]["rejected"]>): string {
  return revision === null ? why : `revision ${revision}: ${why}`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
