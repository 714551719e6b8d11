/**
 * The configuration of a gateway: from the values of all settings to what `run` is run with. Pure:
 * the sources come in as text.
 *
 * All problems are found in one pass and told with their place. What several guests make of it is
 * `resolve_guests.ts`.
 *
 * @module
 */
import { checkCapture, checkCaptureFile } from "./capture_config.ts";
import { controlFault, type ControlPlace } from "./control_endpoint.ts";
import {
  type Framing,
  lingerFault,
  meetingFault,
  offloadFault,
  type VmmEndpoint,
} from "./endpoint.ts";
import type { FleetAccess, FleetMembership } from "./fleet.ts";
import { FLEET_ACCESS_SETTINGS, fleetAccess, fleetOfOne } from "./fleet_settings.ts";
import { GUESTS_KEY } from "./guests_settings.ts";
import { checkLimits, DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { parseGuestNetwork } from "./network.ts";
import type {
  CaptureConfig,
  GuestNetworkConfig,
  PolicyConfig,
  RateConfig,
  VirtioNetworkConfig,
} from "./options.ts";
import { checkRuleCount } from "./policy_rules.ts";
import { checkRates, RATE_KEYS } from "./rates.ts";
import {
  type ConfigSources,
  Problems,
  type ResolvedEntry,
  SettingValues,
  Source,
} from "./setting_values.ts";
import { ALL_SETTINGS, type LogFormat, type LogLevel, type Setting, SETTINGS } from "./settings.ts";
import { type ConfigFile, readConfigFile } from "./yaml_file.ts";

export type { ConfigSources, ResolvedEntry };

/** What a whole process is run with. */
export interface ProcessSettings {
  /** How long a shutdown lets queued bytes drain. */
  readonly graceMs: number;
  /** Where the control interface is; `null` for none. */
  readonly control: ControlPlace | null;
  /** How much is logged, and in which form. */
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
}

/** What a guest is served with. */
export interface GuestSettings {
  /** Where to meet the VMM, and who listens; `null` where nothing names a place. */
  readonly meeting: { readonly mode: "listen" | "connect"; readonly endpoint: VmmEndpoint } | null;
  /** How frames are told apart. */
  readonly framing: Framing;
  /** Whether to stop with the first guest. */
  readonly once: boolean;
  /** How long a guest is kept for a VMM that has left. */
  readonly lingerMs: number;
  /** The guest's network, every field set but a proxy and a capture that nobody named. */
  readonly network:
    & Required<Omit<VirtioNetworkConfig, "upstreamProxy" | "capture">>
    & Pick<VirtioNetworkConfig, "upstreamProxy" | "capture">;
}

/** Everything that `run` needs for one guest. */
export interface GatewaySettings extends ProcessSettings, GuestSettings {}

/** A checked configuration of one guest. */
export interface ResolvedConfig {
  /** How many guests it is of. */
  readonly kind: "guest";
  /** What the gateway is run with. */
  readonly settings: GatewaySettings;
  /** Its place in a fleet; `null` for none. */
  readonly fleet: FleetMembership | null;
  /** Every setting in the table's order. */
  readonly entries: readonly ResolvedEntry[];
}

/**
 * Merges and checks the configuration of one guest.
 *
 * @param sources The YAML file, the environment and the flags.
 * @returns The settings and the origin of each.
 * @throws {ConfigError} With one line for each problem.
 */
export function resolveConfig(sources: ConfigSources): ResolvedConfig {
  return resolveOne(
    sources,
    sources.file ? readConfigFile(sources.file.name, sources.file.text) : null,
  );
}

/** The same with a file that has been read. */
export function resolveOne(sources: ConfigSources, file: ConfigFile | null): ResolvedConfig {
  const problems = fileProblems(file);
  if (file !== null && file.guests !== null) {
    const text = "lists several guests, where one is to be configured";
    problems.add({ key: GUESTS_KEY, text }, `${file.where(GUESTS_KEY)} ${GUESTS_KEY}: ${text}`);
  }
  const values = new SettingValues(ALL_SETTINGS, { ...sources, file, prefixes: [""] }, problems);
  if (values.source(SETTINGS.workers) !== Source.Default) {
    values.report(SETTINGS.workers, "is of no use without guests");
  }
  const guestNetwork = networkOf(values);
  values.check(() => parseGuestNetwork(guestNetwork));
  const settings = { ...guestSettings(values, guestNetwork), ...processSettings(values) };
  const fleet = fleetOfOne(values);
  problems.throwIfAny();
  return { kind: "guest", settings, fleet, entries: values.entries() };
}

/**
 * Merges and checks what a configuration says of the engine of a fleet, and nothing else of it.
 *
 * @param sources The YAML file, the environment and the flags.
 * @returns Where it is; `null` where nothing names a server.
 * @throws {ConfigError} With one line for each problem.
 */
export function resolveFleetAccess(sources: ConfigSources): FleetAccess | null {
  const file = sources.file ? readConfigFile(sources.file.name, sources.file.text) : null;
  const problems = fileProblems(file);
  const from = { ...sources, file, prefixes: [""] };
  const access = fleetAccess(new SettingValues(FLEET_ACCESS_SETTINGS, from, problems));
  problems.throwIfAny();
  return access;
}

/** What is wrong with a file's keys, as the beginning of all problems. */
export function fileProblems(file: ConfigFile | null): Problems {
  const problems = new Problems();
  for (const fault of file?.faults ?? []) {
    problems.add(fault, `${file!.where(fault.key)} ${fault.text}`);
  }
  return problems;
}

/** Makes and checks the settings of a process. */
export function processSettings(values: SettingValues): ProcessSettings {
  return {
    graceMs: values.of(SETTINGS.graceMs),
    control: controlOf(values),
    log: { level: values.of(SETTINGS.logLevel), format: values.of(SETTINGS.logFormat) },
  };
}

/**
 * Makes and checks the settings of a guest, but for its addresses.
 *
 * @param values The values of its settings.
 * @param guestNetwork The addresses.
 */
export function guestSettings(
  values: SettingValues,
  guestNetwork: Partial<GuestNetworkConfig>,
): GuestSettings {
  const framing = values.of(SETTINGS.framing);
  const isLarge = offloadFault(framing, values.of(SETTINGS.offload));
  if (isLarge !== null) values.report(SETTINGS.offload, isLarge);
  const limits = limitsOf(values);
  const policy = policyOf(values);
  values.checkAll(checkRuleCount(policy, limits.policyRules));
  const rate = rateOf(values);
  values.checkAll(checkRates(rate));
  const search = values.of(SETTINGS.search);
  const upstreamProxy = values.of(SETTINGS.upstreamProxy);
  const capture = captureOf(values);
  return {
    meeting: meetingOf(values),
    framing,
    once: values.of(SETTINGS.once),
    lingerMs: values.of(SETTINGS.lingerMs),
    network: {
      guestNetwork,
      publishedPorts: values.of(SETTINGS.publish),
      dns: {
        upstreams: values.of(SETTINGS.upstreams),
        intercept: values.of(SETTINGS.intercept),
        ...(search === "" ? {} : { search }),
        records: values.of(SETTINGS.records),
        zones: values.of(SETTINGS.zones),
        cache: values.of(SETTINGS.cache),
      },
      hostLoopback: values.of(SETTINGS.hostLoopback),
      hostServices: values.of(SETTINGS.hostServices),
      policy,
      rate,
      ...(upstreamProxy === null ? {} : { upstreamProxy }),
      ...(capture === null ? {} : { capture }),
      limits,
    },
  };
}

/** Each field of a guest's network and its setting. */
export const NETWORK_SETTINGS = {
  guestIp: SETTINGS.guestIp,
  gatewayIp: SETTINGS.gatewayIp,
  guestIp6: SETTINGS.guestIp6,
  gatewayIp6: SETTINGS.gatewayIp6,
  guestMac: SETTINGS.guestMac,
  gatewayMac: SETTINGS.gatewayMac,
  mtu: SETTINGS.mtu,
  ipv6: SETTINGS.ipv6,
  checksums: SETTINGS.checksums,
  offload: SETTINGS.offload,
} satisfies { [K in keyof GuestNetworkConfig]: Setting<GuestNetworkConfig[K]> };

function networkOf(values: SettingValues): GuestNetworkConfig {
  return Object.fromEntries(
    Object.entries(NETWORK_SETTINGS).map(([name, setting]) => [name, values.of<unknown>(setting)]),
  ) as unknown as GuestNetworkConfig;
}

function policyOf(values: SettingValues): Required<PolicyConfig> {
  const origins = (setting: Setting<string[]>): string[] =>
    values.of(setting).map((_, i) => values.origin(setting, `[${i}]`));
  return {
    protect: values.of(SETTINGS.protect),
    allow: values.of(SETTINGS.allow),
    deny: values.of(SETTINGS.deny),
    denyPage: values.of(SETTINGS.denyPage),
    ech: values.of(SETTINGS.ech),
    origins: { allow: origins(SETTINGS.allow), deny: origins(SETTINGS.deny) },
  };
}

function rateOf(values: SettingValues): RateConfig {
  const rate: RateConfig = {};
  for (const name of RATE_KEYS) {
    const value = values.at(`rate.${name}`) as number | null;
    if (value !== null) rate[name] = value;
  }
  return rate;
}

function captureOf(values: SettingValues): CaptureConfig | null {
  const file = values.of(SETTINGS.captureFile);
  const limit = values.of(SETTINGS.captureLimit);
  const snapLength = values.of(SETTINGS.captureSnapLength);
  const filter = values.of(SETTINGS.captureFilter);
  const capture: CaptureConfig = {
    ...(file === "" ? {} : { file }),
    ...(limit === null ? {} : { limit }),
    ...(snapLength === null ? {} : { snapLength }),
    ...(filter === "" ? {} : { filter }),
  };
  values.checkAll(checkCapture(capture, "capture."));
  // What is said for all guests is of use to those that have a capture.
  const useless = checkCaptureFile(capture, "capture.");
  values.checkAll(useless.filter(({ key }) => values.isOwn(key)));
  return file === "" ? null : capture;
}

/** Both ends named at one level contradict each other; else the higher level has its way. */
function meetingOf(values: SettingValues): GuestSettings["meeting"] {
  const listen = values.of(SETTINGS.listen);
  const connect = values.of(SETTINGS.connect);
  const listenSource = values.source(SETTINGS.listen);
  const connectSource = values.source(SETTINGS.connect);
  if (connectSource !== Source.Default && listenSource === connectSource) {
    const other = values.origin(SETTINGS.listen);
    values.report(SETTINGS.connect, `contradicts ${other}; keep one`);
  }
  if (connectSource > listenSource) values.forget(SETTINGS.listen);
  else values.forget(SETTINGS.connect);
  if (connect !== null && connectSource > listenSource) {
    return { mode: "connect", endpoint: connect };
  }
  if (listen === null) return null;
  const fault = meetingFault(listen, "listen", values.of(SETTINGS.framing));
  if (fault !== null) values.report(SETTINGS.framing, fault);
  const lingers = lingerFault(listen, values.of(SETTINGS.lingerMs));
  if (lingers !== null) values.report(SETTINGS.lingerMs, lingers);
  return { mode: "listen", endpoint: listen };
}

function controlOf(values: SettingValues): ControlPlace | null {
  const endpoint = values.of(SETTINGS.control);
  const tokenFile = values.of(SETTINGS.controlToken);
  const fault = controlFault(endpoint, tokenFile);
  if (fault !== null) values.report(SETTINGS.control, fault);
  if (endpoint === null) return null;
  return tokenFile === "" ? { endpoint } : { endpoint, tokenFile };
}

function limitsOf(values: SettingValues): Limits {
  const limits = { ...DEFAULT_LIMITS };
  for (const name of Object.keys(limits) as (keyof Limits)[]) {
    limits[name] = values.at(`limits.${name}`) as number;
  }
  values.checkAll(checkLimits(limits));
  return limits;
}
