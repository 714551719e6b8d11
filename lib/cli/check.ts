/**
 * `check`: the configuration that `run` would use, as YAML with the origin of each value, and the
 * `deno run` line that it needs. What reads like something else than it is, is said beside it.
 *
 * @module
 */
import { GUESTS_KEY, NETWORKS_KEY } from "../config/guests_settings.ts";
import {
  optionalFlags,
  permissionFlags,
  permissionLine,
  type PermissionNeeds,
} from "../config/permission_line.ts";
import { maskProxyUrl } from "../config/proxy_url.ts";
import { SETTINGS } from "../config/settings.ts";
import type { ParsedArguments } from "./arguments.ts";
import { emptyAllowNotice, emptyAllowNotices } from "./empty_allow.ts";
import { Exit } from "./exit.ts";
import type { CliIo } from "./io.ts";
import { loadConfig, type LoadedGuest, type LoadedGuests } from "./load.ts";
import { asObject, shownEntries, yamlLines } from "./shown_config.ts";

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
  const report = loaded.kind === "guest" ? reportOfOne(loaded) : reportOfSeveral(loaded);
  const { configFile, environment } = loaded;
  const flags = permissionFlags({
    ...report.needs,
    ...(configFile === undefined ? {} : { configFile }),
    environment,
  });
  const optional = optionalFlags(report.needs.guests);
  const runWords = maskWords(words.filter((word) => word !== "--json"));
  const command = permissionLine(flags, programName(), ["run", ...runWords]);
  if (args.json) {
    const needs = { permissions: flags, optionalPermissions: optional, command };
    io.out(JSON.stringify({ ...report.document, ...needs }, null, 2));
  } else {
    for (const line of report.lines) io.out(line);
    io.out("");
    io.out(`# ${command}`);
    for (const [flag, use] of Object.entries(optional)) io.out(`# optional: ${flag}, ${use}`);
  }
  for (const notice of report.notices) io.err(notice);
  return Exit.Done;
}

/** What is said of a configuration. */
interface Report {
  /** As YAML that a file may have. */
  readonly lines: readonly string[];
  /** The same as JSON. */
  readonly document: Readonly<Record<string, unknown>>;
  /** What the permission line is made from. */
  readonly needs: PermissionNeeds;
  /** What reads like something else than it is. */
  readonly notices: readonly string[];
}

function reportOfOne({ config, meeting }: LoadedGuest): Report {
  const shown = shownEntries(config.entries, meeting);
  const { network, control } = config.settings;
  const notice = emptyAllowNotice(config.entries);
  return {
    lines: yamlLines(shown),
    document: { config: asObject(shown) },
    needs: { guests: [{ endpoint: meeting.endpoint, network }], control },
    notices: notice === null ? [] : [notice],
  };
}

function reportOfSeveral({ config }: LoadedGuests): Report {
  const process = shownEntries(config.entries);
  const networks = config.networks.map(({ name, entries }) => {
    return { name, shown: shownEntries(entries) };
  });
  const guests = config.guests.map(({ name, entries, settings: { meeting } }) => {
    return { name, shown: shownEntries(entries, meeting) };
  });
  const isInWorkers = config.config.workers !== 0;
  const modules = isInWorkers ? programPath("") : null;
  return {
    lines: [
      ...yamlLines(process),
      ...(networks.length === 0 ? [] : [`${NETWORKS_KEY}:`]),
      ...networks.flatMap(({ name, shown }) => [`  ${name}:`, ...yamlLines(shown, "    ")]),
      `${GUESTS_KEY}:`,
      ...guests.flatMap(({ shown }) => {
        const [first = "", ...others] = yamlLines(shown, "    ");
        return [first.replace("    ", "  - "), ...others];
      }),
    ],
    document: {
      config: asObject(process),
      networks: Object.fromEntries(networks.map(({ name, shown }) => [name, asObject(shown)])),
      guests: Object.fromEntries(guests.map(({ name, shown }) => [name, asObject(shown)])),
    },
    needs: {
      guests: config.guests.map(({ settings: { meeting, network } }) => {
        return { endpoint: meeting.endpoint, network };
      }),
      control: config.process.control,
      ...(modules === null ? {} : { modules }),
    },
    notices: emptyAllowNotices(config),
  };
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

/** How this program is named on a command line. */
function programName(): string {
  return programPath("cli.ts") ?? "jsr:@virtio/gateway/cli";
}

/** The path of a file of the program, or of its folder; `null` where it is not on this disk. */
function programPath(file: string): string | null {
  const url = new URL(`../../${file}`, import.meta.url);
  if (url.protocol !== "file:") return null;
  const path = decodeURIComponent(url.pathname);
  const here = `${Deno.cwd()}/`;
  return path.startsWith(here) ? path.slice(here.length) || "." : path;
}
