import { assert, assertEquals, assertMatch } from "@std/assert";
import { metricFamilies } from "../../lib/control/metrics_families.ts";
import type { GuestMetrics, MetricsSnapshot } from "../../lib/control/metrics_snapshot.ts";
import { noDnsCounts } from "../../lib/host/dns_counts.ts";
import { GuestTally } from "../../lib/host/guest_totals.ts";
import { COUNTER_NAMES, type CounterName } from "../../lib/stack/counters.ts";
import { FLEET } from "../support/fleet_report.ts";

/** A number of its own for each counter. */
const COUNTS = Object.fromEntries(COUNTER_NAMES.map((name, i) => [name, 1_000 + i])) as Record<
  CounterName,
  number
>;
const DNS_NAMES = Object.keys(noDnsCounts()) as (keyof ReturnType<typeof noDnsCounts>)[];
const DNS = { ...noDnsCounts() };
DNS_NAMES.forEach((name, i) => DNS[name] = 2_000 + i);

const FIGURES = {
  tcpFlows: 3_000,
  udpFlows: 3_001,
  timers: 3_002,
  relays: 3_003,
  dials: 3_004,
  dnsInFlight: 3_005,
  pins: 3_006,
  fragmentSets: 3_007,
  pings: 3_010,
  bufferBytes: 3_008,
};

const EMPTY: MetricsSnapshot = {
  version: "1.2.3",
  deno: "2.9.6",
  startedMs: 1_700_000_000_500,
  guests: {
    link: null,
    figures: null,
    totals: new GuestTally().totals(null),
    rules: { allow: 4_000, deny: 4_001 },
    published: 4_002,
  },
  workers: [],
  readers: 4_003,
  fleet: null,
  memory: { rss: 5_000, heapTotal: 5_001, heapUsed: 5_002, external: 5_003 },
};

const FULL: MetricsSnapshot = {
  ...EMPTY,
  guests: {
    ...EMPTY.guests as GuestMetrics,
    link: "attached",
    figures: FIGURES,
    totals: {
      guests: 6_000,
      counters: COUNTS,
      dns: DNS,
      denialsByRule: new Map([["default-deny", 7_000], ["*.evil.test:443/tls", 7_001]]),
    },
  },
};

const samplesOf = (snapshot: MetricsSnapshot) =>
  metricFamilies(snapshot).flatMap(({ name, samples }) =>
    samples.map(({ labels = {}, value }) => ({ name, labels, value }))
  );

Deno.test("every count and figure is in one sample", () => {
  const expected = [
    ...Object.values(COUNTS),
    ...DNS_NAMES.filter((name) => name !== "questions").map((name) => DNS[name]),
    ...Object.values(FIGURES),
    ...[4_000, 4_001, 4_002, 4_003, 5_000, 5_001, 5_002, 5_003, 6_000, 7_000, 7_001],
    ...[0, 1, 1, 1_700_000_000.5],
  ];
  const values = samplesOf(FULL).map(({ value }) => value);
  assertEquals(values.toSorted(), expected.toSorted());
});

Deno.test("a gateway in a fleet says how it stands there, and one in none says nothing", () => {
  const isFleet = ({ name }: { name: string }) => name.startsWith("virtio_gateway_fleet_");
  const values = samplesOf({ ...FULL, fleet: FLEET }).filter(isFleet).map(({ value }) => value);
  assertEquals(
    values.toSorted(),
    [
      0,
      0,
      1,
      1,
      1,
      8_000,
      8_004,
      8_005,
      8_006,
      8_007,
      8_008,
      8_009,
      8_010,
      8_011,
      8_012,
      1_700_000_000.125,
      1_700_000_000.25,
    ]
      .toSorted(),
  );
  const none = { ...FLEET, policy: { ...FLEET.policy, revision: null, rejected: null } };
  const revision = samplesOf({ ...FULL, fleet: none })
    .find(({ name }) => name.endsWith("_fleet_policy_revision"));
  assertEquals(revision?.value, 0);
  const idle = { ...FLEET, audit: { ...FLEET.audit, oldestMs: null } };
  const oldest = samplesOf({ ...FULL, fleet: idle })
    .find(({ name }) => name.endsWith("_fleet_audit_oldest_time_seconds"));
  assertEquals(oldest, undefined);
  assertEquals(samplesOf(FULL).filter(isFleet), []);
});

Deno.test("what has not happened and no guest are zeros, in the same samples", () => {
  const shape = (snapshot: MetricsSnapshot) =>
    samplesOf(snapshot).filter(({ name }) => !name.endsWith("_denials"))
      .map(({ name, labels }) => `${name} ${JSON.stringify(labels)}`);
  assertEquals(shape(EMPTY), shape(FULL));
  const attached = samplesOf(EMPTY).find(({ name }) => name.endsWith("_guest_attached"));
  assertEquals(attached?.value, 0);
});

Deno.test("names follow the rules: one prefix, base units, no type in a name, each once", () => {
  const families = metricFamilies({ ...FULL, fleet: FLEET });
  const names = families.map(({ name }) => name);
  assertEquals(new Set(names).size, names.length);
  for (const { name, type, unit, help, samples } of families) {
    assertMatch(name, /^virtio_gateway(_[a-z0-9]+)+$/);
    assert(!/(_total|_info|_count|_sum|_bucket|_created|_ms|_kb|_milliseconds)$/.test(name), name);
    assertEquals(unit, /_(bytes|seconds)$/.exec(name)?.[1] as typeof unit, name);
    assertMatch(help, /^[A-Z].*\.$/);
    assert(type === "info" || samples.length > 0, name);
    const keys = samples.map(({ labels = {} }) => JSON.stringify(labels));
    assertEquals(new Set(keys).size, keys.length, name);
    const labelNames = new Set(samples.map(({ labels = {} }) => Object.keys(labels).join()));
    assertEquals(labelNames.size, 1, name);
  }
});

Deno.test("label values are words of the gateway's own, but for rules and versions", () => {
  for (const { name, labels } of samplesOf(FULL)) {
    for (const [label, value] of Object.entries(labels)) {
      if (["rule", "version", "deno"].includes(label)) continue;
      assertMatch(value, /^[a-z0-9_.]{2,20}$/, `${name} ${label}`);
    }
  }
  const rules = samplesOf(FULL).filter(({ name }) => name === "virtio_gateway_denials");
  assertEquals(rules.map(({ labels }) => labels.rule), ["default-deny", "*.evil.test:443/tls"]);
});
