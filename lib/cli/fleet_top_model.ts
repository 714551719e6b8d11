/**
 * What `fleet top` knows of the fleet: what each gateway has announced last, and the rates since the
 * announcement before. Pure: announcements come in with their times.
 *
 * A gateway answers questions of others beside its own beat, so announcements may follow each other
 * closely: a rate is measured over `SPAN_MS` at least, and what comes sooner only brings the figures.
 * Where a gateway was started again, or a guest is another one, there is nothing to compare with.
 *
 * Limits: `GATEWAYS_MAX` gateways, `HISTORY_SAMPLES` rates of the whole.
 *
 * @module
 */
import type { Announcement } from "../fleet/announcement.ts";
import { compareNames } from "../fleet/roll_findings.ts";

/** So long a gateway is shown after its last word. */
const SILENCE_MS = 8_000;
/** The shortest time over which a rate is measured. */
const SPAN_MS = 700;
/** Most gateways that are kept; further ones are not shown. */
const GATEWAYS_MAX = 1_024;
/** How many rates of the whole fleet are kept: what the widest screen can show. */
const HISTORY_SAMPLES = 512;

type AnnouncedGuest = Announcement["guests"][number];

/** A guest of the fleet and what it does in a second; `null` is what was not measured yet. */
export interface FleetGuestRow {
  readonly gateway: string;
  readonly guest: AnnouncedGuest;
  readonly upPerSecond: number | null;
  readonly downPerSecond: number | null;
  readonly refusedPerSecond: number | null;
}

/** A gateway and what its guests do together. */
export interface FleetGatewayRow {
  readonly announcement: Announcement;
  readonly flows: number;
  readonly ratePerSecond: number | null;
  /** Since it was heard last. */
  readonly silentMs: number;
}

/** What the whole fleet does in a second. */
export interface FleetRates {
  readonly upBytes: number;
  readonly downBytes: number;
}

/** By what guests are sorted, in the order in which a key steps through them. */
export const FLEET_SORT_KEYS = ["rate", "total", "flows", "refused", "name"] as const;

/** By what guests are sorted. */
export type FleetSortKey = typeof FLEET_SORT_KEYS[number];

/** Which guests are shown, and in which order. */
export interface FleetChoice {
  readonly sort: FleetSortKey;
  readonly isReversed: boolean;
  /** Words that a guest's line has to have, all of them. */
  readonly filter: string;
}

/** A gateway as it is known. */
interface Known {
  /** Its latest word. */
  readonly latest: Announcement;
  readonly heardMs: number;
  /** What rates are measured from. */
  readonly base: Announcement;
  readonly baseMs: number;
  /** Its guests' rates, by their names. */
  readonly rates: ReadonlyMap<string, GuestRates>;
}

interface GuestRates {
  readonly up: number;
  readonly down: number;
  readonly refused: number;
}

const NO_RATES: ReadonlyMap<string, GuestRates> = new Map();

/** The fleet as it was announced. */
export class FleetTopModel {
  readonly #gateways = new Map<string, Known>();
  #history: (FleetRates | null)[] = [];
  #nowMs = 0;

  /** Takes what a gateway says. */
  hear(nowMs: number, latest: Announcement): void {
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    const before = this.#gateways.get(latest.gateway);
    if (before === undefined && this.#gateways.size >= GATEWAYS_MAX) return;
    this.#gateways.set(latest.gateway, knownOf(before, latest, nowMs));
  }

  /** A gateway has ended in order. */
  gone(gateway: string): void {
    this.#gateways.delete(gateway);
  }

  /**
   * Time goes on: who is silent for too long is forgotten, and the whole is noted.
   *
   * @param nowMs The time.
   * @param canHear Whether the engine is there; without it nobody can be told gone.
   */
  tick(nowMs: number, canHear: boolean): void {
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    if (canHear) {
      for (const [name, { heardMs }] of this.#gateways) {
        if (this.#nowMs - heardMs > SILENCE_MS) this.#gateways.delete(name);
      }
    }
    this.#history = [...this.#history, canHear ? this.rates : null].slice(-HISTORY_SAMPLES);
  }

  /** The engine is there again: all have a span of time to speak. */
  forgive(nowMs: number): void {
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    for (const [name, known] of this.#gateways) {
      this.#gateways.set(name, { ...known, heardMs: this.#nowMs });
    }
  }

  /** What each gateway has announced last, by their names. */
  get announcements(): Announcement[] {
    return this.gateways.map(({ announcement }) => announcement);
  }

  /** The gateways by their names. */
  get gateways(): FleetGatewayRow[] {
    return [...this.#gateways.values()]
      .map(({ latest, heardMs, rates }) => ({
        announcement: latest,
        flows: latest.guests.reduce((sum, { flows }) => sum + flows, 0),
        ratePerSecond: rates === NO_RATES
          ? null
          : [...rates.values()].reduce((sum, { up, down }) => sum + up + down, 0),
        silentMs: this.#nowMs - heardMs,
      }))
      .toSorted((a, b) => compareNames(a.announcement.gateway, b.announcement.gateway));
  }

  /** The guests in no order. */
  get guests(): FleetGuestRow[] {
    return [...this.#gateways.values()].flatMap(({ latest, rates }) => {
      return latest.guests.map((guest) => {
        const rate = rates.get(guest.name);
        return {
          gateway: latest.gateway,
          guest,
          upPerSecond: rate?.up ?? null,
          downPerSecond: rate?.down ?? null,
          refusedPerSecond: rate?.refused ?? null,
        };
      });
    });
  }

  /** What all of them do together; `null` where nothing was measured yet. */
  get rates(): FleetRates | null {
    let isMeasured = false;
    let upBytes = 0;
    let downBytes = 0;
    for (const { rates } of this.#gateways.values()) {
      for (const { up, down } of rates.values()) {
        isMeasured = true;
        upBytes += up;
        downBytes += down;
      }
    }
    return isMeasured ? { upBytes, downBytes } : null;
  }

  /** The rates of the whole, the latest last; `null` is a gap. */
  get history(): readonly (FleetRates | null)[] {
    return this.#history;
  }
}

function knownOf(before: Known | undefined, latest: Announcement, nowMs: number): Known {
  const isSame = before !== undefined && before.latest.instance === latest.instance;
  if (!isSame) {
    return { latest, heardMs: nowMs, base: latest, baseMs: nowMs, rates: NO_RATES };
  }
  const { base, baseMs } = before;
  if (nowMs - baseMs < SPAN_MS) return { ...before, latest, heardMs: nowMs };
  const rates = ratesBetween(base, latest, (nowMs - baseMs) / 1_000);
  return { latest, heardMs: nowMs, base: latest, baseMs: nowMs, rates };
}

/** A guest whose counters have gone back is another one, and is measured from the next time on. */
function ratesBetween(
  before: Announcement,
  after: Announcement,
  seconds: number,
): Map<string, GuestRates> {
  const known = new Map(before.guests.map((guest) => [guest.name, guest]));
  const rates = new Map<string, GuestRates>();
  for (const guest of after.guests) {
    const old = known.get(guest.name);
    if (old === undefined) continue;
    const steps = [
      guest.upBytes - old.upBytes,
      guest.downBytes - old.downBytes,
      guest.denials - old.denials,
    ];
    if (steps.some((step) => step < 0)) continue;
    const [up = 0, down = 0, refused = 0] = steps.map((step) => step / seconds);
    rates.set(guest.name, { up, down, refused });
  }
  return rates;
}

/** What a guest carries in a second, both ways. */
export function guestRate({ upPerSecond, downPerSecond }: FleetGuestRow): number | null {
  return upPerSecond === null ? null : upPerSecond + (downPerSecond ?? 0);
}

/** What a guest has carried, both ways. */
export function guestTotal({ guest: { upBytes, downBytes } }: FleetGuestRow): number {
  return upBytes + downBytes;
}

/** What no two guests of the fleet have in common. */
export function guestKey({ gateway, guest }: FleetGuestRow): string {
  return `${gateway}/${guest.name}`;
}

/** The most and the first in the alphabet stand first, unless reversed. */
const ORDERS: Readonly<Record<FleetSortKey, (a: FleetGuestRow, b: FleetGuestRow) => number>> = {
  rate: (a, b) => (guestRate(b) ?? -1) - (guestRate(a) ?? -1),
  total: (a, b) => guestTotal(b) - guestTotal(a),
  flows: (a, b) => b.guest.flows - a.guest.flows,
  refused: (a, b) => b.guest.denials - a.guest.denials,
  name: (a, b) => compareNames(a.guest.name, b.guest.name),
};

/** The guests that are shown, in their order; those that are alike by their names. */
export function chosenGuests(
  guests: readonly FleetGuestRow[],
  { sort, isReversed, filter }: FleetChoice,
): FleetGuestRow[] {
  const words = filter.toLowerCase().split(" ").filter((word) => word !== "");
  const sign = isReversed ? -1 : 1;
  return guests.filter((row) => hasWords(row, words)).sort((a, b) => {
    return sign * ORDERS[sort](a, b) || compareNames(a.guest.name, b.guest.name) ||
      compareNames(a.gateway, b.gateway);
  });
}

function hasWords({ gateway, guest }: FleetGuestRow, words: readonly string[]): boolean {
  const services = guest.services.map(({ name }) => name).join(" ");
  const text = `${guest.name} ${gateway} ${guest.group ?? ""} ${services}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
