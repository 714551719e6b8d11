/**
 * What a roll call says about the fleet: where a revision of the policy is in force, where it is
 * not and why, and which names of guests two gateways claim. Pure.
 *
 * A gateway looks at the documents of its own guests alone, so a change of another one's is nothing
 * that it could be behind. Where its policy is at a later revision than the one asked about, that one
 * counts as reached.
 *
 * @module
 */
import type { Announcement } from "./announcement.ts";
import { keysOf } from "./policy_set.ts";

/** How a gateway stands towards a revision. */
export type Standing =
  /** It is in force there, or a later one. */
  | "in force"
  /** An earlier one is in force there. */
  | "behind"
  /** It was refused there, and an earlier one stays in force. */
  | "rejected"
  /** Nothing is reachable there, since no policy has ever come. */
  | "closed";

/** A gateway and how it stands. */
export interface GatewayStanding {
  readonly gateway: string;
  readonly standing: Standing;
  /** The revision that is in force there; `null` where none is. */
  readonly revision: number | null;
  /** Why it was refused; `null` where it was not. */
  readonly why: string | null;
}

/** A guest's name that several gateways announce. */
export interface NameConflict {
  readonly guest: string;
  readonly gateways: readonly string[];
}

/** Whether a document is one of a gateway's guests. */
export function concerns(key: string, { guests }: Announcement): boolean {
  return guests.some((guest) => keysOf(guest).includes(key));
}

/**
 * The revision that a gateway should have in force.
 *
 * @param revisions The latest change of each document, also of those that were taken away.
 */
export function wantedRevision(
  { guests }: Announcement,
  revisions: ReadonlyMap<string, number>,
): number {
  return Math.max(0, ...guests.flatMap(keysOf).map((key) => revisions.get(key) ?? 0));
}

/**
 * How gateways stand towards a revision.
 *
 * @param announcements Those that have answered.
 * @param wanted What each should have in force.
 * @returns One standing for each, in the order of their names.
 */
export function standings(
  announcements: readonly Announcement[],
  wanted: (announcement: Announcement) => number,
): GatewayStanding[] {
  return announcements.map((each) => standingOf(each, wanted(each)))
    .toSorted((a, b) => compareNames(a.gateway, b.gateway));
}

function standingOf(announcement: Announcement, wanted: number): GatewayStanding {
  const { gateway, revision, rejected } = announcement;
  // Where nothing was ever written there is nothing that could be refused.
  const isRejected = rejected !== null && rejected.revision > 0 && rejected.revision >= wanted;
  const standing = isRejected
    ? "rejected"
    : (revision ?? 0) === 0
    ? "closed"
    : revision! >= wanted
    ? "in force"
    : "behind";
  return { gateway, standing, revision, why: isRejected ? rejected.why : null };
}

/** The names that several gateways claim, in their order. */
export function nameConflicts(announcements: readonly Announcement[]): NameConflict[] {
  const owners = new Map<string, string[]>();
  for (const { gateway, guests } of announcements) {
    for (const { name } of guests) owners.set(name, [...owners.get(name) ?? [], gateway]);
  }
  return [...owners].filter(([, gateways]) => gateways.length > 1)
    .map(([guest, gateways]) => ({ guest, gateways: gateways.toSorted(compareNames) }))
    .toSorted((a, b) => compareNames(a.guest, b.guest));
}

/** The order of names in which figures count as figures: host2 stands before host10. */
export function compareNames(a: string, b: string): number {
  return NAMES.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}

const NAMES = new Intl.Collator("en", { numeric: true });
