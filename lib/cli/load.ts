/**
 * Loads the configuration of `run` and `check`: the file and the environment as far as Deno lets
 * them be read, and the default place to meet the VMM.
 *
 * @module
 */
import type { Endpoint, VmmEndpoint } from "../config/endpoint.ts";
import { ConfigError } from "../config/errors.ts";
import type { FleetAccess } from "../config/fleet.ts";
import { shellQuote } from "../config/permission_line.ts";
import { type ConfigSources, type ResolvedConfig, resolveFleetAccess } from "../config/resolve.ts";
import { type ResolvedGuestsConfig, resolveSources } from "../config/resolve_guests.ts";
import { environmentName } from "../config/settings.ts";
import {
  isGranted,
  isPermissionError,
  missingFileFlags,
  permissionError,
  readEnvironment,
} from "../host/permissions.ts";
import { FLAG_SETTINGS, type ParsedArguments } from "./arguments.ts";

/** Where the VMM is met when nothing is said and Deno may write it. */
const DEFAULT_UNIX_PATH = "./virtio-gateway.sock";
const DEFAULT_UNIX: Endpoint = { transport: "unix", path: DEFAULT_UNIX_PATH };

/** Where the VMM is met when nothing is said otherwise. */
const DEFAULT_TCP: Endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 7654 };

/** Largest configuration file, in bytes. */
const FILE_MAX_BYTES = 4 * 1024 * 1024;

/** Where the VMM is met, and why there. */
export interface Meeting {
  /** Who listens. */
  readonly mode: "listen" | "connect";
  /** Where. */
  readonly endpoint: VmmEndpoint;
  /** Why the default rule chose it; absent where the configuration names it. */
  readonly why?: string;
}

/** Where a configuration was loaded from. */
interface LoadedFrom {
  /** The file that was read from disk. */
  readonly configFile?: string;
  /** Environment variables that set something. */
  readonly environment: readonly string[];
}

/** A loaded configuration of one guest. */
export interface LoadedGuest extends LoadedFrom {
  /** How many guests it is of. */
  readonly kind: "guest";
  /** The checked configuration. */
  readonly config: ResolvedConfig;
  /** Where the VMM is met. */
  readonly meeting: Meeting;
}

/** A loaded configuration of several guests, each of which has its own place. */
export interface LoadedGuests extends LoadedFrom {
  /** How many guests it is of. */
  readonly kind: "guests";
  /** The checked configuration. */
  readonly config: ResolvedGuestsConfig;
}

/** A loaded configuration. */
export type LoadedConfig = LoadedGuest | LoadedGuests;

/**
 * Loads and checks the configuration.
 *
 * @param args The command line.
 * @returns The configuration and where it comes from.
 * @throws {ConfigError} Where it can't be used.
 * @throws {GatewayError} With code `permission` where its file may not be read.
 */
export async function loadConfig(args: ParsedArguments): Promise<LoadedConfig> {
  const { path, environment, sources } = await readSources(args);
  const config = resolveSources(sources);
  const origins = new Set(config.entries.flatMap(({ origin }) => origin.split(", ")));
  const used = Object.keys(environment).filter((name) => origins.has(name));
  if (args.config === undefined && path) used.push(CONFIG_VARIABLE);
  const from: LoadedFrom = {
    ...(path === undefined || path === "-" ? {} : { configFile: path }),
    environment: used,
  };
  if (config.kind === "guests") return { kind: "guests", config, ...from };
  const meeting = config.settings.meeting ?? defaultMeeting();
  return { kind: "guest", config, meeting, ...from };
}

/**
 * Loads what a configuration says of the engine of a fleet.
 *
 * @param args The command line.
 * @returns Where it is; `null` where nothing names a server.
 * @throws {ConfigError} Where it can't be used.
 * @throws {GatewayError} With code `permission` where its file may not be read.
 */
export async function loadFleetAccess(args: ParsedArguments): Promise<FleetAccess | null> {
  return resolveFleetAccess((await readSources(args)).sources);
}

/** The file, the environment and the flags, as they are. */
async function readSources(args: ParsedArguments): Promise<{
  path: string | undefined;
  environment: Record<string, string>;
  sources: ConfigSources;
}> {
  const path = configPath(args);
  const environment = collectEnvironment();
  const sources: ConfigSources = {
    ...(path === undefined ? {} : { file: await readTextFile(path) }),
    environment,
    flags: args.flags,
  };
  return { path, environment, sources };
}

const CONFIG_VARIABLE = environmentName("config");

/** Where the file of the configuration is; `undefined` where none is named. */
export function configPath(args: ParsedArguments): string | undefined {
  const path = args.config ?? readEnvironment(CONFIG_VARIABLE);
  return path === "" ? undefined : path;
}

function collectEnvironment(): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const { flag } of FLAG_SETTINGS) {
    const name = environmentName(flag);
    const value = readEnvironment(name);
    if (value !== undefined) environment[name] = value;
  }
  return environment;
}

/**
 * Reads a file of text, or standard input where it is called `-`.
 *
 * @returns Its name for messages, and its text.
 * @throws {ConfigError} Where it can't be read.
 * @throws {GatewayError} With code `permission` where Deno lets nobody read it.
 */
export async function readTextFile(path: string): Promise<{ name: string; text: string }> {
  if (path === "-") return { name: "stdin", text: decode("stdin", await readStdin()) };
  if (!isGranted({ name: "read", path })) {
    throw permissionError(`read ${path}`, `--allow-read=${path}`);
  }
  try {
    const { size, isFile } = await Deno.stat(path);
    if (isFile && size > FILE_MAX_BYTES) throw cannotRead(path, `it has ${size} bytes`);
    return { name: path, text: decode(path, await Deno.readFile(path)) };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    if (error instanceof Deno.errors.NotFound) throw cannotRead(path, "there is no such file");
    if (isPermissionError(error)) throw cannotRead(path, "the system does not permit it");
    throw cannotRead(path, error instanceof Error ? error.message : String(error));
  }
}

async function readStdin(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of Deno.stdin.readable) {
    size += chunk.length;
    if (size > FILE_MAX_BYTES) throw cannotRead("stdin", `it has over ${FILE_MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return new Uint8Array(await new Blob(chunks as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}

function decode(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw cannotRead(name, "it is not UTF-8 text");
  }
}

function cannotRead(path: string, why: string): ConfigError {
  return new ConfigError([{ key: "", text: `cannot read ${path}: ${why}` }]);
}

/** A unix socket is private to its user, so it comes first where Deno may make it. */
function defaultMeeting(): Meeting {
  const flags = missingFileFlags(DEFAULT_UNIX_PATH).map(shellQuote).join(" ");
  return flags === ""
    ? { mode: "listen", endpoint: DEFAULT_UNIX, why: "no endpoint was named" }
    : { mode: "listen", endpoint: DEFAULT_TCP, why: `for a unix socket add ${flags}` };
}
