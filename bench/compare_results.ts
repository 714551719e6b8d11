/**
 * What a comparison came to: every figure of every round, the medians, and the ratio of the module
 * to the best of its peers, which is above 1 where the module is ahead, whatever the unit.
 *
 * @module
 */
import { FLOORS, OURS, PEERS } from "./compare_kinds.ts";
import { type Figure, isLessBetter, type Unit } from "./compare_rows.ts";

/** All that one contender did in one row. */
export interface Cell {
  /** One for each round that worked, which is named. */
  figures: (Figure & { round: number })[];
  /** Why the other rounds did not. */
  errors: string[];
}

/** One row with the cells of all contenders, by name. */
export interface RowResult {
  id: string;
  title: string;
  unit: Unit;
  cells: Record<string, Cell>;
}

/** A whole comparison, as its JSON file has it. */
export interface Results {
  date: string;
  rounds: number;
  seconds: number;
  machine: { cpu: string; cores: number; kernel: string };
  contenders: { name: string; version: string }[];
  absent: string[];
  rows: RowResult[];
}

/** The middle of some values, with the least and the largest. */
export interface Spread {
  median: number;
  least: number;
  most: number;
}

/** What is taken from a figure. */
export type Aspect = "value" | "cpu" | "p50Us" | "p99Us";

/** The spread of some values; `null` where there is none. */
function spreadOf(values: readonly number[]): Spread | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1
    ? sorted[middle]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, least: sorted[0]!, most: sorted.at(-1)! };
}

/** The spread of one aspect over the rounds; `null` where there is none. */
export function spread(cell: Cell | undefined, aspect: Aspect = "value"): Spread | null {
  const values = (cell?.figures ?? []).map((figure) => figure[aspect]);
  return spreadOf(values.filter((value) => value !== undefined));
}

/** Ours over the best peer's, turned so that above 1 is ahead. */
export interface Ratio {
  /** Of the medians. */
  ratio: number;
  /** Of each round's own pair; `null` where no round has both. */
  paired: Spread | null;
}

/** The ratio to the peer whose median is best; `null` where one of the two is missing. */
export function ratio(row: RowResult, aspect: Aspect = "value"): Ratio | null {
  return ratioToBest(row, PEERS, aspect);
}

/** The ratio to a floor, which is no peer; `null` where one of the two is missing. */
export function floorRatio(row: RowResult, floor: string, aspect: Aspect = "value"): Ratio | null {
  return ratioToBest(row, [floor], aspect);
}

function ratioToBest(
  { cells, unit }: RowResult,
  names: readonly string[],
  aspect: Aspect,
): Ratio | null {
  const isLess = aspect !== "value" || isLessBetter(unit);
  const ours = spread(cells[OURS], aspect)?.median;
  const peers = names
    .map((name) => ({ name, median: spread(cells[name], aspect)?.median ?? NaN }))
    .filter(({ median }) => !Number.isNaN(median))
    .toSorted((a, b) => isLess ? a.median - b.median : b.median - a.median);
  const [best] = peers;
  if (ours === undefined || best === undefined) return null;
  const ahead = (our: number, their: number) => isLess ? their / our : our / their;
  const theirs = new Map(cells[best.name]!.figures.map((each) => [each.round, each[aspect]]));
  const pairs = cells[OURS]!.figures.map((each) => [each[aspect], theirs.get(each.round)] as const);
  const ratios = pairs.map(([our, their]) =>
    our === undefined || their === undefined ? NaN : ahead(our, their)
  );
  return {
    ratio: ahead(ours, best.median),
    paired: spreadOf(ratios.filter((value) => Number.isFinite(value))),
  };
}

/** A ratio with what the rounds' own pairs came to. */
export function spellRatio(found: Ratio | null): string {
  if (found === null || !Number.isFinite(found.ratio)) return "";
  const { ratio, paired } = found;
  return paired === null || paired.least === paired.most
    ? ratio.toFixed(2)
    : `${ratio.toFixed(2)} (${paired.least.toFixed(2)}–${paired.most.toFixed(2)})`;
}

/** A figure with three digits that count. */
export function spell(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value >= 10 ? value.toFixed(1) : value >= 1 ? value.toFixed(2) : value.toFixed(3);
}

/** A value of a row as it is read best, with the unit for it. */
export function scaled(unit: Unit): { by: number; unit: string } {
  return unit === "1/s" ? { by: 1e-3, unit: "k/s" } : { by: 1, unit };
}

function spellSpread({ median, least, most }: Spread, by: number): string {
  const range = least === most ? "" : ` (${spell(least * by)}–${spell(most * by)})`;
  return spell(median * by) + range;
}

function cellText(cell: Cell | undefined, aspect: Aspect, by: number): string {
  if (cell === undefined) return "";
  const middle = spread(cell, aspect);
  if (middle === null) return cell.errors.length > 0 && aspect === "value" ? "failed" : "";
  const failed = cell.errors.length > 0 && aspect === "value"
    ? ` ${cell.errors.length}×failed`
    : "";
  return spellSpread(middle, by) + failed;
}

/** A part of the terminal's report: which rows, and what of them. */
interface Part {
  heading: string;
  aspect: Aspect;
  unit(unit: Unit): { by: number; unit: string };
}

const CPU_UNIT = (unit: Unit) => ({ by: 1, unit: unit === "Gbit/s" ? "s/GiB" : "µs" });
const MICROSECONDS = () => ({ by: 1, unit: "µs" });

const PARTS: readonly Part[] = [
  { heading: "rates", aspect: "value", unit: scaled },
  { heading: "CPU time of the gateway", aspect: "cpu", unit: CPU_UNIT },
  { heading: "latency, median", aspect: "p50Us", unit: MICROSECONDS },
  { heading: "latency, 99th percentile", aspect: "p99Us", unit: MICROSECONDS },
];

/** Lines of cells under each other. */
function aligned(lines: string[][]): string[] {
  const widths = lines[0]!.map((_, at) => Math.max(...lines.map((cells) => cells[at]!.length)));
  return lines.map((cells) =>
    cells.map((cell, at) => at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))
      .join("  ").trimEnd()
  );
}

/** The report for a terminal: a line for each row, in parts; what failed follows. */
export function terminalText(results: Results): string {
  const names = results.contenders.map(({ name }) => name);
  const floors = FLOORS.filter((floor) => names.includes(floor));
  const text: string[] = [];
  for (const { heading, aspect, unit: unitOf } of PARTS) {
    const lines = results.rows.filter(({ cells }) =>
      names.some((name) => cellText(cells[name], aspect, 1) !== "")
    ).map((row) => {
      const { by, unit } = unitOf(row.unit);
      // deno-fmt-ignore
      return [row.id, unit, ...names.map((name) => cellText(row.cells[name], aspect, by)),
        spellRatio(ratio(row, aspect)),
        ...floors.map((floor) => spellRatio(floorRatio(row, floor, aspect)))];
    });
    if (lines.length === 0) continue;
    const head = [heading, "", ...names, "ratio", ...floors.map((floor) => `to ${floor}`)];
    text.push("", ...aligned([head, ...lines]));
  }
  return [...text, ...failuresText(results)].join("\n");
}

/** What failed: each reason of each contender, with the rows that it took. */
export function failuresText({ rows, contenders }: Results): string[] {
  const rowsBy = new Map<string, string[]>();
  for (const { name } of contenders) {
    for (const { id, cells } of rows) {
      for (const why of new Set(cells[name]?.errors ?? [])) {
        const reason = `  ${name}: ${why}`;
        rowsBy.set(reason, [...rowsBy.get(reason) ?? [], id]);
      }
    }
  }
  if (rowsBy.size === 0) return [];
  return ["", "failed", ...[...rowsBy].map(([reason, ids]) => `${reason} (${ids.join(", ")})`)];
}
