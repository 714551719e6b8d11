/**
 * `schema`: the JSON Schema (2020-12) of the YAML file, made from the table of settings, for editors
 * that know `# yaml-language-server: $schema=…`.
 *
 * Whatever is written plainly and taken by the gateway passes it: it names keys, kinds, words and
 * bounds. What a rule, a port or a name may look like is left to `check`, which says what is wrong
 * and the way out.
 *
 * @module
 */
import { SNAP_MAX_BYTES, SNAP_MIN_BYTES } from "../capture/pcapng.ts";
import { GUESTS_MAX } from "../config/guest_addresses.ts";
import {
  GUESTS_KEY,
  MEMBER_SETTINGS,
  NETWORKS_KEY,
  SHARED_NETWORK_SETTINGS,
} from "../config/guests_settings.ts";
import { AUDIT_MIN_BYTES } from "../config/fleet_readers.ts";
import { LABEL } from "../config/label.ts";
import { limitMax, type Limits } from "../config/limits.ts";
import { MTU_MAX, MTU_MIN } from "../config/network.ts";
import {
  NO_PROXY,
  readBoolean,
  readByteSize,
  readCount,
  readEndpoint,
  type Reader,
  readHostServices,
  readInteger,
  readProxy,
  readPublish,
  readRemoteEndpoint,
  readText,
  readVmmEndpoint,
  UNLIMITED,
} from "../config/readers.ts";
import {
  ALL_SETTINGS,
  GUEST_SETTINGS,
  LIMIT_SETTINGS,
  type Setting,
  SETTINGS,
} from "../config/settings.ts";
import { Exit } from "./exit.ts";
import type { CliIo } from "./io.ts";

/** A JSON Schema. */
export type JsonSchema = { readonly [key: string]: unknown };

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @returns The exit code.
 */
export function runSchema(io: CliIo): number {
  io.out(JSON.stringify(configSchema(), null, 2));
  return Exit.Done;
}

/** The schema of the file. */
export function configSchema(): JsonSchema {
  const { [GUESTS_KEY]: guests, [NETWORKS_KEY]: networks } = SEVERAL;
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "virtio-gateway",
    description: "The configuration of a gateway, as run --config reads it.",
    ...object({
      ...propertiesOf(ALL_SETTINGS),
      [NETWORKS_KEY]: networks!,
      [GUESTS_KEY]: guests!,
    }),
    not: { required: [SETTINGS.listen.key, SETTINGS.connect.key] },
    dependentRequired: {
      [NETWORKS_KEY]: [GUESTS_KEY],
      [SETTINGS.workers.key]: [GUESTS_KEY],
    },
    dependentSchemas: { [GUESTS_KEY]: { not: { anyOf: OWN_SETTINGS.map(presenceOf) } } },
  };
}

/** The properties of settings, those of a section together. */
function propertiesOf(settings: readonly Setting<unknown>[]): Record<string, JsonSchema> {
  const sections = new Map<string, Map<string, JsonSchema>>();
  const properties = new Map<string, JsonSchema>();
  for (const setting of settings) {
    const [head = "", tail] = setting.key.split(".");
    const schema = settingSchema(setting);
    if (tail === undefined) {
      properties.set(head, schema);
      continue;
    }
    const section = sections.get(head) ?? new Map<string, JsonSchema>();
    sections.set(head, section.set(tail, schema));
    properties.set(head, object(Object.fromEntries(section)));
  }
  return Object.fromEntries(properties);
}

/** What no two guests can have. */
const OWN_SETTINGS = GUEST_SETTINGS.filter(({ scope }) => scope === "own");

/** That a setting is there. */
function presenceOf({ key }: Setting<unknown>): JsonSchema {
  const [head = "", tail] = key.split(".");
  return tail === undefined ? { required: [head] } : {
    type: "object",
    required: [head],
    properties: { [head]: { type: "object", required: [tail] } },
  };
}

/** An object that has no other keys. */
function object(properties: Readonly<Record<string, JsonSchema>>): JsonSchema {
  return { type: "object", properties, additionalProperties: false };
}

const TEXT: JsonSchema = { type: "string" };
const COUNT: JsonSchema = { type: "integer", minimum: 0 };
const ENDPOINT: JsonSchema = { type: "string", pattern: "^(unix:.+|tcp:.+:[0-9]{1,5})$" };
const VSOCK = "vsock:([0-9]{1,10}|any):[0-9]{1,10}";
const VMM_ENDPOINT: JsonSchema = {
  type: "string",
  pattern: `^(unix:.+|tcp:.+:[0-9]{1,5}|${VSOCK}|unixgram:.+|stdio:)$`,
};
const REMOTE_ENDPOINT: JsonSchema = {
  type: "string",
  pattern: `^(unix:.+|tcp:.+:[0-9]{1,5}|${VSOCK})$`,
};
const BYTES = "[0-9]{1,15}(\\.[0-9]{1,3})?(B|[kKMG]B|[KMG]iB)?";

/** An item, or a list of such. */
function listOf(item: JsonSchema): JsonSchema {
  return { anyOf: [item, { type: "array", items: item }] };
}

/** A mapping of names to something, or a list of `NAME=SOMETHING`. */
function mappingOf(value: JsonSchema): JsonSchema {
  const items = { type: "array", items: { type: "string", pattern: "=" } };
  return { anyOf: [{ type: "object", additionalProperties: value }, items] };
}

const PUBLISHED: JsonSchema = {
  anyOf: [
    { type: "string", pattern: "^(unix:.+:[0-9]+|[^/]+)(/tcp|/udp)?$" },
    { type: "integer", minimum: 1, maximum: 65_535 },
    {
      ...object({
        host: { type: "integer", minimum: 0, maximum: 65_535, description: "0 picks one" },
        guest: { type: "integer", minimum: 1, maximum: 65_535 },
        protocol: { enum: ["tcp", "udp"], description: "what is carried (default tcp)" },
        bind: { ...listOf(TEXT), description: "addresses of the host (default its loopback)" },
        allowFrom: {
          ...listOf(TEXT),
          description: "who may connect: networks, addresses, classes",
        },
      }),
      required: ["host", "guest"],
    },
    {
      ...object({
        unix: { ...TEXT, description: "path of a unix socket, in place of a port" },
        guest: { type: "integer", minimum: 1, maximum: 65_535 },
      }),
      required: ["unix", "guest"],
    },
  ],
};

const RECORDS: JsonSchema = {
  anyOf: [
    listOf(TEXT),
    object({
      a: { ...listOf(TEXT), description: "IPv4 addresses" },
      aaaa: { ...listOf(TEXT), description: "IPv6 addresses" },
      cname: { ...TEXT, description: "the name that this one stands for" },
      txt: { ...listOf(TEXT), description: "texts" },
      srv: { ...listOf(TEXT), description: "services: priority weight port target" },
      ptr: { ...listOf(TEXT), description: "names of an address" },
      ttl: { type: "integer", minimum: 0, maximum: 86_400, description: "seconds" },
    }),
  ],
};

const LABELED: JsonSchema = { type: "string", pattern: LABEL.source };

const SERVICE_PORT: JsonSchema = {
  anyOf: [
    { type: "integer", minimum: 1, maximum: 65_535 },
    { type: "string", pattern: "^[0-9]{1,5}(/tcp|/udp)?$" },
  ],
};

const SECONDS: JsonSchema = { type: "number", minimum: 0 };

/** What each reader takes; those that take words name them. */
const SHAPES: ReadonlyMap<Reader<unknown>, JsonSchema> = new Map<Reader<unknown>, JsonSchema>([
  [readText, TEXT],
  [readBoolean, { type: "boolean" }],
  [readInteger, COUNT],
  [readCount, { anyOf: [COUNT, { const: UNLIMITED }] }],
  [readByteSize, { anyOf: [COUNT, { type: "string", pattern: `^(${UNLIMITED}|${BYTES})$` }] }],
  [readProxy, { type: "string", pattern: `^(${NO_PROXY}$|http://|socks5://)` }],
  [readEndpoint, ENDPOINT],
  [readVmmEndpoint, VMM_ENDPOINT],
  [readRemoteEndpoint, REMOTE_ENDPOINT],
  [readPublish, listOf(PUBLISHED)],
  [readHostServices, listOf({ type: "string", pattern: "^[0-9]+:[0-9]+$" })],
  [SETTINGS.captureLimit.read, { anyOf: [COUNT, { type: "string", pattern: `^${BYTES}$` }] }],
  [SETTINGS.control.read, ENDPOINT],
  [SETTINGS.graceMs.read, SECONDS],
  [SETTINGS.lingerMs.read, SECONDS],
  [SETTINGS.upstreams.read, listOf(TEXT)],
  [SETTINGS.search.read, TEXT],
  [SETTINGS.records.read, mappingOf(RECORDS)],
  [SETTINGS.zones.read, mappingOf(listOf(TEXT))],
  [SETTINGS.fleetServers.read, listOf({ type: "string", pattern: "^(nats|tls)://[^@]+$" })],
  [SETTINGS.fleetName.read, LABELED],
  [SETTINGS.fleetAdvertise.read, listOf(TEXT)],
  [SETTINGS.fleetServices.read, mappingOf(listOf(SERVICE_PORT))],
  [SETTINGS.fleetAuditBytes.read, {
    anyOf: [{ type: "integer", minimum: AUDIT_MIN_BYTES }, {
      type: "string",
      pattern: `^${BYTES}$`,
    }],
  }],
  [SETTINGS.allow.read, listOf(TEXT)],
  [SETTINGS.deny.read, listOf(TEXT)],
]);

/** Bounds that another place checks. */
const BOUNDS: Readonly<Record<string, JsonSchema>> = {
  [SHARED_NETWORK_SETTINGS.mtu.key]: { minimum: MTU_MIN, maximum: MTU_MAX },
  [SETTINGS.mtu.key]: { minimum: MTU_MIN, maximum: MTU_MAX },
  [SETTINGS.workers.key]: { maximum: GUESTS_MAX },
  [MEMBER_SETTINGS.name.key]: { pattern: LABEL.source },
  [MEMBER_SETTINGS.network.key]: { pattern: LABEL.source },
  [SETTINGS.captureSnapLength.key]: { minimum: SNAP_MIN_BYTES, maximum: SNAP_MAX_BYTES },
  ...Object.fromEntries(LIMIT_SETTINGS.map(({ key }) => {
    const name = key.replace("limits.", "") as keyof Limits;
    return [key, { minimum: 1, maximum: limitMax(name) }];
  })),
};

/** A guest has what stands at the top too, but for what is of the whole process. */
function guestSchema(): JsonSchema {
  const heads = new Set(GUEST_SETTINGS.map(({ key }) => key.split(".")[0]!));
  const likeTop = [...heads].map((head) => [head, { $ref: `#/properties/${head}` }]);
  return {
    ...object({
      ...propertiesOf(Object.values(MEMBER_SETTINGS)),
      ...Object.fromEntries(likeTop),
    }),
    required: [MEMBER_SETTINGS.name.key],
    oneOf: [{ required: [SETTINGS.listen.key] }, { required: [SETTINGS.connect.key] }],
  };
}

/** The keys of several guests that are no settings. */
const SEVERAL: Readonly<Record<string, JsonSchema>> = {
  [NETWORKS_KEY]: {
    type: "object",
    description: "networks that several guests share, by their names",
    propertyNames: { pattern: LABEL.source },
    additionalProperties: {
      anyOf: [object(propertiesOf(Object.values(SHARED_NETWORK_SETTINGS))), { type: "null" }],
    },
  },
  [GUESTS_KEY]: {
    type: "array",
    description: "several guests in one process; what stands beside them is the default of each",
    minItems: 1,
    maxItems: GUESTS_MAX,
    items: guestSchema(),
  },
};

function settingSchema(setting: Setting<unknown>): JsonSchema {
  const { key, read, negated, help } = setting;
  const shape = read.words === undefined ? SHAPES.get(read) : { enum: read.words };
  if (shape === undefined) throw new Error(`Cannot make a schema of ${key}: its reader is unknown`);
  // The help is of the flag; that of --no-… says what false does.
  const text = negated === true ? `false: ${help}` : help;
  const unit = unitOf(key);
  const description = unit === "" ? text : `${text}; ${unit}`;
  return {
    ...shape,
    ...BOUNDS[key],
    description,
    ...defaultOf(setting),
  };
}

/** The unit that a limit's name ends with. */
export function unitOf(key: string): string {
  return key.endsWith("Ms") ? "milliseconds" : key.endsWith("Bytes") ? "bytes" : "";
}

/** A default that the file could spell. */
function defaultOf({ key, defaultValue }: Setting<unknown>): JsonSchema {
  const isTime = key === SETTINGS.graceMs.key || key === SETTINGS.lingerMs.key;
  const value = isTime ? (defaultValue as number) / 1000 : defaultValue;
  const isEmpty = typeof value === "object"
    ? value === null || Object.keys(value).length === 0
    : value === "";
  return isEmpty ? {} : { default: value };
}
