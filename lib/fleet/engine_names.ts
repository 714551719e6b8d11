/**
 * Where the names of an engine's servers lead: looked up by the host's resolver for each attempt, and
 * remembered, as no guest may reach these addresses.
 *
 * @module
 */
import { lookup } from "node:dns/promises";

/** Most names, and most addresses of one, that are remembered. */
const NAMES_MAX = 64;
const ADDRESSES_MAX = 64;

const addressesByName = new Map<string, readonly string[]>();

/** The addresses that a name led to when it was looked up last; none where it never was. */
export function addressesOfName(hostname: string): readonly string[] {
  return addressesByName.get(hostname) ?? [];
}

/** Looks a name up. */
export async function resolveName(hostname: string): Promise<string[]> {
  const found = (await lookup(hostname, { all: true })).map(({ address }) => address);
  if (addressesByName.size >= NAMES_MAX && !addressesByName.has(hostname)) addressesByName.clear();
  addressesByName.set(hostname, found.slice(0, ADDRESSES_MAX));
  return found;
}
