/**
 * Checks what an embedding program hands over, by the same readers as the YAML file: types end at
 * the language's border, and a wrong port or address must be told before anything is opened.
 *
 * @module
 */
import { CAPTURE_KEYS, checkCapture, checkCaptureFile } from "./capture_config.ts";
import { readDomain, readUpstreams, readZones } from "./dns_readers.ts";
import { ConfigError, type ConfigProblem } from "./errors.ts";
import { checkLimits, DEFAULT_LIMITS } from "./limits.ts";
import { unknownKey } from "./nearest.ts";
import { parseGuestNetwork } from "./network.ts";
import {
  DEFAULT_GUEST_NETWORK,
  type DnsConfig,
  type PolicyConfig,
  type VirtioNetworkConfig,
} from "./options.ts";
import { checkRuleCount, policyRules, readRules } from "./policy_rules.ts";
import { checkRates, RATE_KEYS } from "./rates.ts";
import {
  proxyFault,
  type Raw,
  readBoolean,
  type Reader,
  readHostServices,
  readPublish,
} from "./readers.ts";
import type { Rule } from "../policy/rule.ts";
import { checkRecords } from "./record_reader.ts";
import { SETTINGS } from "./settings.ts";

/**
 * Checks a network's configuration.
 *
 * @param config What the program handed over.
 * @throws {ConfigError} With everything that is wrong.
 */
export function checkNetworkConfig(config: VirtioNetworkConfig): void {
  const problems = checkShape(config);
  if (problems.length > 0) throw new ConfigError(problems);
  const check = checkInto(problems);
  const limits = { ...DEFAULT_LIMITS, ...config.limits };
  try {
    parseGuestNetwork(config.guestNetwork);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
  }
  checkPorts(config, check);
  checkDns(config.dns ?? {}, check);
  problems.push(...checkRecords(config.dns?.records ?? {}));
  const { policy = {} } = config;
  const tooMany = checkRuleCount(policy, limits.policyRules);
  problems.push(...tooMany);
  if (tooMany.length === 0) checkPolicy(policy, check);
  problems.push(...checkRates(config.rate ?? {}));
  problems.push(...checkProxy(config.upstreamProxy));
  const { capture = {} } = config;
  problems.push(...checkCapture(capture, "capture."), ...checkCaptureFile(capture, "capture."));
  problems.push(...checkLimits(limits));
  if (problems.length > 0) throw new ConfigError(problems);
}

/**
 * Checks a policy and makes its rules, each of which is read once: there may be very many.
 *
 * @param policy What the program handed over.
 * @param rulesMax Most rules that it may have.
 * @throws {ConfigError} With everything that is wrong.
 */
export function checkedRules(policy: PolicyConfig, rulesMax: number): Rule[] {
  const problems = checkShape({ policy });
  if (problems.length > 0) throw new ConfigError(problems);
  problems.push(...checkRuleCount(policy, rulesMax));
  checkPolicyWords(policy, checkInto(problems));
  if (problems.length > 0) throw new ConfigError(problems);
  return policyRules(policy);
}

/** Reads what a program says with the reader of a setting, and notes what that finds wrong. */
type Check = (key: string, raw: Raw | undefined, read: Reader<unknown>) => void;

function checkInto(problems: ConfigProblem[]): Check {
  return (key, raw, read) => {
    if (raw === undefined) return;
    read(raw, (text, under = "") => {
      problems.push({ key: `${key}${programPath(under)}`, text });
    });
  };
}

function checkPorts(config: VirtioNetworkConfig, check: Check): void {
  const { publishedPorts, hostServices, hostLoopback } = config;
  check(
    "publishedPorts",
    publishedPorts?.map(({ hostPort, unix, guestPort, protocol, bind, allowFrom }) => ({
      ...(unix === undefined || hostPort !== undefined ? { host: String(hostPort) } : {}),
      ...(unix === undefined ? {} : { unix }),
      guest: String(guestPort),
      ...(protocol === undefined ? {} : { protocol }),
      ...(bind === undefined ? {} : { bind }),
      ...(allowFrom === undefined ? {} : { allowFrom }),
    })),
    readPublish,
  );
  check(
    "hostServices",
    hostServices?.map(({ gatewayPort, hostPort }) => `${gatewayPort}:${hostPort}`),
    readHostServices,
  );
  check("hostLoopback", asText(hostLoopback), readBoolean);
}

function checkDns(dns: DnsConfig, check: Check): void {
  check("dns.upstreams", dns.upstreams, readUpstreams);
  check("dns.intercept", asText(dns.intercept), readBoolean);
  check("dns.search", dns.search, readDomain);
  check("dns.zones", dns.zones, readZones);
  check("dns.cache", asText(dns.cache), readBoolean);
}

function checkPolicy(policy: PolicyConfig, check: Check): void {
  checkPolicyWords(policy, check);
  check("policy.allow", policy.allow, readRules("allow"));
  check("policy.deny", policy.deny, readRules("deny"));
}

function checkPolicyWords(policy: PolicyConfig, check: Check): void {
  check("policy.protect", policy.protect, SETTINGS.protect.read);
  check("policy.denyPage", asText(policy.denyPage), readBoolean);
  check("policy.ech", policy.ech, SETTINGS.ech.read);
}

function checkProxy(proxy: unknown): ConfigProblem[] {
  if (proxy === undefined) return [];
  const fault = typeof proxy === "string" ? proxyFault(proxy) : "is not a text";
  return fault === null ? [] : [{ key: "upstreamProxy", text: fault }];
}

/** The names in each section that is an object. */
const SECTIONS: readonly [section: keyof VirtioNetworkConfig, names: readonly string[]][] = [
  ["guestNetwork", Object.keys(DEFAULT_GUEST_NETWORK)],
  ["dns", ["upstreams", "intercept", "search", "records", "zones", "cache"]],
  ["policy", ["protect", "allow", "deny", "denyPage", "ech", "origins"]],
  ["rate", RATE_KEYS],
  ["capture", CAPTURE_KEYS],
  ["limits", Object.keys(DEFAULT_LIMITS)],
];

/** The names in each item of a section that is a list. */
const LISTS: readonly [section: "publishedPorts" | "hostServices", names: readonly string[]][] = [
  ["publishedPorts", ["hostPort", "unix", "guestPort", "protocol", "bind", "allowFrom"]],
  ["hostServices", ["gatewayPort", "hostPort"]],
];

/** All names beside each other; those of serving an endpoint may be among them. */
const NAMES: readonly string[] = [
  ...SECTIONS.map(([section]) => section),
  ...LISTS.map(([section]) => section),
  ...["hostLoopback", "upstreamProxy"],
  ...["mode", "framing", "once", "lingerMs", "graceMs"],
];

/** What the rest may rely on: sections are objects, lists are lists, each name is a known one. */
function checkShape(config: VirtioNetworkConfig): ConfigProblem[] {
  if (!isObject(config)) return [{ key: "", text: "the configuration is not an object" }];
  const problems = unknownNames("", config, NAMES);
  for (const [key, names] of SECTIONS) {
    const section: unknown = config[key];
    if (section === undefined) continue;
    if (isObject(section)) problems.push(...unknownNames(key, section, names));
    else problems.push({ key, text: "is not an object" });
  }
  for (const [key, names] of LISTS) {
    const list: unknown = config[key];
    if (list === undefined) continue;
    if (!Array.isArray(list)) problems.push({ key, text: "is not a list" });
    else if (!list.every(isObject)) problems.push({ key, text: "is not a list of objects" });
    else list.forEach((item, i) => problems.push(...checkItem(`${key}[${i}]`, item, names)));
  }
  if (isObject(config.dns)) problems.push(...checkDnsShape(config.dns));
  if (isObject(config.policy)) problems.push(...checkRuleLists(config.policy));
  return problems;
}

/** A published port or a host service; its lists are lists. */
function checkItem(key: string, item: object, names: readonly string[]): ConfigProblem[] {
  const lists = Object.entries(item).filter(([name]) => name === "bind" || name === "allowFrom");
  return [
    ...unknownNames(key, item, names),
    ...lists.filter(([, value]) => value !== undefined && !Array.isArray(value))
      .map(([name]) => ({ key: `${key}.${name}`, text: "is not a list" })),
  ];
}

function checkDnsShape({ upstreams, records = {}, zones = {} }: DnsConfig): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const wantList = (key: string, value: unknown): void => {
    if (!Array.isArray(value)) problems.push({ key, text: "is not a list" });
  };
  if (upstreams !== undefined) wantList("dns.upstreams", upstreams);
  if (!isObject(records)) problems.push({ key: "dns.records", text: "is not an object" });
  if (!isObject(zones)) problems.push({ key: "dns.zones", text: "is not an object" });
  else {
    for (const [zone, value] of Object.entries(zones)) {
      if (value !== "local") wantList(`dns.zones.${zone}`, value);
    }
  }
  return problems;
}

function checkRuleLists(policy: PolicyConfig): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const { origins = {} } = policy;
  if (!isObject(origins)) return [{ key: "policy.origins", text: "is not an object" }];
  problems.push(...unknownNames("policy.origins", origins, ["allow", "deny", "protect"]));
  if (origins.protect !== undefined && typeof origins.protect !== "string") {
    problems.push({ key: "policy.origins.protect", text: "is not a text" });
  }
  for (const name of ["allow", "deny"] as const) {
    const lists: [string, unknown][] = [
      [`policy.${name}`, policy[name]],
      [`policy.origins.${name}`, origins[name]],
    ];
    for (const [key, list] of lists) {
      const isRight = Array.isArray(list) && list.every((item) => typeof item === "string");
      if (list !== undefined && !isRight) problems.push({ key, text: "is not a list of texts" });
    }
  }
  return problems;
}

/** Names that mean nothing: a rule that was spelled wrong must not count as none. */
function unknownNames(section: string, object: object, known: readonly string[]): ConfigProblem[] {
  const unknown = Object.entries(object)
    .filter(([name, value]) => value !== undefined && !known.includes(name));
  return unknown.map(([name]) => {
    const owner = section === "" ? SECTIONS.find(([, names]) => names.includes(name)) : undefined;
    const text = owner === undefined
      ? unknownKey(name, known)
      : `unknown key "${name}"; did you mean "${owner[0]}.${name}"?`;
    return { key: section === "" ? name : `${section}.${name}`, text };
  });
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function asText(value: boolean | undefined): string | undefined {
  return value === undefined ? undefined : String(value);
}

/** A path below `publish` in the program's names. */
function programPath(under: string): string {
  return under.replace(/\.host$/, ".hostPort").replace(/\.guest$/, ".guestPort");
}
