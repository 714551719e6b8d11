/**
 * The table of all settings: for each its key in the YAML file, its flag, how its text is read, its
 * default and one line of help. The file's strict keys, the flags, the environment's names, the
 * help texts and the order of `check` all come from here.
 *
 * @module
 */
import type { RecordSpec } from "../dns/record_spec.ts";
import { readCaptureLimit, readSnapLength } from "./capture_config.ts";
import { readControl } from "./control_endpoint.ts";
import { readDomain, readUpstreams, readZones } from "./dns_readers.ts";
import {
  type Endpoint,
  type Framing,
  FRAMINGS,
  LINGER_MAX_MS,
  type StreamEndpoint,
  type VmmEndpoint,
} from "./endpoint.ts";
import type { FleetService } from "./fleet.ts";
import {
  readAdvertise,
  readAuditBytes,
  readFleetServers,
  readLabel,
  readServices,
} from "./fleet_readers.ts";
import { LIMIT_HELP } from "./limit_help.ts";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { MTU_MAX, MTU_MIN } from "./network.ts";
import {
  type ChecksumMode,
  DEFAULT_DNS_ADDR,
  DEFAULT_GUEST_NETWORK,
  type EchMode,
  type HostService,
  type PortMapping,
  type ProtectLevel,
} from "./options.ts";
import { cidrFault, hostFault, readRules, RULE_SEPARATOR } from "./policy_rules.ts";
import {
  oneOf,
  readBoolean,
  readByteSize,
  readCount,
  type Reader,
  readHostServices,
  readInteger,
  readProxy,
  readPublish,
  readRemoteEndpoint,
  readText,
  readVmmEndpoint,
  secondsUpTo,
} from "./readers.ts";
import { readRecords } from "./record_reader.ts";

/** How much is logged. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** How a log line is written. */
export type LogFormat = "text" | "json";

/** A flag that adds to the list of a setting and takes less than the setting's own flag. */
export interface NarrowFlag {
  /** Name without its dashes. */
  readonly flag: string;
  /** What its value is called in the help. */
  readonly argument: string;
  /** Always: what it takes is added to a list. */
  readonly repeats: true;
  /** One line for the help. */
  readonly help: string;
  /** What is wrong with a text that the setting's own flag would take, or `null`. */
  readonly fault: (text: string) => string | null;
}

/**
 * Whose a setting is where there are several guests: `process` for what is one for all of them,
 * `own` for what no two of them can have. All others may be said once as the default of all.
 */
export type SettingScope = "process" | "own";

/** One setting. */
export interface Setting<T> {
  /** Path in the YAML file. */
  readonly key: string;
  /** Name of the flag without its dashes; absent where there is none. */
  readonly flag?: string;
  /** One letter that stands for the flag too. */
  readonly short?: string;
  /** What the flag's value is called in the help; absent for a switch. */
  readonly argument?: string;
  /** Whether the flag may be repeated; its environment variable then takes a list. */
  readonly repeats?: boolean;
  /** What parts the items of that list; a comma when absent. */
  readonly separator?: RegExp;
  /** Other flags whose values join those of `flag`; only where that repeats. */
  readonly narrow?: readonly NarrowFlag[];
  /** Whether the switch is on by default and `--no-…` is its use. */
  readonly negated?: boolean;
  /** One line for the help. */
  readonly help: string;
  /** The value where nothing is set. */
  readonly defaultValue: T;
  /** Reads the text of a source. */
  readonly read: Reader<T>;
  /** Whose it is among several guests; absent where it may be a default of all. */
  readonly scope?: SettingScope;
}

const network = DEFAULT_GUEST_NETWORK;

/** Longest time that a shutdown may take, in seconds. */
const GRACE_MAX_SECONDS = 3_600;

function setting<T>(spec: Setting<T>): Setting<T> {
  return spec;
}

/** The settings that have names of their own; {@linkcode LIMIT_SETTINGS} are the others. */
export const SETTINGS = {
  listen: setting<VmmEndpoint | null>({
    key: "listen",
    flag: "listen",
    argument: "ENDPOINT",
    help: "wait for the VMM: unix:/path, tcp:ADDR:PORT, vsock:, unixgram:, stdio:",
    defaultValue: null,
    read: readVmmEndpoint,
    scope: "own",
  }),
  connect: setting<StreamEndpoint | null>({
    key: "connect",
    flag: "connect",
    argument: "ENDPOINT",
    help: "or go to the VMM's listening socket",
    defaultValue: null,
    read: readRemoteEndpoint,
    scope: "own",
  }),
  framing: setting<Framing>({
    key: "framing",
    flag: "framing",
    argument: FRAMINGS.join("|"),
    help: "how a stream's frames are told apart (default stream)",
    defaultValue: "stream",
    read: oneOf(...FRAMINGS),
  }),
  once: setting<boolean>({
    key: "once",
    flag: "once",
    help: "stop when the guest disconnects, instead of waiting for the next",
    defaultValue: false,
    read: readBoolean,
  }),
  lingerMs: setting<number>({
    key: "linger",
    flag: "linger",
    argument: "SECONDS",
    help: "keep a guest's flows for a VMM that leaves and comes again (default 0)",
    defaultValue: 0,
    read: secondsUpTo(LINGER_MAX_MS / 1_000),
  }),
  graceMs: setting<number>({
    key: "grace",
    flag: "grace",
    argument: "SECONDS",
    help: "how long queued bytes may drain after SIGINT or SIGTERM (default 5)",
    defaultValue: 5_000,
    read: secondsUpTo(GRACE_MAX_SECONDS),
    scope: "process",
  }),
  publish: setting<PortMapping[]>({
    key: "publish",
    flag: "publish",
    short: "p",
    argument: "SPEC",
    repeats: true,
    help: "[BIND:]HOSTPORT[:GUESTPORT][/udp] or unix:/path:GUESTPORT",
    defaultValue: [],
    read: readPublish,
    scope: "own",
  }),
  upstreams: setting<string[]>({
    key: "dns.upstreams",
    flag: "dns",
    argument: "ADDR[:PORT]|tls://…|https://…|system",
    repeats: true,
    help: `resolvers in order (default system, else ${DEFAULT_DNS_ADDR})`,
    defaultValue: ["system"],
    read: readUpstreams,
  }),
  intercept: setting<boolean>({
    key: "dns.intercept",
    flag: "dns-intercept",
    negated: true,
    help: "let port 53 to other resolvers pass instead of answering it here",
    defaultValue: true,
    read: readBoolean,
  }),
  search: setting<string>({
    key: "dns.search",
    flag: "dns-search",
    argument: "DOMAIN",
    help: "search domain handed to the guest",
    defaultValue: "",
    read: readDomain,
  }),
  records: setting<Record<string, RecordSpec>>({
    key: "dns.records",
    flag: "dns-record",
    argument: "NAME=ADDR",
    repeats: true,
    help: "a name of the guest's own",
    defaultValue: {},
    read: readRecords,
  }),
  zones: setting<Record<string, string[] | "local">>({
    key: "dns.zones",
    flag: "dns-zone",
    argument: "ZONE=ADDR|…|local",
    repeats: true,
    help: "a zone's own resolvers; local: only --dns-record",
    defaultValue: {},
    read: readZones,
  }),
  cache: setting<boolean>({
    key: "dns.cache",
    flag: "dns-cache",
    negated: true,
    help: "ask again each time instead of keeping answers for their time to live",
    defaultValue: true,
    read: readBoolean,
  }),
  guestIp: setting<string>({
    key: "guestNetwork.guestIp",
    flag: "guest-ip",
    argument: "CIDR",
    help: `the guest's IPv4 address (default ${network.guestIp})`,
    defaultValue: network.guestIp,
    read: readText,
  }),
  gatewayIp: setting<string>({
    key: "guestNetwork.gatewayIp",
    flag: "gateway-ip",
    argument: "ADDR",
    help: `the gateway's IPv4 address (default ${network.gatewayIp})`,
    defaultValue: network.gatewayIp,
    read: readText,
  }),
  guestIp6: setting<string>({
    key: "guestNetwork.guestIp6",
    flag: "guest-ip6",
    argument: "CIDR",
    help: `the guest's IPv6 address (default ${network.guestIp6})`,
    defaultValue: network.guestIp6,
    read: readText,
  }),
  gatewayIp6: setting<string>({
    key: "guestNetwork.gatewayIp6",
    flag: "gateway-ip6",
    argument: "ADDR",
    help: `the gateway's IPv6 address (default ${network.gatewayIp6})`,
    defaultValue: network.gatewayIp6,
    read: readText,
  }),
  guestMac: setting<string>({
    key: "guestNetwork.guestMac",
    flag: "guest-mac",
    argument: "MAC",
    help: `the guest's MAC address (default ${network.guestMac})`,
    defaultValue: network.guestMac,
    read: readText,
  }),
  gatewayMac: setting<string>({
    key: "guestNetwork.gatewayMac",
    flag: "gateway-mac",
    argument: "MAC",
    help: `the gateway's MAC address (default ${network.gatewayMac})`,
    defaultValue: network.gatewayMac,
    read: readText,
  }),
  mtu: setting<number>({
    key: "guestNetwork.mtu",
    flag: "mtu",
    argument: "N",
    help: `largest IP packet, ${MTU_MIN} to ${MTU_MAX} (default ${network.mtu})`,
    defaultValue: network.mtu,
    read: readInteger,
  }),
  ipv6: setting<boolean>({
    key: "guestNetwork.ipv6",
    flag: "ipv6",
    negated: true,
    help: "give the guest no IPv6",
    defaultValue: network.ipv6,
    read: readBoolean,
  }),
  checksums: setting<ChecksumMode>({
    key: "guestNetwork.checksums",
    flag: "checksums",
    argument: "auto|verify",
    help: "auto takes the partial sums of an offloading guest too (default auto)",
    defaultValue: network.checksums,
    read: oneOf("auto", "verify"),
  }),
  offload: setting<boolean>({
    key: "guestNetwork.offload",
    flag: "offload",
    help: "TCP segments of up to 64 KiB, for a VMM that is told so too",
    defaultValue: network.offload,
    read: readBoolean,
  }),
  hostLoopback: setting<boolean>({
    key: "hostLoopback",
    flag: "host-loopback",
    help: "the gateway's own address leads to the host's 127.0.0.1 and ::1",
    defaultValue: false,
    read: readBoolean,
  }),
  hostServices: setting<HostService[]>({
    key: "hostServices",
    flag: "host-service",
    argument: "G:H",
    repeats: true,
    help: "the gateway's port G leads to the host loopback's port H",
    defaultValue: [],
    read: readHostServices,
  }),
  protect: setting<ProtectLevel>({
    key: "policy.protect",
    flag: "protect",
    argument: "off|metadata|strict",
    help: "what no guest reaches whatever the rules say (default metadata)",
    defaultValue: "metadata",
    read: oneOf("off", "metadata", "strict"),
  }),
  allow: setting<string[]>({
    key: "policy.allow",
    flag: "allow",
    argument: "RULE",
    repeats: true,
    separator: RULE_SEPARATOR,
    narrow: [{
      flag: "allow-cidr",
      argument: "CIDR",
      repeats: true,
      help: "the same as --allow with a network or an address",
      fault: cidrFault,
    }, {
      flag: "allow-host",
      argument: "NAME",
      repeats: true,
      help: "the same as --allow with a name",
      fault: hostFault,
    }],
    help: "what is allowed; all else is denied then",
    defaultValue: [],
    read: readRules("allow"),
  }),
  deny: setting<string[]>({
    key: "policy.deny",
    flag: "deny",
    argument: "RULE",
    repeats: true,
    separator: RULE_SEPARATOR,
    help: "what is denied, also where it is allowed",
    defaultValue: [],
    read: readRules("deny"),
  }),
  denyPage: setting<boolean>({
    key: "policy.denyPage",
    flag: "deny-page",
    negated: true,
    help: "reset a denied HTTP request instead of answering it with a page",
    defaultValue: true,
    read: readBoolean,
  }),
  ech: setting<EchMode>({
    key: "policy.ech",
    flag: "ech",
    argument: "refuse|outer",
    help: "TLS that may hide its name: refused, or judged by the name it shows",
    defaultValue: "refuse",
    read: oneOf("refuse", "outer"),
  }),
  rateUp: setting<number | null>({
    key: "rate.up",
    flag: "rate-up",
    argument: "BYTES/s",
    help: "bytes a second from the guest, such as 10MB or 512KiB",
    defaultValue: null,
    read: readByteSize,
  }),
  rateDown: setting<number | null>({
    key: "rate.down",
    flag: "rate-down",
    argument: "BYTES/s",
    help: "bytes a second to the guest",
    defaultValue: null,
    read: readByteSize,
  }),
  rateFlows: setting<number | null>({
    key: "rate.flowsPerSecond",
    flag: "rate-flows",
    argument: "N",
    help: "flows that begin in a second",
    defaultValue: null,
    read: readCount,
  }),
  upBurst: setting<number | null>({
    key: "rate.upBurst",
    help: "bytes from the guest that may come at once (default a tenth of rate.up)",
    defaultValue: null,
    read: readByteSize,
  }),
  downBurst: setting<number | null>({
    key: "rate.downBurst",
    help: "bytes to the guest that may come at once (default a tenth of rate.down)",
    defaultValue: null,
    read: readByteSize,
  }),
  flowsBurst: setting<number | null>({
    key: "rate.flowsBurst",
    help: "flows that may begin at once (default a tenth of rate.flowsPerSecond)",
    defaultValue: null,
    read: readCount,
  }),
  upstreamProxy: setting<string | null>({
    key: "upstreamProxy",
    flag: "upstream-proxy",
    argument: "URL",
    help: "TCP to other hosts goes through it: http://… or socks5://…",
    defaultValue: null,
    read: readProxy,
  }),
  captureFile: setting<string>({
    key: "capture.file",
    flag: "capture",
    argument: "FILE.pcapng",
    help: "the guest's frames, for Wireshark; the file before it becomes FILE.1",
    defaultValue: "",
    read: readText,
    scope: "own",
  }),
  captureLimit: setting<number | null>({
    key: "capture.limit",
    flag: "capture-limit",
    argument: "BYTES",
    help: "how much both of them take together (default 100MB)",
    defaultValue: null,
    read: readCaptureLimit,
  }),
  captureSnapLength: setting<number | null>({
    key: "capture.snapLength",
    help: "octets that are kept of each frame (default all)",
    defaultValue: null,
    read: readSnapLength,
  }),
  captureFilter: setting<string>({
    key: "capture.filter",
    help: "which frames, in the words of tcpdump: tcp port 443 (default all)",
    defaultValue: "",
    read: readText,
  }),
  control: setting<Endpoint | null>({
    key: "control",
    flag: "control",
    argument: "ENDPOINT",
    help: "the control interface: unix:/path, or tcp:127.0.0.1:PORT and a token",
    defaultValue: null,
    read: readControl,
    scope: "process",
  }),
  controlToken: setting<string>({
    key: "controlToken",
    flag: "control-token",
    argument: "FILE",
    help: "its token: 64 hexadecimal digits in a private file",
    defaultValue: "",
    read: readText,
    scope: "process",
  }),
  workers: setting<number | null>({
    key: "workers",
    flag: "workers",
    argument: "N",
    help: "threads that serve several guests; 0: none beside the program's own",
    defaultValue: null,
    read: readInteger,
    scope: "process",
  }),
  fleetServers: setting<string[]>({
    key: "fleet.servers",
    flag: "fleet",
    argument: "nats://HOST:PORT",
    repeats: true,
    help: "be one of a fleet: servers of its engine, NATS; tls:// too",
    defaultValue: [],
    read: readFleetServers,
    scope: "process",
  }),
  fleetName: setting<string>({
    key: "fleet.name",
    flag: "fleet-name",
    argument: "NAME",
    help: "the fleet, where an engine has several (default default)",
    defaultValue: "default",
    read: readLabel,
    scope: "process",
  }),
  fleetGateway: setting<string>({
    key: "fleet.gateway",
    flag: "fleet-gateway",
    argument: "NAME",
    help: "this gateway's name in the fleet, and its one guest's",
    defaultValue: "",
    read: readLabel,
    scope: "process",
  }),
  fleetGroup: setting<string>({
    key: "fleet.group",
    flag: "fleet-group",
    argument: "NAME",
    help: "the group whose policy its guests have too (default none)",
    defaultValue: "",
    read: readLabel,
    scope: "process",
  }),
  fleetCredentials: setting<string>({
    key: "fleet.credentials",
    flag: "fleet-credentials",
    argument: "FILE",
    help: "who it is to the engine: a private file with token, user or key",
    defaultValue: "",
    read: readText,
    scope: "process",
  }),
  fleetDir: setting<string>({
    key: "fleet.dir",
    flag: "fleet-dir",
    argument: "DIR",
    help: "where the last good policy is kept, and what of the audit waits",
    defaultValue: "",
    read: readText,
    scope: "process",
  }),
  fleetAdvertise: setting<string[]>({
    key: "fleet.advertise",
    flag: "fleet-advertise",
    argument: "ADDR",
    repeats: true,
    help: "where other hosts reach this host, one of each family",
    defaultValue: [],
    read: readAdvertise,
    scope: "process",
  }),
  fleetServices: setting<FleetService[]>({
    key: "fleet.services",
    flag: "fleet-service",
    argument: "NAME=GUESTPORT[/udp]",
    repeats: true,
    help: "a published port's name there: NAME.GUEST.fleet.internal",
    defaultValue: [],
    read: readServices,
    scope: "process",
  }),
  fleetAuditBytes: setting<number>({
    key: "fleet.auditBytes",
    help: "how much of the audit may wait on disk for the engine (default 16MiB)",
    defaultValue: 16 * 1024 * 1024,
    read: readAuditBytes,
    scope: "process",
  }),
  logLevel: setting<LogLevel>({
    key: "log.level",
    flag: "log-level",
    argument: "debug|info|warn|error",
    help: "how much is logged (default info)",
    defaultValue: "info",
    read: oneOf("debug", "info", "warn", "error"),
    scope: "process",
  }),
  logFormat: setting<LogFormat>({
    key: "log.format",
    flag: "log-format",
    argument: "text|json",
    help: "how a log line is written (default text)",
    defaultValue: "text",
    read: oneOf("text", "json"),
    scope: "process",
  }),
};

/** A setting for each limit; they have no flags. */
export const LIMIT_SETTINGS: readonly Setting<number>[] = Object.entries(DEFAULT_LIMITS).map(
  ([name, defaultValue]) =>
    setting<number>({
      key: `limits.${name}`,
      help: LIMIT_HELP[name as keyof Limits],
      defaultValue,
      read: readInteger,
    }),
);

/** All settings, in the order in which they are shown. */
export const ALL_SETTINGS: readonly Setting<unknown>[] = [
  ...Object.values(SETTINGS) as readonly Setting<unknown>[],
  ...LIMIT_SETTINGS,
];

/** Those of a whole process. */
export const PROCESS_SETTINGS: readonly Setting<unknown>[] = ALL_SETTINGS
  .filter(({ scope }) => scope === "process");

/** Those of each guest. */
export const GUEST_SETTINGS: readonly Setting<unknown>[] = ALL_SETTINGS
  .filter(({ scope }) => scope !== "process");

/** The environment variable of a setting that has a flag. */
export function environmentName(flag: string): string {
  return `VIRTIO_GATEWAY_${flag.toUpperCase().replaceAll("-", "_")}`;
}
