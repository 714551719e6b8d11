/**
 * The configuration of a gateway: defaults, under the YAML file, under the environment, under the
 * flags, with the origin of each value. Pure: the sources come in as text.
 *
 * All problems are found in one pass and told with their place. What two sources say about one
 * setting is never mixed: the higher one replaces the whole value, lists and mappings too.
 *
 * @module
 */
import { checkCapture, checkCaptureFile } from "./capture_config.ts";
import { controlFault, type ControlPlace } from "./control_endpoint.ts";
import {
  type Endpoint,
  type Framing,
  lingerFault,
  meetingFault,
  offloadFault,
  type VmmEndpoint,
} from "./endpoint.ts";
import { ConfigError, type ConfigProblem } from "./errors.ts";
import { checkLimits, DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { parseGuestNetwork } from "./network.ts";
import type { CaptureConfig, PolicyConfig, RateConfig, VirtioNetworkConfig } from "./options.ts";
import { checkRuleCount } from "./policy_rules.ts";
import { checkRates, RATE_KEYS } from "./rates.ts";
import { items, type Raw } from "./readers.ts";
import {
  ALL_SETTINGS,
  environmentName,
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
  readonly meeting: { readonly mode: "listen" | "connect"; readonly endpoint: VmmEndpoint } | null;
  /** How frames are told apart. */
  readonly framing: Framing;
  /** Whether to stop with the first guest. */
  readonly once: boolean;
  /** How long a guest is kept for a VMM that has left. */
  readonly lingerMs: number;
  /** How long a shutdown lets queued bytes drain. */
  readonly graceMs: number;
  /** Where the control interface is; `null` for none. */
  readonly control: ControlPlace | null;
  /** How much is logged, and in which form. */
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  /** The guest's network, every field set but a proxy and a capture that nobody named. */
  readonly network:
    & Required<Omit<VirtioNetworkConfig, "upstreamProxy" | "capture">>
    & Pick<VirtioNetworkConfig, "upstreamProxy" | "capture">;
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
  /** Flags that name it, or stand behind its variables: one for each item of a list. */
  readonly flags?: readonly string[];
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
      offload: value(SETTINGS.offload),
    };
    this.#check(() => parseGuestNetwork(guestNetwork));
    const framing = value(SETTINGS.framing);
    const isLarge = offloadFault(framing, guestNetwork.offload);
    if (isLarge !== null) this.#report(SETTINGS.offload, isLarge);
    const policy = this.#policy();
    this.#checkAll(checkRuleCount(policy, limits.policyRules));
    const rate = this.#rate();
    this.#checkAll(checkRates(rate));
    const search = value(SETTINGS.search);
    const upstreamProxy = value(SETTINGS.upstreamProxy);
    const capture = this.#capture();
    return {
      meeting: this.#meeting(),
      framing,
      once: value(SETTINGS.once),
      lingerMs: value(SETTINGS.lingerMs),
      graceMs: value(SETTINGS.graceMs),
      control: this.#control(),
      log: { level: value(SETTINGS.logLevel), format: value(SETTINGS.logFormat) },
      network: {
        guestNetwork,
        publishedPorts: value(SETTINGS.publish),
        dns: {
          upstreams: value(SETTINGS.upstreams),
          intercept: value(SETTINGS.intercept),
          ...(search === "" ? {} : { search }),
          records: value(SETTINGS.records),
          zones: value(SETTINGS.zones),
          cache: value(SETTINGS.cache),
        },
        hostLoopback: value(SETTINGS.hostLoopback),
        hostServices: value(SETTINGS.hostServices),
        policy,
        rate,
        ...(upstreamProxy === null ? {} : { upstreamProxy }),
        ...(capture === null ? {} : { capture }),
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
    const told = this.#checkNarrow(setting, chosen);
    const value = setting.read(chosen.raw, (text, under = "") => {
      if (!told.has(under)) this.#report(setting, text, under);
    });
    this.#values.set(setting.key, value);
  }

  #choose(setting: Setting<unknown>): Chosen | null {
    const raw = this.#file?.values.get(setting.key);
    return this.#given(setting, Source.Flags, (flag) => {
      const given = this.#sources.flags?.[flag];
      return given === undefined ? undefined : asRaw(given);
    }) ?? this.#given(setting, Source.Environment, (flag) => {
      const text = this.#sources.environment?.[environmentName(flag)];
      if (text === undefined || text === "") return undefined;
      if (!setting.repeats) return text;
      return text.split(setting.separator ?? ",").map((item) => item.trim());
    }) ?? (raw === undefined ? null : { source: Source.File, raw });
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
        this.#report(setting, text, `[${i}]`);
        told.add(`[${i}]`);
      });
    }
    return told;
  }

  #policy(): Required<PolicyConfig> {
    const value = <T>(setting: Setting<T>): T => this.#values.get(setting.key) as T;
    const origins = (setting: Setting<string[]>): string[] =>
      value(setting).map((_, i) => this.#origin(setting, `[${i}]`));
    return {
      protect: value(SETTINGS.protect),
      allow: value(SETTINGS.allow),
      deny: value(SETTINGS.deny),
      denyPage: value(SETTINGS.denyPage),
      ech: value(SETTINGS.ech),
      origins: { allow: origins(SETTINGS.allow), deny: origins(SETTINGS.deny) },
    };
  }

  #rate(): RateConfig {
    const rate: RateConfig = {};
    for (const name of RATE_KEYS) {
      const value = this.#values.get(`rate.${name}`) as number | null;
      if (value !== null) rate[name] = value;
    }
    return rate;
  }

  #capture(): CaptureConfig | null {
    const value = <T>(setting: Setting<T>): T => this.#values.get(setting.key) as T;
    const file = value(SETTINGS.captureFile);
    const limit = value(SETTINGS.captureLimit);
    const snapLength = value(SETTINGS.captureSnapLength);
    const filter = value(SETTINGS.captureFilter);
    const capture: CaptureConfig = {
      ...(file === "" ? {} : { file }),
      ...(limit === null ? {} : { limit }),
      ...(snapLength === null ? {} : { snapLength }),
      ...(filter === "" ? {} : { filter }),
    };
    this.#checkAll(checkCapture(capture, "capture."));
    this.#checkAll(checkCaptureFile(capture, "capture."));
    return file === "" ? null : capture;
  }

  /** Both ends named at one level contradict each other; else the higher level has its way. */
  #meeting(): GatewaySettings["meeting"] {
    const listen = this.#values.get(SETTINGS.listen.key) as VmmEndpoint | null;
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
    if (listen === null) return null;
    const framing = this.#values.get(SETTINGS.framing.key) as Framing;
    const fault = meetingFault(listen, "listen", framing);
    if (fault !== null) this.#report(SETTINGS.framing, fault);
    const lingers = lingerFault(listen, this.#values.get(SETTINGS.lingerMs.key) as number);
    if (lingers !== null) this.#report(SETTINGS.lingerMs, lingers);
    return { mode: "listen", endpoint: listen };
  }

  #control(): ControlPlace | null {
    const endpoint = this.#values.get(SETTINGS.control.key) as Endpoint | null;
    const tokenFile = this.#values.get(SETTINGS.controlToken.key) as string;
    const fault = controlFault(endpoint, tokenFile);
    if (fault !== null) this.#report(SETTINGS.control, fault);
    if (endpoint === null) return null;
    return tokenFile === "" ? { endpoint } : { endpoint, tokenFile };
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
    this.#checkAll(checkLimits(limits));
    return limits;
  }

  /** Runs a check of several settings and reports what it throws. */
  #check(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.#checkAll(error.problems);
    }
  }

  /** Reports what is wrong with several settings, each at the one that it names. */
  #checkAll(problems: readonly ConfigProblem[]): void {
    for (const { key, text } of problems) {
      const setting = ALL_SETTINGS.find((each) => each.key === key)!;
      // A setting that could not even be read has been reported already.
      const told = [...this.#problems.keys()].some((problem) => problem.key === key);
      if (!told) this.#report(setting, text);
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
    const { source = Source.Default, flags = [] } = this.#chosen.get(setting.key) ?? {};
    switch (source) {
      case Source.Flags:
        return flagsAt(flags, under).map((flag) => {
          return `--${this.#sources.flags?.[flag] === false ? "no-" : ""}${flag}`;
        }).join(", ");
      case Source.Environment:
        return flagsAt(flags, under).map(environmentName).join(", ");
      case Source.File:
        return this.#file!.where(`${setting.key}${under}`);
      case Source.Default:
        return "default";
    }
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
