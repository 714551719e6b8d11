/**
 * Several guests, checked as one configuration: each gets its addresses and its place in its shared
 * network, and what two guests can't both have is told with both their names.
 *
 * Guests that are alone may have the same addresses: none of them ever sees another's link.
 *
 * @module
 */
import { formatIp, formatMac } from "../wire/address.ts";
import {
  FRAMINGS,
  lingerFault,
  meetingFault,
  offloadFault,
  type VmmEndpoint,
  VSOCK_CID_ANY,
} from "./endpoint.ts";
import { ConfigError, type ConfigProblem } from "./errors.ts";
import {
  GUESTS_MAX,
  LAN_MEMBERS_MAX,
  privateNetwork,
  type SharedNetwork,
  sharedNetwork,
} from "./guest_addresses.ts";
import {
  conflicts,
  disagreements,
  nameConflicts,
  type Placed,
  sharedAddresses,
} from "./guest_conflicts.ts";
import type { GuestConfig, GuestsConfig, SharedNetworkConfig } from "./guests_options.ts";
import { isLabel, LABEL_RULE } from "./label.ts";
import type { LanMember } from "./lan_member.ts";
import { didYouMean, unknownKey } from "./nearest.ts";
import { type ParsedNetwork, parseGuestNetwork } from "./network.ts";
import { checkNetworkConfig } from "./network_config.ts";
import type { GuestNetworkConfig } from "./options.ts";

/** A guest that can be served. */
export interface ResolvedGuest {
  /** What was said of it, with every field of its `guestNetwork`. */
  readonly config: GuestConfig & { readonly guestNetwork: GuestNetworkConfig };
  /** The shared network that it is a member of; `null` for one of its own. */
  readonly network: string | null;
  /** Its place among that network's members; -1 for a network of its own. */
  readonly self: number;
}

/** Guests that can be served together. */
export interface ResolvedGuests {
  /** The guests in their order. */
  readonly guests: readonly ResolvedGuest[];
  /** The shared networks that have members. */
  readonly networks: readonly { readonly name: string; readonly members: readonly LanMember[] }[];
  /** How many workers serve them, where that was said. */
  readonly workers: number | undefined;
}

/**
 * Checks guests against each other and gives them their addresses.
 *
 * @param config The guests and their networks.
 * @returns The guests as they are to be served.
 * @throws {ConfigError} With everything that is wrong.
 */
export function resolveGuests(config: GuestsConfig): ResolvedGuests {
  const problems = shapeFaults(config);
  if (problems.length > 0) throw new ConfigError(problems);
  const planned = plan(config, problems);
  const networks = members(planned, problems);
  problems.push(...nameConflicts(planned));
  const faults = planned.map(guestFaults);
  problems.push(...faults.flat());
  problems.push(...conflicts(planned.filter((_, i) => faults[i]!.length === 0)));
  if (problems.length > 0) throw new ConfigError(problems);
  return {
    guests: planned.map(({ config, network, self }) => ({ config, network, self })),
    networks,
    workers: config.workers,
  };
}

/** A guest with its addresses, which nobody has checked. */
interface Planned extends ResolvedGuest {
  /** Its place among all guests. */
  readonly index: number;
  /** Whether its shared network is right; else there is nothing to check of its addresses. */
  readonly isPlaced: boolean;
}

/** Names that the gateway has itself, as `gateway.internal` and `host.internal`. */
const TAKEN_NAMES: readonly string[] = ["gateway", "host"];

const NETWORK_KEYS: readonly (keyof SharedNetworkConfig)[] = ["ip", "ip6", "ipv6", "mtu"];
const TOP_KEYS: readonly (keyof GuestsConfig)[] = ["guests", "networks", "workers"];

/** What the rest may rely on: types end at the language's border. */
function shapeFaults(config: GuestsConfig): ConfigProblem[] {
  if (!isObject(config)) return [{ key: "", text: "the configuration is not an object" }];
  const { guests, networks = {}, workers } = config;
  const problems = unknownNames("", config, TOP_KEYS);
  if (!Array.isArray(guests)) problems.push({ key: "guests", text: "is not a list of guests" });
  else if (guests.length === 0) problems.push({ key: "guests", text: "names no guest" });
  else if (guests.length > GUESTS_MAX) {
    const text = `has ${guests.length} guests, at most ${GUESTS_MAX} can be served by one process`;
    problems.push({ key: "guests", text });
  } else guests.forEach((guest, i) => problems.push(...guestShapeFaults(guest, `guests[${i}]`)));
  problems.push(...networksShapeFaults(networks));
  const isCount = Number.isInteger(workers) && workers! >= 0 && workers! <= GUESTS_MAX;
  if (workers !== undefined && !isCount) {
    const text = `${workers} is not a whole number from 0 to ${GUESTS_MAX}`;
    problems.push({ key: "workers", text });
  }
  return problems;
}

function guestShapeFaults(guest: unknown, key: string): ConfigProblem[] {
  if (!isObject(guest)) return [{ key, text: "is not an object" }];
  const { name, endpoint, network, guestNetwork } = guest as Partial<GuestConfig>;
  const problems: ConfigProblem[] = [];
  if (name === undefined) problems.push({ key, text: `lacks "name"` });
  else if (typeof name !== "string" || !isLabel(name)) {
    problems.push({ key: `${key}.name`, text: `"${name}" is no name; write ${LABEL_RULE}` });
  }
  if (endpoint === undefined) problems.push({ key, text: `lacks "endpoint"` });
  else if (!isEndpoint(endpoint)) {
    problems.push({ key: `${key}.endpoint`, text: "is not an endpoint" });
  }
  if (network !== undefined && typeof network !== "string") {
    problems.push({ key: `${key}.network`, text: "is not the name of a network" });
  }
  if (guestNetwork !== undefined && !isObject(guestNetwork)) {
    problems.push({ key: `${key}.guestNetwork`, text: "is not an object" });
  }
  return problems;
}

function isEndpoint(value: unknown): value is VmmEndpoint {
  if (!isObject(value)) return false;
  const { transport, path, hostname, port, cid } = value as Record<string, unknown>;
  switch (transport) {
    case "stdio":
      return true;
    case "tcp":
      return typeof hostname === "string" && Number.isInteger(port);
    case "vsock":
      return isVsockNumber(cid, VSOCK_CID_ANY) && isVsockNumber(port, VSOCK_CID_ANY - 1);
    default:
      return (transport === "unix" || transport === "unixgram") && typeof path === "string";
  }
}

function isVsockNumber(value: unknown, max: number): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;
}

function networksShapeFaults(networks: unknown): ConfigProblem[] {
  if (!isObject(networks)) return [{ key: "networks", text: "is not an object" }];
  const entries = Object.entries(networks);
  const problems: ConfigProblem[] = [];
  if (entries.length > GUESTS_MAX) {
    const text = `has ${entries.length} networks, at most ${GUESTS_MAX}`;
    problems.push({ key: "networks", text });
  }
  for (const [name, network] of entries) {
    const key = `networks.${name}`;
    if (!isLabel(name)) problems.push({ key, text: `is no name; write ${LABEL_RULE}` });
    if (!isObject(network)) problems.push({ key, text: "is not an object" });
    else problems.push(...unknownNames(key, network, NETWORK_KEYS));
  }
  return problems;
}

/** Gives every guest its addresses, and tells what is wrong with the networks. */
function plan({ guests, networks = {} }: GuestsConfig, problems: ConfigProblem[]): Planned[] {
  const names = Object.keys(networks);
  const shared = new Map<string, { network: SharedNetwork | null; members: number }>();
  names.forEach((name, k) => {
    const count = guests.filter(({ network }) => network === name).length;
    const read = sharedNetwork(k, networks[name]!, Math.min(count, LAN_MEMBERS_MAX));
    const faults = Array.isArray(read) ? read : [];
    problems.push(...faults.map(({ key, text }) => ({ key: `networks.${name}.${key}`, text })));
    if (count > LAN_MEMBERS_MAX) {
      const text = `has ${count} guests, at most ${LAN_MEMBERS_MAX} can share a network`;
      problems.push({ key: `networks.${name}`, text });
    }
    const isFit = !Array.isArray(read) && count <= LAN_MEMBERS_MAX;
    shared.set(name, { network: isFit ? read : null, members: 0 });
  });
  let alone = 0;
  return guests.map((config, index) => {
    const { name, network = null } = config;
    const place = network === null ? null : shared.get(network);
    if (place === undefined) {
      const near = didYouMean(network!, names) || `; name it under "networks"`;
      problems.push({
        key: `guests[${index}].network`,
        text: `there is no network "${network}" for "${name}"${near}`,
      });
    }
    if (place && TAKEN_NAMES.includes(name)) {
      const text =
        `${name}.internal is the gateway's own name; choose another for a shared network`;
      problems.push({ key: `guests[${index}].name`, text });
    }
    const isPlaced = place === null || (place !== undefined && place.network !== null);
    const self = place ? place.members++ : -1;
    const defaults = place
      ? place.network?.member(self) ?? privateNetwork(0)
      : privateNetwork(place === null ? alone++ : 0);
    const guestNetwork = { ...defaults, ...defined(config.guestNetwork ?? {}) };
    return { config: { ...config, guestNetwork }, network, self, index, isPlaced };
  });
}

/** The shared networks that have members, and what these don't agree on. */
function members(planned: readonly Planned[], problems: ConfigProblem[]): {
  name: string;
  members: LanMember[];
}[] {
  const byNetwork = new Map<string, Placed[]>();
  for (const { config, network, index, isPlaced } of planned) {
    const parsed = network !== null && isPlaced ? parsedNetwork(config.guestNetwork) : null;
    if (network === null || parsed === null) continue;
    const list = byNetwork.get(network) ?? [];
    list.push({ index, name: config.name, parsed });
    byNetwork.set(network, list);
  }
  return [...byNetwork].map(([name, placed]) => {
    problems.push(...disagreements(name, placed), ...sharedAddresses(placed));
    return { name, members: placed.map(asMember) };
  });
}

/** `null` where its addresses are wrong, which the guest's own check tells. */
function parsedNetwork(network: GuestNetworkConfig): ParsedNetwork | null {
  try {
    return parseGuestNetwork(network);
  } catch (error) {
    if (error instanceof ConfigError) return null;
    throw error;
  }
}

function asMember({ name, parsed }: Placed): LanMember {
  const { guestMac, guestIp4, guestIp6, ipv6 } = parsed;
  return {
    name,
    mac: formatMac(guestMac),
    ip4: formatIp(guestIp4),
    ip6: ipv6 ? formatIp(guestIp6) : null,
  };
}

/** What is wrong with a guest by itself. */
function guestFaults({ config, index, isPlaced }: Planned): ConfigProblem[] {
  const { name: _name, endpoint, network: _network, guestNetwork, ...rest } = config;
  const { mode = "listen", framing = "stream", once, lingerMs = 0, graceMs } = rest;
  const problems: ConfigProblem[] = [];
  const isMode = mode === "listen" || mode === "connect";
  if (!isMode) problems.push({ key: "mode", text: `"${mode}" is not listen or connect` });
  else {
    const fault = meetingFault(endpoint, mode, framing);
    const key = FRAMINGS.includes(framing) ? "endpoint" : "framing";
    if (fault !== null) problems.push({ key, text: fault });
  }
  const isLarge = offloadFault(framing, guestNetwork.offload);
  if (isLarge !== null) problems.push({ key: "guestNetwork.offload", text: isLarge });
  if (once !== undefined && typeof once !== "boolean") {
    problems.push({ key: "once", text: `${once} is not true or false` });
  }
  const lingers = lingerFault(endpoint, lingerMs);
  if (lingers !== null) problems.push({ key: "lingerMs", text: lingers });
  if (graceMs !== undefined && !(graceMs >= 0 && graceMs < Infinity)) {
    problems.push({ key: "graceMs", text: `${graceMs} is not a number of milliseconds` });
  }
  try {
    checkNetworkConfig(isPlaced ? { ...rest, guestNetwork } : rest);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
  }
  return problems.map(({ key, text }) => ({ key: `guests[${index}].${key}`, text }));
}

/** The fields that say something. */
function defined(network: Partial<GuestNetworkConfig>): Partial<GuestNetworkConfig> {
  return Object.fromEntries(Object.entries(network).filter(([, value]) => value !== undefined));
}

function unknownNames(
  section: string,
  object: object,
  known: readonly string[],
): ConfigProblem[] {
  return Object.entries(object)
    .filter(([name, value]) => value !== undefined && !known.includes(name))
    .map(([name]) => ({
      key: section === "" ? name : `${section}.${name}`,
      text: unknownKey(name, known),
    }));
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
