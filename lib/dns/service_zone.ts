/**
 * A zone whose names are services of others: `web.db.fleet.internal` is the service `web` of the
 * guest `db`, which is at addresses and a port.
 *
 *     web.db.fleet.internal        A, AAAA, SRV 0 0 8080 web.db.fleet.internal
 *     _web._tcp.db.fleet.internal  SRV, the same
 *     db.fleet.internal            exists, and has nothing (so does _tcp.db.fleet.internal)
 *
 * Such names come and go, so their TTL is a second, that of the word that there is none too, and so
 * the zone is made with few steps: an address stays text until somebody asks. It comes as text, which
 * goes to the isolate of each guest at the price of a copy. A line is a service: its name below the
 * zone, its protocol, its port, `here` where the gateway itself publishes it or else `-`, and its
 * addresses as canonical literals, which whoever makes it has checked:
 *
 *     web.db tcp 8080 - 10.0.0.5 fd00::5
 *     metrics.app tcp 9100 here 10.0.0.6
 *
 * For the policy a name stands for its places, an address with a port and a protocol each, and for
 * nothing else at those addresses.
 *
 * @module
 */
import { formatIp, parseIp } from "../wire/address.ts";
import { putWord, RecordType } from "./message.ts";
import { LABEL_MAX_BYTES, nameOctets, normalizeName } from "./name.ts";
import type { PlacedRecord } from "./own_answer.ts";
import { addressRecords, type OwnRecord, type OwnRecords, zoneRecord } from "./own_record.ts";

/** How long an asker may keep what the zone says. */
export const SERVICE_TTL_SECONDS = 1;

/** Most services of a zone. */
export const SERVICES_MAX = 4_096;

/** Most addresses of a service. */
export const SERVICE_ADDRESSES_MAX = 4;

/** A service that has a name. */
export interface ServiceEntry {
  /** What the service is called, a label. */
  readonly service: string;
  /** What the guest is called that has it, a label. */
  readonly guest: string;
  /** The protocol of its port. */
  readonly protocol: "tcp" | "udp";
  /** Its port. */
  readonly port: number;
  /** Whether the gateway that is told publishes it. */
  readonly isHere: boolean;
  /** Canonical literals. */
  readonly addresses: readonly string[];
}

/** What the zone says of a name. */
export interface ServiceAnswer {
  /** Whether the name exists. */
  readonly exists: boolean;
  /** Its records. */
  readonly records: OwnRecords;
}

const NOTHING: ServiceAnswer = Object.freeze({ exists: false, records: [] });
const EMPTY: ServiceAnswer = Object.freeze({ exists: true, records: [] });
const NO_NAMES: readonly string[] = [];
const LINE =
  /^([a-z0-9-]{1,63})\.([a-z0-9-]{1,63}) (tcp|udp) ([1-9][0-9]{0,4}) (here|-) ([0-9a-f.:]+(?: [0-9a-f.:]+){0,3})$/;

/** Services as the text of a zone, in their order. */
export function formatServices(services: Iterable<ServiceEntry>): string {
  let text = "";
  for (const { service, guest, protocol, port, isHere, addresses } of services) {
    const place = `${protocol} ${port} ${isHere ? "here" : "-"} ${addresses.join(" ")}`;
    text += `${service}.${guest} ${place}\n`;
  }
  return text;
}

/** Names of services, ready to be answered from and to be judged by. */
export class ServiceZone {
  /** The zone's name as text, see name.ts. */
  readonly name: string;
  /** What it was made from. */
  readonly text: string;
  /** What is said with a name that has nothing. */
  readonly soa: PlacedRecord;
  readonly #suffix: string;
  /** By `service.guest`: one of each protocol at most. */
  readonly #services = new Map<string, ServiceEntry[]>();
  /** Which protocols the services of a guest have. */
  readonly #guests = new Map<string, Set<string>>();
  /** Names by place, as text. */
  readonly #places = new Map<string, string[]>();
  readonly #here = new Set<string>();

  /**
   * Makes it.
   *
   * @param name The zone's name.
   * @param text Its services.
   * @throws {RangeError} Where either is wrong: they are made by the gateway itself.
   */
  constructor(name: string, text: string) {
    const normal = normalizeName(name);
    if (normal === null) throw new RangeError(`Cannot make a zone of "${name}": not a host name`);
    this.name = normal;
    this.text = text;
    this.soa = { name: normal, record: zoneRecord(normal, SERVICE_TTL_SECONDS) };
    this.#suffix = `.${normal}`;
    const lines = text.split("\n");
    if (lines.pop() !== "") throw new RangeError("Cannot read services: the last line has no end");
    if (lines.length > SERVICES_MAX) {
      throw new RangeError(`Cannot name ${lines.length} services: at most ${SERVICES_MAX}`);
    }
    for (const line of lines) this.#add(readService(line));
  }

  /** How many names have services. */
  get size(): number {
    return this.#services.size;
  }

  /** Whether a name is the zone's, or below it. */
  covers(name: string): boolean {
    return name.endsWith(this.#suffix) || name === this.name;
  }

  /** What the zone says of a name that it covers. */
  find(name: string): ServiceAnswer {
    if (name === this.name) return { exists: true, records: [this.soa.record] };
    const below = name.slice(0, -this.#suffix.length);
    const services = this.#services.get(below);
    if (services !== undefined) {
      const addresses = addressRecords(octetsOf(services[0]!), SERVICE_TTL_SECONDS);
      return { exists: true, records: [...addresses, ...services.map((each) => this.#srv(each))] };
    }
    if (this.#guests.has(below)) return EMPTY;
    const labels = below.split(".");
    const guest = labels.at(-1)!;
    const protocol = labels.at(-2)!;
    if (labels.length > 3 || !protocol?.startsWith("_")) return NOTHING;
    if (!this.#guests.get(guest)?.has(protocol.slice(1))) return NOTHING;
    if (labels.length === 2) return EMPTY;
    const [service] = labels as [string];
    if (!service.startsWith("_")) return NOTHING;
    const found = this.#services.get(`${service.slice(1)}.${guest}`)?.find((each) => {
      return `_${each.protocol}` === protocol;
    });
    return found === undefined ? NOTHING : { exists: true, records: [this.#srv(found)] };
  }

  /** The addresses of a name's service; none where there is none. */
  addresses(name: string): readonly Uint8Array[] {
    if (!this.covers(name)) return [];
    const [first] = this.#services.get(name.slice(0, -this.#suffix.length)) ?? [];
    return first === undefined ? [] : octetsOf(first);
  }

  /** The names that stand for a place. */
  names(address: Uint8Array, port: number, protocol: string): readonly string[] {
    if (this.#places.size === 0) return NO_NAMES;
    return this.#places.get(placeKey(formatIp(address), port, protocol)) ?? NO_NAMES;
  }

  /** Whether the gateway itself publishes a service at a place. */
  isHere(address: Uint8Array, port: number, protocol: string): boolean {
    return this.#here.size > 0 && this.#here.has(placeKey(formatIp(address), port, protocol));
  }

  #add(service: ServiceEntry): void {
    const { guest, protocol, port, isHere, addresses } = service;
    const name = `${service.service}.${guest}`;
    const known = this.#services.get(name);
    if (known === undefined) this.#services.set(name, [service]);
    else if (known.length === 1 && known[0]!.protocol !== protocol) known.push(service);
    else throw new RangeError(`Cannot name ${name} twice`);
    const protocols = this.#guests.get(guest);
    if (protocols === undefined) this.#guests.set(guest, new Set([protocol]));
    else protocols.add(protocol);
    for (const address of addresses) {
      const place = placeKey(address, port, protocol);
      const names = this.#places.get(place);
      if (names === undefined) this.#places.set(place, [`${name}${this.#suffix}`]);
      else names.push(`${name}${this.#suffix}`);
      if (isHere) this.#here.add(place);
    }
  }

  #srv({ service, guest, port }: ServiceEntry): OwnRecord {
    const target = nameOctets(`${service}.${guest}${this.#suffix}`)!;
    const data = new Uint8Array(6 + target.length);
    putWord(data, 4, port);
    data.set(target, 6);
    return { type: RecordType.srv, ttlSeconds: SERVICE_TTL_SECONDS, data };
  }
}

function readService(line: string): ServiceEntry {
  const [, service, guest, protocol, port, where, addresses] = LINE.exec(line) ?? [];
  if (addresses === undefined || Number(port) > 65_535) {
    throw new RangeError(`Cannot read the service "${line.slice(0, 2 * LABEL_MAX_BYTES)}"`);
  }
  return {
    service: service!,
    guest: guest!,
    protocol: protocol as "tcp" | "udp",
    port: Number(port),
    isHere: where === "here",
    addresses: addresses.split(" "),
  };
}

/** The addresses of a service; where one name has two, those of the first are answered. */
function octetsOf({ addresses }: ServiceEntry): Uint8Array[] {
  return addresses.map(parseIp).filter((octets) => octets !== null);
}

/** A place as a key: no two have the same. */
function placeKey(address: string, port: number, protocol: string): string {
  return `${protocol} ${port} ${address}`;
}
