/**
 * Where a revision of the fleet's policy is in force, in words.
 *
 * @module
 */
import type { GatewayStanding } from "../fleet/roll_findings.ts";
import { plural } from "./status.ts";

/** So many names stand in a line; the others are counted. */
const NAMES_MAX = 8;

/** A gateway's standing: `in force: 18`, `behind: 17`, `rejected: 17 in force`, `closed`. */
export function standingWord({ standing, revision }: GatewayStanding): string {
  switch (standing) {
    case "closed":
      return "closed";
    case "rejected":
      return revision === null ? "rejected, closed" : `rejected, ${revision} in force`;
    case "behind":
      return `behind: ${revision}`;
    case "in force":
      return `in force: ${revision}`;
  }
}

/** Where it is in force: `in force at 50 of 50 gateways`, and who lacks it. */
export function standingsText(all: readonly GatewayStanding[]): string {
  const at = (which: GatewayStanding["standing"]) => {
    const names = all.filter(({ standing }) => standing === which).map(({ gateway }) => gateway);
    return names.length === 0 ? [] : [`${which}: ${namesText(names)}`];
  };
  return [inForceText(all), ...at("rejected"), ...at("behind"), ...at("closed")].join("; ");
}

/** How many have it in force. */
export function inForceText(all: readonly GatewayStanding[]): string {
  const count = all.filter(({ standing }) => standing === "in force").length;
  return `in force at ${count} of ${plural(all.length, "gateway")}`;
}

/** Names in a line, as many as one can take in. */
export function namesText(names: readonly string[]): string {
  const more = names.length - NAMES_MAX;
  const shown = names.slice(0, NAMES_MAX).join(", ");
  return more > 0 ? `${shown} and ${more} more` : shown;
}

/**
 * Who does not have a revision in force and why, a line for each reason.
 *
 * @param all How the gateways stand towards it.
 */
export function lackingLines(all: readonly GatewayStanding[]): string[] {
  const rejected = Map.groupBy(
    all.filter(({ standing }) => standing === "rejected"),
    ({ why }) => why ?? "no reason was given",
  );
  const behind = all.filter(({ standing }) => standing === "behind");
  const closed = all.filter(({ standing }) => standing === "closed");
  const names = (some: readonly GatewayStanding[]) => namesText(some.map(({ gateway }) => gateway));
  return [
    ...[...rejected].map(([why, some]) => `rejected at ${names(some)}: ${why}`),
    ...(behind.length === 0 ? [] : [`not yet at ${names(behind)}`]),
    ...(closed.length === 0 ? [] : [`closed, without any policy, at ${names(closed)}`]),
  ];
}
