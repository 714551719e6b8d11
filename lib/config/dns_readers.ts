/**
 * Readers of what DNS is configured with: upstream resolvers, zones, domains.
 *
 * @module
 */
import { parseDomain } from "./domain_name.ts";
import { isMappingKey } from "./nearest.ts";
import { type Fail, isMapping, items, type Raw, type Reader, scalar, show } from "./readers.ts";
import { formatUpstreamSpec, parseUpstreamUrl } from "./upstream_spec.ts";

/** Most upstream resolvers of one list. */
const UPSTREAMS_MAX = 16;

/** Most zones with resolvers of their own. */
const ZONES_MAX = 256;

/** A reader of upstream resolvers, see upstream_spec.ts. */
export const readUpstreams: Reader<string[]> = (raw, fail) =>
  readUpstreamItems(items(raw), (i) => `[${i}]`, fail);

function readUpstreamItems(
  list: readonly Raw[],
  underOf: (i: number) => string,
  fail: Fail,
): string[] {
  if (list.length === 0) fail("names no resolver");
  if (list.length > UPSTREAMS_MAX) fail(`names ${list.length} resolvers, at most ${UPSTREAMS_MAX}`);
  return list.map((item, i) => {
    const upstream = typeof item === "string" ? parseUpstreamUrl(item) : `${show(item)} is none`;
    if (typeof upstream !== "string") return formatUpstreamSpec(upstream);
    fail(upstream, underOf(i));
    return "";
  });
}

/** What a zone has in the place of upstreams where own names are all there is of it. */
const LOCAL = "local";

/**
 * A reader of zones: a mapping of zone to its upstreams or `local`, or items of `ZONE=UPSTREAM`,
 * of which those of one zone are its upstreams in order.
 */
export const readZones: Reader<Record<string, string[] | "local">> = (raw, fail) => {
  const zones = new Map<string, string[] | "local">();
  for (const { zone, upstreams, under, underOf } of zoneItems(raw, fail)) {
    const domain = parseDomain(zone);
    if (domain === null) fail(notDomain(zone), isMappingKey(zone) ? "" : under);
    else if (zones.has(domain)) fail(`"${domain}" is there twice`, under);
    else if (upstreams === LOCAL) zones.set(domain, LOCAL);
    else if (upstreams.includes(LOCAL)) {
      fail(`"${domain}" is ${LOCAL} alone, or has a list of upstreams`, under);
    } else {
      const failUnder: Fail = (text, at) => fail(text, at === undefined ? under : at);
      zones.set(domain, readUpstreamItems(upstreams, underOf, failUnder));
    }
  }
  if (zones.size > ZONES_MAX) fail(`${zones.size} zones, at most ${ZONES_MAX}`);
  return Object.fromEntries(zones);
};

interface ZoneItem {
  readonly zone: string;
  readonly upstreams: readonly Raw[] | "local";
  /** Path of the zone, and of each of its upstreams. */
  readonly under: string;
  readonly underOf: (i: number) => string;
}

function zoneItems(raw: Raw, fail: Fail): ZoneItem[] {
  if (isMapping(raw)) {
    return Object.entries(raw).map(([zone, value]) => {
      const under = `.${zone}`;
      const underOf = (i: number) => Array.isArray(value) ? `${under}[${i}]` : under;
      return { zone, upstreams: value === LOCAL ? LOCAL : items(value), under, underOf };
    });
  }
  const byZone = new Map<string, { upstreams: string[]; unders: string[] }>();
  items(raw).forEach((item, i) => {
    const match = typeof item === "string" ? /^([^=]*)=(.*)$/.exec(item) : null;
    if (match === null) return fail(`${show(item)} is not ZONE=UPSTREAM`, `[${i}]`);
    const zone = parseDomain(match[1]!) ?? match[1]!;
    const entry = byZone.get(zone) ?? { upstreams: [], unders: [] };
    entry.upstreams.push(match[2]!);
    entry.unders.push(`[${i}]`);
    byZone.set(zone, entry);
  });
  return [...byZone].map(([zone, { upstreams, unders }]) => {
    const isLocal = upstreams.length === 1 && upstreams[0] === LOCAL;
    return {
      zone,
      upstreams: isLocal ? LOCAL : upstreams,
      under: unders[0]!,
      underOf: (i) => unders[i]!,
    };
  });
}

function notDomain(name: string): string {
  return isMappingKey(name) ? "a mapping is no domain name" : `"${name}" is not a domain name`;
}

/** A reader of a domain name, into lower case without a trailing dot. */
export const readDomain: Reader<string> = (raw, fail) => {
  const text = scalar(raw, fail);
  const name = text === null ? null : parseDomain(text);
  if (text !== null && name === null) fail(`"${text}" is not a domain name`);
  return name ?? "";
};
