/**
 * What `top` knows of a running gateway: the latest sample, and the rates since the one before it.
 * Pure: samples come in with their times.
 *
 * Rates are differences of counters over the time between two samples. Where the guest is another
 * one, or the gateway was started again, there is nothing to compare with, and the history has a
 * gap. A flow is known again by its number and its beginning, as numbers are a guest's own.
 *
 * Limits: `HISTORY_SAMPLES` rates are kept.
 *
 * @module
 */
import type { DenialReport, GatewayStatus, GuestListing } from "../control/api.ts";
import type { FlowInfo } from "../host/flow_info.ts";

/** How many rates are kept: what the widest screen can show. */
export const HISTORY_SAMPLES = 512;

/** What a gateway has said at one moment. */
export interface TopSample {
  /** When, on a clock that is never set. */
  readonly atMs: number;
  /** When, in milliseconds since 1970. */
  readonly timeMs: number;
  readonly status: GatewayStatus;
  readonly denials: DenialReport;
  readonly flows: readonly FlowInfo[];
  /** Whose it is; absent where it was not named. */
  readonly guest?: string;
  /** The guests that one can choose among, as they were last seen; absent where none was asked for. */
  readonly guests?: readonly GuestListing[];
}

/** What happens in a second. */
export interface TopRates {
  readonly upBytes: number;
  readonly downBytes: number;
  readonly frames: number;
  readonly drops: number;
  readonly questions: number;
}

/** A flow and what it carries in a second. */
export interface TopFlow {
  readonly info: FlowInfo;
  readonly upBytesPerSecond: number;
  readonly downBytesPerSecond: number;
}

/** All that is shown. */
export interface TopModel {
  readonly sample: TopSample;
  /** Since the sample before; `null` where there is nothing to compare with. */
  readonly rates: TopRates | null;
  /** The latest last; `null` is a gap. */
  readonly history: readonly (TopRates | null)[];
  readonly flows: readonly TopFlow[];
}

/** By what flows are sorted, in the order in which a key steps through them. */
export const SORT_KEYS = ["rate", "total", "age", "name"] as const;

/** By what flows are sorted. */
export type SortKey = typeof SORT_KEYS[number];

/** Which flows are shown, and in which order. */
export interface FlowChoice {
  readonly sort: SortKey;
  readonly isReversed: boolean;
  /** Words that a flow's line has to have, all of them. */
  readonly filter: string;
}

/** What is known once a sample has come; nothing of another guest is. */
export function nextModel(earlier: TopModel | null, sample: TopSample): TopModel {
  const before = earlier?.sample.guest === sample.guest ? earlier : null;
  const seconds = before === null ? 0 : (sample.atMs - before.sample.atMs) / 1000;
  const isLater = before !== null && seconds > 0;
  const rates = isLater && isSameGuest(before.sample, sample)
    ? ratesBetween(before.sample, sample, seconds)
    : null;
  return {
    sample,
    rates,
    history: [...before?.history ?? [], rates].slice(-HISTORY_SAMPLES),
    flows: flowRates(isLater ? before.sample.flows : null, sample.flows, seconds),
  };
}

/** Whether the counters of two samples go on from one to the other. */
function isSameGuest({ status: before }: TopSample, { status: after }: TopSample): boolean {
  if (before.guest === null || after.guest === null) return false;
  if (before.startedMs !== after.startedMs) return false;
  const names = ["rx.frames", "tx.frames"];
  return before.guest.dns.questions <= after.guest.dns.questions &&
    names.every((name) => countOf(before, name) <= countOf(after, name));
}

function ratesBetween(before: TopSample, after: TopSample, seconds: number): TopRates {
  const rate = (read: (status: GatewayStatus) => number) =>
    Math.max(0, read(after.status) - read(before.status)) / seconds;
  return {
    upBytes: rate((status) => countOf(status, "rx.bytes")),
    downBytes: rate((status) => countOf(status, "tx.bytes")),
    frames: rate((status) => countOf(status, "rx.frames") + countOf(status, "tx.frames")),
    drops: rate(dropsOf),
    questions: rate((status) => status.guest?.dns.questions ?? 0),
  };
}

function countOf({ guest }: GatewayStatus, name: string): number {
  return guest?.counters[name] ?? 0;
}

function dropsOf({ guest }: GatewayStatus): number {
  return Object.entries(guest?.counters ?? {})
    .reduce((sum, [name, count]) => name.startsWith("drop.") ? sum + count : sum, 0);
}

/** A flow that was not there before has carried all its octets since. */
function flowRates(
  before: readonly FlowInfo[] | null,
  after: readonly FlowInfo[],
  seconds: number,
): TopFlow[] {
  const known = new Map<string, FlowInfo>(before?.map((info) => [flowKey(info), info]));
  return after.map((info) => {
    const old = known.get(flowKey(info));
    const rate = (now: number, then = 0) => before === null ? 0 : Math.max(0, now - then) / seconds;
    return {
      info,
      upBytesPerSecond: rate(info.upBytes, old?.upBytes),
      downBytesPerSecond: rate(info.downBytes, old?.downBytes),
    };
  });
}

/** What no two flows of a gateway's life have in common. */
export function flowKey({ id, startedMs }: FlowInfo): string {
  return `${id}/${startedMs}`;
}

/** Where a flow leads: a name with the port, where one is known. */
export function flowTarget({ opener, guest, peer, name }: FlowInfo): string {
  if (opener === "host") return `${peer} to :${portOf(guest)}`;
  return name === null ? peer : `${name === "" ? "." : name}:${portOf(peer)}`;
}

function portOf(place: string): string {
  return place.slice(place.lastIndexOf(":") + 1);
}

/** What a flow carries in a second, both ways. */
export function flowRate({ upBytesPerSecond, downBytesPerSecond }: TopFlow): number {
  return upBytesPerSecond + downBytesPerSecond;
}

/** What a flow has carried, both ways. */
export function flowTotal({ info: { upBytes, downBytes } }: TopFlow): number {
  return upBytes + downBytes;
}

/** The most, the oldest and the first in the alphabet stand first, unless reversed. */
const ORDERS: Readonly<Record<SortKey, (a: TopFlow, b: TopFlow) => number>> = {
  rate: (a, b) => flowRate(b) - flowRate(a),
  total: (a, b) => flowTotal(b) - flowTotal(a),
  age: (a, b) => a.info.startedMs - b.info.startedMs,
  name: (a, b) => compare(flowTarget(a.info), flowTarget(b.info)),
};

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The flows that are shown, in their order; those that are alike by their numbers. */
export function chosenFlows(
  flows: readonly TopFlow[],
  { sort, isReversed, filter }: FlowChoice,
): TopFlow[] {
  const words = filter.toLowerCase().split(" ").filter((word) => word !== "");
  const order = ORDERS[sort];
  const sign = isReversed ? -1 : 1;
  return flows.filter(({ info }) => words.length === 0 || hasWords(info, words))
    .sort((a, b) => sign * order(a, b) || a.info.id - b.info.id);
}

function hasWords(info: FlowInfo, words: readonly string[]): boolean {
  const { protocol, guest, peer, name, rule, state } = info;
  const text = `${protocol} ${guest} ${peer} ${name ?? ""} ${rule ?? ""} ${state}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
