/**
 * The page of the YAML file: every key with its kind, bounds, default, flag and variable.
 *
 * @module
 */
import { configSchema, type JsonSchema, unitOf } from "../../lib/cli/schema.ts";
import { LIMIT_HELP } from "../../lib/config/limit_help.ts";
import { DEFAULT_LIMITS, limitMax, type Limits } from "../../lib/config/limits.ts";
import {
  GUESTS_KEY,
  MEMBER_SETTINGS,
  NETWORKS_KEY,
  SHARED_NETWORK_SETTINGS,
} from "../../lib/config/guests_settings.ts";
import {
  ALL_SETTINGS,
  environmentName,
  GUEST_SETTINGS,
  PROCESS_SETTINGS,
  type Setting,
} from "../../lib/config/settings.ts";
import { code, page, plain, sentence, table } from "./markdown.ts";

/** The parts of the page: the head of their keys, a heading and what a reader wants to know first. */
export const SECTIONS: readonly [section: string, heading: string, about: string][] = [
  [
    "",
    "The gateway itself",
    "Where the VMM is met, what of the host the guest gets, who may ask. Sizes are bytes, or a " +
    "number with `kB`, `MB`, `GB`, `KiB`, `MiB` or `GiB`. A list with one item may be written " +
    "without its brackets.",
  ],
  [
    "dns",
    "`dns`: names",
    "The guest asks the gateway's address; questions to other resolvers are answered here too, " +
    "unless `intercept` is false.",
  ],
  [
    "guestNetwork",
    "`guestNetwork`: addresses and link",
    "A guest with a static address, with DHCP or with router advertisements works with the " +
    "defaults. Set an MTU here and at the VMM alike.",
  ],
  [
    "policy",
    "`policy`: what the guest may reach",
    "Rules and recipes: [docs/policy.md](../policy.md).",
  ],
  [
    "rate",
    "`rate`: how much it may use",
    "`unlimited` says again what is so where nothing is set.",
  ],
  [
    "capture",
    "`capture`: its frames in a file",
    "For a capture of a running gateway without a restart there is the command " +
    "[`capture`](commands.md#capture).",
  ],
  [
    "fleet",
    "`fleet`: one of many gateways",
    "Policy, names of services and the audit that many gateways have in common. `servers`, " +
    "`gateway` and `dir` are needed, the others may be absent.",
  ],
  ["log", "`log`", "Where the lines go, and how many: [docs/operate.md](../operate.md#logs)."],
];

/** The last part: keys of several guests, which are below another key. */
const SEVERAL: readonly [prefix: string, setting: Setting<unknown>][] = [
  ...Object.values(MEMBER_SETTINGS).map((setting): [string, Setting<unknown>] => {
    return [`${GUESTS_KEY}[].`, setting];
  }),
  ...Object.values(SHARED_NETWORK_SETTINGS).map((setting): [string, Setting<unknown>] => {
    return [`${NETWORKS_KEY}.NAME.`, setting];
  }),
];

function severalGuests(): string[] {
  const own = GUEST_SETTINGS.filter(({ scope }) => scope === "own").map(({ key }) => code(key));
  const process = PROCESS_SETTINGS.map(({ key }) => code(key));
  return [
    "## `guests` and `networks`: several guests in one process",
    "[docs/guests.md](../guests.md) has an example and says how they live together. Each item of " +
    "`guests` has a guest's keys of this page, and those below. What stands beside `guests` is the default of each guest, and " +
    "its own keys win: a section is taken key by key, and what stands at a key, a list or a mapping " +
    `too, is taken whole. No default can be ${own.join(", ")}. One for all are ` +
    `${process.join(", ")}.`,
    table(
      ["key", "what it is", "kind", "default"],
      SEVERAL.map(([prefix, { key, help }]) => {
        const schema = severalSchemaOf(prefix, key);
        const kind = schema.pattern === undefined ? kindOf(schema) : "a name";
        return [code(`${prefix}${key}`), plain(sentence(help)), kind, defaultOf(schema)];
      }),
    ),
  ];
}

function severalSchemaOf(prefix: string, key: string): JsonSchema {
  const [head = ""] = prefix.split(/[.[]/, 1);
  const { items, additionalProperties } = schemaOf(head);
  const network = additionalProperties as { anyOf: JsonSchema[] } | undefined;
  const item = (items ?? network?.anyOf[0]) as { properties: Record<string, JsonSchema> };
  return item.properties[key]!;
}

/** The page. */
export function configurationPage(): string {
  return page(
    "Configuration",
    "`run --config FILE` reads YAML; [examples/gateway.yaml](../../examples/gateway.yaml) is a " +
      "whole one. `check --config FILE` says what is wrong, and prints all values with the origin " +
      "of each. Every key may be absent. An unknown key is refused, with its line and the nearest " +
      "known one. [docs/schema.json](../schema.json) makes an editor complete and check it.",
    ...SECTIONS.map(([section, heading, about]) => {
      const settings = ALL_SETTINGS.filter(({ key }) => sectionOf(key) === section);
      return [`## ${heading}`, about, ...settings.map(entry)].join("\n\n");
    }),
    ...severalGuests(),
    "## `limits`: how much of everything",
    "Each is a whole number from 1 up. A limit is there so that no guest can exhaust the host: what " +
      "goes beyond it is dropped, refused or waits, and [is counted](counts.md). The defaults suit " +
      "a guest that works hard.",
    table(
      ["key", "what it bounds", "unit", "default", "at most"],
      (Object.keys(DEFAULT_LIMITS) as (keyof Limits)[]).map((name) => [
        code(name),
        plain(sentence(LIMIT_HELP[name])),
        unitOf(name),
        grouped(DEFAULT_LIMITS[name]),
        grouped(limitMax(name)),
      ]),
    ),
  );
}

function sectionOf(key: string): string {
  return key.includes(".") ? key.split(".")[0]! : "";
}

function entry(setting: Setting<unknown>): string {
  const { key, flag, short, argument, repeats, negated, narrow = [], help } = setting;
  const schema = schemaOf(key);
  const text = negated === true
    ? `\`false\`: ${plain(sentence(help)).replace(/^./, (first) => first.toLowerCase())}`
    : plain(sentence(help));
  const name = flag === undefined ? null : `--${negated === true ? "no-" : ""}${flag}`;
  const value = argument === undefined ? "" : ` ${argument}`;
  const flags = name === null ? [] : [
    ...(short === undefined ? [] : [code(`-${short}`)]),
    code(`${name}${value}`),
    ...narrow.map((each) => code(`--${each.flag} ${each.argument}`)),
  ];
  const facts = [
    sentence(kindOf(schema)),
    `Default: ${defaultOf(schema)}.`,
    ...(name === null
      ? ["In the file only."]
      : [`Flag: ${flags.join(", ")}${repeats === true ? ", repeatable" : ""}.`]),
    ...(flag === undefined ? [] : [`Environment: ${code(environmentName(flag))}.`]),
  ];
  return `### ${code(key)}\n\n${text}\n\n${facts.join(" ")}`;
}

function schemaOf(key: string): JsonSchema {
  return key.split(".").reduce((at, name) => {
    return (at.properties as Record<string, JsonSchema>)[name]!;
  }, configSchema());
}

const PATTERNS: readonly [begin: string, kind: string][] = [
  ["^(unix:", "an endpoint: `unix:/path` or `tcp:ADDRESS:PORT`"],
  ["^(unlimited|", "a size, or `unlimited`"],
  ["^(none$", "`http://[USER:PASSWORD@]HOST:PORT`, `socks5://…`, or `none`"],
  ["^[0-9]{1,15}", "a size"],
  ["^[0-9]+:[0-9]+", "`GATEWAYPORT:HOSTPORT`"],
  ["=", "`NAME=VALUE`"],
];

/** What a key takes, in words. */
export function kindOf(schema: JsonSchema): string {
  const { type, minimum, maximum, pattern, anyOf } = schema as {
    type?: string;
    minimum?: number;
    maximum?: number;
    pattern?: string;
    anyOf?: JsonSchema[];
  };
  const words = schema.enum as string[] | undefined;
  if (words !== undefined) return words.map(code).join(" or ");
  if (schema.const !== undefined) return code(String(schema.const));
  if (anyOf !== undefined) return anyOfKind(anyOf);
  if (type === "boolean") return "`true` or `false`";
  if (type === "integer" || type === "number") {
    const what = type === "integer" ? "a whole number" : "a number of seconds";
    if (maximum !== undefined) {
      return `${what} from ${grouped(minimum ?? 0)} to ${grouped(maximum)}`;
    }
    return what;
  }
  if (type === "object") return objectKind(schema);
  const known = PATTERNS.find(([begin]) => pattern?.startsWith(begin));
  return known?.[1] ?? "text";
}

function anyOfKind(all: readonly JsonSchema[]): string {
  const list = all.find(({ type }) => type === "array");
  const others = all.filter((each) => each !== list);
  const isSize = others.some(({ pattern }) => String(pattern).includes("[kKMG]"));
  if (isSize) return kindOf(others.find(({ pattern }) => pattern !== undefined)!);
  const kinds = [...new Set(others.map(kindOf))].join(", or ");
  return list === undefined ? kinds : `${kinds}; or a list of such`;
}

function objectKind({ properties, additionalProperties }: JsonSchema): string {
  if (properties === undefined) {
    return `a mapping of names to: ${kindOf(additionalProperties as JsonSchema)}`;
  }
  const names = Object.entries(properties as Record<string, JsonSchema>).map(([name, each]) => {
    return each.description === undefined ? code(name) : `${code(name)} (${each.description})`;
  });
  return `a mapping with ${names.join(", ")}`;
}

function defaultOf(schema: JsonSchema): string {
  if (schema.default === undefined) return "none";
  return code(
    Array.isArray(schema.default) ? `[${schema.default.join(", ")}]` : String(schema.default),
  );
}

/** A number with its thousands apart. */
export function grouped(value: number): string {
  return value.toLocaleString("en-US");
}
