/**
 * A word about `policy.allow: []`: it reads like "nothing is allowed", and is "there is no allow
 * rule", under which everything is that no deny covers.
 *
 * @module
 */
import type { ResolvedEntry } from "../config/resolve.ts";
import type { ResolvedGuestsConfig } from "../config/resolve_guests.ts";
import { SETTINGS } from "../config/settings.ts";

/** The line that is said where the list was given and is empty; `null` where there is nothing to say. */
export function emptyAllowNotice(entries: readonly ResolvedEntry[]): string | null {
  const entry = entries.find(({ key }) => key === SETTINGS.allow.key);
  if (entry === undefined || entry.origin === "default") return null;
  if ((entry.value as readonly string[]).length > 0) return null;
  return `${entry.origin} ${entry.key} is an empty list, which closes nothing: without an allow rule ` +
    "everything is open that no deny rule covers. To close everything, allow a name that leads " +
    "nowhere: [none.invalid]";
}

/** The same of several guests, once for a list that is the default of many. */
export function emptyAllowNotices({ guests }: ResolvedGuestsConfig): string[] {
  const notices = guests.map(({ entries }) => emptyAllowNotice(entries));
  return [...new Set(notices.filter((notice) => notice !== null))];
}
