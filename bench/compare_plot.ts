/**
 * The comparison as a picture: a small panel for each row, with a bar for each contender on a scale
 * of the row's own, the module's first and in colour. A thin line shows the rounds from least to
 * most.
 *
 * @module
 */
// @ts-types="npm:@types/d3-scale@^4.0.9"
import { scaleBand, scaleLinear, scaleOrdinal } from "d3-scale";
import { OURS } from "./compare_kinds.ts";
import { ratio, type Results, type RowResult, scaled, spell, spread } from "./compare_results.ts";
import { isLessBetter } from "./compare_rows.ts";

const COLUMNS = 2;
const PANEL = { width: 470, head: 20, bar: 14, gap: 14 };
const MARGIN = { top: 74, side: 20, bottom: 16 };
const NAME_WIDTH = 98;
const VALUE_WIDTH = 74;
const COLOURS = ["#d9480f", "#868e96", "#adb5bd", "#ced4da"];
const INK = "#212529", PALE = "#5c636a", PAPER = "#ffffff";

type Attributes = Readonly<Record<string, string | number>>;

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function element(name: string, attributes: Attributes, inside: string | string[] = ""): string {
  const words = Object.entries(attributes).map(([key, value]) => {
    const text = typeof value === "number" ? String(Math.round(value * 100) / 100) : value;
    return ` ${key}="${escaped(text)}"`;
  });
  const content = typeof inside === "string" ? inside : inside.join("\n");
  return `<${name}${words.join("")}>${content}</${name}>`;
}

function label(x: number, y: number, text: string, attributes: Attributes = {}): string {
  return element("text", { x, y, fill: INK, ...attributes }, escaped(text));
}

/** What the row comes to, on its right: ours as a multiple of the best peer's. */
function verdict(row: RowResult): string {
  const ahead = ratio(row)?.ratio ?? null;
  const less = isLessBetter(row.unit);
  const factor = ahead === null || ahead === 0 ? null : less ? 1 / ahead : ahead;
  const figure = factor === null ? "" : `${spell(factor)} × the best peer`;
  return [figure, less ? "less is better" : ""].filter((text) => text !== "").join(", ");
}

/** The panel of one row, its upper left corner at 0, 0. */
function panel(row: RowResult, names: string[]): string {
  const { by, unit } = scaled(row.unit);
  const spreads = names.map((name) => spread(row.cells[name]));
  const most = Math.max(...spreads.map((each) => each?.most ?? 0)) * by;
  const x = scaleLinear([0, most || 1], [NAME_WIDTH, PANEL.width - VALUE_WIDTH]);
  const y = scaleBand(names, [PANEL.head, PANEL.head + names.length * PANEL.bar]).padding(0.15);
  const colour = scaleOrdinal<string, string>(names, COLOURS);
  const parts = [
    label(0, 12, `${row.title}, ${unit}`, { "font-weight": 600 }),
    label(PANEL.width, 12, verdict(row), { "text-anchor": "end", fill: PALE }),
  ];
  for (const [at, name] of names.entries()) {
    const top = y(name)!, height = y.bandwidth(), base = top + height - 2.5;
    const isOurs = name === OURS ? { "font-weight": 600 } : {};
    parts.push(label(NAME_WIDTH - 6, base, name, { "text-anchor": "end", ...isOurs }));
    const found = spreads[at];
    if (found === null || found === undefined) {
      const why = row.cells[name] === undefined ? "not measured" : "failed";
      parts.push(label(NAME_WIDTH + 2, base, why, { fill: PALE, "font-style": "italic" }));
      continue;
    }
    const end = x(found.median * by), middle = top + height / 2;
    const far = x(found.most * by);
    parts.push(element("rect", {
      x: NAME_WIDTH,
      y: top,
      width: end - NAME_WIDTH,
      height,
      fill: colour(name),
    }));
    if (found.most > found.least) {
      const d = `M${x(found.least * by).toFixed(1)} ${middle}H${far.toFixed(1)}`;
      parts.push(element("path", { d, stroke: INK, "stroke-width": 1, fill: "none" }));
    }
    parts.push(label(far + 5, base, spell(found.median * by), isOurs));
  }
  return parts.join("\n");
}

/**
 * Draws a comparison.
 *
 * @param results What was measured.
 * @returns An SVG document.
 */
export function plot(results: Results): string {
  const names = results.contenders.map(({ name }) => name);
  const panelHeight = PANEL.head + names.length * PANEL.bar + PANEL.gap;
  const perColumn = Math.ceil(results.rows.length / COLUMNS);
  const width = COLUMNS * PANEL.width + (COLUMNS + 1) * MARGIN.side;
  const height = MARGIN.top + perColumn * panelHeight + MARGIN.bottom;
  const { machine, rounds, seconds, date } = results;
  const versions = results.contenders.map(({ name, version }) => `${name} ${version}`).join(" · ");
  const where = `${machine.cores} × ${machine.cpu}, ${machine.kernel}, ${date}: medians of ` +
    `${rounds} alternating rounds of ${seconds} s, from least to most`;
  const panels = results.rows.map((row, at) => {
    const left = MARGIN.side + Math.floor(at / perColumn) * (PANEL.width + MARGIN.side);
    const top = MARGIN.top + (at % perColumn) * panelHeight;
    return element("g", { transform: `translate(${left} ${top})` }, `\n${panel(row, names)}\n`);
  });
  const attributes = {
    xmlns: "http://www.w3.org/2000/svg",
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: "img",
    "font-family": "system-ui, sans-serif",
    "font-size": 11,
  };
  return `${
    element("svg", attributes, [
      "",
      element("title", {}, escaped(`${names.join(", ")} compared`)),
      element("rect", { width, height, fill: PAPER }),
      label(MARGIN.side, 24, `${OURS} beside its peers`, { "font-size": 16, "font-weight": 600 }),
      label(MARGIN.side, 42, versions, { fill: PALE }),
      label(MARGIN.side, 57, where, { fill: PALE }),
      ...panels,
      "",
    ])
  }\n`;
}
