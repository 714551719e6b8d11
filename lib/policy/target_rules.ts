/**
 * The rules of one target and one action, by protocol and port.
 *
 * Where several cover a port, the one is found that asks for no inspection, then the first in order.
 *
 * @module
 */
import { type Coverage, coverageOf, type FlowProtocol, type Inspection } from "./coverage.ts";
import { type PortInterval, PortTable } from "./port_table.ts";
import type { Rule } from "./rule.ts";

/** A rule that covers a flow, and what the flow's first bytes must be for it. */
export interface RuleMatch {
  /** The rule. */
  readonly rule: Rule;
  /** `null` where they may be anything. */
  readonly inspection: Inspection | null;
}

interface Stretch {
  readonly coverage: Coverage;
  readonly match: RuleMatch;
}

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
    const stretches = rules.flatMap(stretchesOf);
    const table = (protocol: FlowProtocol, kinds: readonly Coverage["inspection"][]) =>
      tableOf(stretches, (each) => each.protocol === protocol && kinds.includes(each.inspection));
    this.#flows = {
      tcp: table("tcp", [null, "tls", "http"]),
      udp: table("udp", [null]),
      icmp: table("icmp", [null]),
    };
    this.#inspected = stretches.every(({ coverage }) => coverage.inspection === null)
      ? { tls: this.#flows.tcp, http: this.#flows.tcp }
      : { tls: table("tcp", [null, "tls"]), http: table("tcp", [null, "http"]) };
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

/** Stretches of one rule that are inspected alike share their match. */
function stretchesOf(rule: Rule): Stretch[] {
  const matches = new Map<Coverage["inspection"], RuleMatch>();
  return coverageOf(rule).map((coverage) => {
    const { inspection } = coverage;
    const match = matches.get(inspection) ?? { rule, inspection };
    matches.set(inspection, match);
    return { coverage, match };
  });
}

function tableOf(
  stretches: readonly Stretch[],
  takes: (coverage: Coverage) => boolean,
): PortTable<RuleMatch> {
  const free: PortInterval<RuleMatch>[] = [];
  const inspected: PortInterval<RuleMatch>[] = [];
  for (const { coverage, match } of stretches) {
    if (!takes(coverage)) continue;
    const { first, last, inspection } = coverage;
    (inspection === null ? free : inspected).push({ first, last, value: match });
  }
  if (free.length + inspected.length === 0) return NOTHING;
  return new PortTable([...free, ...inspected]);
}
