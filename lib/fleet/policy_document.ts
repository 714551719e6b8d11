/**
 * A policy document of a fleet: the text that an operator has put under a key, read as the `policy`
 * section of a configuration is.
 *
 *     protect: strict
 *     allow: ["*.example.com:443/tls"]
 *     deny: [metadata, "10.0.0.0/8"]
 *     closed: true                       # nothing is reached, on purpose
 *
 * Whatever is not exactly that is refused with its line and column: an empty text too, which says
 * nothing and is rather a mistake than a policy; `{}` is one.
 *
 * Pure. Limits: 256 KiB a document.
 *
 * @module
 */
import { ConfigError, type ConfigProblem } from "../config/errors.ts";
import { unknownKey } from "../config/nearest.ts";
import type { PolicyConfig } from "../config/options.ts";
import { isMapping, type Raw, readBoolean, type Reader } from "../config/readers.ts";
import { SETTINGS } from "../config/settings.ts";
import { locate, parseYaml } from "../config/yaml_file.ts";
import { yamlPositions } from "../config/yaml_positions.ts";

/** Largest document, in bytes. */
export const DOCUMENT_BYTES_MAX = 256 * 1024;

/** What a document says. As {@linkcode checkChange} yields it. */
export interface PolicyDocument {
  /** Where it is kept: `fleet`, `group.NAME` or `guest.NAME`. */
  readonly key: string;
  /** The number of its change in the bucket. */
  readonly revision: number;
  /** What it names, and only that; its rules know their places, such as `group.ci.deny[0]`. */
  readonly policy: PolicyConfig;
  /** Whether nothing is to be reached. */
  readonly closed: boolean;
}

const READERS = {
  protect: SETTINGS.protect.read,
  allow: SETTINGS.allow.read,
  deny: SETTINGS.deny.read,
  denyPage: SETTINGS.denyPage.read,
  ech: SETTINGS.ech.read,
  closed: readBoolean,
} satisfies Record<string, Reader<unknown>>;
type Name = keyof typeof READERS;

const NAMES = Object.keys(READERS) as Name[];

/** What is known of a document beside its text. */
export interface DocumentFacts {
  /** What messages call it; its key when absent. */
  readonly name?: string;
  /** The number of its change; 0 when absent. */
  readonly revision?: number;
}

/**
 * Reads a document.
 *
 * @param text Its text.
 * @param key Where it is kept.
 * @param facts What messages call it, and the number of its change.
 * @throws {ConfigError} With one line for each thing that is wrong: `fleet:3:5 …`.
 */
export function parsePolicyDocument(
  text: string,
  key: string,
  { name = key, revision = 0 }: DocumentFacts = {},
): PolicyDocument {
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > DOCUMENT_BYTES_MAX) throw wrong(name, tooLarge(bytes));
  const root = parseYaml(name, text);
  if (root === null || root === "") {
    throw wrong(`${name}:1:1`, "the document is empty; write {} for one that says nothing");
  }
  if (!isMapping(root)) {
    throw wrong(`${name}:1:1`, `the document is no mapping of keys such as ${NAMES.join(", ")}`);
  }
  const positions = yamlPositions(text);
  const problems: ConfigProblem[] = [];
  const lines = new Map<ConfigProblem, string>();
  const report = (path: string, what: string): void => {
    const problem = { key: path, text: what };
    problems.push(problem);
    lines.set(problem, `${locate(name, positions, path)} ${what}`);
  };
  const values = readAll(root, report);
  if (problems.length > 0) throw new ConfigError(problems, (problem) => lines.get(problem)!);
  const { closed = false, ...policy } = values;
  return { key, revision, closed, policy: { ...policy, origins: originsOf(key, policy) } };
}

/** What is wrong with a document of so many bytes. */
export function tooLarge(bytes: number): string {
  return `has ${bytes} bytes, at most ${DOCUMENT_BYTES_MAX}`;
}

type Values = Omit<PolicyConfig, "origins"> & { closed?: boolean };

function readAll(
  root: { readonly [name: string]: Raw },
  report: (path: string, what: string) => void,
): Values {
  const values: Record<string, unknown> = {};
  for (const [name, raw] of Object.entries(root)) {
    const read = Object.hasOwn(READERS, name) ? READERS[name as Name] : undefined;
    if (read === undefined) report(name, unknownKey(name, NAMES));
    else {values[name] = read(raw, (what, under = "") =>
        report(`${name}${under}`, `${name}: ${what}`));}
  }
  return values;
}

function originsOf(
  key: string,
  { protect, allow, deny }: PolicyConfig,
): NonNullable<PolicyConfig["origins"]> {
  const places = (name: string, rules: readonly string[] = []) =>
    rules.map((_, i) => `${key}.${name}[${i}]`);
  return {
    allow: places("allow", allow),
    deny: places("deny", deny),
    ...(protect === undefined ? {} : { protect: `${key}.protect` }),
  };
}

function wrong(place: string, text: string): ConfigError {
  return new ConfigError([{ key: "", text: `${place} ${text}` }]);
}
