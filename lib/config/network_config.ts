/**
 * Checks what an embedding program hands over, by the same readers as the YAML file: types end at
 * the language's border, and a wrong port or address must be told before anything is opened.
 *
 * @module
 */
import { ConfigError, type ConfigProblem } from "./errors.ts";
import { checkLimits, DEFAULT_LIMITS } from "./limits.ts";
import { parseGuestNetwork } from "./network.ts";
import type { VirtioNetworkConfig } from "./options.ts";
import {
  type Raw,
  readBoolean,
  readDomain,
  type Reader,
  readHostServices,
  readPublish,
  readRecords,
  readUpstreams,
} from "./readers.ts";
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
  const check = (key: string, raw: Raw | undefined, read: Reader<unknown>): void => {
    if (raw === undefined) return;
    read(raw, (text, under = "") => {
      problems.push({ key: `${key}${programPath(under)}`, text });
    });
  };
  const { dns = {}, publishedPorts, hostServices, hostLoopback, protect, limits } = config;
  try {
    parseGuestNetwork(config.guestNetwork);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
  }
  check(
    "publishedPorts",
    publishedPorts?.map(({ hostPort, guestPort, bind }) => ({
      host: String(hostPort),
      guest: String(guestPort),
      ...(bind === undefined ? {} : { bind }),
    })),
    readPublish,
  );
  check(
    "hostServices",
    hostServices?.map(({ gatewayPort, hostPort }) => `${gatewayPort}:${hostPort}`),
    readHostServices,
  );
  check("hostLoopback", asText(hostLoopback), readBoolean);
  check("protect", protect, SETTINGS.protect.read);
  check("dns.upstreams", dns.upstreams, readUpstreams);
  check("dns.intercept", asText(dns.intercept), readBoolean);
  check("dns.search", dns.search, readDomain);
  check("dns.records", dns.records, readRecords);
  problems.push(...checkLimits({ ...DEFAULT_LIMITS, ...limits }));
  if (problems.length > 0) throw new ConfigError(problems);
}

/** What the rest may rely on: sections are objects, lists are lists of objects. */
function checkShape(config: VirtioNetworkConfig): ConfigProblem[] {
  if (!isObject(config)) return [{ key: "", text: "the configuration is not an object" }];
  const problems: ConfigProblem[] = [];
  for (const key of ["guestNetwork", "dns", "limits"] as const) {
    const isRight = config[key] === undefined || isObject(config[key]);
    if (!isRight) problems.push({ key, text: "is not an object" });
  }
  for (const key of ["publishedPorts", "hostServices"] as const) {
    const list: unknown = config[key];
    if (list === undefined) continue;
    if (!Array.isArray(list)) problems.push({ key, text: "is not a list" });
    else if (!list.every(isObject)) problems.push({ key, text: "is not a list of objects" });
  }
  return problems;
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function asText(value: boolean | undefined): string | undefined {
  return value === undefined ? undefined : String(value);
}

/** A path below `publish` in the program's names. */
function programPath(under: string): string {
  return under.replace(/\.host$/, ".hostPort").replace(/\.guest$/, ".guestPort");
}
