/** What `top` makes of samples. */
import { assertEquals } from "@std/assert";
import {
  chosenFlows,
  flowTarget,
  HISTORY_SAMPLES,
  nextModel,
  SORT_KEYS,
  type TopModel,
} from "../../lib/cli/top_model.ts";
import { flowOf, guestOf, sampleAt, START_MS } from "./top_samples.ts";

const counts = (n: number) => ({
  "rx.frames": 10 * n,
  "rx.bytes": 1_000 * n,
  "tx.frames": 20 * n,
  "tx.bytes": 30_000 * n,
  "drop.tcp.state": n,
  "drop.csum": n,
});

Deno.test("rates are differences over the time between two samples", () => {
  const first = nextModel(null, sampleAt(0, { guest: guestOf(counts(1), 5) }));
  assertEquals([first.rates, first.history], [null, [null]]);
  const second = nextModel(first, sampleAt(2, { guest: guestOf(counts(3), 9) }));
  const rates = { upBytes: 1_000, downBytes: 30_000, frames: 30, drops: 2, questions: 2 };
  assertEquals(second.rates, rates);
  assertEquals(second.history, [null, rates]);
});

Deno.test("another guest, none or a gateway that was started again is a gap", () => {
  const before = nextModel(null, sampleAt(0, { guest: guestOf(counts(5), 5) }));
  const gaps = [
    sampleAt(1, { guest: null }),
    sampleAt(1, { guest: guestOf(counts(4), 9) }),
    sampleAt(1, { guest: guestOf(counts(6), 4) }),
    sampleAt(1, { guest: guestOf(counts(6), 6), startedMs: START_MS + 500 }),
    sampleAt(0, { guest: guestOf(counts(6), 6) }),
  ];
  for (const sample of gaps) assertEquals(nextModel(before, sample).rates, null);
});

Deno.test("the history is bounded", () => {
  let model: TopModel | null = null;
  for (let i = 0; i < HISTORY_SAMPLES + 3; i++) {
    model = nextModel(model, sampleAt(i, { guest: guestOf({ "rx.bytes": i * i }) }));
  }
  assertEquals(model!.history.length, HISTORY_SAMPLES);
  assertEquals(model!.history.at(-1)?.upBytes, 2 * (HISTORY_SAMPLES + 2) - 1);
});

Deno.test("a flow's rate is its own, from the moment at which it is there", () => {
  const first = nextModel(null, sampleAt(0, { flows: [flowOf(1, { upBytes: 100 })] }));
  assertEquals(first.flows[0]!.upBytesPerSecond, 0);
  const flows = [
    flowOf(1, { upBytes: 300, downBytes: 50 }),
    flowOf(2, { downBytes: 4_000, startedMs: START_MS + 1_000 }),
  ];
  const second = nextModel(first, sampleAt(2, { flows }));
  assertEquals(
    second.flows.map((flow) => [flow.upBytesPerSecond, flow.downBytesPerSecond]),
    [[100, 25], [0, 2_000]],
  );
  // The number of a flow of a guest that has left, and another beginning.
  const other = [flowOf(1, { upBytes: 10, startedMs: START_MS + 3_000 })];
  assertEquals(nextModel(second, sampleAt(4, { flows: other })).flows[0]!.upBytesPerSecond, 5);
});

const FLOWS = nextModel(nextModel(null, sampleAt(0)), {
  ...sampleAt(1),
  flows: [
    flowOf(1, { name: "b.test", upBytes: 5, downBytes: 5, startedMs: START_MS + 3 }),
    flowOf(2, { name: "a.test", upBytes: 50, rule: "*.test:443", startedMs: START_MS + 2 }),
    flowOf(3, { protocol: "udp", peer: "[2001:db8::1]:53", startedMs: START_MS + 1 }),
    flowOf(4, { opener: "host", peer: "192.0.2.7:5555", guest: "100.96.0.2:80", upBytes: 9 }),
  ],
}).flows;

const ids = (choice: Parameters<typeof chosenFlows>[1]) =>
  chosenFlows(FLOWS, choice).map(({ info }) => info.id);

Deno.test("flows are sorted by each key in both directions", () => {
  const orders = { rate: [2, 1, 4, 3], total: [2, 1, 4, 3], age: [4, 3, 2, 1], name: [4, 3, 2, 1] };
  for (const sort of SORT_KEYS) {
    assertEquals(ids({ sort, isReversed: false, filter: "" }), orders[sort], sort);
    assertEquals(ids({ sort, isReversed: true, filter: "" }), orders[sort].toReversed(), sort);
  }
});

Deno.test("alike flows keep their numbers' order, also reversed", () => {
  const alike = nextModel(null, sampleAt(0, { flows: [flowOf(2), flowOf(3), flowOf(1)] })).flows;
  for (const isReversed of [false, true]) {
    const shown = chosenFlows(alike, { sort: "rate", isReversed, filter: "" });
    assertEquals(shown.map(({ info }) => info.id), [1, 2, 3]);
  }
});

Deno.test("a filter's words all have to be there, in any of a flow's texts", () => {
  const filtered = (filter: string) => ids({ sort: "age", isReversed: true, filter });
  assertEquals(filtered(".TEST"), [1, 2]);
  assertEquals(filtered(" tcp  a. "), [2]);
  assertEquals(filtered("*.test"), [2]);
  assertEquals(filtered("2001:"), [3]);
  assertEquals(filtered("udp tcp"), []);
  assertEquals(filtered("100.96.0.2:80"), [4]);
});

Deno.test("where a flow leads", () => {
  assertEquals(FLOWS.map(({ info }) => flowTarget(info)), [
    "b.test:443",
    "a.test:443",
    "[2001:db8::1]:53",
    "192.0.2.7:5555 to :80",
  ]);
  assertEquals(flowTarget(flowOf(1, { name: "" })), ".:443");
});
