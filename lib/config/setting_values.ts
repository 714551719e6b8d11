/**
 * Values of settings: each from the highest source that names it, with its origin, and what is
 * wrong with any of them said where it stands.
 *
 * The sources, lowest first: the defaults, the YAML file, the environment, the flags. What two of
 * them say about one setting is never mixed: the higher one replaces the whole value, lists and
 * mappings too. So it is inside the file, where a guest's own key stands before the one that is the
 * default of all guests.
 *
 * @module
 */
import { ConfigError, type ConfigProblem } from "./errors.ts";
import { items, type Raw } from "./readers.ts";
import { environmentName, type Setting } from "./settings.ts";
import type { ConfigFile } from "./yaml_file.ts";

/** Where a configuration comes from, lowest first. */
export interface ConfigSources {
  /** The YAML file. */
  readonly file?: { readonly name: string; readonly text: string };
  /** Environment variables by name; those that are no setting's are not looked at. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Flags by name without dashes; those that were not given are absent. */
  readonly flags?: Readonly<Record<string, string | boolean | readonly string[]>>;
}

/** A setting's value and where it comes from. */
export interface ResolvedEntry {
  /** Path in the YAML file. */
  readonly key: string;
  /** The value. */
  readonly value: unknown;
  /** `default`, `gateway.yaml:3:5`, `VIRTIO_GATEWAY_MTU` or `--mtu`; several with `, ` between. */
  readonly origin: string;
}

/** The ranks of the sources. */
export const Source = { Default: 0, File: 1, Environment: 2, Flags: 3 } as const;
/** One of them. */
export type Source = typeof Source[keyof typeof Source];

/** Everything that is wrong, each once, with its line. */
export class Problems {
  readonly #lines = new Map<ConfigProblem, string>();
  readonly #told = new Set<string>();

  /** Notes a problem; it is there already where two guests have one default. */
  add(problem: ConfigProblem, line: string): void {
    const id = `${problem.key} ${line}`;
    if (this.#told.has(id)) return;
    this.#told.add(id);
    this.#lines.set(problem, line);
  }

  /** Whether something is wrong with a key itself. */
  has(key: string): boolean {
    return this.#lines.keys().some((problem) => problem.key === key);
  }

  /** How many there are. */
  get count(): number {
    return this.#lines.size;
  }

  /** Throws all of them, where there is one. */
  throwIfAny(): void {
    if (this.count === 0) return;
    throw new ConfigError([...this.#lines.keys()], (problem) => this.#lines.get(problem)!);
  }
}

interface Chosen {
  readonly source: Source;
  readonly raw: Raw;
  /** Flags that name it, or stand behind its variables: one for each item of a list. */
  readonly flags?: readonly string[];
  /** Path in the file, where it is from there. */
  readonly path?: string;
}

/** Where the values come from. */
export interface ValueSources extends Pick<ConfigSources, "environment" | "flags"> {
  /** The file, where there is one. */
  readonly file: ConfigFile | null;
  /** What stands in front of a key in the file, the first that has the key winning. */
  readonly prefixes: readonly string[];
}

/** The values of some settings. */
export class SettingValues {
  readonly #settings: readonly Setting<unknown>[];
  readonly #sources: ValueSources;
  readonly #problems: Problems;
  readonly #chosen = new Map<string, Chosen>();
  readonly #values = new Map<string, unknown>();

  /** Reads all settings, and notes what is wrong with their values. */
  constructor(
    settings: readonly Setting<unknown>[],
    sources: ValueSources,
    problems: Problems,
  ) {
    this.#settings = settings;
    this.#sources = sources;
    this.#problems = problems;
    for (const setting of settings) this.#read(setting);
  }

  /** A setting's value. */
  of<T>(setting: Setting<T>): T {
    return this.#values.get(setting.key) as T;
  }

  /** The same of a setting that is known by its key. */
  at(key: string): unknown {
    return this.#values.get(key);
  }

  /** Which source names a setting. */
  source(setting: Setting<unknown>): Source {
    return this.#chosen.get(setting.key)?.source ?? Source.Default;
  }

  /** Whether the file says a setting at its own place, not as a default of several guests. */
  isOwn(key: string): boolean {
    const path = this.#chosen.get(key)?.path;
    return path === undefined || path === `${this.#sources.prefixes[0]}${key}`;
  }

  /** Every setting in the table's order. */
  entries(): ResolvedEntry[] {
    return this.#settings.map((setting) => ({
      key: setting.key,
      value: this.#values.get(setting.key),
      origin: this.origin(setting),
    }));
  }

  /** Leaves a setting at its default, since another one has its place. */
  forget(setting: Setting<unknown>): void {
    this.#values.set(setting.key, setting.defaultValue);
    this.#chosen.delete(setting.key);
  }

  /** Runs a check of several settings and notes what it throws. */
  check(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.checkAll(error.problems);
    }
  }

  /** Notes what is wrong with several settings, each at the one that it names. */
  checkAll(problems: readonly ConfigProblem[]): void {
    for (const { key, text } of problems) {
      const setting = this.#settings.find((each) => each.key === key)!;
      // A setting that could not even be read has been told already.
      if (!this.#problems.has(this.#path(setting))) this.report(setting, text);
    }
  }

  /** Notes what is wrong with a setting, or with a part of it. */
  report(setting: Setting<unknown>, text: string, under = ""): void {
    const origin = this.origin(setting, under);
    const path = this.#path(setting);
    const source = this.source(setting);
    const { file, prefixes: [prefix = ""] } = this.#sources;
    const around = prefix === "" ? "" : `${file!.where(`${prefix}${setting.key}`)} `;
    const line = source === Source.File
      ? `${origin} ${path}${under}: ${text}`
      : source === Source.Default
      ? `${around}${path} (default): ${text}`
      : `${origin}: ${text}`;
    this.#problems.add({ key: `${path}${under}`, text }, line);
  }

  /** Where a setting's value comes from, or a part of it. */
  origin(setting: Setting<unknown>, under = ""): string {
    const { source = Source.Default, flags = [] } = this.#chosen.get(setting.key) ?? {};
    switch (source) {
      case Source.Flags:
        return flagsAt(flags, under).map((flag) => {
          return `--${this.#sources.flags?.[flag] === false ? "no-" : ""}${flag}`;
        }).join(", ");
      case Source.Environment:
        return flagsAt(flags, under).map(environmentName).join(", ");
      case Source.File:
        return this.#sources.file!.where(`${this.#path(setting)}${under}`);
      case Source.Default:
        return "default";
    }
  }

  /** Where a setting stands in the file, or would. */
  #path(setting: Setting<unknown>): string {
    const { path } = this.#chosen.get(setting.key) ?? {};
    return path ?? `${this.#sources.prefixes[0] ?? ""}${setting.key}`;
  }

  /** Takes a setting from the highest source that names it. */
  #read(setting: Setting<unknown>): void {
    const chosen = this.#choose(setting);
    if (chosen === null) {
      this.#values.set(setting.key, setting.defaultValue);
      return;
    }
    this.#chosen.set(setting.key, chosen);
    const told = this.#checkNarrow(setting, chosen);
    const value = setting.read(chosen.raw, (text, under = "") => {
      if (!told.has(under)) this.report(setting, text, under);
    });
    this.#values.set(setting.key, value);
  }

  #choose(setting: Setting<unknown>): Chosen | null {
    return this.#given(setting, Source.Flags, (flag) => {
      const given = this.#sources.flags?.[flag];
      return given === undefined ? undefined : asRaw(given);
    }) ?? this.#given(setting, Source.Environment, (flag) => {
      const text = this.#sources.environment?.[environmentName(flag)];
      if (text === undefined || text === "") return undefined;
      if (!setting.repeats) return text;
      return text.split(setting.separator ?? ",").map((item) => item.trim());
    }) ?? this.#inFile(setting);
  }

  #inFile({ key, scope }: Setting<unknown>): Chosen | null {
    const { file, prefixes } = this.#sources;
    for (const prefix of scope === "own" ? prefixes.slice(0, 1) : prefixes) {
      const path = `${prefix}${key}`;
      const raw = file?.values.get(path);
      if (raw !== undefined) return { source: Source.File, raw, path };
    }
    return null;
  }

  /** What a setting's own flag says, and the narrow ones beside it; all of them make one list. */
  #given(
    { flag, narrow = [] }: Setting<unknown>,
    source: Source,
    look: (flag: string) => Raw | undefined,
  ): Chosen | null {
    if (flag === undefined) return null;
    const own = look(flag);
    const lists = [flag, ...narrow.map(({ flag }) => flag)]
      .map((name) => ({ name, raw: look(name) }))
      .filter(({ raw }) => raw !== undefined)
      .map(({ name, raw }) => ({ name, list: items(raw!) }));
    if (lists.length === 0) return null;
    if (narrow.length === 0) return { source, raw: own!, flags: [flag] };
    return {
      source,
      raw: lists.flatMap(({ list }) => list),
      flags: lists.flatMap(({ name, list }) => list.map(() => name)),
    };
  }

  /** Reports what a narrow flag does not take, and tells at which items. */
  #checkNarrow(setting: Setting<unknown>, { raw, flags = [] }: Chosen): Set<string> {
    const told = new Set<string>();
    for (const { flag, fault } of setting.narrow ?? []) {
      items(raw).forEach((item, i) => {
        const text = flags[i] === flag && typeof item === "string" ? fault(item) : null;
        if (text === null) return;
        this.report(setting, text, `[${i}]`);
        told.add(`[${i}]`);
      });
    }
    return told;
  }
}

/** The flag that an item of a list comes from, or all that the list does. */
function flagsAt(flags: readonly string[], under: string): readonly string[] {
  const [, index = "0"] = /^\[([0-9]+)\]/.exec(under) ?? [];
  const found = under === "" || flags.length === 1 ? null : flags[Number(index)];
  return found === null || found === undefined ? [...new Set(flags)] : [found];
}

function asRaw(value: string | boolean | readonly string[]): Raw {
  return typeof value === "boolean" ? String(value) : value;
}
