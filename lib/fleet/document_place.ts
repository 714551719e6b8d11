/**
 * Where a rule of the fleet's policy stands, as a person looks for it: the document with line and
 * column, from the place that the merged policy knows it by. Pure.
 *
 * @module
 */
import { yamlPositions } from "../config/yaml_positions.ts";
import { parsePolicyKey } from "./names.ts";

/** `fleet.deny[0]`, `group.ci.allow[2]`: a key of the bucket, a key of its document, and an index. */
const ORIGIN = /^(.+)\.((?:allow|deny)\[[0-9]+\]|protect|ech|denyPage|closed)$/;

/**
 * Finds the place of a rule.
 *
 * @param origin The place as the merged policy has it.
 * @param texts The documents' texts by their keys.
 * @returns `group.ci:4:5`; what was given where no document has it.
 */
export function documentPlace(origin: string, texts: ReadonlyMap<string, string>): string {
  const [, key = "", path = ""] = ORIGIN.exec(origin) ?? [];
  const text = texts.get(key);
  if (parsePolicyKey(key) === null || text === undefined) return origin;
  const positions = yamlPositions(text);
  const found = positions.get(path) ?? positions.get(path.replace(/\[.*$/, ""));
  return found === undefined ? origin : `${key}:${found.line}:${found.column}`;
}
