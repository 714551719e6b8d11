/**
 * From a snapshot of the gateway to its metrics, one family for each meaning.
 *
 * Counts are of all guests since the start, so that they only grow; figures are of the guest that is
 * attached, and 0 where none is. Where several guests are served, each sample of theirs has the label
 * `guest`. No label has a word of the guest's: its values are words of this
 * file, names of counters, versions, and rules as the configuration has them, at most 101 of those
 * (`guest_totals.ts`). What has not happened yet is there as 0, so that its first time is a step.
 *
 * Pure: no clock, no sockets, no system.
 *
 * @module
 */
import type { DnsCounts } from "../host/dns_counts.ts";
import type { GuestFigures } from "../host/guest_network.ts";
import type { GuestWorker } from "../host/served_guests.ts";
import { COUNTER_NAMES, type CounterName } from "../stack/counters.ts";
import { fleetFamilies } from "./metrics_fleet.ts";
import type { GuestMetrics, MetricsSnapshot } from "./metrics_snapshot.ts";
import type { MetricFamily, MetricSample, MetricType } from "./metrics_text.ts";

const PREFIX = "virtio_gateway_";

/** Makes the metrics. */
export function metricFamilies(snapshot: MetricsSnapshot): MetricFamily[] {
  const { version, deno, startedMs, guests, workers, readers, fleet, memory } = snapshot;
  return [
    family("build", "info", "Versions of the gateway and of Deno.", [
      { labels: { version, deno }, value: 1 },
    ]),
    family(
      "start_time_seconds",
      "gauge",
      "When the control interface was opened, in seconds since 1970.",
      plain(startedMs / 1000),
    ),
    ...("totals" in guests ? guestFamilies(guests) : namedFamilies(guests)),
    ...(workers.length === 0 ? [] : workerFamilies(workers)),
    family("event_readers", "gauge", "Readers of the control interface's events.", plain(readers)),
    ...(fleet === null ? [] : fleetFamilies(fleet)),
    ...memoryFamilies(memory),
  ];
}

function plain(value: number): MetricSample[] {
  return [{ value }];
}

/** What is counted for one guest. */
function guestFamilies({ link, figures, totals, rules, published }: GuestMetrics): MetricFamily[] {
  return [
    family("guests", "counter", "Guests that were attached.", plain(totals.guests)),
    family(
      "guest_attached",
      "gauge",
      "Whether a guest is attached: 1 or 0.",
      plain(link === "attached" ? 1 : 0),
    ),
    family(
      "guest_detached",
      "gauge",
      "Whether a guest's VMM is away while everything of the guest is kept: 1 or 0.",
      plain(link === "detached" ? 1 : 0),
    ),
    ...figureFamilies(figures),
    ...counterFamilies(totals.counters),
    family(
      "denials",
      "counter",
      "What the policy has refused, by the rule that did.",
      [...totals.denialsByRule].map(([rule, value]) => ({ labels: { rule }, value })),
    ),
    ...dnsFamilies(totals.dns),
    family("policy_rules", "gauge", "Rules of the policy in force.", [
      { labels: { action: "allow" }, value: rules.allow },
      { labels: { action: "deny" }, value: rules.deny },
    ]),
    family(
      "published_sockets",
      "gauge",
      "Sockets of the host that listen for the guest.",
      plain(published),
    ),
  ];
}

/** The same of several guests: each family once, its samples with the names of the guests. */
function namedFamilies(guests: ReadonlyMap<string, GuestMetrics | null>): MetricFamily[] {
  const samples = new Map<string, MetricSample[]>();
  const families = new Map<string, MetricFamily>();
  for (const [guest, metrics] of guests) {
    for (const family of metrics === null ? [] : guestFamilies(metrics)) {
      const list = samples.get(family.name) ?? [];
      list.push(
        ...family.samples.map(({ labels, value }) => ({ labels: { guest, ...labels }, value })),
      );
      samples.set(family.name, list);
      families.set(family.name, family);
    }
  }
  return [
    family(
      "guest_answers",
      "gauge",
      "Whether the guest's gateway answers, else it has no other samples: 1 or 0.",
      [...guests].map(([guest, metrics]) => ({
        labels: { guest },
        value: metrics === null ? 0 : 1,
      })),
    ),
    ...[...families.values()].map((each) => ({ ...each, samples: samples.get(each.name)! })),
  ];
}

function workerFamilies(workers: readonly GuestWorker[]): MetricFamily[] {
  const samples = (value: (worker: GuestWorker) => number): MetricSample[] => {
    return workers.map((worker, i) => ({
      labels: { worker: String(i) },
      value: value(worker),
    }));
  };
  return [
    family(
      "worker_alive",
      "gauge",
      "Whether a worker that serves guests runs: 1 or 0.",
      samples(({ alive }) => alive ? 1 : 0),
    ),
    family(
      "worker_guests",
      "gauge",
      "Guests that a worker serves.",
      samples(({ guests }) => guests.length),
    ),
    family(
      "worker_restarts",
      "counter",
      "How often a worker was started again.",
      samples(({ restarts }) => restarts),
    ),
  ];
}

function family(
  name: string,
  type: MetricType,
  help: string,
  samples: readonly MetricSample[],
): MetricFamily {
  const unit = (["bytes", "seconds"] as const).find((word) => name.endsWith(`_${word}`));
  return { name: PREFIX + name, type, help, samples, ...(unit === undefined ? {} : { unit }) };
}

/** A place among the families: the name of one, and the labels of a sample there. */
type Place<Family extends string> = readonly [
  family: Family,
  labels?: Readonly<Record<string, string>>,
];

const FIGURES = {
  flows: "Flows, those that are closing or in TIME_WAIT too.",
  tcp_timers: "TCP flows with a timer.",
  tcp_host_sockets: "TCP flows with a socket of the host, or on the way to one.",
  tcp_dials: "Connects to hosts that are under way or wait their turn.",
  dns_in_flight: "Questions that wait for an upstream.",
  name_pins: "Addresses that answers have tied to names.",
  pings: "Pings of the world that are under way.",
  fragment_sets: "Datagrams of which fragments are missing.",
  tcp_buffer_bytes: "Buffer memory of the TCP flows.",
} as const;

const FIGURE_PLACES: Readonly<Record<keyof GuestFigures, Place<keyof typeof FIGURES>>> = {
  tcpFlows: ["flows", { protocol: "tcp" }],
  udpFlows: ["flows", { protocol: "udp" }],
  timers: ["tcp_timers"],
  relays: ["tcp_host_sockets"],
  dials: ["tcp_dials"],
  dnsInFlight: ["dns_in_flight"],
  pins: ["name_pins"],
  pings: ["pings"],
  fragmentSets: ["fragment_sets"],
  bufferBytes: ["tcp_buffer_bytes"],
};

function figureFamilies(figures: GuestFigures | null): MetricFamily[] {
  return placed("gauge", FIGURES, FIGURE_PLACES, (name) => figures?.[name] ?? 0);
}

const COUNTERS = {
  frames: "Ethernet frames on the link to the guest.",
  frame_bytes: "Octets of these frames.",
  lan_frames: "Frames between the guest and others of its network.",
  lan_frame_bytes: "Octets of these frames.",
  partial_checksums: "Packets with the partial sum of an offloading guest.",
  icmp_echoes: "Echo requests that were answered.",
  world_pings: "Pings of the world, by what became of them: sent by the host, answered.",
  icmp_errors: "ICMP errors that the guest was sent.",
  tcp_icmp_errors: "ICMP errors of the guest about a TCP flow.",
  dhcp_leases: "Addresses that the guest was given by DHCP.",
  router_advertisements: "Router advertisements that the guest was sent.",
  flows_opened: "Flows that began, by who began them: the guest, or a client of a published port.",
  tcp_flows_refused: "TCP flows of the guest that were refused, by hosts or here.",
  tcp_flows_resumed: "Kept TCP flows that went on after a lost link.",
  tcp_flows_closed: "TCP flows that have ended.",
  tcp_resets: "TCP resets.",
  tcp_challenge_acks: "Challenge ACKs that the guest was sent (RFC 5961).",
  tcp_retransmitted_segments: "TCP segments that were sent to the guest again.",
  tcp_timeouts: "Timers of TCP that ran out: retransmission, tail loss probe, zero window.",
  tcp_out_of_order_segments: "TCP segments of the guest that came before their turn.",
  tcp_duplicate_segments: "TCP segments of the guest that had come before.",
  udp_flows_evicted: "UDP flows that made way for others.",
  udp_datagrams: "UDP datagrams that were relayed.",
  policy_refusals: "What the policy has refused, whichever rule did.",
  dropped: "What was dropped without an answer, by reason, as status has it.",
  bugs: "Faults of the gateway's own that were caught; please report them.",
} as const;

const FROM = { direction: "from_guest" };
const TO = { direction: "to_guest" };

/** Those that are no `drop.…` and no `bug.…`. */
type PlainCounter = Exclude<CounterName, `drop.${string}` | `bug.${string}`>;

const COUNTER_PLACES: Readonly<Record<PlainCounter, Place<keyof typeof COUNTERS>>> = {
  "rx.frames": ["frames", FROM],
  "tx.frames": ["frames", TO],
  "rx.bytes": ["frame_bytes", FROM],
  "tx.bytes": ["frame_bytes", TO],
  "lan.rx.frames": ["lan_frames", FROM],
  "lan.tx.frames": ["lan_frames", TO],
  "lan.rx.bytes": ["lan_frame_bytes", FROM],
  "lan.tx.bytes": ["lan_frame_bytes", TO],
  "csum.partial": ["partial_checksums"],
  "icmp.echo": ["icmp_echoes"],
  "ping.sent": ["world_pings", { stage: "sent" }],
  "ping.answered": ["world_pings", { stage: "answered" }],
  "icmp.errors": ["icmp_errors"],
  "icmp.soft": ["tcp_icmp_errors", { kind: "soft" }],
  "icmp.toobig": ["tcp_icmp_errors", { kind: "too_big" }],
  "dhcp.leases": ["dhcp_leases"],
  "nd.advertisements": ["router_advertisements"],
  "tcp.opened": ["flows_opened", { protocol: "tcp", opener: "guest" }],
  "tcp.accepted": ["flows_opened", { protocol: "tcp", opener: "host" }],
  "udp.opened": ["flows_opened", { protocol: "udp", opener: "guest" }],
  "udp.accepted": ["flows_opened", { protocol: "udp", opener: "host" }],
  "tcp.refused": ["tcp_flows_refused"],
  "tcp.closed": ["tcp_flows_closed"],
  "tcp.reset.received": ["tcp_resets", FROM],
  "tcp.reset.sent": ["tcp_resets", TO],
  "tcp.challenge": ["tcp_challenge_acks"],
  "tcp.retransmit": ["tcp_retransmitted_segments"],
  "tcp.rto": ["tcp_timeouts", { timer: "retransmission" }],
  "tcp.tlp": ["tcp_timeouts", { timer: "tail_loss_probe" }],
  "tcp.probe": ["tcp_timeouts", { timer: "zero_window" }],
  "tcp.asked": ["tcp_timeouts", { timer: "kept_flow" }],
  "tcp.resumed": ["tcp_flows_resumed"],
  "tcp.outoforder": ["tcp_out_of_order_segments"],
  "tcp.duplicate": ["tcp_duplicate_segments"],
  "udp.evicted": ["udp_flows_evicted"],
  "udp.up": ["udp_datagrams", FROM],
  "udp.down": ["udp_datagrams", TO],
  "policy.refused": ["policy_refusals"],
};

function counterFamilies(counters: Readonly<Record<CounterName, number>>): MetricFamily[] {
  const below = (prefix: "drop" | "bug", family: keyof typeof COUNTERS, label: string) =>
    COUNTER_NAMES.filter((name) => name.startsWith(`${prefix}.`)).map((name) => {
      return [name, [family, { [label]: name.slice(prefix.length + 1) }]] as const;
    });
  const places = {
    ...COUNTER_PLACES,
    ...Object.fromEntries([
      ...below("drop", "dropped", "reason"),
      ...below("bug", "bugs", "place"),
    ]),
  } as Readonly<Record<CounterName, Place<keyof typeof COUNTERS>>>;
  return placed("counter", COUNTERS, places, (name) => counters[name]);
}

const DNS = {
  dns_questions: "Messages of the guest to its resolver, by outcome.",
  dns_upstream_queries: "Queries that went to upstream resolvers.",
  dns_shared_questions: "Questions that shared a query which was in flight.",
  dns_upstream_failures: "Tries at one upstream that came to nothing.",
  dns_unmatched_datagrams: "Datagrams that answered no question: forged, or too late.",
  dns_truncated_answers: "Answers that were cut for UDP.",
  dns_stripped_addresses: "Addresses that were taken out of answers.",
  dns_stripped_hints: "Service bindings that lost hints or keys.",
} as const;

const outcome = (word: string): Place<keyof typeof DNS> => ["dns_questions", { outcome: word }];

/** `questions` is left out: it is the sum of the outcomes and of what is in flight. */
const DNS_PLACES: Readonly<Record<Exclude<keyof DnsCounts, "questions">, Place<keyof typeof DNS>>> =
  {
    own: outcome("own"),
    answered: outcome("answered"),
    cached: outcome("cached"),
    malformed: outcome("malformed"),
    refused: outcome("refused"),
    denied: outcome("denied"),
    ignored: outcome("ignored"),
    failedTimeout: outcome("failed_timeout"),
    failedNetwork: outcome("failed_network"),
    failedAnswer: outcome("failed_answer"),
    failedBusy: outcome("failed_busy"),
    failedClosed: outcome("failed_closed"),
    forwarded: ["dns_upstream_queries"],
    shared: ["dns_shared_questions"],
    triesFailed: ["dns_upstream_failures"],
    unmatched: ["dns_unmatched_datagrams"],
    truncated: ["dns_truncated_answers"],
    stripped: ["dns_stripped_addresses"],
    hintsStripped: ["dns_stripped_hints"],
  };

function dnsFamilies(counts: Readonly<DnsCounts>): MetricFamily[] {
  return placed("counter", DNS, DNS_PLACES, (name) => counts[name]);
}

/** Families in the order of their table, each with the samples that have their place there. */
function placed<Family extends string, Name extends string>(
  type: MetricType,
  families: Readonly<Record<Family, string>>,
  places: Readonly<Record<Name, Place<Family>>>,
  valueOf: (name: Name) => number,
): MetricFamily[] {
  const samples = new Map<string, MetricSample[]>();
  for (const [name, [family, labels]] of Object.entries<Place<Family>>(places)) {
    const list = samples.get(family) ?? [];
    list.push({ value: valueOf(name as Name), ...(labels === undefined ? {} : { labels }) });
    samples.set(family, list);
  }
  return Object.entries<string>(families).map(([name, help]) => {
    return family(name, type, help, samples.get(name) ?? []);
  });
}

function memoryFamilies({ rss, heapTotal, heapUsed, external }: Deno.MemoryUsage): MetricFamily[] {
  const rows: readonly [name: string, help: string, bytes: number][] = [
    ["resident_memory_bytes", "Memory of the process that is in RAM.", rss],
    ["heap_size_bytes", "JavaScript heap as it is reserved.", heapTotal],
    ["heap_used_bytes", "JavaScript heap in use.", heapUsed],
    ["external_memory_bytes", "Memory that objects of the heap hold outside of it.", external],
  ];
  return rows.map(([name, help, value]) => family(name, "gauge", help, [{ value }]));
}
