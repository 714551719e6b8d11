/**
 * The YAML file: which settings it names and where, with every unknown key refused.
 *
 * @module
 */
import { parse } from "@std/yaml";
import { ConfigError } from "./errors.ts";
import { unknownKey } from "./nearest.ts";
import { isMapping, type Raw } from "./readers.ts";
import { ALL_SETTINGS } from "./settings.ts";
import { type Position, yamlPositions } from "./yaml_positions.ts";

/** Longest file, in UTF-16 units. */
const FILE_MAX = 1024 * 1024;

/** What a file says. */
export interface ConfigFile {
  /** The file's name, as in messages. */
  readonly name: string;
  /** Raw values by setting's key. */
  readonly values: ReadonlyMap<string, Raw>;
  /** Unknown keys and wrong shapes: where and what. */
  readonly faults: readonly { readonly key: string; readonly text: string }[];
  /** `name:line:column` of a key or item, or of the nearest one around it. */
  where(path: string): string;
}

/**
 * Reads a file's text.
 *
 * @param name The file's name, for messages.
 * @param text Its content.
 * @returns What it says.
 * @throws {ConfigError} Where the text is no YAML.
 */
export function readConfigFile(name: string, text: string): ConfigFile {
  const root = parseYaml(name, text);
  const positions = yamlPositions(text);
  const values = new Map<string, Raw>();
  const faults: { key: string; text: string }[] = [];
  if (root !== null && root !== "" && !isMapping(root)) {
    faults.push({ key: "", text: "the file is not a mapping of keys" });
  } else if (isMapping(root)) {
    collect(root, "", values, faults);
  }
  return { name, values, faults, where: (path) => locate(name, positions, path) };
}

function parseYaml(name: string, text: string): Raw {
  if (text.length > FILE_MAX) {
    throw new ConfigError([{ key: name, text: `is longer than ${FILE_MAX} characters` }]);
  }
  try {
    return (parse(text, { schema: "failsafe" }) ?? null) as Raw;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const match = /^([^]*?) at line ([0-9]+), column ([0-9]+)/.exec(message);
    const [, what = message, line = "1", column = "1"] = match ?? [];
    throw new ConfigError([{ key: "", text: `${name}:${line}:${column} ${what}` }]);
  }
}

/** Names below each section, from the settings' keys: `""` has the top-level ones. */
const SECTIONS: ReadonlyMap<string, ReadonlySet<string>> = (() => {
  const sections = new Map<string, Set<string>>([["", new Set()]]);
  for (const { key } of ALL_SETTINGS) {
    const [head = "", tail] = key.split(".");
    sections.get("")!.add(head);
    if (tail === undefined) continue;
    if (!sections.has(head)) sections.set(head, new Set());
    sections.get(head)!.add(tail);
  }
  return sections;
})();

function collect(
  node: { readonly [key: string]: Raw },
  section: string,
  values: Map<string, Raw>,
  faults: { key: string; text: string }[],
): void {
  const known = SECTIONS.get(section)!;
  for (const [name, raw] of Object.entries(node)) {
    const key = section === "" ? name : `${section}.${name}`;
    if (!known.has(name)) {
      const where = section === "" ? "" : ` in ${section}`;
      faults.push({ key, text: unknownKey(name, known, where) });
    } else if (section !== "" || !SECTIONS.has(name)) {
      values.set(key, raw);
    } else if (isMapping(raw)) {
      collect(raw, name, values, faults);
    } else if (raw !== null && raw !== "") {
      const names = [...SECTIONS.get(name)!].slice(0, 4).join(", ");
      faults.push({ key, text: `${name} is not a mapping of keys such as ${names}` });
    }
  }
}

function locate(name: string, positions: ReadonlyMap<string, Position>, path: string): string {
  for (let at = path; at !== ""; at = at.replace(/(?:^|\.)[^.[]*$|\[[^[]*$/, "")) {
    const found = positions.get(at);
    if (found !== undefined) return `${name}:${found.line}:${found.column}`;
  }
  return `${name}:1:1`;
}
