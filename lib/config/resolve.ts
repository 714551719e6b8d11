/**
 * The configuration of a gateway: defaults, under the YAML file, under the environment, under the
 * flags, with the origin of each value. Pure: the sources come in as text.
 *
 * All problems are found in one pass and told with their place. What two sources say about one
 * setting is never mixed: the higher one replaces the whole value, lists and mappings too.
 *
 * @module
 */
import type { Endpoint } from "./endpoint.ts";
import { ConfigError, type ConfigProblem } from "./errors.ts";
import { checkLimits, DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { parseGuestNetwork } from "./network.ts";
import type { VirtioNetworkConfig } from "./options.ts";
import type { Raw } from "./readers.ts";
import {
  ALL_SETTINGS,
  environmentName,
  type Framing,
  type LogFormat,
  type LogLevel,
  type Setting,
  SETTINGS,
} from "./settings.ts";
import { type ConfigFile, readConfigFile } from "./yaml_file.ts";

/** Where a configuration comes from, lowest first. */
export interface ConfigSources {
  /** The YAML file. */
  readonly file?: { readonly name: string; readonly text: string };
  /** Environment variables by name; those that are no setting's are not looked at. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Flags by name without dashes; those that were not given are absent. */
  readonly flags?: Readonly<Record<string, string | boolean | readonly string[]>>;
}

/** Everything that `run` needs. */
export interface GatewaySettings {
  /** Where to meet the VMM, and who listens; `null` leaves the place to the default rule. */
  readonly meeting: { readonly mode: "listen" | "connect"; readonly endpoint: Endpoint } | null;
  /** How frames are told apart. */
  readonly framing: Framing;
  /** Whether to stop with the first guest. */
  readonly once: boolean;
  /** How long a shutdown lets queued bytes drain. */
  readonly graceMs: number;
  /** How much is logged, and in which form. */
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  /** The guest's network, every field set. */
  readonly network: Required<VirtioNetworkConfig>;
}

/** A setting's value and where it comes from. */
export interface ResolvedEntry {
  /** Path in the YAML file. */
  readonly key: string;
  /** The value. */
  readonly value: unknown;
  /** `default`, `gateway.yaml:3:5`, `VIRTIO_GATEWAY_MTU` or `--mtu`. */
  readonly origin: string;
}

/** A checked configuration. */
export interface ResolvedConfig {
  /** What the gateway is run with. */
  readonly settings: GatewaySettings;
  /** Every setting in the table's order. */
  readonly entries: readonly ResolvedEntry[];
}

/** The ranks of the sources. */
const Source = { Default: 0, File: 1, Environment: 2, Flags: 3 } as const;
type Source = typeof Source[keyof typeof Source];

interface Chosen {
  readonly source: Source;
  readonly raw: Raw;
}

/**
 * Merges and checks a configuration.
 *
 * @param sources The YAML file, the environment and the flags.
 * @returns The settings and the origin of each.
 * @throws {ConfigError} With one line for each problem.
 */
export function resolveConfig(sources: ConfigSources): ResolvedConfig {
  const file = sources.file ? readConfigFile(sources.file.name, sources.file.text) : null;
  const merge = new Merge(sources, file);
  const settings = merge.settings();
  merge.throwIfWrong();
  return { settings, entries: merge.entries() };
}

class Merge {
  readonly #sources: ConfigSources;
  readonly #file: ConfigFile | null;
  readonly #chosen = new Map<string, Chosen>();
  readonly #values = new Map<string, unknown>();
  /** Problems with their lines. */
  readonly #problems = new Map<ConfigProblem, string>();

  constructor(sources: ConfigSources, file: ConfigFile | null) {
    this.#sources = sources;
    this.#file = file;
    for (const fault of file?.faults ?? []) {
      this.#problems.set(fault, `${file!.where(fault.key)} ${fault.text}`);
    }
    for (const setting of ALL_SETTINGS) this.#read(setting);
  }

  settings(): GatewaySettings {
    const value = <T>(setting: Setting<T>): T => this.#values.get(setting.key) as T;
    const limits = this.#limits();
    const guestNetwork = {
      guestIp: value(SETTINGS.guestIp),
      gatewayIp: value(SETTINGS.gatewayIp),
      guestIp6: value(SETTINGS.guestIp6),
      gatewayIp6: value(SETTINGS.gatewayIp6),
      guestMac: value(SETTINGS.guestMac),
      gatewayMac: value(SETTINGS.gatewayMac),
      mtu: value(SETTINGS.mtu),
      ipv6: value(SETTINGS.ipv6),
      checksums: value(SETTINGS.checksums),
    };
    this.#check(() => parseGuestNetwork(guestNetwork));
    const search = value(SETTINGS.search);
    return {
      meeting: this.#meeting(),
      framing: value(SETTINGS.framing),
      once: value(SETTINGS.once),
      graceMs: value(SETTINGS.graceMs),
      log: { level: value(SETTINGS.logLevel), format: value(SETTINGS.logFormat) },
      network: {
        guestNetwork,
        publishedPorts: value(SETTINGS.publish),
        dns: {
          upstreams: value(SETTINGS.upstreams),
          intercept: value(SETTINGS.intercept),
          ...(search === "" ? {} : { search }),
          records: value(SETTINGS.records),
        },
        hostLoopback: value(SETTINGS.hostLoopback),
        hostServices: value(SETTINGS.hostServices),
        protect: value(SETTINGS.protect),
        limits,
      },
    };
  }

  entries(): ResolvedEntry[] {
    return ALL_SETTINGS.map((setting) => ({
      key: setting.key,
      value: this.#values.get(setting.key),
      origin: this.#origin(setting, ""),
    }));
  }

  throwIfWrong(): void {
    if (this.#problems.size === 0) return;
    throw new ConfigError([...this.#problems.keys()], (problem) => this.#problems.get(problem)!);
  }

  /** Takes a setting from the highest source that names it. */
  #read(setting: Setting<unknown>): void {
    const chosen = this.#choose(setting);
    if (chosen === null) {
      this.#values.set(setting.key, setting.defaultValue);
      return;
    }
    this.#chosen.set(setting.key, chosen);
    const value = setting.read(chosen.raw, (text, under = "") => {
      this.#report(setting, text, under);
    });
    this.#values.set(setting.key, value);
  }

  #choose(setting: Setting<unknown>): Chosen | null {
    const { flag, key } = setting;
    if (flag !== undefined) {
      const given = this.#sources.flags?.[flag];
      if (given !== undefined) return { source: Source.Flags, raw: asRaw(given) };
      const text = this.#sources.environment?.[environmentName(flag)];
      if (text !== undefined && text !== "") {
        const raw = setting.repeats ? text.split(",").map((item) => item.trim()) : text;
        return { source: Source.Environment, raw };
      }
    }
    const raw = this.#file?.values.get(key);
    return raw === undefined ? null : { source: Source.File, raw };
  }

  /** Both ends named at one level contradict each other; else the higher level has its way. */
  #meeting(): GatewaySettings["meeting"] {
    const listen = this.#values.get(SETTINGS.listen.key) as Endpoint | null;
    const connect = this.#values.get(SETTINGS.connect.key) as Endpoint | null;
    const listenSource = this.#chosen.get(SETTINGS.listen.key)?.source ?? Source.Default;
    const connectSource = this.#chosen.get(SETTINGS.connect.key)?.source ?? Source.Default;
    if (connectSource !== Source.Default && listenSource === connectSource) {
      this.#report(SETTINGS.connect, `contradicts ${this.#origin(SETTINGS.listen, "")}; keep one`);
    }
    if (connectSource > listenSource) this.#forget(SETTINGS.listen);
    else this.#forget(SETTINGS.connect);
    if (connect !== null && connectSource > listenSource) {
      return { mode: "connect", endpoint: connect };
    }
    return listen === null ? null : { mode: "listen", endpoint: listen };
  }

  #forget(setting: Setting<unknown>): void {
    this.#values.set(setting.key, setting.defaultValue);
    this.#chosen.delete(setting.key);
  }

  #limits(): Limits {
    const limits = { ...DEFAULT_LIMITS };
    for (const name of Object.keys(limits) as (keyof Limits)[]) {
      limits[name] = this.#values.get(`limits.${name}`) as number;
    }
    this.#check(() => {
      const problems = checkLimits(limits);
      if (problems.length > 0) throw new ConfigError(problems);
    });
    return limits;
  }

  /** Runs a check of several settings and reports what it throws at the setting that it names. */
  #check(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      for (const { key, text } of error.problems) {
        const setting = ALL_SETTINGS.find((each) => each.key === key)!;
        // A setting that could not even be read has been reported already.
        const told = [...this.#problems.keys()].some((problem) => problem.key === key);
        if (!told) this.#report(setting, text);
      }
    }
  }

  #report(setting: Setting<unknown>, text: string, under = ""): void {
    const origin = this.#origin(setting, under);
    const source = this.#chosen.get(setting.key)?.source ?? Source.Default;
    const line = source === Source.File
      ? `${origin} ${setting.key}${under}: ${text}`
      : source === Source.Default
      ? `${setting.key} (default): ${text}`
      : `${origin}: ${text}`;
    this.#problems.set({ key: `${setting.key}${under}`, text }, line);
  }

  #origin(setting: Setting<unknown>, under: string): string {
    switch (this.#chosen.get(setting.key)?.source ?? Source.Default) {
      case Source.Flags:
        return `--${this.#sources.flags?.[setting.flag!] === false ? "no-" : ""}${setting.flag}`;
      case Source.Environment:
        return environmentName(setting.flag!);
      case Source.File:
        return this.#file!.where(`${setting.key}${under}`);
      case Source.Default:
        return "default";
    }
  }
}

function asRaw(value: string | boolean | readonly string[]): Raw {
  return typeof value === "boolean" ? String(value) : value;
}
