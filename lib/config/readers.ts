/**
 * From raw text to typed values: each reader takes what a YAML file, a flag or an environment
 * variable says about one setting and either returns its value or tells what is wrong.
 *
 * YAML is parsed without types (the failsafe schema), so that `2222:22` stays a port pair and
 * `1500` may be quoted or not: here is the only place that decides what a scalar is.
 *
 * @module
 */
import { parseSource } from "../policy/rule.ts";
import { formatTarget } from "../policy/rule_target.ts";
import { parseByteSize } from "./byte_size.ts";
import {
  type Endpoint,
  meetingFault,
  parseEndpoint,
  parseStreamEndpoint,
  parseVmmEndpoint,
  type StreamEndpoint,
  type VmmEndpoint,
} from "./endpoint.ts";
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
  unixPathFault,
} from "./port_spec.ts";
import { maskProxyUrl, parseProxyUrl } from "./proxy_url.ts";

/** What a source says: text, or lists and mappings of it; `null` where a key has no value. */
export type Raw = string | null | readonly Raw[] | { readonly [key: string]: Raw };

/** Reports what is wrong; `under` is the path below the setting, such as `[0].host`. */
export type Fail = (text: string, under?: string) => void;

/** Reads a setting's value; after a call of `fail` the result is not used. */
export interface Reader<T> {
  (raw: Raw, fail: Fail): T;
  /** The words that it takes, where it takes no others. */
  readonly words?: readonly string[];
}

/** A reader of text as it is, for what another place checks. */
export const readText: Reader<string> = (raw, fail) => scalar(raw, fail) ?? "";

/** A reader of one of some words. */
export function oneOf<T extends string>(...words: readonly T[]): Reader<T> {
  const read = (raw: Raw, fail: Fail): T => {
    const text = scalar(raw, fail);
    const found = words.find((word) => word === text);
    if (found === undefined && text !== null) {
      fail(`"${text}" is not ${words.join(", ").replace(/, ([^,]*)$/, " or $1")}`);
    }
    return found ?? words[0]!;
  };
  return Object.assign(read, { words });
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

/** The word for a rate that is not bounded. */
export const UNLIMITED = "unlimited";

/** A reader of a number of bytes such as `10MB`, or `null` for `unlimited`. */
export const readByteSize: Reader<number | null> = (raw, fail) => {
  const text = scalar(raw, fail);
  if (text === UNLIMITED) return null;
  const bytes = text === null ? 0 : parseByteSize(text);
  if (bytes === null) fail(`"${text}" is not a number of bytes, such as 10MB, 512KiB or 1500`);
  return bytes ?? 0;
};

/** A reader of a whole number, or `null` for `unlimited`. */
export const readCount: Reader<number | null> = (raw, fail) =>
  raw === UNLIMITED ? null : readInteger(raw, fail);

/** The word for no proxy. */
export const NO_PROXY = "none";

/** A reader of a proxy's URL, or `null` for `none`. */
export const readProxy: Reader<string | null> = (raw, fail) => {
  const text = scalar(raw, fail);
  if (text === null || text === NO_PROXY) return null;
  const fault = proxyFault(text);
  if (fault !== null) fail(fault);
  return text;
};

/** What is wrong with a proxy's URL, or `null`; no word of its user and password. */
export function proxyFault(text: string): string | null {
  // As `check` prints it: what stood there is not known any more.
  if (text.includes("@") && maskProxyUrl(text) === text) {
    return `"${text}": write the user and password that *** stands for`;
  }
  const proxy = parseProxyUrl(text);
  return typeof proxy === "string" ? proxy : null;
}

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

/** A reader of what one of the parsers of endpoints takes. */
function endpointReader<T extends VmmEndpoint>(parse: (text: string) => T): Reader<T | null> {
  return (raw, fail) => {
    const text = scalar(raw, fail);
    if (text === null) return null;
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      fail(error.problems[0]!.text);
      return null;
    }
  };
}

/** A reader of `unix:/path` or `tcp:ADDRESS:PORT`. */
export const readEndpoint: Reader<Endpoint | null> = endpointReader(parseEndpoint);

/** A reader of `unixgram:/path` and `stdio:` too. */
export const readVmmEndpoint: Reader<VmmEndpoint | null> = endpointReader(parseVmmEndpoint);

/** A reader of where a VMM may listen itself, where a TCP port of 0 has no meaning. */
export const readRemoteEndpoint: Reader<StreamEndpoint | null> = (raw, fail) => {
  const endpoint = endpointReader(parseStreamEndpoint)(raw, fail);
  if (endpoint?.transport === "tcp" && endpoint.port === 0) fail("port 0 can't be connected to");
  const fault = endpoint === null ? null : meetingFault(endpoint, "connect", "stream");
  if (fault !== null) fail(fault);
  return endpoint;
};

/** A reader of published ports: specs, or mappings of `host` or `unix`, `guest` and what is set. */
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

const MAPPING_KEYS = ["host", "guest", "protocol", "unix", "bind", "allowFrom"];
/** What a unix socket has not: nobody but its user connects, and it carries connections. */
const ADDRESS_KEYS = ["host", "protocol", "bind", "allowFrom"];

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
  if (item.unix !== undefined) {
    const unix = readUnixPath(item.unix, fail);
    const beside = ADDRESS_KEYS.find((key) => item[key] !== undefined);
    if (beside !== undefined) {
      fail("says nothing beside unix: a socket is its user's alone, for connections", `.${beside}`);
    }
    return { unix, guestPort: port("guest", 1) };
  }
  return {
    hostPort: port("host", 0),
    guestPort: port("guest", 1),
    ...(item.protocol === undefined ? {} : readProtocol(item.protocol, fail)),
    ...(item.bind === undefined ? {} : { bind: readBinds(item.bind, fail) }),
    ...(item.allowFrom === undefined ? {} : { allowFrom: readSources(item.allowFrom, fail) }),
  };
}

/** `tcp` is the default, and left out. */
function readProtocol(raw: Raw, fail: Fail): Pick<PortMapping, "protocol"> {
  if (raw === "udp") return { protocol: "udp" };
  if (raw !== "tcp") fail(`${show(raw)} is neither tcp nor udp`, ".protocol");
  return {};
}

function readUnixPath(raw: Raw, fail: Fail): string {
  const path = typeof raw === "string" ? raw : "";
  const fault = typeof raw !== "string"
    ? `${show(raw)} is not the path of a socket`
    : raw.startsWith("unix:")
    ? `the path stands alone here: ${raw.slice("unix:".length)}`
    : unixPathFault(raw);
  if (fault !== null) fail(fault, ".unix");
  return path;
}

function readBinds(raw: Raw, fail: Fail): string[] {
  const bind = items(raw).map((each, i) => {
    const address = typeof each === "string" ? parseBind(each) : null;
    if (address === null) fail(`${show(each)} is not an address to bind`, `.bind[${i}]`);
    return address ?? "";
  });
  if (bind.length === 0) fail("names no address", ".bind");
  return bind;
}

/** Most sources that may connect to one published port. */
const SOURCES_MAX = 256;

function readSources(raw: Raw, fail: Fail): string[] {
  const list = items(raw);
  if (list.length === 0) fail("names nobody; leave it out to let everybody connect", ".allowFrom");
  if (list.length > SOURCES_MAX) {
    fail(`has ${list.length} items, at most ${SOURCES_MAX}`, ".allowFrom");
  }
  return list.slice(0, SOURCES_MAX).map((each, i) => {
    const under = `.allowFrom[${i}]`;
    if (typeof each !== "string") {
      fail(`${show(each)} is not a network, an address or a class`, under);
      return "";
    }
    const source = parseSource(each);
    if (typeof source !== "string") return formatTarget(source);
    fail(source, under);
    return "";
  });
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

/** The text of a scalar, or `null` after a failure. */
export function scalar(raw: Raw, fail: Fail): string | null {
  if (typeof raw === "string") return raw;
  fail(raw === null ? "has no value" : `is a ${isMapping(raw) ? "mapping" : "list"}, not a value`);
  return null;
}

/** A list as it is, a single value as a list of one, no value as an empty list. */
export function items(raw: Raw): readonly Raw[] {
  if (raw === null) return [];
  return Array.isArray(raw) ? raw : [raw];
}

/** Whether a raw value is a mapping. */
export function isMapping(raw: Raw): raw is { readonly [key: string]: Raw } {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw);
}

/** A raw value as a message names it. */
export function show(raw: Raw): string {
  if (typeof raw === "string") return `"${raw}"`;
  return raw === null ? "nothing" : isMapping(raw) ? "a mapping" : "a list";
}
