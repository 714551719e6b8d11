/**
 * The tables of `fleet top`: which columns a screen has room for, a guest's line, the gateways.
 *
 * A column is shown from some width on; the guest's name takes what is left.
 *
 * @module
 */
import { standings } from "../fleet/roll_findings.ts";
import { columns as inColumns } from "./columns.ts";
import { standingWord } from "./fleet_standing.ts";
import {
  type FleetChoice,
  type FleetGatewayRow,
  type FleetGuestRow,
  type FleetSortKey,
  guestRate,
  guestTotal,
} from "./fleet_top_model.ts";
import { BYTES_COLUMNS, bytesText, figureText, fit, plainText } from "./top_text.ts";
import type { TopForm } from "./top_view.ts";

/** A column beside the one that takes what is left. */
interface Column {
  readonly title: string;
  readonly columns: number;
  /** The narrowest screen that has it. */
  readonly from: number;
  readonly isNumber?: true;
  /** The order in which its figures stand. */
  readonly sort?: FleetSortKey;
  readonly text: (row: FleetGuestRow) => string;
}

const rateText = (rate: number | null) => rate === null ? "-" : bytesText(rate);

const COLUMNS: readonly Column[] = [
  { title: "gateway", columns: 16, from: 56, text: ({ gateway }) => gateway },
  { title: "group", columns: 12, from: 90, text: ({ guest }) => guest.group ?? "-" },
  { title: "vmm", columns: 4, from: 110, text: ({ guest }) => guest.attached ? "here" : "away" },
  {
    title: "services",
    columns: 20,
    from: 140,
    text: ({ guest }) => guest.services.map(({ name }) => name).join(" ") || "-",
  },
  {
    title: "flows",
    columns: 6,
    from: 34,
    isNumber: true,
    sort: "flows",
    text: ({ guest }) => figureText(guest.flows),
  },
  {
    title: "refused",
    columns: 8,
    from: 66,
    isNumber: true,
    sort: "refused",
    text: ({ guest }) => figureText(guest.denials),
  },
  {
    title: "up/s",
    columns: BYTES_COLUMNS,
    from: 100,
    isNumber: true,
    text: ({ upPerSecond }) => rateText(upPerSecond),
  },
  {
    title: "down/s",
    columns: BYTES_COLUMNS,
    from: 100,
    isNumber: true,
    text: ({ downPerSecond }) => rateText(downPerSecond),
  },
  {
    title: "rate",
    columns: BYTES_COLUMNS,
    from: 18,
    isNumber: true,
    sort: "rate",
    text: (row) => rateText(guestRate(row)),
  },
  {
    title: "total",
    columns: BYTES_COLUMNS,
    from: 46,
    isNumber: true,
    sort: "total",
    text: (row) => bytesText(guestTotal(row)),
  },
];

/** The titles, with the order that the guests stand in marked. */
export function fleetHeading(form: TopForm, { sort, isReversed }: FleetChoice): string {
  const { glyphs } = form;
  // The most stands first, but names begin with the first letter.
  const isRising = (sort === "name") !== isReversed;
  const sign = isRising ? glyphs.up : glyphs.down;
  const titled = ({ title, sort: own }: Column) => own === sort ? sign + title : title;
  return tableLine(form, " ", titled, sort === "name" ? `${sign}guest` : "guest");
}

/** A guest; the marked one begins with a mark. */
export function guestLine(form: TopForm, row: FleetGuestRow, isMarked: boolean): string {
  const cell = ({ text }: Column) => plainText(text(row));
  return tableLine(form, isMarked ? "*" : " ", cell, plainText(row.guest.name));
}

function tableLine(
  { columns, glyphs }: TopForm,
  start: string,
  textOf: (column: Column) => string,
  name: string,
): string {
  const shown = COLUMNS.filter(({ from }) => columns >= from);
  const taken = shown.reduce((sum, { columns }) => sum + columns + 1, 0);
  const left = Math.max(0, columns - taken - start.length - 1);
  const cells = shown.map((column) => {
    const text = textOf(column);
    return column.isNumber && text.length < column.columns
      ? text.padStart(column.columns)
      : fit(text, column.columns, glyphs);
  });
  return fit(`${start} ${[fit(name, left, glyphs), ...cells].join(" ")}`, columns, glyphs);
}

const GATEWAY_HEADING = ["GATEWAY", "POLICY", "GUESTS", "FLOWS", "RATE", "HEARD"];
const GATEWAY_FIGURES: readonly number[] = [2, 3, 4, 5];

/** The gateways as lines, the first of which is the heading; under each why it has refused a policy. */
export function gatewayLines(rows: readonly FleetGatewayRow[]): string[] {
  if (rows.length === 0) return ["no gateway has announced itself"];
  const announced = rows.map(({ announcement }) => announcement);
  const known = new Map(standings(announced, () => 0).map((each) => [each.gateway, each]));
  const cells = rows.map(({ announcement, flows, ratePerSecond, silentMs }) => [
    announcement.gateway,
    standingWord(known.get(announcement.gateway)!),
    String(announcement.guests.length),
    figureText(flows),
    ratePerSecond === null ? "-" : `${bytesText(ratePerSecond)}/s`,
    `${Math.round(silentMs / 1_000)} s ago`,
  ]);
  const [heading = "", ...lines] = inColumns([GATEWAY_HEADING, ...cells], GATEWAY_FIGURES);
  return [
    heading,
    ...lines.flatMap((text, i) => {
      const why = known.get(announced[i]!.gateway)?.why ?? null;
      return why === null ? [text] : [text, `    ${why}`];
    }),
  ];
}
