/**
 * A configuration as the YAML file spells it, each value with its origin.
 *
 * @module
 */
import { formatEndpoint, type VmmEndpoint } from "../config/endpoint.ts";
import type { FleetService } from "../config/fleet.ts";
import { MEMBER_SETTINGS } from "../config/guests_settings.ts";
import type { HostService, PortMapping } from "../config/options.ts";
import { maskProxyUrl } from "../config/proxy_url.ts";
import { NO_PROXY, UNLIMITED } from "../config/readers.ts";
import type { ResolvedEntry } from "../config/resolve.ts";
import { SETTINGS } from "../config/settings.ts";
import type { Meeting } from "./load.ts";

/** A value as the YAML file spells it, with its origin. */
export interface ShownEntry {
  readonly key: string;
  readonly value: unknown;
  readonly origin: string;
}

/**
 * What of a configuration the file could say.
 *
 * @param entries The values.
 * @param meeting Where the VMM is met, among the settings of a guest.
 */
export function shownEntries(
  entries: readonly ResolvedEntry[],
  meeting?: Meeting,
): ShownEntry[] {
  const isOfFleet = entries.some(({ key, value }) => {
    return key === SETTINGS.fleetServers.key && (value as string[]).length > 0;
  });
  const other = meeting?.mode === "listen" ? SETTINGS.connect.key : SETTINGS.listen.key;
  return entries.filter(({ key }) => {
    return key !== other && (isOfFleet || !key.startsWith("fleet."));
  }).map((entry) => {
    const { key, origin } = entry;
    if (meeting !== undefined && key === meeting.mode) {
      const why = meeting.why === undefined ? origin : `${origin}: ${meeting.why}`;
      return { key, value: formatEndpoint(meeting.endpoint), origin: why };
    }
    return { key, value: spelled(entry), origin };
  }).filter(({ value }) => value !== undefined);
}

/** Entries by their keys. */
export function asObject(entries: readonly ShownEntry[]): Record<string, unknown> {
  return Object.fromEntries(entries.map(({ key, value, origin }) => [key, { value, origin }]));
}

/** A published port as the file would spell it. */
function spelledPort({ hostPort, unix, guestPort, ...more }: PortMapping): unknown {
  const { protocol, ...rest } = more;
  if (Object.keys(rest).length > 0) return { host: hostPort, guest: guestPort, ...more };
  const place = unix === undefined ? hostPort : `unix:${unix}`;
  return `${place}:${guestPort}${protocol === undefined ? "" : `/${protocol}`}`;
}

/** Services as the file would spell them; `undefined` for none. */
function spelledServices(services: readonly FleetService[]): unknown {
  if (services.length === 0) return undefined;
  const byName: Record<string, (string | number)[]> = {};
  for (const { name, guestPort, protocol } of services) {
    (byName[name] ??= []).push(protocol === "udp" ? `${guestPort}/udp` : guestPort);
  }
  return Object.fromEntries(
    Object.entries(byName).map(([name, ports]) => [name, ports.length === 1 ? ports[0] : ports]),
  );
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
      return (value as PortMapping[]).map(spelledPort);
    case SETTINGS.hostServices.key:
      return (value as HostService[]).map(({ gatewayPort, hostPort }) => {
        return `${gatewayPort}:${hostPort}`;
      });
    case SETTINGS.control.key:
      return value === null ? undefined : formatEndpoint(value as VmmEndpoint);
    case SETTINGS.fleetServices.key:
    case MEMBER_SETTINGS.services.key:
      return spelledServices(value as FleetService[]);
    case SETTINGS.fleetAdvertise.key:
      return (value as string[]).length === 0 ? undefined : value;
    case SETTINGS.fleetGroup.key:
    case SETTINGS.fleetCredentials.key:
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
      return value ?? undefined;
  }
}

/** Widest value before its origin goes on without alignment. */
const COLUMN = 44;

/**
 * Entries as lines of YAML, each with its origin.
 *
 * @param entries The entries, those of a section together.
 * @param indent What stands in front of each line.
 */
export function yamlLines(entries: readonly ShownEntry[], indent = ""): string[] {
  const lines: string[] = [];
  let section = "";
  for (const { key, value, origin } of entries) {
    const [head = "", tail] = key.split(".");
    if (tail !== undefined && head !== section) lines.push(`${indent}${head}:`);
    section = tail === undefined ? "" : head;
    const line = `${indent}${tail === undefined ? head : `  ${tail}`}: ${flowYaml(value)}`;
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
