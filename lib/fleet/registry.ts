/**
 * Which gateways of the fleet are there, and which names their guests' services have.
 *
 * A gateway is there until it says that it ends, or has said nothing for 8 s. Only who hears the
 * engine can tell: while it does not, nothing ends, and afterwards each gateway is given that time
 * once more.
 *
 *     hear ─▶ a gateway's guests and services      expire, leave ─▶ gone, and their names with them
 *             names of guests: who had one first keeps it
 *
 * A guest has the names of its services while it is attached. A guest's name that two gateways say
 * they have belongs to whoever was heard with it first, for as long as that one has it: nobody takes
 * a name over that is in use. The gateway's own guests come first, and what is heard in the first 2 s
 * counts in the order in which gateways were started, so that those that come later see it alike. Of two gateways of one name the
 * one that was started later counts, as the one before it may have ended without a word.
 *
 * Limits: 1,024 gateways, 16,384 guests, 4,096 services. What is there keeps its place; what comes
 * when there is none is counted, and taken once there is. Pure: the time comes in.
 *
 * @module
 */
import { formatServices, type ServiceEntry, SERVICES_MAX } from "../dns/service_zone.ts";
import type { Announcement, Departure } from "./announcement.ts";

/** How long a gateway is there without a word. */
export const LIFE_MS = 8_000;
/** How long it takes to hear all that are there already. */
const SETTLE_MS = 2_000;
/** Most gateways, this one among them. */
export const GATEWAYS_MAX = 1_024;
/** Most gateways that are remembered to say that they have one guest. */
const HOLDERS_MAX = 8;
/** Most guests of all gateways. */
export const GUESTS_TOTAL_MAX = 16_384;

/** Two gateways say that they have a name, which only one can have. */
export interface NameConflict {
  /** What it is the name of. */
  readonly of: "guest" | "gateway";
  readonly name: string;
  /** The gateway that has it; for the name of a gateway, what tells the two apart. */
  readonly holder: string;
  /** The one that does not. */
  readonly other: string;
}

/** What the registry has come to. */
export interface RegistryReport {
  /** Gateways that are there, this one among them. */
  readonly gateways: number;
  /** Services that have names. */
  readonly services: number;
  /** Names that two say they have. */
  readonly conflicts: number;
}

/** How often something had no place. */
export interface RegistryLeft {
  readonly gateways: number;
  readonly guests: number;
  readonly services: number;
}

interface Member {
  readonly announcement: Announcement;
  /** When it is gone; `null` for this gateway itself. */
  untilMs: number | null;
  /** How many of its services have a place. */
  readonly places: number;
  /** The services that have a place, as text. */
  readonly text: string;
}

/** All gateways that are there. */
export class Registry {
  readonly #self: string;
  readonly #onConflict: (conflict: NameConflict) => void;
  /** In the order in which they came. */
  readonly #members = new Map<string, Member>();
  /** The gateways that have a guest of a name, the one that it belongs to first. */
  readonly #holders = new Map<string, string[]>();
  /** Gateways of a name that another one has: when they were last heard. */
  readonly #rivals = new Map<string, number>();
  readonly #left = { gateways: 0, guests: 0, services: 0 };
  #guests = 0;
  #places = 0;
  #conflicts = 0;
  #version = 0;
  /** Until when it hears what was there before it; `null` before it has heard anything. */
  #settledMs: number | null = null;

  /**
   * Begins empty.
   *
   * @param self The name of this gateway.
   * @param onConflict Told once of each.
   */
  constructor(self: string, onConflict: (conflict: NameConflict) => void = () => {}) {
    this.#self = self;
    this.#onConflict = onConflict;
  }

  /** Grows with each change of the names. */
  get version(): number {
    return this.#version;
  }

  /** How many things had no place so far. */
  get left(): RegistryLeft {
    return { ...this.#left };
  }

  /** What it has come to. */
  report(): RegistryReport {
    return {
      gateways: this.#members.size,
      services: [...this.#entries()].length,
      conflicts: this.#conflicts + this.#rivals.size,
    };
  }

  /** The names of all services, as dns/service_zone.ts reads them. */
  services(): string {
    return formatServices(this.#entries());
  }

  /** A gateway has said that it is there. */
  hear(nowMs: number, announcement: Announcement): void {
    const { gateway, instance, startedMs } = announcement;
    this.#settledMs ??= nowMs + SETTLE_MS;
    const before = this.#members.get(gateway);
    // What this gateway publishes itself it knows, before it has said so too.
    if (gateway === this.#self) return this.#rival(nowMs, announcement, before);
    if (before === undefined) {
      if (this.#members.size >= GATEWAYS_MAX) return void this.#left.gateways++;
    } else if (before.announcement.instance !== instance) {
      const isLater = startedMs > before.announcement.startedMs;
      if (!isLater) return this.#rival(nowMs, announcement, before);
    }
    this.#take(nowMs, announcement, before);
  }

  /** This gateway's own word, which needs no engine and never ends. */
  hearOwn(announcement: Announcement): void {
    this.#take(null, announcement, this.#members.get(this.#self));
  }

  /** A gateway has said that it ends. */
  leave({ gateway, instance }: Departure): void {
    const member = this.#members.get(gateway);
    if (member === undefined || member.untilMs === null) return;
    if (member.announcement.instance === instance) this.#remove(gateway, member);
  }

  /** Ends what has been silent for too long; asked only while all that is said is heard. */
  expire(nowMs: number): void {
    for (const [gateway, member] of this.#members) {
      if (member.untilMs !== null && member.untilMs <= nowMs) this.#remove(gateway, member);
    }
    for (const [gateway, heardMs] of this.#rivals) {
      if (heardMs + LIFE_MS <= nowMs) this.#rivals.delete(gateway);
    }
  }

  /** Gives each gateway its whole time: what it said meanwhile may not have been heard. */
  refresh(nowMs: number): void {
    for (const member of this.#members.values()) {
      if (member.untilMs !== null) member.untilMs = nowMs + LIFE_MS;
    }
  }

  #take(nowMs: number | null, announcement: Announcement, before: Member | undefined): void {
    const { gateway, guests } = announcement;
    const total = this.#guests - (before?.announcement.guests.length ?? 0) + guests.length;
    if (total > GUESTS_TOTAL_MAX && nowMs !== null) return void this.#left.guests++;
    this.#guests = total;
    const isSettled = nowMs === null || nowMs >= (this.#settledMs ?? 0);
    this.#claim(announcement, before?.announcement, isSettled);
    const all = servicesOf(announcement, gateway === this.#self);
    const others = this.#places - (before?.places ?? 0);
    const places = Math.min(all.length, Math.max(SERVICES_MAX - others, 0));
    if (places < all.length) this.#left.services += all.length - places;
    this.#places = others + places;
    const text = formatServices(all.slice(0, places));
    if (text !== (before?.text ?? "")) this.#version++;
    const untilMs = nowMs === null ? null : nowMs + LIFE_MS;
    this.#members.set(gateway, { announcement, untilMs, places, text });
  }

  #remove(gateway: string, member: Member): void {
    this.#members.delete(gateway);
    this.#guests -= member.announcement.guests.length;
    this.#places -= member.places;
    if (member.text !== "") this.#version++;
    for (const { name } of attached(member.announcement)) this.#release(name, gateway);
  }

  /** Names of guests that a gateway has, and those that it has no more. */
  #claim(
    announcement: Announcement,
    before: Announcement | undefined,
    isSettled: boolean,
  ): void {
    const { gateway, startedMs } = announcement;
    const names = new Set(attached(announcement).map(({ name }) => name));
    if (before !== undefined) {
      for (const { name } of attached(before)) if (!names.has(name)) this.#release(name, gateway);
    }
    for (const name of names) {
      const holders = this.#holders.get(name);
      if (holders === undefined) this.#holders.set(name, [gateway]);
      else if (!holders.includes(gateway)) {
        this.#contest(name, holders, gateway, isSettled ? Infinity : startedMs);
      }
    }
  }

  /** A gateway has a guest of a name that others have, and stands behind those that were started earlier. */
  #contest(name: string, holders: string[], gateway: string, startedMs: number): void {
    const isOwn = gateway === this.#self;
    if (holders.length >= HOLDERS_MAX && !isOwn) return; // it says so again
    if (holders.length === 1) this.#conflicts++;
    const later = isOwn ? 0 : holders.findIndex((holder) => {
      const otherMs = this.#startedMs(holder);
      const isLater = otherMs > startedMs || (otherMs === startedMs && holder > gateway);
      return holder !== this.#self && isLater;
    });
    holders.splice(later < 0 ? holders.length : later, 0, gateway);
    if (later === 0) this.#version++;
    const [holder, second] = holders as [string, string];
    const other = gateway === holder ? second : gateway;
    this.#onConflict({ of: "guest", name, holder, other });
  }

  #startedMs(gateway: string): number {
    return this.#members.get(gateway)?.announcement.startedMs ?? 0;
  }

  #release(name: string, gateway: string): void {
    const holders = this.#holders.get(name);
    const at = holders?.indexOf(gateway) ?? -1;
    if (holders === undefined || at < 0) return;
    holders.splice(at, 1);
    if (holders.length === 0) this.#holders.delete(name);
    else {
      if (holders.length === 1) this.#conflicts--;
      if (at === 0) this.#version++;
    }
  }

  /** A second gateway has a name that is in use; an echo of the holder's own word is none. */
  #rival(nowMs: number, { gateway, instance }: Announcement, holder: Member | undefined): void {
    if (holder?.announcement.instance === instance) return;
    if (!this.#rivals.has(gateway)) {
      const conflict = { holder: holder?.announcement.instance ?? gateway, other: instance };
      this.#onConflict({ of: "gateway", name: gateway, ...conflict });
    }
    this.#rivals.set(gateway, nowMs);
  }

  *#entries(): Generator<ServiceEntry> {
    for (const [gateway, { announcement, places }] of this.#members) {
      const services = servicesOf(announcement, gateway === this.#self);
      for (const entry of services.slice(0, places)) {
        if (this.#holders.get(entry.guest)?.[0] === gateway) yield entry;
      }
    }
  }
}

function attached({ guests }: Announcement): Announcement["guests"] {
  return guests.filter((guest) => guest.attached);
}

function servicesOf(announcement: Announcement, isHere: boolean): ServiceEntry[] {
  return attached(announcement).flatMap(({ name: guest, services }) =>
    services.map(({ name: service, protocol, port, addresses }) => {
      return { service, guest, protocol, port, isHere, addresses };
    })
  );
}
