/**
 * The services of a guest as others are told of them: those of its published ports that have a name,
 * at addresses where other hosts reach them.
 *
 * A port that is published at all addresses of the host is reached at those that the operator
 * advertises, as no gateway can tell which of its own are routed to others; one that is published at
 * a certain address, there. Loopback, link-local addresses and the like lead nowhere from another
 * host, and a port that has no other address is not announced. Pure.
 *
 * @module
 */
import type { FleetService } from "../config/fleet.ts";
import type { PublishedPort } from "../config/published.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import { ADDRESSES_MAX, type AnnouncedService, isReachable } from "./announcement.ts";

/** Services, and why others are none at this moment. */
export interface GuestServices {
  readonly services: readonly AnnouncedService[];
  /** What keeps a service from being announced, by its name. */
  readonly missing: ReadonlyMap<string, string>;
}

/**
 * The services of a guest.
 *
 * @param named Its ports that have names.
 * @param published The ports that are bound for it.
 * @param advertise Addresses at which others reach the ports of all addresses.
 */
export function servicesOf(
  named: readonly FleetService[],
  published: readonly PublishedPort[],
  advertise: readonly string[],
): GuestServices {
  const services: AnnouncedService[] = [];
  const missing = new Map<string, string>();
  for (const { name, guestPort, protocol } of named) {
    const bound = published.filter((port) => {
      return port.protocol === protocol && port.guestPort === guestPort;
    });
    const found = placeOf(bound, advertise);
    if (found !== null) services.push({ name, protocol, ...found });
    else missing.set(name, reasonOf(bound, `${guestPort}/${protocol}`));
  }
  return { services, missing };
}

/** The first port of the host that has addresses for others, and those. */
function placeOf(
  bound: readonly PublishedPort[],
  advertise: readonly string[],
): Pick<AnnouncedService, "port" | "addresses"> | null {
  for (const { hostPort: port } of bound) {
    const addresses = new Set(
      bound.filter(({ hostPort }) => hostPort === port)
        .flatMap(({ bind }) => reachedAt(bind, advertise)),
    );
    if (addresses.size > 0) return { port, addresses: [...addresses].slice(0, ADDRESSES_MAX) };
  }
  return null;
}

function reachedAt(bind: string, advertise: readonly string[]): readonly string[] {
  const octets = parseIp(bind);
  if (octets === null) return [];
  if (octets.some((octet) => octet !== 0)) return isReachable(octets) ? [formatIp(octets)] : [];
  return advertise.map((address) => parseIp(address)).filter((address) => {
    // `::` takes IPv4 too.
    return address !== null && isReachable(address) && address.length <= octets.length;
  }).map((address) => formatIp(address!));
}

function reasonOf(bound: readonly PublishedPort[], port: string): string {
  if (bound.length === 0) return `the guest's port ${port} is not published`;
  const places = bound.map(({ bind }) => bind).join(", ");
  return `the guest's port ${port} is published at ${places} alone, where no other host reaches it; ` +
    "publish it at an address of the host, or at all of them and set advertise";
}
