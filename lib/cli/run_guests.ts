/**
 * `run` with several guests: all of them or none at the start, one process for signals, reloads and
 * the service manager.
 *
 * The log is kept from being filled for each guest by itself, where it is served; so one that floods
 * it with lines takes no place from the others'.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import type { ResolvedGuestsConfig } from "../config/resolve_guests.ts";
import { type ServedGuest, serveGuests, type VirtioNetworkGuests } from "../guests.ts";
import { readEnvironment, requireEndpoint, requirePublished } from "../host/permissions.ts";
import type { PublishedPort } from "../config/published.ts";
import type { ParsedArguments } from "./arguments.ts";
import { emptyAllowNotices } from "./empty_allow.ts";
import { prepareMember } from "./fleet_member.ts";
import type { LoadedGuests } from "./load.ts";
import { notifyManager } from "./notify.ts";
import { checkControl, openControl } from "./open_control.ts";
import { sayReady } from "./ready_line.ts";
import { Reloader } from "./reload.ts";
import { GuestsReload } from "./reload_policy.ts";
import { StopSignals } from "./stop_signals.ts";

/** The log, twice. */
export interface Logs {
  /** Lets through so many lines of each kind. */
  readonly log: GatewayLogger;
  /** Lets through all of them. */
  readonly plain: GatewayLogger;
}

/**
 * Serves to the end.
 *
 * @param logs Where to say what.
 * @param args The command line.
 * @param loaded What it came to.
 * @returns Whether the end was not forced by a second signal.
 * @throws {GatewayError} Where a guest can't be served; none is then.
 */
export async function serveSeveral(
  { log, plain }: Logs,
  args: ParsedArguments,
  loaded: LoadedGuests,
): Promise<boolean> {
  const { config, config: { process } } = loaded;
  for (const { settings: { meeting, network } } of config.guests) {
    requireEndpoint(meeting.endpoint, meeting.mode === "listen" ? "listen on" : "connect to");
    requirePublished(network.publishedPorts);
  }
  const control = await checkControl(process.control);
  using signals = new StopSignals(log, process.graceMs);
  const limits = new Map(config.config.guests.map(({ name, limits = {} }) => [name, limits]));
  using prepared = await prepareMember(log, config.fleet, (name) => limits.get(name)!);
  const wanted = config.config.guests.map((guest) => {
    return prepared?.configured(guest.name, guest) ?? guest;
  });
  await using guests = await serveGuests({ ...config.config, guests: wanted, logger: plain });
  signals.stops(guests);
  await using fleet = await prepared?.join(guests) ?? null;
  const policies = new GuestsReload(args, loaded, (name) => {
    return fleet?.hostLayer(name) ?? guests.guest(name);
  });
  using reloader = new Reloader(log, args, loaded, () => policies.reload());
  const controlled = control === null
    ? null
    : await openControl(log, fleet?.gateways ?? guests, control, { signals, reloader, fleet });
  for (const notice of emptyAllowNotices(config)) log.warn(notice);
  await sayAllReady(plain, config, guests);
  const socket = readEnvironment("NOTIFY_SOCKET");
  const [first] = guests.names;
  if (socket !== undefined) notifyManager(socket, guests.guest(first!).endpoint, "READY=1");
  await guests.finished;
  await controlled?.finished;
  return !signals.isForced;
}

/** None where its worker has failed by now: it is served again in a moment. */
async function publishedOf(guest: ServedGuest): Promise<readonly PublishedPort[]> {
  try {
    return (await guest.snapshot()).published;
  } catch {
    return [];
  }
}

/** A line for each guest, and one for all. */
async function sayAllReady(
  log: GatewayLogger,
  { guests: configured, process }: ResolvedGuestsConfig,
  guests: VirtioNetworkGuests,
): Promise<void> {
  const ports = await Promise.all(configured.map(({ name }) => publishedOf(guests.guest(name))));
  configured.forEach(({ name, settings }, i) => {
    const { endpoint } = guests.guest(name);
    const published = ports[i]!;
    sayReady(log, process.log.format, {
      name,
      settings,
      meeting: settings.meeting,
      endpoint,
      published,
    });
  });
  const workers = guests.workers().length;
  const where = workers === 0 ? "" : ` in ${workers} ${workers === 1 ? "worker" : "workers"}`;
  const count = `${configured.length} ${configured.length === 1 ? "guest" : "guests"}`;
  log.info(`ready with ${count}${where}: ${guests.names.join(", ")}`);
}
