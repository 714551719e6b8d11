/**
 * What a gateway says of itself to its fleet: its guests, their services, and which policy is in
 * force. JSON, at most 64 KiB.
 *
 *     { "v": 1, "gateway": "host-1", "instance": "5f1c…", "startedMs": 1790000000000, "revision": 17,
 *       "policy": "in force", "rejected": null,
 *       "guests": [{ "name": "db", "group": null, "attached": true, "flows": 3, "denials": 0,
 *         "upBytes": 512, "downBytes": 9000, "services":
 *           [{ "name": "web", "protocol": "tcp", "port": 8080, "addresses": ["10.0.0.5"] }] }] }
 *
 * Whoever may publish in the engine may say anything, so it is read strictly: everything has a bound,
 * every value its type, addresses are canonical literals of hosts that others can reach, and one
 * wrong value costs the whole announcement. Keys that are not known are passed over, so that a later
 * version may say more.
 *
 * @module
 */
import { advertiseFault } from "../config/fleet_readers.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import { isLabel } from "./names.ts";

/** Longest announcement. */
export const ANNOUNCEMENT_MAX_BYTES = 64 * 1024;
/** Most guests of a gateway. */
export const GUESTS_MAX = 256;
/** Most services of a guest. */
export const GUEST_SERVICES_MAX = 64;
/** Most addresses of a service. */
export const ADDRESSES_MAX = 4;
/** Longest reason why a policy was refused; the rest is cut. */
export const WHY_MAX_CHARS = 512;

const VERSION = 1;
const POLICY_STATES: readonly PolicyState[] = ["in force", "closed", "stale", "rejected"];
const PROTOCOLS = ["tcp", "udp"] as const;
const INSTANCE = /^[0-9a-z]{8,32}$/;
/** What a terminal or a log would take for more than text. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

/** How a gateway stands to the fleet's policy. As {@linkcode callRoll} yields it. */
export type PolicyState = "in force" | "closed" | "stale" | "rejected";

/** A service of a guest. As {@linkcode callRoll} yields it. */
export interface AnnouncedService {
  /** Its name. */
  readonly name: string;
  /** Which protocol's port it has. */
  readonly protocol: "tcp" | "udp";
  /** The port at its addresses. */
  readonly port: number;
  /** Where other hosts reach it: canonical literals. */
  readonly addresses: readonly string[];
}

/** A guest of a gateway. As {@linkcode callRoll} yields it. */
export interface AnnouncedGuest {
  /** Its name. */
  readonly name: string;
  /** Its group; `null` for none. */
  readonly group: string | null;
  /** Whether its VMM is there, or away while everything is kept for it. */
  readonly attached: boolean;
  /** How many TCP and UDP flows it has. */
  readonly flows: number;
  /** How often all guests in its place were refused something. */
  readonly denials: number;
  /** What they have sent, in bytes of frames. */
  readonly upBytes: number;
  /** What they were sent. */
  readonly downBytes: number;
  /** Its services. */
  readonly services: readonly AnnouncedService[];
}

/** A policy that a gateway does not take. As {@linkcode callRoll} yields it. */
export interface RejectedPolicy {
  /** Its revision. */
  readonly revision: number;
  /** Why, in one line. */
  readonly why: string;
}

/** How a gateway's audit stands. As {@linkcode callRoll} yields it. */
export interface AnnouncedAudit {
  /** Records that wait for the engine. */
  readonly waiting: number;
  /** Records that were lost for want of room. */
  readonly shed: number;
}

/** What a gateway says of itself. As {@linkcode callRoll} yields it. */
export interface Announcement {
  /** Its name. */
  readonly gateway: string;
  /** What tells it from one that has had its name before. */
  readonly instance: string;
  /** When it was started, in milliseconds since 1970. */
  readonly startedMs: number;
  /** The revision of the policy in force; `null` where none ever came. */
  readonly revision: number | null;
  /** How it stands to the policy. */
  readonly policy: PolicyState;
  /** The revision that it refuses, and why; `null` where there is none. */
  readonly rejected: RejectedPolicy | null;
  /** Records of its audit that wait for the engine, and those that were lost; absent where not said. */
  readonly audit?: AnnouncedAudit;
  /** Its guests. */
  readonly guests: readonly AnnouncedGuest[];
}

/** That a gateway ends. */
export interface Departure {
  readonly gateway: string;
  readonly instance: string;
}

/** An announcement in octets, and how many services had no room in it. */
export interface EncodedAnnouncement {
  readonly data: Uint8Array;
  readonly left: number;
}

/** What was wrong, as text; caught where reading began. */
class Fault extends Error {}

/**
 * Reads an announcement.
 *
 * @param data Whatever came.
 * @param gateway Whose subject it came on: nobody speaks for another one.
 * @returns The announcement, or what is wrong with it.
 */
export function readAnnouncement(data: Uint8Array, gateway: string): Announcement | string {
  return reading(() => {
    const fields = objectOf(data, gateway);
    const guests = listOf(fields, "guests", GUESTS_MAX).map(readGuest);
    requireUnique(guests, ({ name }) => name, "a guest");
    return {
      gateway,
      instance: instanceOf(fields),
      startedMs: countOf(fields, "startedMs"),
      revision: fields["revision"] === null ? null : countOf(fields, "revision"),
      policy: choiceOf(fields, "policy", POLICY_STATES),
      rejected: readRejected(fields["rejected"] ?? null),
      ...readAudit(fields["audit"]),
      guests,
    };
  });
}

/** The same where nobody asks why; `null` for what is no announcement. */
export function parseAnnouncement(data: Uint8Array, gateway: string): Announcement | null {
  const read = readAnnouncement(data, gateway);
  return typeof read === "string" ? null : read;
}

/** Reads that a gateway ends, as {@linkcode readAnnouncement} does. */
export function readDeparture(data: Uint8Array, gateway: string): Departure | string {
  return reading(() => ({ gateway, instance: instanceOf(objectOf(data, gateway)) }));
}

/**
 * An announcement as octets. Where it would be too long, the last services are left out, or else the
 * last guests.
 */
export function encodeAnnouncement(announcement: Announcement): EncodedAnnouncement {
  const rejected = announcement.rejected === null ? null : {
    revision: announcement.rejected.revision,
    why: printable(announcement.rejected.why),
  };
  const head = { v: VERSION, ...announcement, rejected, guests: [] };
  let roomBytes = ANNOUNCEMENT_MAX_BYTES - encode(head).length;
  /** Whether there is room for one more of a list; all but `rejected.why` is ASCII. */
  const takes = (item: unknown): boolean => {
    const bytes = JSON.stringify(item).length + 1;
    if (bytes > roomBytes) return false;
    roomBytes -= bytes;
    return true;
  };
  const bare = announcement.guests.slice(0, GUESTS_MAX)
    .filter((guest) => takes({ ...guest, services: [] }));
  const guests = bare.map((guest) => ({
    ...guest,
    services: guest.services.slice(0, GUEST_SERVICES_MAX).filter(takes),
  }));
  return {
    data: encode({ ...head, guests }),
    left: servicesOf(announcement.guests) - servicesOf(guests),
  };
}

/** That a gateway ends, as octets. */
export function encodeDeparture({ gateway, instance }: Departure): Uint8Array {
  return encode({ v: VERSION, gateway, instance });
}

/** Whether an address may be announced: of the classes that other hosts can reach. */
export function isReachable(address: Uint8Array): boolean {
  return advertiseFault(address) === null;
}

function servicesOf(guests: readonly AnnouncedGuest[]): number {
  return guests.reduce((sum, { services }) => sum + services.length, 0);
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

function printable(text: string): string {
  return Array.from(text, (char) => UNPRINTABLE.test(char) ? " " : char).slice(0, WHY_MAX_CHARS)
    .join("");
}

type Fields = Readonly<Record<string, unknown>>;

function reading<T>(read: () => T): T | string {
  try {
    return read();
  } catch (error) {
    if (error instanceof Fault) return error.message;
    throw error;
  }
}

/** The top of a message, which names its version and its gateway. */
function objectOf(data: Uint8Array, gateway: string): Fields {
  if (data.length > ANNOUNCEMENT_MAX_BYTES) {
    throw new Fault(`${data.length} octets, at most ${ANNOUNCEMENT_MAX_BYTES} are read`);
  }
  if (!isLabel(gateway)) throw new Fault("its subject names no gateway");
  const fields = asFields(parseJson(data), "the message");
  if (fields["v"] !== VERSION) throw new Fault(`v is not ${VERSION}`);
  if (fields["gateway"] !== gateway) throw new Fault("gateway is not the one of its subject");
  return fields;
}

function parseJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data));
  } catch {
    throw new Fault("it is no JSON");
  }
}

function readGuest(value: unknown): AnnouncedGuest {
  const fields = asFields(value, "a guest");
  const services = listOf(fields, "services", GUEST_SERVICES_MAX).map(readService);
  requireUnique(services, ({ name, protocol }) => `${name}/${protocol}`, "a service");
  return {
    name: labelOf(fields, "name"),
    group: fields["group"] === null ? null : labelOf(fields, "group"),
    attached: flagOf(fields, "attached"),
    flows: countOf(fields, "flows"),
    denials: countOf(fields, "denials"),
    upBytes: countOf(fields, "upBytes"),
    downBytes: countOf(fields, "downBytes"),
    services,
  };
}

function readService(value: unknown): AnnouncedService {
  const fields = asFields(value, "a service");
  const port = countOf(fields, "port");
  if (port < 1 || port > 65_535) throw new Fault("port is none");
  const addresses = listOf(fields, "addresses", ADDRESSES_MAX).map(readAddress);
  if (addresses.length === 0) throw new Fault("addresses is empty");
  requireUnique(addresses, (address) => address, "an address");
  return {
    name: labelOf(fields, "name"),
    protocol: choiceOf(fields, "protocol", PROTOCOLS),
    port,
    addresses,
  };
}

function readAddress(value: unknown): string {
  const octets = typeof value === "string" && value.length <= 64 ? parseIp(value) : null;
  if (octets === null || formatIp(octets) !== value) {
    throw new Fault("an address is no canonical literal");
  }
  if (!isReachable(octets)) throw new Fault(`no service has the address ${value}`);
  return value;
}

function readRejected(value: unknown): Announcement["rejected"] {
  if (value === null) return null;
  const fields = asFields(value, "rejected");
  const why = fields["why"];
  if (typeof why !== "string" || why.length > 2 * WHY_MAX_CHARS || UNPRINTABLE.test(why)) {
    throw new Fault("rejected.why is no short text");
  }
  return { revision: countOf(fields, "revision"), why };
}

function readAudit(value: unknown): Pick<Announcement, "audit"> {
  if (value === undefined) return {};
  const fields = asFields(value, "audit");
  return { audit: { waiting: countOf(fields, "waiting"), shed: countOf(fields, "shed") } };
}

function asFields(value: unknown, what: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw new Fault(`${what} is no object`);
}

function listOf(fields: Fields, key: string, max: number): readonly unknown[] {
  const value = fields[key];
  if (!Array.isArray(value)) throw new Fault(`${key} is no list`);
  if (value.length > max) throw new Fault(`${key} has ${value.length} items, at most ${max}`);
  return value;
}

function labelOf(fields: Fields, key: string): string {
  const value = fields[key];
  if (typeof value === "string" && isLabel(value)) return value;
  throw new Fault(`${key} is no name`);
}

function instanceOf(fields: Fields): string {
  const value = fields["instance"];
  if (typeof value === "string" && INSTANCE.test(value)) return value;
  throw new Fault("instance is none");
}

function countOf(fields: Fields, key: string): number {
  const value = fields[key];
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw new Fault(`${key} is no count`);
}

function flagOf(fields: Fields, key: string): boolean {
  const value = fields[key];
  if (typeof value === "boolean") return value;
  throw new Fault(`${key} is no flag`);
}

function choiceOf<T extends string>(fields: Fields, key: string, choices: readonly T[]): T {
  const value = choices.find((choice) => choice === fields[key]);
  if (value !== undefined) return value;
  throw new Fault(`${key} is none of ${choices.join(", ")}`);
}

function requireUnique<T>(items: readonly T[], keyOf: (item: T) => string, what: string): void {
  if (new Set(items.map(keyOf)).size < items.length) throw new Fault(`${what} is there twice`);
}
