/**
 * The exact `deno run --allow-…` line that a configuration needs: what the gateway may touch, for
 * a person to read and for a unit file to carry.
 *
 * @module
 */
import { earlierCapture } from "./capture_config.ts";
import type { ControlPlace } from "./control_endpoint.ts";
import { type VmmEndpoint, wakerPath } from "./endpoint.ts";
import type { DnsConfig, VirtioNetworkConfig } from "./options.ts";

/** The host's resolver configuration. */
export const RESOLV_CONF = "/etc/resolv.conf";

/** The flag that lets the gateway send a guest's pings to the world. */
export const PING_FLAG = "--allow-run=ping";

/** What a guest takes of the host. */
export interface GuestNeeds {
  /** Where its VMM is met. */
  readonly endpoint: VmmEndpoint;
  /** Its checked settings. */
  readonly network: VirtioNetworkConfig;
}

/** What a fleet takes of the host beside its network. */
export interface FleetNeeds {
  /** Where the last good policy and the audit are kept. */
  readonly dir: string;
  /** The file of the credentials, and those that it names. */
  readonly files: readonly string[];
}

/** What the line is made from. */
export interface PermissionNeeds {
  /** The guests, one or several. */
  readonly guests: readonly GuestNeeds[];
  /** Where the control interface is; `null` for none. */
  readonly control: ControlPlace | null;
  /** What a fleet takes of the host; absent for none. */
  readonly fleet?: FleetNeeds;
  /** The YAML file, where one is read from disk. */
  readonly configFile?: string;
  /** The folder of the program's modules, where workers or a fleet have to read them from disk. */
  readonly modules?: string;
  /** Environment variables that take part in the configuration. */
  readonly environment?: readonly string[];
}

/**
 * The permission flags of a configuration.
 *
 * The guest dials any address, so the net flag names none, and covers resolvers, a proxy and the
 * servers of a fleet's engine with those that it announces itself; a
 * unix socket is a file that is read and written beside it. A VMM's own datagram socket has to be
 * written too; only the VMM knows where that will be.
 *
 * @param needs What the configuration touches.
 * @returns Flags such as `--allow-read=/run/vm1.sock`.
 */
export function permissionFlags(needs: PermissionNeeds): string[] {
  const { guests, control, fleet, configFile, modules, environment = [] } = needs;
  const read: string[] = [];
  const write: string[] = [];
  if (modules !== undefined) read.push(modules);
  if (configFile !== undefined) read.push(configFile);
  if (guests.some(({ network }) => asksSystem(network.dns ?? {}))) read.push(RESOLV_CONF);
  const endpoints = guests.map(({ endpoint }) => endpoint);
  for (const each of control === null ? endpoints : [...endpoints, control.endpoint]) {
    if (each.transport !== "unix" && each.transport !== "unixgram") continue;
    const paths = each.transport === "unix" ? [each.path] : [each.path, wakerPath(each.path)];
    read.push(...paths);
    write.push(...paths);
  }
  if (control?.tokenFile !== undefined) read.push(control.tokenFile);
  if (fleet !== undefined) {
    read.push(...fleet.files, fleet.dir);
    write.push(fleet.dir);
  }
  for (const { network: { capture = {}, publishedPorts = [] } } of guests) {
    const sockets = publishedPorts.flatMap(({ unix }) => unix === undefined ? [] : [unix]);
    read.push(...sockets);
    write.push(...sockets);
    const { file } = capture;
    if (file === undefined) continue;
    read.push(file);
    write.push(file, earlierCapture(file));
  }
  return [
    ...(endpoints.some(({ transport }) => transport === "unixgram") ? ["--unstable-net"] : []),
    ...(endpoints.some(({ transport }) => transport === "vsock") ? ["--unstable-vsock"] : []),
    "--allow-net",
    ...permissionFlag("read", read),
    ...permissionFlag("write", write),
    ...permissionFlag("env", environment),
  ];
}

/**
 * Flags that a configuration does without, and what each would add. Through a proxy no ping goes.
 *
 * @param guests The guests, one or several.
 * @returns Flags, each with what it is for.
 */
export function optionalFlags(guests: readonly GuestNeeds[]): Readonly<Record<string, string>> {
  return guests.some(({ network }) => network.upstreamProxy === undefined)
    ? { [PING_FLAG]: "for the guest's pings of the world" }
    : {};
}

/** Whether the host's own resolvers are asked, for all names or for those of a zone. */
function asksSystem({ upstreams = [], zones = {} }: DnsConfig): boolean {
  return [upstreams, ...Object.values(zones)].some((list) => list.includes("system"));
}

/**
 * The whole line.
 *
 * @param flags The permission flags.
 * @param program The module to run.
 * @param args Its arguments.
 * @returns A line for a POSIX shell.
 */
export function permissionLine(
  flags: readonly string[],
  program: string,
  args: readonly string[],
): string {
  return ["deno", "run", ...flags, program, ...args].map(shellQuote).join(" ");
}

/** One flag for a list of paths or names, or none; a comma inside an item is doubled. */
function permissionFlag(name: string, items: readonly string[]): string[] {
  if (items.length === 0) return [];
  return [`--allow-${name}=${items.map((item) => item.replaceAll(",", ",,")).join(",")}`];
}

/** A word as a POSIX shell reads it back. */
export function shellQuote(word: string): string {
  if (/^[A-Za-z0-9_@%+=:,./[\]-]+$/.test(word) && !/^[[\]]/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
