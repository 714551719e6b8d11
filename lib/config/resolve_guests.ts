/**
 * The configuration of several guests: what stands beside the file's list is the default of all, and
 * each guest's own keys win. One rule says how: a section such as `policy` is taken key by key, and
 * what stands at a key, a list or a mapping of records too, is taken whole.
 *
 * Flags and the environment set what is one for the whole process. A setting of guests in them would
 * be above what some guests say and others don't, so it is refused.
 *
 * @module
 */
import { ConfigError, type ConfigProblem } from "./errors.ts";
import type { FleetMembership } from "./fleet.ts";
import { fleetOfSeveral } from "./fleet_settings.ts";
import { type ResolvedGuest, type ResolvedGuests, resolveGuests } from "./guests.ts";
import type { GuestConfig, GuestsConfig, SharedNetworkConfig } from "./guests_options.ts";
import { MEMBER_SETTINGS, SHARED_NETWORK_SETTINGS } from "./guests_settings.ts";
import type { LanMember } from "./lan_member.ts";
import type { GuestNetworkConfig } from "./options.ts";
import {
  fileProblems,
  type GuestSettings,
  guestSettings,
  NETWORK_SETTINGS,
  type ProcessSettings,
  processSettings,
  type ResolvedConfig,
  resolveOne,
} from "./resolve.ts";
import {
  type ConfigSources,
  type Problems,
  type ResolvedEntry,
  SettingValues,
  Source,
} from "./setting_values.ts";
import {
  environmentName,
  GUEST_SETTINGS,
  PROCESS_SETTINGS,
  type Setting,
  SETTINGS,
} from "./settings.ts";
import { type ConfigFile, readConfigFile } from "./yaml_file.ts";

/** One guest of a configuration of several. */
export interface ConfiguredGuest {
  /** Its name. */
  readonly name: string;
  /** The shared network that it is on; `null` for one of its own. */
  readonly network: string | null;
  /** What it is served with, its addresses among it. */
  readonly settings: GuestSettings & { readonly meeting: NonNullable<GuestSettings["meeting"]> };
  /** The other guests of that network. */
  readonly neighbors: readonly LanMember[];
  /** Its own keys, its name first. */
  readonly entries: readonly ResolvedEntry[];
}

/** A checked configuration of several guests. */
export interface ResolvedGuestsConfig {
  /** How many guests it is of. */
  readonly kind: "guests";
  /** What the process is run with. */
  readonly process: ProcessSettings;
  /** Their place in a fleet; `null` for none. */
  readonly fleet: FleetMembership | null;
  /** What the guests are served with, as a program hands it over. */
  readonly config: GuestsConfig;
  /** The guests in their order. */
  readonly guests: readonly ConfiguredGuest[];
  /** The shared networks. */
  readonly networks: readonly {
    readonly name: string;
    readonly entries: readonly ResolvedEntry[];
  }[];
  /** Every setting of the process in the table's order. */
  readonly entries: readonly ResolvedEntry[];
}

/**
 * Merges and checks a configuration of one guest, or of several where its file lists them.
 *
 * @param sources The YAML file, the environment and the flags.
 * @returns The settings and the origin of each.
 * @throws {ConfigError} With one line for each problem.
 */
export function resolveSources(sources: ConfigSources): ResolvedConfig | ResolvedGuestsConfig {
  const file = sources.file ? readConfigFile(sources.file.name, sources.file.text) : null;
  return file === null || file.guests === null
    ? resolveOne(sources, file)
    : new SeveralGuests(sources, file, file.guests).resolve();
}

/** A guest's values, and what they came to. */
interface ReadGuest {
  readonly values: SettingValues;
  readonly settings: GuestSettings;
}

class SeveralGuests {
  readonly #file: ConfigFile;
  readonly #problems: Problems;
  readonly #process: SettingValues;
  readonly #networks: ReadonlyMap<string, SettingValues>;
  readonly #guests: readonly ReadGuest[];

  constructor(sources: ConfigSources, file: ConfigFile, guests: number) {
    this.#file = file;
    const problems = fileProblems(file);
    this.#problems = problems;
    refuseAboveGuests(sources, file, problems);
    this.#process = new SettingValues(PROCESS_SETTINGS, {
      ...sources,
      file,
      prefixes: [""],
    }, problems);
    this.#networks = new Map(file.networks.map((name) => {
      const prefixes = [`networks.${name}.`];
      const settings = Object.values(SHARED_NETWORK_SETTINGS);
      return [name, new SettingValues(settings, { file, prefixes }, problems)];
    }));
    this.#guests = Array.from({ length: guests }, (_, i) => this.#read(i));
  }

  resolve(): ResolvedGuestsConfig {
    const process = processSettings(this.#process);
    const fleet = fleetOfSeveral(this.#process, this.#guests.map(({ values }) => values));
    // What is wrong by itself is told before what does not fit together.
    this.#problems.throwIfAny();
    const { graceMs } = process;
    const workers = this.#process.of(SETTINGS.workers);
    const config: GuestsConfig = {
      guests: this.#guests.map((guest) => guestConfig(guest, graceMs)),
      networks: Object.fromEntries(
        [...this.#networks].map(([name, values]) => [name, sharedConfig(values)]),
      ),
      ...(workers === null ? {} : { workers }),
    };
    const { guests, networks } = this.#resolved(config);
    const membersOf = (network: string | null): readonly LanMember[] => {
      return networks.find(({ name }) => name === network)?.members ?? [];
    };
    this.#problems.throwIfAny();
    return {
      kind: "guests",
      process,
      fleet,
      config,
      guests: guests.map((guest, i) => ({
        ...this.#configured(this.#guests[i]!, guest),
        neighbors: membersOf(guest.network).filter((_, self) => self !== guest.self),
      })),
      networks: [...this.#networks].map(([name, values]) => ({ name, entries: values.entries() })),
      entries: this.#process.entries(),
    };
  }

  #read(index: number): ReadGuest {
    const at = `guests[${index}]`;
    const sources = { file: this.#file, prefixes: [`${at}.`, ""] };
    const values = new SettingValues(GUEST_TABLE, sources, this.#problems);
    const isMapping = !this.#problems.has(at);
    const lacks = (what: string): void => {
      if (!isMapping) return;
      const text = `lacks ${what}`;
      this.#problems.add({ key: at, text }, `${this.#file.where(at)} ${at} ${text}`);
    };
    const isAbsent = (setting: Setting<unknown>): boolean => {
      return values.source(setting) === Source.Default;
    };
    if (isAbsent(MEMBER_SETTINGS.name)) lacks(`"name"`);
    if (isAbsent(SETTINGS.listen) && isAbsent(SETTINGS.connect)) lacks(`"listen" or "connect"`);
    return { values, settings: guestSettings(values, saidOf(values, NETWORK_SETTINGS)) };
  }

  /** Gives the guests their addresses; what does not fit together is noted where it stands. */
  #resolved(config: GuestsConfig): Pick<ResolvedGuests, "guests" | "networks"> {
    try {
      return resolveGuests(config);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      for (const problem of error.problems) this.#place(problem);
      return { guests: [], networks: [] };
    }
  }

  /** Notes a problem that names what a program hands over at what the file calls it. */
  #place({ key, text }: ConfigProblem): void {
    const [, index, of = ""] = /^guests\[([0-9]+)\]\.?(.*)$/.exec(key) ?? [];
    const [, network = "", part = ""] = /^networks\.([^.]+)\.?(.*)$/.exec(key) ?? [];
    const guest = index === undefined ? undefined : this.#guests[Number(index)]!.values;
    if (guest !== undefined && report(guest, GUEST_TABLE, fileKey(of, guest), text)) return;
    const shared = this.#networks.get(network);
    if (shared && report(shared, Object.values(SHARED_NETWORK_SETTINGS), part, text)) return;
    if (report(this.#process, PROCESS_SETTINGS, key, text)) return;
    this.#problems.add({ key, text }, `${this.#file.where(key)} ${key}: ${text}`);
  }

  #configured(
    { values, settings }: ReadGuest,
    { config, network }: ResolvedGuest,
  ): Omit<ConfiguredGuest, "neighbors"> {
    const { guestNetwork } = config;
    const shared = network === null ? undefined : this.#networks.get(network);
    const entries = values.entries().map((entry): ResolvedEntry => {
      const [, field] = /^guestNetwork\.(.*)$/.exec(entry.key) ?? [];
      if (field === undefined) return entry;
      const value = guestNetwork[field as keyof GuestNetworkConfig];
      const from = FIELD_OF_NETWORK[field];
      return entry.origin !== "default" || shared === undefined || from === undefined
        ? { ...entry, value }
        : { ...entry, value, origin: shared.origin(from) };
    });
    return {
      name: config.name,
      network,
      settings: {
        ...settings,
        meeting: settings.meeting!,
        network: { ...settings.network, guestNetwork },
      },
      entries,
    };
  }
}

const GUEST_TABLE: readonly Setting<unknown>[] = [
  ...Object.values(MEMBER_SETTINGS),
  ...GUEST_SETTINGS,
];

/** Which setting of a shared network says what its members have at a field of theirs. */
const FIELD_OF_NETWORK: Readonly<Record<string, Setting<unknown>>> = {
  guestIp: SHARED_NETWORK_SETTINGS.ip,
  gatewayIp: SHARED_NETWORK_SETTINGS.ip,
  guestIp6: SHARED_NETWORK_SETTINGS.ip6,
  gatewayIp6: SHARED_NETWORK_SETTINGS.ip6,
  mtu: SHARED_NETWORK_SETTINGS.mtu,
  ipv6: SHARED_NETWORK_SETTINGS.ipv6,
};

/** What a guest's key of a program is called in the file; a range of ports is one item there. */
function fileKey(key: string, values: SettingValues): string {
  if (key.startsWith("publishedPorts")) return SETTINGS.publish.key;
  if (key !== "endpoint") return key;
  const isListening = values.of(SETTINGS.listen) !== null;
  return isListening ? SETTINGS.listen.key : SETTINGS.connect.key;
}

/** Reports at the setting that a key is of; tells whether there is one. */
function report(
  values: SettingValues,
  settings: readonly Setting<unknown>[],
  key: string,
  text: string,
): boolean {
  const setting = settings.find((each) => {
    return key === each.key || (key.startsWith(each.key) && /[.[]/.test(key[each.key.length]!));
  });
  if (setting === undefined) return false;
  values.report(setting, text, key.slice(setting.key.length));
  return true;
}

/** The fields that the file says, of settings by their names. */
function saidOf<T>(
  values: SettingValues,
  settings: { readonly [K in keyof T]: Setting<T[K]> },
): Partial<T> {
  const said = Object.entries<Setting<unknown>>(settings)
    .filter(([, setting]) => values.source(setting) !== Source.Default);
  return Object.fromEntries(said.map(([name, setting]) => [name, values.of(setting)])) as Partial<
    T
  >;
}

function guestConfig({ values, settings }: ReadGuest, graceMs: number): GuestConfig {
  const { meeting, framing, once, lingerMs, network: options } = settings;
  const network = values.of(MEMBER_SETTINGS.network);
  return {
    name: values.of(MEMBER_SETTINGS.name)!,
    endpoint: meeting!.endpoint,
    mode: meeting!.mode,
    framing,
    once,
    lingerMs,
    graceMs,
    ...(network === null ? {} : { network }),
    ...options,
  };
}

function sharedConfig(values: SettingValues): SharedNetworkConfig {
  return saidOf(values, SHARED_NETWORK_SETTINGS) as SharedNetworkConfig;
}

/** Refuses what is above the file's guests but can't be the default of all of them. */
function refuseAboveGuests(sources: ConfigSources, file: ConfigFile, problems: Problems): void {
  for (const { key, scope, flag, narrow = [] } of GUEST_SETTINGS) {
    if (scope === "own" && file.values.has(key)) {
      const text = "each guest has its own; write it under the guest that it is for";
      problems.add({ key, text }, `${file.where(key)} ${key}: ${text}`);
    }
    const place = scope === "own"
      ? "under the guest that it is for"
      : `under a guest, or beside "guests" for all of them`;
    const text = `${file.name} lists several guests; write ${key} there, ${place}`;
    for (const name of flag === undefined ? [] : [flag, ...narrow.map((each) => each.flag)]) {
      if (sources.flags?.[name] !== undefined) problems.add({ key, text }, `--${name}: ${text}`);
      const variable = environmentName(name);
      if (sources.environment?.[variable]) problems.add({ key, text }, `${variable}: ${text}`);
    }
  }
}
