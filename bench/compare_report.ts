/**
 * Puts a comparison into the documents: the tables between two markers of the README, and the plot.
 *
 *     deno task bench:report FILE [--readme FILE] [--svg FILE]
 *
 * FILE is what `deno task bench --json FILE` has written.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { plot } from "./compare_plot.ts";
import { FLOORS } from "./compare_kinds.ts";
import {
  floorRatio,
  ratio,
  type Results,
  type RowResult,
  scaled,
  spell,
  spellRatio,
  spread,
} from "./compare_results.ts";

const BEGIN = "<!-- bench -->", END = "<!-- /bench -->";
const LINE_WIDTH = 100;

function refuse(problem: string): never {
  console.error(`bench:report: ${problem}`);
  Deno.exit(2);
}

/** A Markdown table whose cells stand under each other, as the formatter has them. */
function table(lines: string[][]): string {
  const widths = lines[0]!.map((_, at) => Math.max(3, ...lines.map((line) => line[at]!.length)));
  const row = (cells: string[]) =>
    `| ${cells.map((cell, at) => cell.padEnd(widths[at]!)).join(" | ")} |`;
  const [head, ...rest] = lines;
  return [row(head!), row(widths.map((width) => "-".repeat(width))), ...rest.map(row)].join("\n");
}

function wrapped(text: string): string {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trimStart();
    if (longer.length > LINE_WIDTH) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines.join("\n");
}

function rateCell({ cells, unit }: RowResult, name: string): string {
  const cell = cells[name];
  const found = spread(cell);
  if (cell === undefined) return "";
  if (found === null) return "failed";
  const { by } = scaled(unit);
  const range = `${spell(found.least * by)}–${spell(found.most * by)}`;
  const failed = cell.errors.length === 0 ? "" : `, ${cell.errors.length} failed`;
  return cell.figures.length === 1
    ? spell(found.median * by) + failed
    : `${spell(found.median * by)} (${range}${failed})`;
}

/** CPU time and latency of a cell: `0.79 s/GiB`, or `56 µs; 79 / 169`. */
function costCell({ cells, unit }: RowResult, name: string): string {
  const [cpu, p50, p99] = (["cpu", "p50Us", "p99Us"] as const)
    .map((aspect) => spread(cells[name], aspect)?.median);
  const time = cpu === undefined ? "" : `${spell(cpu)} ${unit === "Gbit/s" ? "s/GiB" : "µs"}`;
  const latency = p50 === undefined || p99 === undefined ? "" : `${spell(p50)} / ${spell(p99)}`;
  return [time, latency].filter((text) => text !== "").join("; ");
}

/**
 * The Markdown of a comparison.
 *
 * @param results What was measured.
 * @returns Two tables with their introductions, as the formatter has them.
 */
export function tables(results: Results): string {
  const { machine, rounds, seconds, date, contenders, rows } = results;
  const names = contenders.map(({ name }) => name);
  const floors = FLOORS.filter((floor) => names.includes(floor));
  const versions = contenders.map(({ name, version }) => `${name} ${version}`).join("; ");
  const rates = rows.map((row) => {
    // deno-fmt-ignore
    return [row.title, scaled(row.unit).unit, ...names.map((name) => rateCell(row, name)),
      spellRatio(ratio(row)), ...floors.map((floor) => spellRatio(floorRatio(row, floor)))];
  });
  const costs = rows.map((row) => [row.title, ...names.map((name) => costCell(row, name))])
    .filter((cells) => cells.slice(1).some((cell) => cell !== ""));
  const intro = `${versions}. ${machine.cores} × ${machine.cpu}, ${machine.kernel}, ${date}; ` +
    `medians of ${rounds} alternating rounds of ${seconds} s (least–most). The ratio is to the ` +
    "best peer (of each round alone), above 1 is ahead.";
  const costIntro = "CPU time of the gateway, for each GiB or each transaction; median and 99th " +
    "percentile of the latency in µs.";
  return [
    wrapped(intro),
    table([["", "unit", ...names, "ratio", ...floors.map((floor) => `to ${floor}`)], ...rates]),
    ...(costs.length === 0 ? [] : [wrapped(costIntro), table([["", ...names], ...costs])]),
  ].join("\n\n");
}

if (import.meta.main) {
  const args = parseArgs(Deno.args, {
    string: ["readme", "svg"],
    default: { readme: "README.md", svg: "docs/bench.svg" },
  });
  const [file, ...more] = args._.map(String);
  if (file === undefined || more.length > 0) refuse("takes the one file of deno task bench --json");
  const results: Results = JSON.parse(await Deno.readTextFile(file));
  const readme = await Deno.readTextFile(String(args.readme));
  const from = readme.indexOf(BEGIN), to = readme.indexOf(END);
  if (from < 0 || to < from) {
    refuse(`${args.readme} has no place for the tables: add the lines ${BEGIN} and ${END}`);
  }
  const before = readme.slice(0, from + BEGIN.length);
  await Deno.writeTextFile(
    String(args.readme),
    `${before}\n\n${tables(results)}\n\n${readme.slice(to)}`,
  );
  await Deno.writeTextFile(String(args.svg), plot(results));
  console.log(`${args.readme} and ${args.svg} show ${results.rows.length} rows`);
}
