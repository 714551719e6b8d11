/**
 * From raw text to typed values: each reader takes what a YAML file, a flag or an environment
 * variable says about one setting and either returns its value or tells what is wrong.
 *
 * YAML is parsed without types (the failsafe schema), so that `2222:22` stays a port pair and
 * `1500` may be quoted or not: here is the only place that decides what a scalar is.
 *
 * @module
 */
import { formatIp, parseIp } from "../wire/address.ts";
import { type Endpoint, formatHostPort, parseEndpoint, parseHostPort } from "./endpoint.ts";
import { ConfigError } from "./errors.ts";
import { isMappingKey, unknownKey } from "./nearest.ts";
import type { HostService, PortMapping } from "./options.ts";
import {
  parseBind,
  parseHostService,
  parsePort,
  parsePublishSpec,
  PUBLISHED_MAX,
  publishedTwice,
} from "./port_spec.ts";

/** What a source says: text, or lists and mappings of it; `null` where a key has no value. */
export type Raw = string | null | readonly Raw[] | { readonly [key: string]: Raw };

/** Reports what is wrong; `under` is the path below the setting, such as `[0].host`. */
export type Fail = (text: string, under?: string) => void;

/** Reads a setting's value; after a call of `fail` the result is not used. */
export type Reader<T> = (raw: Raw, fail: Fail) => T;

/** Most upstream resolvers. */
const UPSTREAMS_MAX = 16;

/** Most own names, and most addresses of one. */
const RECORDS_MAX = 4_096;
const ADDRESSES_MAX = 64;

/** A reader of text as it is, for what another place checks. */
export const readText: Reader<string> = (raw, fail) => scalar(raw, fail) ?? "";

/** A reader of one of some words. */
export function oneOf<T extends string>(...words: readonly T[]): Reader<T> {
  return (raw, fail) => {
    const text = scalar(raw, fail);
    const found = words.find((word) => word === text);
    if (found === undefined && text !== null) {
      fail(`"${text}" is not ${words.join(", ").replace(/, ([^,]*)$/, " or $1")}`);
    }
    return found ?? words[0]!;
  };
}

/** A reader of `true` or `false`. */
export const readBoolean: Reader<boolean> = (raw, fail) =>
  oneOf("true", "false")(raw, fail) === "true";

/** A reader of a whole number; its bounds are checked where its relations are. */
export const readInteger: Reader<number> = (raw, fail) => {
  const text = scalar(raw, fail);
  if (text === null) return 0;
  if (!/^(0|[1-9][0-9]{0,14})$/.test(text)) fail(`"${text}" is not a whole number`);
  return Number(text);
};

/** A reader of seconds, whole or with a fraction, into milliseconds. */
export function secondsUpTo(max: number): Reader<number> {
  return (raw, fail) => {
    const text = scalar(raw, fail);
    if (text === null) return 0;
    const seconds = /^[0-9]{1,9}(\.[0-9]{1,3})?$/.test(text) ? Number(text) : NaN;
    if (!(seconds <= max)) fail(`"${text}" is not a number of seconds from 0 to ${max}`);
    return Math.round(seconds * 1000);
  };
}

/** A reader of `unix:/path` or `tcp:ADDRESS:PORT`. */
export const readEndpoint: Reader<Endpoint | null> = (raw, fail) => {
  const text = scalar(raw, fail);
  if (text === null) return null;
  try {
    return parseEndpoint(text);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    fail(error.problems[0]!.text);
    return null;
  }
};

/** A reader of `readEndpoint`'s kind, where a TCP port of 0 has no meaning. */
export const readRemoteEndpoint: Reader<Endpoint | null> = (raw, fail) => {
  const endpoint = readEndpoint(raw, fail);
  if (endpoint?.transport === "tcp" && endpoint.port === 0) fail("port 0 can't be connected to");
  return endpoint;
};

/** A reader of published ports: specs, or mappings of `host`, `guest` and `bind`. */
export const readPublish: Reader<PortMapping[]> = (raw, fail) => {
  const mappings: PortMapping[] = [];
  items(raw).forEach((item, i) => {
    if (typeof item === "string") {
      const parsed = parsePublishSpec(item);
      if (typeof parsed === "string") fail(parsed, `[${i}]`);
      else mappings.push(...parsed);
    } else if (isMapping(item)) {
      mappings.push(readMapping(item, (text, under = "") => fail(text, `[${i}]${under}`)));
    } else {
      fail("is neither a port spec nor a mapping of host and guest", `[${i}]`);
    }
  });
  const twice = publishedTwice(mappings);
  if (twice !== null) fail(`${twice} is published twice`);
  if (mappings.length > PUBLISHED_MAX) {
    fail(`at most ${PUBLISHED_MAX} ports can be published, not ${mappings.length}`);
  }
  return mappings;
};

const MAPPING_KEYS = ["host", "guest", "bind"];

function readMapping(item: { readonly [key: string]: Raw }, fail: Fail): PortMapping {
  for (const key of Object.keys(item)) {
    if (!MAPPING_KEYS.includes(key)) {
      fail(unknownKey(key, MAPPING_KEYS), isMappingKey(key) ? "" : `.${key}`);
    }
  }
  const port = (key: "host" | "guest", min: 0 | 1): number => {
    const value = item[key] ?? null;
    const parsed = typeof value === "string" ? parsePort(value, min) : null;
    if (value === null) fail(`lacks "${key}"`);
    else if (parsed === null) fail(`is not a port from ${min} to 65535`, `.${key}`);
    return parsed ?? 0;
  };
  const mapping: PortMapping = { hostPort: port("host", 0), guestPort: port("guest", 1) };
  if (item.bind === undefined) return mapping;
  const bind = items(item.bind).map((each, i) => {
    const address = typeof each === "string" ? parseBind(each) : null;
    if (address === null) fail(`${show(each)} is not an address to bind`, `.bind[${i}]`);
    return address ?? "";
  });
  if (bind.length === 0) fail("names no address", ".bind");
  return { ...mapping, bind };
}

/** A reader of `GATEWAYPORT:HOSTPORT` items. */
export const readHostServices: Reader<HostService[]> = (raw, fail) => {
  const services: HostService[] = [];
  items(raw).forEach((item, i) => {
    const parsed = parseHostService(typeof item === "string" ? item : show(item));
    if (typeof parsed === "string") fail(parsed, `[${i}]`);
    else if (services.some(({ gatewayPort }) => gatewayPort === parsed.gatewayPort)) {
      fail(`port ${parsed.gatewayPort} of the gateway leads to two host ports`, `[${i}]`);
    } else services.push(parsed);
  });
  return services;
};

/** A reader of upstream resolvers: `system` or `ADDR[:PORT]`. */
export const readUpstreams: Reader<string[]> = (raw, fail) => {
  const list = items(raw);
  if (list.length === 0) fail("names no resolver");
  if (list.length > UPSTREAMS_MAX) fail(`names ${list.length} resolvers, at most ${UPSTREAMS_MAX}`);
  return list.map((item, i) => {
    const upstream = typeof item === "string" ? parseUpstream(item) : null;
    if (upstream === null) fail(`${show(item)} is not "system" or ADDRESS[:PORT]`, `[${i}]`);
    return upstream ?? "";
  });
};

function parseUpstream(text: string): string | null {
  if (text === "system") return text;
  const place = parseHostPort(text);
  if (place !== null) return place.port === 0 ? null : formatHostPort(place.hostname, place.port);
  const address = parseIp(/^\[.*:.*\]$/.test(text) ? text.slice(1, -1) : text);
  return address === null ? null : formatIp(address);
}

/** A reader of a domain name, into lower case without a trailing dot. */
export const readDomain: Reader<string> = (raw, fail) => {
  const text = scalar(raw, fail);
  const name = text === null ? null : parseDomain(text);
  if (text !== null && name === null) fail(`"${text}" is not a domain name`);
  return name ?? "";
};

function parseDomain(text: string): string | null {
  const name = text.toLowerCase().replace(/\.$/, "");
  const label = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
  return name.length <= 253 && new RegExp(`^${label}(?:\\.${label})*$`).test(name) ? name : null;
}

/** A reader of own names: a mapping of name to addresses, or items of `NAME=ADDRESS`. */
export const readRecords: Reader<Record<string, string[]>> = (raw, fail) => {
  const records = new Map<string, string[]>();
  const add = (name: string, address: Raw, nameUnder: string, under: string): void => {
    const domain = parseDomain(name);
    const bytes = typeof address === "string" ? parseIp(address) : null;
    if (domain === null) return fail(`"${name}" is not a domain name`, nameUnder);
    if (bytes === null) return fail(`${show(address)} is not an address`, under);
    const list = records.get(domain) ?? [];
    records.set(domain, [...list, formatIp(bytes)]);
    if (list.length === ADDRESSES_MAX) fail(`has more than ${ADDRESSES_MAX} addresses`, nameUnder);
  };
  if (isMapping(raw)) {
    for (const [name, addresses] of Object.entries(raw)) {
      const list = items(addresses);
      if (list.length === 0) fail("has no address", `.${name}`);
      const under = (i: number) => Array.isArray(addresses) ? `.${name}[${i}]` : `.${name}`;
      list.forEach((address, i) => add(name, address, `.${name}`, under(i)));
    }
  } else {
    items(raw).forEach((item, i) => {
      const match = typeof item === "string" ? /^([^=]*)=(.*)$/.exec(item) : null;
      if (match === null) fail(`${show(item)} is not NAME=ADDRESS`, `[${i}]`);
      else add(match[1]!, match[2]!, `[${i}]`, `[${i}]`);
    });
  }
  if (records.size > RECORDS_MAX) fail(`${records.size} names, at most ${RECORDS_MAX}`);
  return Object.fromEntries(records);
};

/** The text of a scalar, or `null` after a failure. */
function scalar(raw: Raw, fail: Fail): string | null {
  if (typeof raw === "string") return raw;
  fail(raw === null ? "has no value" : `is a ${isMapping(raw) ? "mapping" : "list"}, not a value`);
  return null;
}

/** A list as it is, a single value as a list of one, no value as an empty list. */
function items(raw: Raw): readonly Raw[] {
  if (raw === null) return [];
  return Array.isArray(raw) ? raw : [raw];
}

/** Whether a raw value is a mapping. */
export function isMapping(raw: Raw): raw is { readonly [key: string]: Raw } {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw);
}

function show(raw: Raw): string {
  if (typeof raw === "string") return `"${raw}"`;
  return raw === null ? "nothing" : isMapping(raw) ? "a mapping" : "a list";
}
