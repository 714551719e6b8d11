/**
 * `parseArgs` with the signature and behaviour of `@std/cli`, on minimist. See `../../README.md`.
 *
 * What differs between the two, and is bent here into the behaviour of `@std/cli`:
 * - `--no-x` sets `x` to false only where `x` is in `negatable`; else it is the flag `no-x`.
 * - A repeated flag keeps its last value; only those in `collect` become arrays, `[]` by default.
 * - A long flag never takes a following argument that begins with `-` (not even `-` itself) or is
 *   empty as its value.
 */
import minimist from "npm:minimist@^1.2.8";

/** The options of {@linkcode parseArgs} that this project uses. */
export interface ParseOptions {
  "--"?: boolean;
  alias?: Record<string, string | readonly string[]>;
  boolean?: string | readonly string[];
  collect?: string | readonly string[];
  default?: Record<string, unknown>;
  negatable?: string | readonly string[];
  stopEarly?: boolean;
  string?: string | readonly string[];
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** What {@linkcode parseArgs} returns. */
export type Args = Record<string, unknown> & { _: (string | number)[]; "--"?: string[] };

/** Stands before the name of a `--no-x`, or of a `--toString`, that minimist must not understand. */
const LITERAL = "\u0000";

const list = (names: string | readonly string[] | undefined): string[] =>
  names === undefined ? [] : typeof names === "string" ? [names] : [...names];

/** Reads flags and positional arguments. */
export function parseArgs(args: string[], options: ParseOptions = {}): Args {
  const end = args.indexOf("--");
  const rest = end < 0 ? [] : args.slice(end + 1);
  const negatable = new Set(list(options.negatable));
  const booleans = new Set(list(options.boolean));
  const original = new Map<string, string>();
  const bent = (end < 0 ? args : args.slice(0, end)).map((arg, i, all) => {
    const other = bend(arg, all[i + 1], negatable, booleans);
    if (other !== arg) original.set(other, arg);
    return other;
  });
  const unknown = options.unknown;
  const parsed: Record<string, unknown> & { _: (string | number)[] } = minimist(bent, {
    alias: options.alias ?? {},
    boolean: [...booleans],
    default: options.default ?? {},
    stopEarly: options.stopEarly ?? false,
    string: list(options.string),
    ...(unknown ? { unknown: (arg: string) => unknown(original.get(arg) ?? arg) } : {}),
  });
  const result: Args = { _: parsed._ };
  const collect = withAliases(list(options.collect), options.alias ?? {});
  for (const [name, value] of Object.entries(parsed)) {
    if (name === "_") continue;
    const key = name.replace(LITERAL, "");
    if (collect.has(key)) result[key] = Array.isArray(value) ? value : [value];
    else result[key] = Array.isArray(value) ? value.at(-1) : value;
  }
  for (const key of collect) result[key] ??= [];
  if (options["--"]) result["--"] = rest;
  else result._.push(...rest);
  return result;
}

/** Rewrites one argument so that minimist reads it as `@std/cli` would. */
function bend(
  arg: string,
  next: string | undefined,
  negatable: Set<string>,
  booleans: Set<string>,
): string {
  if (!arg.startsWith("--")) return arg;
  const [key = ""] = arg.slice(2).split("=", 1);
  // A name that every object has would be taken for a known one, also where minimist sees only the
  // front of it (up to a line's end or a dot), and without any it breaks.
  const isPlain = /^[A-Za-z0-9-]+$/.test(key) && !(key in Object.prototype);
  const literal = isPlain ? "" : LITERAL;
  if (arg.includes("=")) return `--${literal}${arg.slice(2)}`;
  if (key.startsWith("no-") && negatable.has(key.slice(3))) return arg;
  const name = key.startsWith("no-") ? LITERAL + key : literal + key;
  const valueFollows = next !== undefined && next !== "" && !next.startsWith("-");
  // "--x=" is minimist's way to say "no value follows": "" for a string.
  return valueFollows || booleans.has(key) || next === undefined ? `--${name}` : `--${name}=`;
}

function withAliases(
  names: string[],
  alias: Record<string, string | readonly string[]>,
): Set<string> {
  const all = new Set(names);
  for (const [name, others] of Object.entries(alias)) {
    const group = [name, ...list(others)];
    if (group.some((each) => all.has(each))) group.forEach((each) => all.add(each));
  }
  return all;
}
