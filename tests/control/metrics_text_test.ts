import { assertEquals } from "@std/assert";
import {
  type MetricFamily,
  metricFormat,
  OPEN_METRICS,
  PROMETHEUS_TEXT,
} from "../../lib/control/metrics_text.ts";

const FAMILIES: readonly MetricFamily[] = [
  {
    name: "a_bytes",
    type: "counter",
    unit: "bytes",
    help: 'Octets of "a",\na \\ line.',
    samples: [
      { labels: { way: "up" }, value: 12 },
      { labels: { way: 'x"y\\z\n', rule: "*.example" }, value: 0 },
    ],
  },
  { name: "flows", type: "gauge", help: "Flows.", samples: [{ value: 1.5 }] },
  { name: "build", type: "info", help: "What.", samples: [{ labels: { version: "1" }, value: 1 }] },
  { name: "none", type: "counter", help: "Nothing yet.", samples: [] },
];

Deno.test("the Prometheus text format", () => {
  assertEquals(
    PROMETHEUS_TEXT.write(FAMILIES),
    String.raw`# HELP a_bytes_total Octets of "a",\na \\ line.
# TYPE a_bytes_total counter
a_bytes_total{way="up"} 12
a_bytes_total{way="x\"y\\z\n",rule="*.example"} 0
# HELP flows Flows.
# TYPE flows gauge
flows 1.5
# HELP build_info What.
# TYPE build_info gauge
build_info{version="1"} 1
# HELP none_total Nothing yet.
# TYPE none_total counter
`,
  );
});

Deno.test("OpenMetrics: families without suffixes, units, escaped quotes, an end", () => {
  assertEquals(
    OPEN_METRICS.write(FAMILIES),
    String.raw`# TYPE a_bytes counter
# UNIT a_bytes bytes
# HELP a_bytes Octets of \"a\",\na \\ line.
a_bytes_total{way="up"} 12
a_bytes_total{way="x\"y\\z\n",rule="*.example"} 0
# TYPE flows gauge
# HELP flows Flows.
flows 1.5
# TYPE build info
# HELP build What.
build_info{version="1"} 1
# TYPE none counter
# HELP none Nothing yet.
# EOF
`,
  );
});

Deno.test("numbers that are none", () => {
  const values = [NaN, Infinity, -Infinity, 2 ** 53, 1e21, 0.1];
  const text = PROMETHEUS_TEXT.write([
    { name: "n", type: "gauge", help: "N.", samples: values.map((value) => ({ value })) },
  ]);
  assertEquals(text.split("\n").slice(2), [
    "n NaN",
    "n +Inf",
    "n -Inf",
    "n 9007199254740992",
    "n 1e+21",
    "n 0.1",
    "",
  ]);
});

Deno.test("the format is the one that Accept likes best", () => {
  const open = "application/openmetrics-text";
  const cases: [accept: string | undefined, isOpen: boolean][] = [
    [undefined, false],
    ["", false],
    ["*/*", false],
    ["text/html,*/*;q=0.1", false],
    [open, true],
    [`${open};version=1.0.0`, true],
    [`${open}; version="1.0.0"; charset=utf-8`, true],
    [`${open};version=0.0.1`, false],
    [`${open};version=2.0.0,text/plain`, false],
    [`text/plain, ${open}`, true],
    [`text/plain;q=0.9, ${open};q=0.5`, false],
    [`${open};q=0`, false],
    [`${open};q=much, text/plain`, false],
    ["APPLICATION/OpenMetrics-Text", true],
    // What Prometheus 2.42, 2.54 and 3 send.
    [
      `${open};version=1.0.0,${open};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1`,
      true,
    ],
    [
      `${open};version=1.0.0;q=0.5,${open};version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2`,
      true,
    ],
    [
      `${open};version=1.0.0;escaping=allow-utf-8;q=0.6,${open};version=0.0.1;q=0.5,` +
      "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
      true,
    ],
    ["text/plain;version=0.0.4;q=1,*/*;q=0.1", false],
    [",;=,;q=;version,", false],
  ];
  for (const [accept, isOpen] of cases) {
    assertEquals(metricFormat(accept), isOpen ? OPEN_METRICS : PROMETHEUS_TEXT, accept);
  }
});
