/**
 * What the comparison makes of its figures: medians, ratios, the README's tables and the plot.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { OURS } from "../../bench/compare_kinds.ts";
import { plot } from "../../bench/compare_plot.ts";
import { tables } from "../../bench/compare_report.ts";
import {
  type Cell,
  ratio,
  type Results,
  spellRatio,
  spread,
  terminalText,
} from "../../bench/compare_results.ts";

function cell(values: number[], errors: string[] = []): Cell {
  return { figures: values.map((value, round) => ({ round, value })), errors };
}

const RESULTS: Results = {
  date: "2026-01-02",
  rounds: 3,
  seconds: 1,
  machine: { cpu: "CPU <1>", cores: 2, kernel: "Linux 6" },
  contenders: [{ name: OURS, version: "1" }, { name: "passt", version: "2" }],
  absent: ["gvproxy"],
  rows: [
    {
      id: "up@1500",
      title: "guest → host",
      unit: "Gbit/s",
      cells: { [OURS]: cell([6, 2, 4]), passt: cell([1, 3]) },
    },
    {
      id: "memory",
      title: "peak memory",
      unit: "MiB",
      cells: { [OURS]: cell([50]), passt: cell([100]) },
    },
    {
      id: "rr",
      title: "request/response",
      unit: "1/s",
      cells: {
        [OURS]: {
          figures: [{ round: 0, value: 9_000, cpu: 50, p50Us: 80, p99Us: 200 }],
          errors: [],
        },
        passt: cell([], ["stalled", "stalled"]),
      },
    },
  ],
};
const [up, memory, rr] = RESULTS.rows;

Deno.test("a spread has the median of odd and even rounds", () => {
  assertEquals(spread(cell([6, 2, 4])), { median: 4, least: 2, most: 6 });
  assertEquals(spread(cell([1, 3])), { median: 2, least: 1, most: 3 });
  assertEquals(spread(cell([], ["stalled"])), null);
});

Deno.test("a ratio above 1 is ahead, also where less is better", () => {
  assertEquals(ratio(up!)?.ratio, 2);
  assertEquals(ratio(memory!)?.ratio, 2);
  assertEquals(ratio(rr!), null);
});

Deno.test("a ratio pairs the rounds that both have", () => {
  assertEquals(ratio(up!)?.paired, { median: (6 + 2 / 3) / 2, least: 2 / 3, most: 6 });
  assertEquals(spellRatio(ratio(up!)), "2.00 (0.67–6.00)");
  assertEquals(spellRatio(ratio(memory!)), "2.00");
});

Deno.test("the terminal shows a failure with its reason once", () => {
  const text = terminalText(RESULTS);
  assert(/^rr +k\/s +9\.00 +failed$/m.test(text), text);
  assertEquals(text.split("passt: stalled (rr)").length, 2);
});

Deno.test("the README's tables have a row for each of the comparison", () => {
  const text = tables(RESULTS);
  assertStringIncludes(text, "| guest → host     | Gbit/s | 4.00 (2.00–6.00)");
  assert(/^\| request\/response +\| k\/s +\| 9\.00 +\| failed/m.test(text), text);
  assertStringIncludes(text, "| request/response | 50.0 µs; 80.0 / 200 |");
});

Deno.test("the plot has a bar for each figure and escapes what it shows", () => {
  const svg = plot(RESULTS);
  assertEquals(svg.split("<rect").length - 1, 1 + 5); // the paper, and each cell with a figure
  assertStringIncludes(svg, "CPU &#60;1&#62;");
  assertStringIncludes(svg, ">failed</text>");
});
