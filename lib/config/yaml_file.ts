/**
 * The YAML file: which settings it names and where, with every unknown key refused.
 *
 * A file has one guest's settings, or those of a whole process and a list of guests, each with keys
 * of its own; what stands beside the list is then the default of all guests.
 *
 * @module
 */
import { parse } from "@std/yaml";
import { ConfigError } from "./errors.ts";
import { GUESTS_MAX } from "./guest_addresses.ts";
import {
  GUESTS_KEY,
  MEMBER_SETTINGS,
  NETWORKS_KEY,
  SHARED_NETWORK_SETTINGS,
} from "./guests_settings.ts";
import { unknownKey } from "./nearest.ts";
import { isMapping, type Raw } from "./readers.ts";
import { ALL_SETTINGS, GUEST_SETTINGS, PROCESS_SETTINGS, type Setting } from "./settings.ts";
import { type Position, yamlPositions } from "./yaml_positions.ts";

/** Longest file, in UTF-16 units. */
const FILE_MAX = 1024 * 1024;

/** What a file says. */
export interface ConfigFile {
  /** The file's name, as in messages. */
  readonly name: string;
  /** Raw values by their paths, such as `policy.allow`, or `guests[1].policy.allow`. */
  readonly values: ReadonlyMap<string, Raw>;
  /** How many guests it lists; `null` where it has no such list. */
  readonly guests: number | null;
  /** Names of the shared networks. */
  readonly networks: readonly string[];
  /** Unknown keys and wrong shapes: where and what. */
  readonly faults: readonly Fault[];
  /** `name:line:column` of a key or item, or of the nearest one around it. */
  where(path: string): string;
}

interface Fault {
  readonly key: string;
  readonly text: string;
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
  const content = new Content();
  if (isMapping(root)) content.collectRoot(root);
  else if (root !== null && root !== "") {
    content.faults.push({ key: "", text: "the file is not a mapping of keys" });
  }
  const { values, guests, networks, faults } = content;
  const where = (path: string): string => locate(name, positions, path);
  return { name, values, guests, networks, faults, where };
}

/**
 * Parses YAML without types: what a scalar is, its reader decides.
 *
 * @param name The file's name, for messages.
 * @param text Its content.
 * @throws {ConfigError} Where the text is no YAML, or too long.
 */
export function parseYaml(name: string, text: string): Raw {
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

/** Names below each section of a part of the file: `""` has those of the part itself. */
type Sections = ReadonlyMap<string, ReadonlySet<string>>;

function sectionsOf(settings: readonly Setting<unknown>[], ...others: string[]): Sections {
  const sections = new Map<string, Set<string>>([["", new Set(others)]]);
  for (const { key } of settings) {
    const [head = "", tail] = key.split(".");
    sections.get("")!.add(head);
    if (tail === undefined) continue;
    if (!sections.has(head)) sections.set(head, new Set());
    sections.get(head)!.add(tail);
  }
  return sections;
}

const ROOT = sectionsOf(ALL_SETTINGS, GUESTS_KEY, NETWORKS_KEY);
const GUEST = sectionsOf([...Object.values(MEMBER_SETTINGS), ...GUEST_SETTINGS]);
const NETWORK = sectionsOf(Object.values(SHARED_NETWORK_SETTINGS));
const PROCESS = sectionsOf(PROCESS_SETTINGS);

type Mapping = { readonly [key: string]: Raw };

/** What a file's root comes to. */
class Content {
  readonly values = new Map<string, Raw>();
  readonly faults: Fault[] = [];
  guests: number | null = null;
  networks: string[] = [];

  collectRoot({ [GUESTS_KEY]: guests, [NETWORKS_KEY]: networks, ...others }: Mapping): void {
    this.#collect(others, ROOT);
    if (networks !== undefined) this.#collectNetworks(networks);
    if (guests !== undefined) this.#collectGuests(guests);
    else if (networks !== undefined) {
      this.faults.push({ key: NETWORKS_KEY, text: `networks are of no use without ${GUESTS_KEY}` });
    }
  }

  #collectGuests(raw: Raw): void {
    this.guests = 0;
    const fault = (text: string): void => void this.faults.push({ key: GUESTS_KEY, text });
    if (raw === null || raw === "") return fault("guests has no value; write a list of guests");
    if (!Array.isArray(raw)) return fault("guests is not a list of guests");
    if (raw.length === 0) return fault("guests names no guest");
    if (raw.length > GUESTS_MAX) {
      return fault(`guests has ${raw.length} items; at most ${GUESTS_MAX} can be served`);
    }
    this.guests = raw.length;
    raw.forEach((guest: Raw, i) => {
      const key = `${GUESTS_KEY}[${i}]`;
      if (isMapping(guest)) this.#collect(guest, GUEST, `${key}.`);
      else this.faults.push({ key, text: `${key} is not a mapping of keys such as name, listen` });
    });
  }

  #collectNetworks(raw: Raw): void {
    if (!isMapping(raw)) {
      const text = "networks is not a mapping of names such as lab: {}";
      this.faults.push({ key: NETWORKS_KEY, text });
      return;
    }
    this.networks = Object.keys(raw);
    for (const [name, network] of Object.entries(raw)) {
      const key = `${NETWORKS_KEY}.${name}`;
      if (isMapping(network)) this.#collect(network, NETWORK, `${key}.`);
      else if (network !== null && network !== "") {
        const text = `${key} is not a mapping of keys such as ip, mtu`;
        this.faults.push({ key, text });
      }
    }
  }

  /** Takes the values of a part of the file, or of a section in it. */
  #collect(node: Mapping, sections: Sections, prefix = "", section = ""): void {
    const known = sections.get(section)!;
    for (const [name, raw] of Object.entries(node)) {
      const key = `${prefix}${section === "" ? name : `${section}.${name}`}`;
      if (!known.has(name)) {
        this.faults.push({ key, text: unknown(name, known, prefix, section) });
      } else if (section !== "" || !sections.has(name)) {
        this.values.set(key, raw);
      } else if (isMapping(raw)) {
        this.#collect(raw, sections, prefix, name);
      } else if (raw !== null && raw !== "") {
        const names = [...sections.get(name)!].slice(0, 4).join(", ");
        this.faults.push({ key, text: `${key} is not a mapping of keys such as ${names}` });
      }
    }
  }
}

function unknown(
  name: string,
  known: ReadonlySet<string>,
  prefix: string,
  section: string,
): string {
  if (prefix.startsWith(GUESTS_KEY) && section === "" && PROCESS.get("")!.has(name)) {
    return `${prefix}${name}: it is one for all guests; write it beside "${GUESTS_KEY}"`;
  }
  const place = section === "" ? prefix.slice(0, -1) : `${prefix}${section}`;
  return unknownKey(name, known, place === "" ? "" : ` in ${place}`);
}

/** `name:line:column` of a path of a text, or of the nearest one around it. */
export function locate(
  name: string,
  positions: ReadonlyMap<string, Position>,
  path: string,
): string {
  for (let at = path; at !== ""; at = at.replace(/(?:^|\.)[^.[]*$|\[[^.[]*$/, "")) {
    const found = positions.get(at);
    if (found !== undefined) return `${name}:${found.line}:${found.column}`;
  }
  return `${name}:1:1`;
}
