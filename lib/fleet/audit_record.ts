/**
 * What the audit of a fleet is made of: denials, folded into groups, and what happens to guests,
 * policies and the audit itself. Each record has an identity of its own, `GATEWAY-INSTANCE-NUMBER`,
 * so that one that was sent twice is one.
 *
 * A guest decides how often it is refused and to where, so the number of records does not follow it:
 *
 * - What one guest tries again (the same protocol, name, destination and rule) within `WINDOW_MS` is
 *   one record with a count.
 * - One guest begins `BURST` records at once and `PER_SECOND` in the long run. What is beyond, or beyond
 *   `GROUPS_MAX` open groups of all guests, is counted in one record without particulars
 *   (`denial: null`), so every denial is in the sum of the counts.
 * - Events of a guest's life have a share of the same size; those beyond it are counted as lost.
 * - Texts are cut, so that no record is larger than `RECORD_MAX_BYTES`.
 *
 * Time comes in twice: `nowMs` never goes backwards, and windows follow it; `timeMs` is the time of
 * day, and records carry it.
 *
 * @module
 */
import type { Denial, DenialReason } from "../policy/denial.ts";
import { TokenBucket } from "../stack/token_bucket.ts";

/** How long denials of a kind become one record, from the first. */
export const WINDOW_MS = 10_000;

/** Most groups that are open at once, beside one for each guest without particulars. */
export const GROUPS_MAX = 4_096;

/** Records that one guest may begin at once. */
export const BURST = 1_024;

/** Records that one guest may begin in a second, in the long run. */
export const PER_SECOND = 4;

/** Largest record, as octets of its line. */
export const RECORD_MAX_BYTES = 4_096;

/** Longest texts, in UTF-16 units: as a rule, and where a record would else be too large. */
const TEXT_MAX = 512;
const TEXT_MAX_SHORT = 64;

/** The last moment that has a date, in milliseconds since 1970 (ECMA-262 section 21.4.1.1). */
const TIME_MAX_MS = 8.64e15;

/** Most guests with a share of their own; configurations have fewer. */
const GUESTS_MAX = 4_096;

/** What all records have. */
interface AuditPlace {
  /** The version of the record's form. */
  readonly v: 1;
  /** Its identity: of two records with one, the second is the first one, sent again. */
  readonly id: string;
  /** The gateway that has noted it. */
  readonly gateway: string;
  /** The guest that it is about; `null` where it is about none. */
  readonly guest: string | null;
  /** When it was, or began, in milliseconds since 1970. */
  readonly timeMs: number;
}

/** Denials of a kind. */
export interface DenialRecord extends AuditPlace {
  readonly kind: "denial";
  readonly guest: string;
  /** When the last of them was, in milliseconds since 1970. */
  readonly lastMs: number;
  /** How many. */
  readonly count: number;
  /** What was refused; `null` for those that were too many to tell apart. */
  readonly denial: Denial | null;
}

/** What can happen beside denials. Readers may meet others, of gateways of another version. */
export type LifeEvent =
  | "gateway-started"
  | "gateway-stopped"
  | "guest-attached"
  | "guest-detached"
  | "guest-returned"
  | "guest-left"
  | "policy-changed"
  | "policy-rejected"
  /** Events that happened faster than they were noted, `count` of them. */
  | "events-lost"
  /** Records that were dropped for want of room, `count` of them with `denials` denials. */
  | "shed";

/** What is told of an event; which of it there is depends on the event. */
export interface LifeDetail {
  /** Why it happened. */
  readonly reason?: string;
  /** For how long there was no link. */
  readonly awayMs?: number;
  /** How many rules the policy has. */
  readonly rules?: number;
  /** The revision of the fleet's policy. */
  readonly revision?: number;
  /** How many. */
  readonly count?: number;
  /** How many denials were in them. */
  readonly denials?: number;
}

/** Something that has happened. */
export interface LifeRecord extends AuditPlace, LifeDetail {
  readonly kind: "life";
  readonly event: LifeEvent | string;
}

/** One line of the audit. */
export type AuditRecord = DenialRecord | LifeRecord;

/** Who writes records. */
export interface AuditAuthor {
  /** The gateway's name in the fleet. */
  readonly gateway: string;
  /** What tells this start of it from all others: small letters and digits. */
  readonly instance: string;
}

/** Denials and losses of a kind that become one record. */
interface Group {
  readonly guest: string;
  /** `null` for denials without particulars, `undefined` for events that were lost. */
  readonly denial: Denial | null | undefined;
  readonly openedMs: number;
  readonly timeMs: number;
  lastMs: number;
  count: number;
}

/** Makes records of what is noted. */
export class AuditRecorder {
  readonly #author: AuditAuthor;
  /** Open groups, the earliest first. */
  readonly #groups = new Map<string, Group>();
  readonly #shares = new Map<string, { denials: TokenBucket; life: TokenBucket }>();
  #number = 0;

  constructor(author: AuditAuthor) {
    this.#author = author;
  }

  /** How many groups are open. */
  get open(): number {
    return this.#groups.size;
  }

  /** Notes a denial: it is in a record that {@linkcode take} yields within the window. */
  deny(nowMs: number, guest: string, timeMs: number, denial: Denial): void {
    const { protocol, name, destination, rule, reason } = denial;
    const key = [guest, protocol, name ?? "-", name === null, destination, rule, reason].join("\0");
    const known = this.#groups.get(key);
    if (known !== undefined) return add(known, timeMs, 1);
    const hasRoom = this.#groups.size < GROUPS_MAX && this.#share(guest).denials.take(nowMs);
    if (hasRoom) this.#note(key, nowMs, { guest, timeMs, denial: clipDenial(denial, TEXT_MAX) }, 1);
    else this.#note(`${guest}\0`, nowMs, { guest, timeMs, denial: null }, 1);
  }

  /** Notes events of a guest that nobody has heard. */
  lose(nowMs: number, guest: string, timeMs: number, count: number): void {
    this.#note(`${guest}\0lost`, nowMs, { guest, timeMs, denial: undefined }, count);
  }

  /**
   * A record of what has happened; `null` where one guest's are too many: it is counted as lost.
   *
   * @param guest `null` for the gateway itself, which has no share that could run out.
   */
  happen(
    nowMs: number,
    { guest, timeMs, event }: { guest: string | null; timeMs: number; event: LifeEvent },
    detail: LifeDetail = {},
  ): LifeRecord | null {
    if (guest !== null && !this.#share(guest).life.take(nowMs)) {
      this.lose(nowMs, guest, timeMs, 1);
      return null;
    }
    const { reason } = detail;
    return {
      ...this.#place(guest, timeMs),
      kind: "life",
      event,
      ...detail,
      ...(reason === undefined ? {} : { reason: clip(reason, TEXT_MAX) }),
    };
  }

  /** When the next group is over; `null` where none is open. */
  dueMs(): number | null {
    for (const { openedMs } of this.#groups.values()) return openedMs + WINDOW_MS;
    return null;
  }

  /** The records of groups that are over, `max` of them at most; at `Infinity` those of all. */
  take(nowMs: number, max: number): AuditRecord[] {
    const records: AuditRecord[] = [];
    for (const [key, group] of this.#groups) {
      if (records.length >= max || group.openedMs + WINDOW_MS > nowMs) break;
      this.#groups.delete(key);
      records.push(this.#recordOf(group));
    }
    return records;
  }

  #note(
    key: string,
    openedMs: number,
    what: { guest: string; timeMs: number; denial: Denial | null | undefined },
    count: number,
  ): void {
    const known = this.#groups.get(key);
    if (known !== undefined) return add(known, what.timeMs, count);
    this.#groups.set(key, { ...what, openedMs, lastMs: what.timeMs, count });
  }

  #recordOf({ guest, denial, timeMs, lastMs, count }: Group): AuditRecord {
    if (denial !== undefined) {
      return { ...this.#place(guest, timeMs), guest, kind: "denial", lastMs, count, denial };
    }
    return { ...this.#place(guest, timeMs), kind: "life", event: "events-lost", count };
  }

  #place(guest: string | null, timeMs: number): AuditPlace {
    const { gateway, instance } = this.#author;
    return { v: 1, id: `${gateway}-${instance}-${++this.#number}`, gateway, guest, timeMs };
  }

  #share(guest: string): { denials: TokenBucket; life: TokenBucket } {
    const known = this.#shares.get(guest);
    if (known !== undefined) return known;
    if (this.#shares.size >= GUESTS_MAX && guest !== "") return this.#share("");
    const share = {
      denials: new TokenBucket(PER_SECOND, BURST),
      life: new TokenBucket(PER_SECOND, BURST),
    };
    this.#shares.set(guest, share);
    return share;
  }
}

function add(group: Group, timeMs: number, count: number): void {
  group.count += count;
  group.lastMs = Math.max(group.lastMs, timeMs);
}

/** A record as a line of octets, its end with it. */
export function encodeAuditRecord(record: AuditRecord): Uint8Array {
  const line = new TextEncoder().encode(`${JSON.stringify(record)}\n`);
  if (line.length <= RECORD_MAX_BYTES) return line;
  return new TextEncoder().encode(`${JSON.stringify(clipRecord(record, TEXT_MAX_SHORT))}\n`);
}

function clipRecord(record: AuditRecord, max: number): AuditRecord {
  if (record.kind === "life") {
    const { reason } = record;
    return reason === undefined ? record : { ...record, reason: clip(reason, max) };
  }
  const { denial } = record;
  return { ...record, denial: denial === null ? null : clipDenial(denial, max) };
}

function clipDenial(denial: Denial, max: number): Denial {
  const { protocol, name, destination, rule, origin, reason, detail, hint } = denial;
  return {
    protocol,
    name: name === null ? null : clip(name, max),
    destination: clip(destination, max),
    rule: clip(rule, max),
    origin: clip(origin, max),
    reason,
    detail: clip(detail, max),
    // A line that is to be copied is whole or is not there.
    hint: hint === null || hint.length > max ? null : hint,
  };
}

function clip(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1)}…`;
}

/**
 * Reads a record. What is unknown in it is passed over; what is known has the right type.
 *
 * @param line Its octets, with or without the line's end.
 * @returns `null` where it is none.
 */
export function parseAuditRecord(line: Uint8Array): AuditRecord | null {
  if (line.length > RECORD_MAX_BYTES) return null;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(line));
  } catch {
    return null;
  }
  if (!isMapping(value) || value.v !== 1) return null;
  const { id, kind, gateway, guest, timeMs } = value;
  if (!isId(id) || !isText(gateway) || !isTime(timeMs)) return null;
  if (guest !== null && !isText(guest)) return null;
  const place = { v: 1, id, gateway, guest, timeMs } as const;
  if (kind === "life") return readLife(place, value);
  if (kind !== "denial" || guest === null) return null;
  const { lastMs, count } = value;
  if (!isTime(lastMs) || !isCount(count)) return null;
  const denial = value.denial === null ? null : readDenial(value.denial);
  return denial === undefined ? null : { ...place, guest, kind, lastMs, count, denial };
}

function readLife(place: AuditPlace, value: Record<string, unknown>): LifeRecord | null {
  const { event, reason } = value;
  if (!isText(event) || event.length > 64) return null;
  const detail: Record<string, unknown> = {};
  if (isText(reason)) detail.reason = reason;
  for (const key of ["awayMs", "rules", "revision", "count", "denials"]) {
    if (isCount(value[key])) detail[key] = value[key];
  }
  return { ...place, kind: "life", event, ...detail };
}

function readDenial(value: unknown): Denial | undefined {
  if (!isMapping(value)) return undefined;
  const { protocol, name, destination, rule, origin, reason, detail, hint } = value;
  if (protocol !== "tcp" && protocol !== "udp" && protocol !== "icmp" && protocol !== "dns") {
    return undefined;
  }
  if (!isText(destination) || !isText(rule) || !isText(origin) || !isText(detail)) return undefined;
  if (name !== null && !isText(name) || hint !== null && !isText(hint)) return undefined;
  if (!isText(reason) || reason.length > TEXT_MAX_SHORT) return undefined;
  // Another version may know other reasons; the words for them are in `detail`.
  const why = reason as DenialReason;
  return { protocol, name, destination, rule, origin, reason: why, detail, hint };
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

/** An identity stands in a header, so it is nothing but letters, digits and hyphens. */
function isId(value: unknown): value is string {
  return typeof value === "string" && /^[a-z0-9-]{1,128}$/.test(value);
}

/** A moment that has a date: who shows a record makes one of it. */
function isTime(value: unknown): value is number {
  return isCount(value) && value <= TIME_MAX_MS;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
