/**
 * The page of counts: counters of the stack, of the resolver, figures, metrics.
 *
 * @module
 */
import { NO_AUDIT } from "../../lib/host/fleet_report.ts";
import { FIGURE_HELP } from "../../lib/control/schemas.ts";
import { metricFamilies } from "../../lib/control/metrics_families.ts";
import type { MetricFamily } from "../../lib/control/metrics_text.ts";
import { DNS_COUNT_HELP, noDnsCounts } from "../../lib/host/dns_counts.ts";
import { COUNTER_HELP } from "../../lib/stack/counter_help.ts";
import { COUNTER_NAMES, type CounterName } from "../../lib/stack/counters.ts";
import { code, page, plain, sentence, table } from "./markdown.ts";

/** The parts of the table of counters, by how their names begin. */
const GROUPS: readonly [begin: RegExp, heading: string, about: string][] = [
  [/^(rx|tx|csum)\./, "The link", ""],
  [
    /^drop\./,
    "Dropped",
    "What was left without an answer, or answered with an error only. A few of them are normal: a " +
    "guest's kernel tries multicast, and late segments meet flows that have ended. Many a second " +
    "are a guest that floods, or a limit that is too small for it; the text names the key then.",
  ],
  [/^(icmp|ping|dhcp|nd)\./, "ICMP and addresses", ""],
  [/^tcp\./, "TCP", ""],
  [/^udp\./, "UDP", ""],
  [/^lan\./, "Other guests of the network", ""],
  [/^policy\./, "The policy", ""],
  [/^bug\./, "Faults of the gateway's own", "These stay 0; anything else is to be reported."],
];

/** The page. */
export function countsPage(): string {
  return page(
    "Counts and metrics",
    "`status` shows what stands out, `status --json` and `GET /v1/status` have all of it for the " +
      "guest that is attached: `guest.counters`, `guest.dns` and `guest.figures`. What is not there " +
      "is 0. [Metrics](#metrics) sum them over all guests since the start.",
    "## Counters of the guest's traffic",
    ...GROUPS.map(group),
    "## What became of DNS questions",
    "Each message of the guest is in `questions` and in one outcome.",
    meanings(Object.entries(DNS_COUNT_HELP)),
    "## Figures",
    "How much there is at this moment.",
    meanings(Object.entries(FIGURE_HELP)),
    "## Metrics",
    "`GET /metrics` of the control interface, for Prometheus; " +
      "[docs/operate.md](../operate.md#metrics) says how it is scraped and what is worth an alert. " +
      "The names are as OpenMetrics has them: a counter's sample ends with `_total`, an info's with " +
      "`_info`, in both formats.",
    table(["metric", "type", "labels", "what"], families().map(metricRow)),
  );
}

/** All metrics, as they are where nothing has happened. */
export function families(): MetricFamily[] {
  const counters = Object.fromEntries(COUNTER_NAMES.map((name) => [name, 0]));
  const totals = {
    guests: 0,
    counters: counters as Record<CounterName, number>,
    dns: noDnsCounts(),
    denialsByRule: new Map([["default-deny", 0]]),
  };
  return metricFamilies({
    version: "",
    deno: "",
    startedMs: 0,
    guests: new Map([["NAME", {
      link: null,
      figures: null,
      totals,
      rules: { allow: 0, deny: 0 },
      published: 0,
    }]]),
    workers: [{ guests: [], restarts: 0, alive: true }],
    readers: 0,
    fleet: {
      fleet: "",
      gateway: "",
      engine: { state: "closed", server: null, error: null },
      policy: { source: "closed", revision: null, documents: [], rejected: null, atMs: 0 },
      registry: { gateways: 0, services: 0, conflicts: 0, refused: 0 },
      audit: NO_AUDIT,
    },
    memory: { rss: 0, heapTotal: 0, heapUsed: 0, external: 0 },
  });
}

function group([begin, heading, about]: typeof GROUPS[number]): string {
  const names = COUNTER_NAMES.filter((name) => begin.test(name));
  const rows = meanings(names.map((name) => [name, COUNTER_HELP[name]]));
  return [`### ${heading}`, ...(about === "" ? [] : [about]), rows].join("\n\n");
}

function meanings(entries: readonly (readonly [string, string])[]): string {
  return table(
    ["name", "what it counts"],
    entries.map(([name, help]) => [code(name), plain(sentence(help))]),
  );
}

/** Labels with more values than a line holds: what they are is said elsewhere. */
const MANY: Readonly<Record<string, string>> = {
  reason: "the counter's name behind `drop.`",
  place: "the counter's name behind `bug.`",
  rule: "the rule",
  guest: "its name, where several are served",
};

function metricRow({ name, type, help, samples }: MetricFamily): string[] {
  const labels = new Map<string, Set<string>>();
  for (const sample of samples) {
    for (const [label, value] of Object.entries(sample.labels ?? {})) {
      labels.set(label, (labels.get(label) ?? new Set()).add(value));
    }
  }
  const cells = [...labels].map(([label, values]) => {
    const words = [...values].filter((value) => value !== "");
    const what = MANY[label] ?? words.map(code).join(", ");
    return what === "" ? code(label) : `${code(label)}: ${what}`;
  });
  const suffix = type === "counter" ? "_total" : type === "info" ? "_info" : "";
  return [code(name + suffix), type, cells.join("; "), plain(help)];
}

/** Whether every counter stands under a heading. */
export function unplaced(): CounterName[] {
  return COUNTER_NAMES.filter((name) => !GROUPS.some(([begin]) => begin.test(name)));
}
