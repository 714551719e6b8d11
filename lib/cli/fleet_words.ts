/**
 * The words of a fleet's commands: keys of documents, revisions and counts, as they are typed.
 *
 * @module
 */
import { didYouMean } from "../config/nearest.ts";
import { FLEET_KEY, isLabel, LABEL_RULE, parsePolicyKey } from "../fleet/names.ts";
import { UsageError } from "./exit.ts";

/**
 * Reads the key of a document.
 *
 * @throws {UsageError} Where it is none.
 */
export function readKey(text: string): string {
  if (parsePolicyKey(text) !== null) return text;
  const [scope = "", name] = text.split(".", 2);
  const isScope = scope === "group" || scope === "guest";
  if (isScope && name !== undefined) {
    const rest = text.slice(scope.length + 1);
    throw new UsageError(`"${text}" is no key: "${rest}" is not ${LABEL_RULE}`);
  }
  const near = isScope
    ? `; did you mean "${scope}.NAME"?`
    : didYouMean(scope, [FLEET_KEY, "group", "guest"]);
  throw new UsageError(`"${text}" is no key: write fleet, group.NAME or guest.NAME${near}`);
}

/** Reads a name that a flag gives. */
export function readName(flag: string, text: string | undefined): string | undefined {
  if (text === undefined || isLabel(text)) return text;
  throw new UsageError(`--${flag}: "${text}" is not ${LABEL_RULE}`);
}

/** Reads a whole number that a flag gives. */
export function readNumber(
  flag: string,
  text: string | undefined,
  { least, most }: { readonly least: number; readonly most: number },
): number | undefined {
  if (text === undefined) return undefined;
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`;
  throw new UsageError(`--${flag}: "${text}" is no whole number ${range}`);
}

/** Reads a revision that a flag gives. */
export function readRevision(flag: string, text: string | undefined, least: number) {
  return readNumber(flag, text, { least, most: Number.MAX_SAFE_INTEGER });
}
