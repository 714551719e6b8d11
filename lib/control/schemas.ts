/**
 * The JSON schemas of what the control interface takes and says, as its OpenAPI document has them.
 *
 * @module
 */
import { DNS_COUNT_HELP } from "../host/dns_counts.ts";
import type { GuestFigures } from "../host/guest_network.ts";
import { DENIAL_REASONS } from "../policy/denial.ts";
import { COUNTER_HELP } from "../stack/counter_help.ts";
import { COUNTER_NAMES } from "../stack/counters.ts";

/** A JSON schema, in the dialect of OpenAPI 3.1. */
export type Schema = { readonly [key: string]: unknown };

const text = (description: string): Schema => ({ type: "string", description });
const flag = (description: string): Schema => ({ type: "boolean", description });
const count = (description: string): Schema => ({ type: "integer", minimum: 0, description });
const nullable = (schema: Schema): Schema => ({ oneOf: [schema, { type: "null" }] });
const list = (items: Schema, description?: string): Schema => ({
  type: "array",
  items,
  ...(description === undefined ? {} : { description }),
});
const countsByName = (description: string): Schema => ({
  type: "object",
  additionalProperties: { type: "integer", minimum: 0 },
  description,
});

/** A reference to one of {@linkcode SCHEMAS}. */
export function reference(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}

/** An object of which each property is there, but for those named as optional. */
function object(properties: Record<string, Schema>, optional: readonly string[] = []): Schema {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return {
    type: "object",
    properties,
    ...(required.length === 0 ? {} : { required }),
    additionalProperties: false,
  };
}

const TIME = "Milliseconds since 1970.";

const denial: Record<string, Schema> = {
  protocol: { enum: ["tcp", "udp", "icmp", "dns"] },
  name: { type: ["string", "null"], description: "The name that was asked for." },
  destination: text("Address and port; empty for a lookup."),
  rule: text("The rule as it is written, default-deny, or protect LEVEL."),
  origin: text("Where the rule stands; empty for what is built in."),
  reason: {
    enum: Object.keys(DENIAL_REASONS),
    description: "The kind of refusal.",
  },
  detail: text("The reason in words."),
  hint: { type: ["string", "null"], description: "What to write to allow it." },
};

const rules = (what: string): Schema => list({ type: "string" }, `Rules of what is ${what}.`);

const policy: Record<string, Schema> = {
  protect: { enum: ["off", "metadata", "strict"], default: "metadata" },
  allow: rules("allowed; any makes the default a no"),
  deny: rules("denied, also where it is allowed"),
  denyPage: { type: "boolean", default: true },
  ech: { enum: ["refuse", "outer"], default: "refuse" },
  origins: object({
    allow: list({ type: "string" }, "Where each rule of allow stands."),
    deny: list({ type: "string" }, "Where each rule of deny stands."),
    protect: text("Where protect stands, where a fleet has set it."),
  }, ["allow", "deny", "protect"]),
};

const PLACE: Record<string, Schema> = {
  guest: text("The guest's name, where the gateway serves several."),
};

const event = (type: string, description: string, properties: Record<string, Schema>): Schema => ({
  ...object({ type: { const: type }, timeMs: count(TIME), ...properties, ...PLACE }, ["guest"]),
  description,
});

/** What each figure of a guest is. */
export const FIGURE_HELP: Readonly<Record<keyof GuestFigures, string>> = {
  tcpFlows: "TCP flows in any state, those in TIME_WAIT included",
  udpFlows: "UDP flows",
  timers: "TCP flows with a timer",
  relays: "TCP flows with a socket of the host, or on the way to one",
  dials: "host connects under way or waiting",
  dnsInFlight: "DNS questions that wait for an upstream",
  pins: "addresses that DNS answers have tied to names",
  pings: "pings of the world that are under way",
  fragmentSets: "datagrams of which fragments are missing",
  bufferBytes: "buffer memory of the TCP flows, in bytes",
};

/** Integers, each with its description. */
const integers = (help: Readonly<Record<string, string>>): Record<string, Schema> =>
  Object.fromEntries(
    Object.entries(help).map(([name, description]) => [name, { type: "integer", description }]),
  );

const publishedPort: Record<string, Schema> = {
  protocol: { enum: ["tcp", "udp", "unix"], description: "What it carries." },
  bind: text("The host's address; the path of a unix socket."),
  hostPort: count("The host's port; 0 for a unix socket."),
  guestPort: count("The guest's port."),
};

const finding = object({
  what: text("Such as dns pypi.org or tcp pypi.org:443."),
  allowed: flag("Whether it would pass."),
  rule: text("The rule that decides; empty where none forbids it."),
  origin: text("Where the rule stands."),
  detail: text("The reason in words."),
  hint: { type: ["string", "null"], description: "What to write to change a no." },
});

/** All schemas by their names. */
export const SCHEMAS = {
  Status: object({
    version: text("The module's version."),
    startedMs: count(TIME),
    endpoint: text("Where the VMM is met."),
    published: list(
      reference("PublishedPort"),
      "Ports of the host that lead to the guest.",
    ),
    policy: object({
      protect: { enum: ["off", "metadata", "strict"] },
      default: { enum: ["allow", "deny"] },
      allowRules: count("Rules that allow something."),
      denyRules: count("Rules that deny something."),
    }),
    guest: nullable(reference("Guest")),
    readers: count("How many read events."),
    fleet: reference("Fleet"),
  }, ["fleet"]),
  Guests: object({
    version: text("The module's version."),
    startedMs: count(TIME),
    guests: list(reference("GuestListing"), "In their order."),
    workers: list(
      object({
        guests: list({ type: "string" }, "The names of its guests."),
        restarts: count("How often it was started again."),
        alive: flag("Whether it runs."),
      }),
      "The workers that serve them; none where the gateway's own isolate does.",
    ),
    fleet: reference("Fleet"),
  }, ["fleet"]),
  GuestListing: object({
    name: text("What it is asked for by; default for a guest without a name."),
    endpoint: {
      type: ["string", "null"],
      description: "Where its VMM is met; null where its gateway has no answer.",
    },
    link: {
      enum: ["attached", "detached", null],
      description: "Whether its VMM is there, or its flows are kept for the VMM's return.",
    },
    network: {
      type: ["string", "null"],
      description: "The shared network that it is in; null where it has one of its own.",
    },
    worker: {
      type: ["integer", "null"],
      description: "The number of the worker that serves it; null for none.",
    },
    flows: count("How many flows it has."),
    published: count("How many sockets of the host lead to it."),
    refused: count("How often the policy has refused something."),
    upBytes: count("Octets of frames that have come from it."),
    downBytes: count("Octets of frames that it was sent."),
    fault: {
      type: ["string", "null"],
      description: "Why its gateway has no answer, and its counts are 0; null where it has one.",
    },
  }),
  Guest: object({
    link: {
      enum: ["attached", "detached"],
      description: "Whether its VMM is there, or away while all is kept for it (linger).",
    },
    figures: object(integers(FIGURE_HELP)),
    counters: {
      ...object(integers(COUNTER_HELP), COUNTER_NAMES),
      description: "What the guest's stack has counted; what is not there is 0.",
    },
    dns: reference("DnsCounts"),
  }),
  Denial: object(denial),
  Denials: object({
    groups: list(
      object({
        denial: reference("Denial"),
        count: count("How often."),
        firstMs: count(TIME),
        lastMs: count(TIME),
      }),
      "Alike refusals together, the latest first.",
    ),
    byRule: countsByName("How often each rule has refused something."),
  }),
  Policy: object(policy),
  PolicyChange: object(policy, Object.keys(policy)),
  Question: object({ target: text("NAME, NAME:PORT, ADDRESS:PORT/tcp, [V6]:PORT or a URL.") }),
  Pins: object({
    pins: list(
      object({
        name: text("The name that was asked for."),
        address: text("The address that it leads to."),
        untilMs: count(TIME),
      }),
      "What the attached guest has looked up.",
    ),
  }),
  Flows: object({
    flows: list(reference("Flow"), "The latest first."),
    total: count("How many there are, those beyond the limit included."),
  }),
  Flow: object({
    id: count("Its number, which no other flow of this guest has had."),
    protocol: { enum: ["tcp", "udp"] },
    opener: { enum: ["guest", "host"], description: "Who began it." },
    guest: text("The guest's end."),
    peer: text("The other end, as the guest sees it."),
    name: { type: ["string", "null"], description: "The name that led there." },
    rule: { type: ["string", "null"], description: "The rule that let it pass." },
    state: text("The state of its TCP connection, silent after a lost link; open for UDP."),
    startedMs: count(TIME),
    upBytes: count("Octets that a host has taken from the guest."),
    downBytes: count("Octets that have come for the guest."),
  }),
  Port: object({
    hostPort: count("The host's port; 0 lets the system choose. Absent beside unix alone."),
    unix: text("The path of a unix socket to listen on, in place of a port."),
    guestPort: count("The guest's port."),
    protocol: { enum: ["tcp", "udp"], default: "tcp" },
    bind: list({ type: "string" }, "The host's addresses; 127.0.0.1 and ::1 when absent."),
    allowFrom: list({ type: "string" }, "Who may connect: CIDRs, addresses or classes."),
  }, ["hostPort", "unix", "protocol", "bind", "allowFrom"]),
  Ports: object({ published: list(reference("PublishedPort"), "Each bound address.") }),
  PublishedPort: object(publishedPort),
  Dns: object({
    counts: nullable(reference("DnsCounts")),
    inFlight: count("Questions that wait for an upstream."),
    kept: count("Answers of upstreams that are kept for the attached guest."),
    names: list(reference("OwnName"), "The names that the gateway answers itself."),
  }),
  OwnName: object({
    name: text("The name, or *. and a name for all below it."),
    records: list(
      object({
        type: text("Such as A."),
        data: text("As a zone file has it."),
        ttlSeconds: count("How long an asker may keep it."),
      }),
    ),
  }),
  Records: object({
    name: text("A host name, or *. and one for all below it that do not exist."),
    records: {
      oneOf: [list({ type: "string" }), { type: "object" }],
      description: "Addresses, or records by type: a, aaaa, cname, txt, srv, ptr; ttl in seconds.",
    },
  }),
  DnsCounts: object(integers(DNS_COUNT_HELP)),
  Flush: object({ hasGuest: flag("Whether a guest is attached: answers are kept for it alone.") }),
  Reload: object({
    file: text("The file."),
    rules: count("How many rules its policy has."),
    needRestart: list({ type: "string" }, "What else has changed, and needs a restart."),
    notice: { type: ["string", "null"], description: "What reads like something else." },
  }),
  Fleet: object({
    fleet: text("The fleet's name."),
    gateway: text("This gateway's name in it."),
    engine: object({
      state: { enum: ["connecting", "connected", "refused", "closed"] },
      server: { type: ["string", "null"], description: "HOST:PORT, while it is connected." },
      error: { type: ["string", "null"], description: "Why it is not, or was not the last time." },
    }),
    policy: object({
      source: {
        enum: ["engine", "copy", "closed"],
        description: "Where what is in force comes from; closed: from nowhere, nothing is reached.",
      },
      revision: {
        type: ["integer", "null"],
        minimum: 0,
        description: "The bucket's change up to which all is in force.",
      },
      documents: list(
        object({
          key: text("fleet, group.NAME or guest.NAME."),
          revision: count("The number of its change."),
        }),
        "Of which the policy is made, the widest first.",
      ),
      rejected: nullable(object({
        revision: { type: ["integer", "null"], minimum: 0, description: "The bucket's change." },
        why: text("Why it is not in force."),
      })),
      atMs: count(`When it was put into force. ${TIME}`),
    }),
    registry: object({
      gateways: count("Gateways that are there."),
      services: count("Services that have a name."),
      conflicts: count("Names of guests or gateways that two gateways announce."),
      refused: count("Messages that were wrong or too many, and what had no place."),
    }),
    audit: object({
      waiting: count("Records that the engine has not acknowledged."),
      waitingBytes: count("What they take on disk."),
      oldestMs: {
        type: ["integer", "null"],
        description: `When the oldest of them was. ${TIME}`,
      },
      sent: count("Records that it has acknowledged since the start."),
      shed: count("Records that had to be dropped since the start."),
      lost: count("Events that came faster than they were noted."),
      problem: {
        type: ["string", "null"],
        description: "Why it is not delivered, or not kept on disk.",
      },
    }),
  }),
  Stop: object({ status: { const: "stopping" } }),
  GvproxyForwards: list(
    object({
      local: text("The host's address and port, the port alone for all addresses, or a path."),
      remote: text("The guest's address and port."),
      protocol: { enum: ["tcp", "udp", "unix"] },
    }),
  ),
  GvproxyExpose: object({
    local: text("The host's address and port, or the port alone: :6443; a path for unix."),
    remote: text("The guest's address and port, or the port alone: :6443."),
    protocol: { enum: ["tcp", "udp", "unix"], default: "tcp" },
  }, ["protocol"]),
  GvproxyUnexpose: object({
    local: text("As it was exposed."),
    protocol: { enum: ["tcp", "udp", "unix"], default: "tcp" },
  }, ["protocol"]),
  GvproxyZones: list(reference("GvproxyZone")),
  GvproxyZone: object({
    Name: text("The zone, and a dot: a local one, or what stands behind a name's first dot."),
    Records: list(object({
      Name: text("The name without the zone's."),
      IP: text("An address."),
      Regexp: { type: "null", description: "Names are written out." },
    }, ["Regexp"])),
    DefaultIP: text("What all other names of it lead to; empty for nothing."),
  }, ["Records", "DefaultIP"]),
  GvproxyStats: {
    type: "object",
    properties: {
      BytesSent: count("Octets of frames to the guest."),
      BytesReceived: count("Octets of frames of the guest."),
    },
    required: ["BytesSent", "BytesReceived"],
    additionalProperties: true,
  },
  Explanation: object({
    allowed: flag("Whether all of it would pass; without a port, whether some of it would."),
    findings: list(finding, "The lookup first, then each flow."),
    hasGuest: flag("Whether a guest is attached, and what it has looked up is known."),
  }),
  Event: {
    oneOf: [
      event("denial", "The policy has refused something.", denial),
      event("guest-attached", "A VMM has connected.", {}),
      event("guest-detached", "A VMM has left; all that is held for its guest stays for a while.", {
        reason: text("Why."),
      }),
      event("guest-returned", "A VMM has connected in the place of one that had left.", {
        awayMs: count("How long there was no link, in milliseconds."),
      }),
      event("guest-left", "A guest's link has ended; all that was held for it is freed.", {
        reason: text("Why."),
      }),
      event("policy-changed", "Another policy is in force.", {
        rules: count("How many rules it has."),
      }),
      {
        ...object({
          type: { const: "events-lost" },
          count: count("How many were missed."),
          ...PLACE,
        }, ["guest"]),
        description: "The reader was too slow, or came back too late.",
      },
    ],
  },
  Health: object({ status: { const: "ok" } }),
  Error: object({
    error: object({
      code: text("A word for programs."),
      message: text("What is wrong."),
      hint: text("The way out; empty where there is none to offer."),
    }),
  }),
} satisfies Record<string, Schema>;

/** Name of a schema. */
export type SchemaName = keyof typeof SCHEMAS;
