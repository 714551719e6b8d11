/**
 * `check`: the configuration that `run` would use, as YAML with the origin of each value, and the
 * `deno run` line that it needs. What reads like something else than it is, is said beside it.
 *
 * @module
 */
import type { FleetMembership } from "../config/fleet.ts";
import { GUESTS_KEY, NETWORKS_KEY } from "../config/guests_settings.ts";
import {
  optionalFlags,
  permissionFlags,
  permissionLine,
  type PermissionNeeds,
} from "../config/permission_line.ts";
import { maskProxyUrl } from "../config/proxy_url.ts";
import { SETTINGS } from "../config/settings.ts";
import { isGranted } from "../host/permissions.ts";
import type { ParsedArguments } from "./arguments.ts";
import { emptyAllowNotice, emptyAllowNotices } from "./empty_allow.ts";
import { Exit } from "./exit.ts";
import type { CliIo } from "./io.ts";
import { loadConfig, type LoadedGuest, type LoadedGuests } from "./load.ts";
import { modulesPath, programName } from "./program.ts";
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
  const fleet = await fleetNeeds(loaded.config.fleet);
  const { configFile, environment } = loaded;
  const flags = permissionFlags({
    ...report.needs,
    ...fleet?.needs,
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
  for (const notice of [...report.notices, ...fleet?.notices ?? []]) io.err(notice);
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
  const modules = isInWorkers ? modulesPath() : null;
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

/** What a fleet takes of the host; the credentials are checked as far as they may be read. */
async function fleetNeeds(fleet: FleetMembership | null): Promise<
  {
    readonly needs: Pick<PermissionNeeds, "fleet" | "modules">;
    readonly notices: readonly string[];
  } | null
> {
  if (fleet === null) return null;
  const { credentials, dir } = fleet.settings;
  const modules = modulesPath();
  const needs = (files: readonly string[]) => {
    return { fleet: { dir, files }, ...(modules === null ? {} : { modules }) };
  };
  if (credentials === null) return { needs: needs([]), notices: [] };
  if (!isGranted({ name: "read", path: credentials })) {
    const notice = `${credentials} was not looked at, as Deno may not read it: the files that it ` +
      "names are to be read too";
    return { needs: needs([credentials]), notices: [notice] };
  }
  const { readCredentials } = await import("../fleet/credentials.ts");
  return { needs: needs((await readCredentials(credentials)).files), notices: [] };
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
