/**
 * What happens in a second, as differences of a guest's counters between two answers.
 *
 * Where the guest is another one, or the gateway was started again, there is nothing to compare
 * with, and the history has a gap. Limit: `HISTORY_SAMPLES`.
 *
 * @module
 */
import type { FlowInfo } from "../../host/flow_info.ts";
import type { GatewayStatus } from "../api.ts";

/** How many samples a plot has: five minutes, one a second. */
export const HISTORY_SAMPLES = 300;

/** What happens in a second, and how many flows there are. */
export interface Rates {
  readonly upBytes: number;
  readonly downBytes: number;
  readonly packets: number;
  readonly flows: number;
  readonly questions: number;
}

/** A moment of the history. */
export interface Moment {
  /** Seconds since 1970. */
  readonly atSeconds: number;
  /** `null` is a gap. */
  readonly rates: Rates | null;
}

/** Keeps the rates of the last minutes. */
export class RateHistory {
  readonly moments: Moment[] = [];
  #last: { readonly status: GatewayStatus; readonly atMs: number } | null = null;

  /** Takes an answer, and its time on a clock that is never set. */
  take(status: GatewayStatus, atMs: number, timeMs: number): Rates | null {
    const before = this.#last;
    this.#last = { status, atMs };
    const seconds = before === null ? 0 : (atMs - before.atMs) / 1000;
    const rates = before !== null && seconds > 0
      ? ratesBetween(before.status, status, seconds)
      : null;
    this.#push({ atSeconds: timeMs / 1000, rates });
    return rates;
  }

  /** What comes next is another guest's. */
  forget(): void {
    this.#last = null;
    this.moments.length = 0;
  }

  /** Notes that nothing was learnt; what comes next has nothing to compare with. */
  gap(timeMs: number): void {
    if (this.#last === null) return;
    this.#last = null;
    this.#push({ atSeconds: timeMs / 1000, rates: null });
  }

  #push(moment: Moment): void {
    this.moments.push(moment);
    if (this.moments.length > HISTORY_SAMPLES) this.moments.shift();
  }
}

function ratesBetween(before: GatewayStatus, after: GatewayStatus, seconds: number): Rates | null {
  const { guest: old } = before;
  const { guest } = after;
  if (old === null || guest === null || before.startedMs !== after.startedMs) return null;
  const rise = (name: string) => (guest.counters[name] ?? 0) - (old.counters[name] ?? 0);
  const packets = rise("rx.frames") + rise("tx.frames");
  if (rise("rx.frames") < 0 || rise("tx.frames") < 0) return null;
  return {
    upBytes: rise("rx.bytes") / seconds,
    downBytes: rise("tx.bytes") / seconds,
    packets: packets / seconds,
    flows: guest.figures.tcpFlows + guest.figures.udpFlows,
    questions: Math.max(0, guest.dns.questions - old.dns.questions) / seconds,
  };
}

/** A flow, and what it carries in a second. */
export interface RatedFlow {
  readonly info: FlowInfo;
  readonly up: number;
  readonly down: number;
}

/** What no two flows of a gateway's life have in common. */
export function flowKey({ id, startedMs }: FlowInfo): string {
  return `${id}/${startedMs}`;
}

/** Rates of flows between two lists of them. */
export class FlowRates {
  #known = new Map<string, FlowInfo>();
  #atMs: number | null = null;

  /** What comes next is another guest's. */
  forget(): void {
    this.#known.clear();
    this.#atMs = null;
  }

  /** Takes a list, and its time on a clock that is never set. */
  take(flows: readonly FlowInfo[], atMs: number): RatedFlow[] {
    const seconds = this.#atMs === null ? 0 : (atMs - this.#atMs) / 1000;
    const rated = flows.map((info) => {
      const old = this.#known.get(flowKey(info));
      const rate = (now: number, then = 0) => seconds > 0 ? Math.max(0, now - then) / seconds : 0;
      return {
        info,
        up: rate(info.upBytes, old?.upBytes),
        down: rate(info.downBytes, old?.downBytes),
      };
    });
    this.#known = new Map(flows.map((info) => [flowKey(info), info]));
    this.#atMs = atMs;
    return rated;
  }
}
