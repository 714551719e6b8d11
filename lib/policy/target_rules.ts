/**
 * The rules of one target and one action, by protocol and port.
 *
 * Where several cover a port, the one is found that asks for no inspection, then the first in order.
 *
 * @module
 */
import { coverageOf, type FlowProtocol, type Inspection } from "./coverage.ts";
import { type PortInterval, PortTable } from "./port_table.ts";
import type { Rule } from "./rule.ts";

/** A rule that covers a flow, and what the flow's first bytes must be for it. */
export interface RuleMatch {
  /** The rule. */
  readonly rule: Rule;
  /** `null` where they may be anything. */
  readonly inspection: Inspection | null;
}

type Interval = PortInterval<RuleMatch>;

const NOTHING: PortTable<RuleMatch> = new PortTable<RuleMatch>([]);

/** The rules of one target. */
export class TargetRules {
  /** The first. */
  readonly first: Rule;
  /** The first that is about all of the target: no ports, no protocol. */
  readonly whole: Rule | null;
  readonly #flows: Readonly<Record<FlowProtocol, PortTable<RuleMatch>>>;
  readonly #inspected: Readonly<Record<Inspection, PortTable<RuleMatch>>>;

  /** Compiles rules of the same target and action, in their order; at least one. */
  constructor(rules: readonly [Rule, ...Rule[]]) {
    this.first = rules[0];
    this.whole = rules.find(({ ports, protocol }) => ports === null && protocol === null) ?? null;
    const intervals: Record<FlowProtocol, Interval[]> = { tcp: [], udp: [], icmp: [] };
    for (const rule of rules) addIntervals(intervals, rule);
    const tcp = freeFirst(intervals.tcp);
    this.#flows = {
      tcp: tableOf(tcp),
      udp: tableOf(intervals.udp),
      icmp: tableOf(intervals.icmp),
    };
    const satisfiedBy = (kind: Inspection) => {
      const list = tcp.filter(({ value: { inspection } }) =>
        inspection === null || inspection === kind
      );
      return list.length === tcp.length ? this.#flows.tcp : tableOf(list);
    };
    this.#inspected = { tls: satisfiedBy("tls"), http: satisfiedBy("http") };
  }

  /** The rule that covers a flow. */
  find(protocol: FlowProtocol, port: number): RuleMatch | null {
    return this.#flows[protocol].find(port);
  }

  /** The rule that TCP traffic to this port satisfies which is TLS or HTTP. */
  findInspected(kind: Inspection, port: number): RuleMatch | null {
    return this.#inspected[kind].find(port);
  }
}

/** Intervals of one rule that are inspected alike share their match. */
function addIntervals(intervals: Record<FlowProtocol, Interval[]>, rule: Rule): void {
  const matches: RuleMatch[] = [];
  for (const { protocol, first, last, inspection } of coverageOf(rule)) {
    let match = matches.find((each) => each.inspection === inspection);
    if (match === undefined) matches.push(match = { rule, inspection });
    intervals[protocol].push({ first, last, value: match });
  }
}

/** Those without inspection, then the others, both in their order. */
function freeFirst(intervals: Interval[]): Interval[] {
  const inspected = intervals.filter(({ value }) => value.inspection !== null);
  if (inspected.length === 0 || inspected.length === intervals.length) return intervals;
  return [...intervals.filter(({ value }) => value.inspection === null), ...inspected];
}

function tableOf(intervals: readonly Interval[]): PortTable<RuleMatch> {
  return intervals.length === 0 ? NOTHING : new PortTable(intervals);
}
