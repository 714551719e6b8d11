/**
 * `check`: the configuration that `run` would use, as YAML with the origin of each value, and the
 * `deno run` line that it needs. What reads like something else than it is, is said beside it.
 *
 * @module
 */
import { formatEndpoint, type VmmEndpoint } from "../config/endpoint.ts";
import type { HostService, PortMapping } from "../config/options.ts";
import { optionalFlags, permissionFlags, permissionLine } from "../config/permission_line.ts";
import { maskProxyUrl } from "../config/proxy_url.ts";
import { NO_PROXY, UNLIMITED } from "../config/readers.ts";
import type { ResolvedEntry } from "../config/resolve.ts";
import { SETTINGS } from "../config/settings.ts";
import type { ParsedArguments } from "./arguments.ts";
import { emptyAllowNotice } from "./empty_allow.ts";
import { Exit } from "./exit.ts";
import type { CliIo } from "./io.ts";
import { loadConfig, type LoadedConfig } from "./load.ts";

/** A value as the YAML file spells it, with its origin. */
interface ShownEntry {
  readonly key: string;
  readonly value: unknown;
  readonly origin: string;
}

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @param words Its words after the command, for the `deno run` line.
 * @returns The exit code.
 */
export async function runCheck(
  io: CliIo,
  args: ParsedArguments,
  words: readonly string[],
): Promise<number> {
  const loaded = await loadConfig(args);
  const entries = shownEntries(loaded);
  const flags = permissionFlags({
    endpoint: loaded.meeting.endpoint,
    settings: loaded.config.settings,
    ...(loaded.configFile === undefined ? {} : { configFile: loaded.configFile }),
    environment: loaded.environment,
  });
  const optional = optionalFlags(loaded.config.settings);
  const runWords = maskWords(words.filter((word) => word !== "--json"));
  const command = permissionLine(flags, programName(), ["run", ...runWords]);
  if (args.json) {
    const config = Object.fromEntries(
      entries.map(({ key, value, origin }) => [key, { value, origin }]),
    );
    const report = { config, permissions: flags, optionalPermissions: optional, command };
    io.out(JSON.stringify(report, null, 2));
  } else {
    for (const line of yamlLines(entries)) io.out(line);
    io.out("");
    io.out(`# ${command}`);
    for (const [flag, use] of Object.entries(optional)) io.out(`# optional: ${flag}, ${use}`);
  }
  const notice = emptyAllowNotice(loaded.config.entries);
  if (notice !== null) io.err(notice);
  return Exit.Done;
}

function shownEntries({ config, meeting }: LoadedConfig): ShownEntry[] {
  const other = meeting.mode === "listen" ? SETTINGS.connect.key : SETTINGS.listen.key;
  return config.entries.filter(({ key }) => key !== other).map((entry) => {
    const { key, origin } = entry;
    if (key === meeting.mode) {
      const why = meeting.why === undefined ? origin : `${origin}: ${meeting.why}`;
      return { key, value: formatEndpoint(meeting.endpoint), origin: why };
    }
    return { key, value: spelled(entry), origin };
  }).filter(({ value }) => value !== undefined);
}

/** A proxy's password is no one's to see, whatever line it was written on. */
function maskWords(words: readonly string[]): string[] {
  const flag = `--${SETTINGS.upstreamProxy.flag}`;
  return words.map((word, i) => {
    if (words[i - 1] === flag) return maskProxyUrl(word);
    return word.startsWith(`${flag}=`)
      ? `${flag}=${maskProxyUrl(word.slice(flag.length + 1))}`
      : word;
  });
}

/** A value as the file would spell it; `undefined` where it spells nothing. */
function spelled({ key, value, origin }: ResolvedEntry): unknown {
  switch (key) {
    case SETTINGS.listen.key:
    case SETTINGS.connect.key:
      return value === null ? null : formatEndpoint(value as VmmEndpoint);
    case SETTINGS.graceMs.key:
    case SETTINGS.lingerMs.key:
      return (value as number) / 1000;
    case SETTINGS.publish.key:
      return (value as PortMapping[]).map(({ hostPort, guestPort, ...more }) => {
        const isPlain = Object.keys(more).length === 0;
        return isPlain ? `${hostPort}:${guestPort}` : { host: hostPort, guest: guestPort, ...more };
      });
    case SETTINGS.hostServices.key:
      return (value as HostService[]).map(({ gatewayPort, hostPort }) => {
        return `${gatewayPort}:${hostPort}`;
      });
    case SETTINGS.control.key:
      return value === null ? undefined : formatEndpoint(value as VmmEndpoint);
    case SETTINGS.controlToken.key:
    case SETTINGS.search.key:
    case SETTINGS.captureFile.key:
    case SETTINGS.captureFilter.key:
      return value === "" ? undefined : value;
    case SETTINGS.rateUp.key:
    case SETTINGS.rateDown.key:
    case SETTINGS.rateFlows.key:
      return value ?? UNLIMITED;
    case SETTINGS.upBurst.key:
    case SETTINGS.downBurst.key:
    case SETTINGS.flowsBurst.key:
    case SETTINGS.captureLimit.key:
    case SETTINGS.captureSnapLength.key:
      return value ?? undefined;
    case SETTINGS.allow.key:
      // An empty list would read, once it stands in a file, like one that allows nothing.
      return origin === "default" ? undefined : value;
    case SETTINGS.upstreamProxy.key:
      return value === null ? NO_PROXY : maskProxyUrl(value as string);
    default:
      return value;
  }
}

/** Widest value before its origin goes on without alignment. */
const COLUMN = 44;

function yamlLines(entries: readonly ShownEntry[]): string[] {
  const lines: string[] = [];
  let section = "";
  for (const { key, value, origin } of entries) {
    const [head = "", tail] = key.split(".");
    if (tail !== undefined && head !== section) lines.push(`${head}:`);
    section = tail === undefined ? "" : head;
    const line = `${tail === undefined ? head : `  ${tail}`}: ${flowYaml(value)}`;
    lines.push(`${line.padEnd(COLUMN)} # ${origin}`);
  }
  return lines;
}

/** JSON is YAML; plain words go without quotes. */
function flowYaml(value: unknown): string {
  const isPlain = typeof value === "string" && /^[A-Za-z0-9][A-Za-z0-9_./:-]*$/.test(value) &&
    !value.endsWith(":");
  return isPlain ? value : JSON.stringify(value);
}

/** How this program is named on a command line. */
function programName(): string {
  const url = new URL("../../cli.ts", import.meta.url);
  if (url.protocol !== "file:") return "jsr:@virtio/gateway/cli";
  const path = decodeURIComponent(url.pathname);
  const here = `${Deno.cwd()}/`;
  return path.startsWith(here) ? path.slice(here.length) : path;
}
