/**
 * The names that a gateway answers itself, for each of its guests: its own, those that lead to the
 * host where that is opened, those of the guests of a shared network, the operator's records, local
 * zones, and the services of a fleet.
 *
 * Records and local zones change while the gateway runs, each change in whole or, where something of
 * it is wrong, not at all. `current` is what is answered from; it is made anew with each change, so
 * whoever answers asks for it with each question. 4,096 names have records, 1,024 zones are local.
 * Services change often, and have a bound of their own (dns/service_zone.ts).
 *
 * @module
 */
import { ConfigError } from "../config/errors.ts";
import type { LanMember } from "../config/lan_member.ts";
import type { ParsedNetwork } from "../config/network.ts";
import type { DnsConfig, HostService } from "../config/options.ts";
import { recordFault, RECORDS_MAX } from "../config/record_reader.ts";
import { RecordType } from "../dns/message.ts";
import { normalizeName, normalizeOwner } from "../dns/name.ts";
import { OwnNames } from "../dns/own_names.ts";
import {
  addressRecords,
  OWN_RECORDS_MAX_BYTES,
  type OwnRecord,
  type OwnRecords,
  recordsBytes,
} from "../dns/own_record.ts";
import { parseRecordSpec, type RecordSpec } from "../dns/record_spec.ts";
import { ServiceZone } from "../dns/service_zone.ts";
import { type RecordText, recordText } from "../dns/record_text.ts";
import type { NamedPlaces } from "../policy/named_places.ts";
import { parseIp } from "../wire/address.ts";
import { neighborName } from "./lan_judge.ts";

/** What the names are made from; everything is checked already. */
export interface GuestNamesOptions {
  readonly network: ParsedNetwork;
  readonly dns: DnsConfig;
  readonly hostLoopback: boolean;
  readonly hostServices: readonly HostService[];
  /** The guests of the network that they share; none when absent. */
  readonly members?: readonly LanMember[];
}

/**
 * A name that the gateway answers itself, as people see it. As
 * {@linkcode VirtioNetworkServer.ownNames} yields it.
 */
export interface OwnName {
  /** The name, or `*.` and a name for all below it that do not exist. */
  readonly name: string;
  /** Its records. */
  readonly records: readonly RecordText[];
}

/** Most local zones. */
export const LOCAL_ZONES_MAX = 1_024;

/** One gateway's own names. */
export class GuestNames {
  /** What services stand for, at whatever moment it is asked. */
  readonly places: NamedPlaces = {
    names: (address, port, protocol) => this.#services?.names(address, port, protocol) ?? [],
    isHere: (address, port, protocol) => this.#services?.isHere(address, port, protocol) ?? false,
  };
  /** Those that nobody has to name. */
  readonly #builtIn: ReadonlyMap<string, OwnRecords>;
  /** The operator's; what they say of a built-in name counts. */
  #records: ReadonlyMap<string, OwnRecords>;
  #localZones: ReadonlySet<string>;
  /** Zones that have upstreams of their own. */
  readonly #upstreamZones: readonly string[];
  #services: ServiceZone | null = null;
  #current: OwnNames;

  /** Begins with those of a configuration. */
  constructor(options: GuestNamesOptions) {
    const zones = Object.entries(options.dns.zones ?? {});
    this.#builtIn = builtInRecords(options);
    this.#records = configuredRecords(options.dns);
    this.#localZones = new Set(
      zones.filter(([, upstreams]) => upstreams === "local").map(([zone]) => owner(zone)),
    );
    this.#upstreamZones = zones.filter(([, upstreams]) => upstreams !== "local")
      .map(([zone]) => owner(zone));
    this.#current = this.#made(this.#records, this.#localZones);
  }

  /** What is answered from until the next change. */
  get current(): OwnNames {
    return this.#current;
  }

  /** The names of services; `null` where there is no zone for them. */
  get services(): ServiceZone | null {
    return this.#services;
  }

  /** The local zones' names. */
  get localZones(): string[] {
    return [...this.#localZones];
  }

  /** The names that have records, without what follows from those. */
  list(): OwnName[] {
    return [...this.#all(this.#records)].map(([name, records]) => asText(name, records));
  }

  /**
   * Gives a name its records, in place of those that it had.
   *
   * @param name A host name, or `*.` and one for all below it that do not exist.
   * @param spec Its records.
   * @returns The name and what it has.
   * @throws {ConfigError} Where one of them is wrong, or there are too many names.
   */
  set(name: string, spec: RecordSpec): OwnName {
    const at = normalizeOwner(name);
    if (at === null) throw wrong("name", parseRecordSpec(name, []) as string);
    const fault = recordFault(name, spec);
    if (fault !== null) {
      throw wrong(fault.field === "" ? "records" : `records.${fault.field}`, fault.text);
    }
    const records = new Map(this.#records).set(at, parseRecordSpec(name, spec) as OwnRecord[]);
    this.#take(records, this.#localZones);
    return asText(at, records.get(at)!);
  }

  /**
   * Takes the operator's records of a name away.
   *
   * @returns What it had; `null` where there was nothing to take away.
   */
  remove(name: string): OwnName | null {
    const at = normalizeOwner(name);
    const before = at === null ? undefined : this.#records.get(at);
    if (at === null || before === undefined) return null;
    const records = new Map(this.#records);
    records.delete(at);
    this.#take(records, this.#localZones);
    return asText(at, before);
  }

  /**
   * Makes a zone a local one, and gives names of it addresses in front of what they have: an address
   * takes the place of those of its family and of an alias. All other names of the zone get the
   * addresses of `others`, or none.
   *
   * @param zone The zone's name.
   * @param names Whole names and their addresses.
   * @param others The addresses of names that do not exist.
   * @throws {ConfigError} Where a name is none, the zone has upstreams, or there is too much of it.
   */
  addZone(
    zone: string,
    names: ReadonlyMap<string, readonly Uint8Array[]>,
    others: readonly Uint8Array[],
  ): void {
    const root = normalizeName(zone);
    if (root === null) throw wrong("zone", `"${zone}" is no host name; try "dev.internal"`);
    this.#requireOwn(root);
    const records = new Map(this.#records);
    for (const [name, addresses] of names) {
      const at = normalizeOwner(name);
      if (at === null) throw wrong("zone", `"${name}" is no host name`);
      const before = records.get(at) ?? this.#builtIn.get(at) ?? [];
      records.set(at, inFront(name, addressRecords(addresses), before));
    }
    const wildcard = normalizeOwner(`*.${root}`);
    if (wildcard === null) throw wrong("zone", `"${root}" has no room for a name below it`);
    if (others.length > 0) records.set(wildcard, addressRecords(others));
    else records.delete(wildcard);
    this.#take(records, new Set(this.#localZones).add(root));
  }

  /**
   * Gives a zone the names of services, in place of all that it had.
   *
   * @param zone The zone's name; there is one at a time.
   * @param services Its services as text, see dns/service_zone.ts.
   * @throws {ConfigError} Where the zone has upstreams.
   * @throws {RangeError} Where something else of it is wrong; nothing has then changed.
   */
  setZoneNames(zone: string, services: string): void {
    const { name, text } = this.#services ?? {};
    if (name === zone && text === services) return;
    const made = serviceZone(zone, services);
    this.#requireOwn(made.name);
    this.#services = made;
  }

  /** Refuses a zone of which upstreams would answer a part. */
  #requireOwn(root: string): void {
    const foreign = this.#upstreamZones.find((each) => `.${each}`.endsWith(`.${root}`));
    if (foreign === undefined) return;
    throw wrong("zone", `${foreign} has upstreams of its own, which would not be asked any more`);
  }

  #take(records: ReadonlyMap<string, OwnRecords>, localZones: ReadonlySet<string>): void {
    if (records.size > RECORDS_MAX) {
      throw wrong("records", `${records.size} names have records, at most ${RECORDS_MAX} can`);
    }
    if (localZones.size > LOCAL_ZONES_MAX) {
      throw wrong("zone", `${localZones.size} zones are local, at most ${LOCAL_ZONES_MAX} can be`);
    }
    this.#current = this.#made(records, localZones);
    this.#records = records;
    this.#localZones = localZones;
  }

  #made(records: ReadonlyMap<string, OwnRecords>, zones: ReadonlySet<string>): OwnNames {
    const services = (): ServiceZone | null => this.#services;
    return new OwnNames({ records: this.#all(records), zones: [...zones], services });
  }

  #all(records: ReadonlyMap<string, OwnRecords>): Map<string, OwnRecords> {
    return new Map([...this.#builtIn, ...records]);
  }
}

/** The zone that was made last: guests of one isolate are told the same. */
let lastZone: ServiceZone | null = null;

function serviceZone(zone: string, services: string): ServiceZone {
  if (lastZone?.name !== zone || lastZone.text !== services) {
    lastZone = new ServiceZone(zone, services);
  }
  return lastZone;
}

function builtInRecords(
  { network, hostLoopback, hostServices, members = [] }: GuestNamesOptions,
): Map<string, OwnRecords> {
  const gateway = addressRecords(
    network.ipv6 ? [network.gatewayIp4, network.gatewayIp6] : [network.gatewayIp4],
  );
  const records = new Map<string, OwnRecords>([["gateway.internal", gateway]]);
  if (hostLoopback || hostServices.length > 0) records.set("host.internal", gateway);
  for (const member of members) {
    const literals = network.ipv6 && member.ip6 !== null ? [member.ip4, member.ip6] : [member.ip4];
    records.set(neighborName(member), addressRecords(literals.map((each) => parseIp(each)!)));
  }
  return records;
}

function configuredRecords({ records = {} }: DnsConfig): Map<string, OwnRecords> {
  return new Map(
    Object.entries(records).map(([name, spec]) => {
      const parsed = parseRecordSpec(name, spec);
      if (typeof parsed !== "string") return [owner(name), parsed];
      throw new RangeError(`Cannot answer for "${name}": ${parsed}`);
    }),
  );
}

/** Records of addresses, and what stays of those that a name had. */
function inFront(name: string, added: OwnRecords, before: OwnRecords): OwnRecords {
  const stays = ({ type }: OwnRecord) =>
    type !== RecordType.cname && !added.some((record) => record.type === type);
  const records = [...added, ...before.filter(stays)];
  if (recordsBytes(records) <= OWN_RECORDS_MAX_BYTES) return records;
  throw wrong("zone", `the records of ${name} do not fit an answer`);
}

/** The one spelling of a name that was checked. */
function owner(name: string): string {
  const at = normalizeOwner(name);
  if (at === null) throw new RangeError(`Cannot answer for "${name}": not a host name`);
  return at;
}

function asText(name: string, records: OwnRecords): OwnName {
  return { name, records: records.map(recordText) };
}

function wrong(key: string, text: string): ConfigError {
  return new ConfigError([{ key, text }]);
}
