/**
 * What two guests can't both have, and what all of one shared network must have alike; said with
 * the names of both.
 *
 * A file or an address that is spelled in two ways may pass here: it is told when the second guest's
 * socket or file is opened.
 *
 * @module
 */
import { formatIp, formatMac } from "../wire/address.ts";
import { earlierCapture } from "./capture_config.ts";
import { formatEndpoint, type VmmEndpoint, wakerPath } from "./endpoint.ts";
import type { ConfigProblem } from "./errors.ts";
import type { GuestConfig } from "./guests_options.ts";
import type { ParsedNetwork } from "./network.ts";
import type { GuestNetworkConfig } from "./options.ts";
import { publishedPlaces } from "./port_spec.ts";

/** A guest among all guests. */
interface Indexed {
  /** Its place among them. */
  readonly index: number;
}

/** A guest with what was said of it. */
export interface Configured extends Indexed {
  readonly config: GuestConfig;
}

/** A member of a shared network whose addresses are right by themselves. */
export interface Placed extends Indexed {
  readonly name: string;
  readonly parsed: ParsedNetwork;
}

/** Names that two guests have. */
export function nameConflicts(guests: readonly Configured[]): ConfigProblem[] {
  const indexes = new Map<string, number>();
  return guests.flatMap(({ index, config: { name } }) => {
    const other = indexes.get(name);
    if (other === undefined) indexes.set(name, index);
    if (other === undefined) return [];
    const text =
      `guests[${other}] and guests[${index}] have the name "${name}"; rename one of them`;
    return [{ key: `guests[${index}].name`, text }];
  });
}

/**
 * Endpoints, published ports and capture files that two guests have.
 *
 * @param guests Guests of which each is right by itself.
 */
export function conflicts(guests: readonly Configured[]): ConfigProblem[] {
  const owners = new Owners();
  for (const { index, config: { name, endpoint, publishedPorts = [], capture = {} } } of guests) {
    const claim = (key: string, thing: string, what: string): void => {
      owners.claim({ index, name }, `guests[${index}].${key}`, thing, what);
    };
    for (const place of endpointPlaces(endpoint)) {
      claim("endpoint", place, `the endpoint ${formatEndpoint(endpoint)}`);
    }
    publishedPorts.forEach((mapping, i) => {
      for (const place of publishedPlaces(mapping)) {
        const { unix } = mapping;
        const thing = unix === undefined ? `published ${place}` : `socket ${plainPath(unix)}`;
        claim(`publishedPorts[${i}]`, thing, `${place} published`);
      }
    });
    const { file } = capture;
    if (file === undefined) continue;
    for (const path of [file, earlierCapture(file)]) {
      claim("capture.file", `capture ${plainPath(path)}`, `the capture file ${path}`);
    }
  }
  return owners.problems;
}

/** Addresses that two members of one network have. */
export function sharedAddresses(members: readonly Placed[]): ConfigProblem[] {
  const owners = new Owners();
  for (const { index, name, parsed } of members) {
    const claim = (key: keyof GuestNetworkConfig, address: string): void => {
      owners.claim({ index, name }, `guests[${index}].guestNetwork.${key}`, address, address);
    };
    claim("guestMac", formatMac(parsed.guestMac));
    claim("guestIp", formatIp(parsed.guestIp4));
    if (parsed.ipv6) claim("guestIp6", formatIp(parsed.guestIp6));
  }
  return owners.problems;
}

/** What every member must see alike, since the gateway is one to all of them. */
const ALIKE: Readonly<
  Partial<Record<keyof GuestNetworkConfig, (network: ParsedNetwork) => string>>
> = {
  gatewayIp: ({ gatewayIp4 }) => formatIp(gatewayIp4),
  gatewayIp6: ({ gatewayIp6 }) => formatIp(gatewayIp6),
  gatewayMac: ({ gatewayMac }) => formatMac(gatewayMac),
  mtu: ({ mtu }) => String(mtu),
  guestIp: ({ prefix4 }) => `/${prefix4}`,
  guestIp6: ({ prefix6 }) => `/${prefix6}`,
};

/** Where one member sees another gateway, prefix or MTU than the first one; once for each of them. */
export function disagreements(network: string, members: readonly Placed[]): ConfigProblem[] {
  const [first, ...others] = members;
  if (first === undefined) return [];
  return Object.entries(ALIKE).flatMap(([key, of]) => {
    const other = others.find(({ parsed }) => of(parsed) !== of(first.parsed));
    if (other === undefined) return [];
    const text = `"${first.name}" has ${of(first.parsed)} and "${other.name}" ${of(other.parsed)}` +
      `; in the shared network "${network}" all have one`;
    return [{ key: `guests[${other.index}].guestNetwork.${key}`, text }];
  });
}

/** Who claims something. */
interface Claimant {
  readonly index: number;
  readonly name: string;
}

/** What only one guest can have: who has it, and what is said to the next who claims it. */
class Owners {
  readonly problems: ConfigProblem[] = [];
  readonly #owners = new Map<string, Claimant>();
  /** Keys that have been told: an endpoint or a port may be two places, and is told once. */
  readonly #told = new Set<string>();

  claim(claimant: Claimant, key: string, thing: string, what: string): void {
    const owner = this.#owners.get(thing);
    if (owner === undefined) this.#owners.set(thing, claimant);
    // What one guest has twice is told where that guest is checked.
    if (owner === undefined || owner.index === claimant.index || this.#told.has(key)) return;
    this.#told.add(key);
    const text = `"${owner.name}" and "${claimant.name}" have ${what}; only one of them can`;
    this.problems.push({ key, text });
  }
}

/** What an endpoint takes for itself: its file or its port; a port of 0 is the system's choice. */
function endpointPlaces(endpoint: VmmEndpoint): string[] {
  switch (endpoint.transport) {
    case "stdio":
      return ["stdio:"];
    case "tcp":
      return endpoint.port === 0 ? [] : [formatEndpoint(endpoint)];
    case "vsock":
      return [formatEndpoint(endpoint)];
    case "unix":
      return [`socket ${plainPath(endpoint.path)}`];
    case "unixgram":
      return [endpoint.path, wakerPath(endpoint.path)].map((path) => `socket ${plainPath(path)}`);
  }
}

/** A path without what changes nothing of it, so that most spellings of one file are alike. */
function plainPath(path: string): string {
  return path.replace(/\/(?:\.?\/)+/g, "/").replace(/^(?:\.\/)+/, "");
}
