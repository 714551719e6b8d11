/**
 * Own names in the form that gvproxy's HTTP interface has for them: zones, each with the records of
 * names in it and an address for all other ones.
 *
 * A zone that comes is read as Go reads it: keys in any case, the last of two counts, `null` and keys
 * that are not known are nothing. Of two addresses of a family that a name has, the first counts, as
 * gvproxy answers with one. Names by regular expression are refused.
 *
 * @module
 */
import { normalizeName } from "../dns/name.ts";
import type { OwnName } from "../host/guest_names.ts";
import { parseIp } from "../wire/address.ts";
import { ControlFault } from "./control_fault.ts";

/** A record as it is said. */
export interface GvproxyRecord {
  /** The name without the zone's. */
  readonly Name: string;
  /** Its address. */
  readonly IP: string;
  /** What gvproxy has for names of one kind; none here. */
  readonly Regexp: null;
}

/** A zone as it is said. */
export interface GvproxyZone {
  /** The zone and a dot. */
  readonly Name: string;
  /** Addresses, by names without the zone's. */
  readonly Records: readonly GvproxyRecord[];
  /** What all other names of it lead to; empty for nothing. */
  readonly DefaultIP: string;
}

/** A zone that was read. */
export interface ReadZone {
  /** Its name. */
  readonly zone: string;
  /** Whole names and their addresses, one of a family at most. */
  readonly names: ReadonlyMap<string, readonly Uint8Array[]>;
  /** The addresses of all other names, one at most. */
  readonly others: readonly Uint8Array[];
}

const EXAMPLE = `Send {"Name": "apis.internal.", "Records": [{"Name": "db", "IP": "10.0.0.5"}]}`;

/**
 * Reads a zone.
 *
 * @param body What was sent.
 * @throws {ControlFault} Where it is none, or has a regular expression.
 */
export function readZone(body: unknown): ReadZone {
  const fields = fieldsOf(body, "the body");
  const zone = normalizeName(textOf(fields.get("name"), "Name"));
  if (zone === null) throw invalid(`"Name" is no zone`);
  const records = fields.get("records") ?? [];
  if (!Array.isArray(records)) throw invalid(`"Records" is no list`);
  const names = new Map<string, Uint8Array[]>();
  for (const [i, record] of records.entries()) {
    const [name, address] = readRecord(record, `Records[${i}]`, zone);
    const before = names.get(name) ?? [];
    const isFirst = before.every(({ length }) => length !== address.length);
    names.set(name, isFirst ? [...before, address] : before);
  }
  const other = textOf(fields.get("defaultip"), "DefaultIP");
  return { zone, names, others: other === "" ? [] : [addressOf(other, "DefaultIP")] };
}

function readRecord(record: unknown, at: string, zone: string): [name: string, ip: Uint8Array] {
  const fields = fieldsOf(record, at);
  if ((fields.get("regexp") ?? null) !== null) {
    throw new ControlFault(
      "unsupported",
      "names by regular expression are not answered here: write each out, or give all others of " +
        "the zone a DefaultIP",
    );
  }
  const label = textOf(fields.get("name"), `${at}.Name`);
  const name = normalizeName(`${label}.${zone}`);
  if (name === null || label.endsWith(".")) {
    throw invalid(`"${at}.Name" is no name without its zone`);
  }
  return [name, addressOf(textOf(fields.get("ip"), `${at}.IP`), `${at}.IP`)];
}

/** Values by their keys in small letters. */
function fieldsOf(value: unknown, what: string): ReadonlyMap<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(`${what} is no object`);
  }
  const given = Object.entries(value).filter(([, field]) => field !== null);
  return new Map(given.map(([key, field]) => [key.toLowerCase(), field]));
}

function textOf(value: unknown, at: string): string {
  if (value === undefined) return "";
  if (typeof value === "string") return value;
  throw invalid(`"${at}" is no text`);
}

function addressOf(text: string, at: string): Uint8Array {
  const address = parseIp(text);
  if (address === null) throw invalid(`"${at}" is no address`);
  return address;
}

function invalid(message: string): ControlFault {
  return new ControlFault("invalid", message, { hint: EXAMPLE });
}

/**
 * Says own names as zones: the local zones, and for all other names what stands behind their first
 * dot. Of records it has addresses alone.
 *
 * @param names The names.
 * @param localZones The local zones.
 */
export function zonesOf(names: readonly OwnName[], localZones: readonly string[]): GvproxyZone[] {
  const local = new Set(localZones);
  const places = names.map(({ name, records }) => {
    const addresses = records.filter(({ type }) => type === "A" || type === "AAAA");
    return { ...placeOf(name, local), ips: addresses.map(({ data }) => data) };
  }).filter(({ ips }) => ips.length > 0);
  const byZone = Map.groupBy(places, ({ zone }) => zone);
  for (const zone of localZones) if (!byZone.has(zone)) byZone.set(zone, []);
  return [...byZone].map(([zone, inside]) => ({
    Name: `${zone}.`,
    Records: inside.filter(({ label }) => label !== "*").flatMap(({ label, ips }) => {
      return ips.map((ip) => ({ Name: label, IP: ip, Regexp: null }));
    }),
    DefaultIP: inside.find(({ label }) => label === "*")?.ips[0] ?? "",
  }));
}

/** The zone that a name is said in, and the rest of it. */
function placeOf(name: string, local: ReadonlySet<string>): { label: string; zone: string } {
  const dots = [...name.matchAll(/\./g)].map(({ index }) => index);
  const isWildcard = name.startsWith("*.");
  const dot = dots.find((at) => !isWildcard && local.has(name.slice(at + 1))) ?? dots[0];
  if (dot === undefined) return { label: name, zone: "" };
  return { label: name.slice(0, dot), zone: name.slice(dot + 1) };
}
