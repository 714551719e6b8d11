/**
 * The table of flows: which columns a screen has room for, and a flow's line.
 *
 * A column is shown from some width on; where the flow leads takes what is left.
 *
 * @module
 */
import { flowRate, flowTarget, flowTotal, type SortKey, type TopFlow } from "./top_model.ts";
import { AGE_COLUMNS, ageText, BYTES_COLUMNS, bytesText, fit, plainText } from "./top_text.ts";
import type { Glyphs } from "./top_text.ts";

/** A column beside the one that takes what is left. */
interface Column {
  readonly title: string;
  readonly columns: number;
  /** The narrowest screen that has it. */
  readonly from: number;
  readonly isNumber?: true;
  /** The order in which its figures stand. */
  readonly sort?: SortKey;
  readonly text: (flow: TopFlow, timeMs: number) => string;
}

/** In front of where the flow leads. */
const BEFORE: readonly Column[] = [
  { title: "id", columns: 6, from: 140, isNumber: true, text: ({ info }) => String(info.id) },
  { title: "how", columns: 3, from: 40, text: ({ info }) => info.protocol },
  { title: "guest", columns: 22, from: 120, text: ({ info }) => info.guest },
];

const BEHIND: readonly Column[] = [
  { title: "peer", columns: 24, from: 140, text: ({ info }) => info.peer },
  { title: "by rule", columns: 24, from: 165, text: ({ info }) => info.rule ?? "" },
  { title: "state", columns: 11, from: 70, text: ({ info }) => info.state },
  {
    title: "up/s",
    columns: BYTES_COLUMNS,
    from: 90,
    isNumber: true,
    text: ({ upBytesPerSecond }) => bytesText(upBytesPerSecond),
  },
  {
    title: "down/s",
    columns: BYTES_COLUMNS,
    from: 90,
    isNumber: true,
    text: ({ downBytesPerSecond }) => bytesText(downBytesPerSecond),
  },
  {
    title: "rate",
    columns: BYTES_COLUMNS,
    from: 18,
    isNumber: true,
    sort: "rate",
    text: (flow) => bytesText(flowRate(flow)),
  },
  {
    title: "total",
    columns: BYTES_COLUMNS,
    from: 50,
    isNumber: true,
    sort: "total",
    text: (flow) => bytesText(flowTotal(flow)),
  },
  {
    title: "age",
    columns: AGE_COLUMNS,
    from: 60,
    isNumber: true,
    sort: "age",
    text: ({ info }, timeMs) => ageText(timeMs - info.startedMs),
  },
];

/** How a table is drawn. */
export interface TableForm {
  readonly columns: number;
  readonly glyphs: Glyphs;
  /** The time of day at which ages are told. */
  readonly timeMs: number;
}

/** The titles, with the order that the flows stand in marked. */
export function headingLine(form: TableForm, sort: SortKey, isReversed: boolean): string {
  const { glyphs } = form;
  // The most stands first, but names begin with the first letter.
  const isRising = (sort === "name") !== isReversed;
  const sign = isRising ? glyphs.up : glyphs.down;
  const titled = ({ title, sort: own }: Column) => own === sort ? sign + title : title;
  const target = sort === "name" ? `${sign}flow` : "flow";
  return line(form, "  ", titled, target);
}

/** A flow; the marked one begins with a mark. */
export function flowLine(form: TableForm, flow: TopFlow, isMarked: boolean): string {
  const { glyphs, timeMs } = form;
  const opener = flow.info.opener === "guest" ? glyphs.fromGuest : glyphs.fromHost;
  const target = plainText(flowTarget(flow.info));
  return line(form, isMarked ? `*${opener}` : ` ${opener}`, ({ text }) => {
    return plainText(text(flow, timeMs));
  }, target);
}

function line(
  { columns, glyphs }: TableForm,
  start: string,
  textOf: (column: Column) => string,
  target: string,
): string {
  const before = BEFORE.filter(({ from }) => columns >= from);
  const behind = BEHIND.filter(({ from }) => columns >= from);
  const taken = [...before, ...behind].reduce((sum, { columns }) => sum + columns + 1, 0);
  const left = Math.max(0, columns - taken - start.length - 1);
  const cell = (column: Column) => {
    const text = textOf(column);
    return column.isNumber && text.length < column.columns
      ? text.padStart(column.columns)
      : fit(text, column.columns, glyphs);
  };
  const cells = [...before.map(cell), fit(target, left, glyphs), ...behind.map(cell)];
  return fit(`${start} ${cells.join(" ")}`, columns, glyphs);
}
