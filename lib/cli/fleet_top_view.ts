/**
 * The screen of `fleet top`: from the model, the state and a size to lines, pure.
 *
 *     which fleet, how many, or what is wrong    always
 *     the policy                                 where there is room
 *     up, down                                   where there is room
 *     guests                                     what is left
 *     keys, or the filter                        from two rows on
 *
 * There are never more lines than rows, and no line is longer than the screen is wide.
 *
 * @module
 */
import { nameConflicts, standings } from "../fleet/roll_findings.ts";
import { standingsText } from "./fleet_standing.ts";
import { type FleetTopPlace, type FleetTopState, settleFleet } from "./fleet_top_keys.ts";
import { chosenGuests, type FleetRates, type FleetTopModel } from "./fleet_top_model.ts";
import { fleetHeading, gatewayLines, guestLine } from "./fleet_top_table.ts";
import { plural } from "./status.ts";
import { bytesText, cutTo, fit, plainText, sparkline, wrap } from "./top_text.ts";
import type { LineStyle, TopForm, TopLine } from "./top_view.ts";

/** What is shown beside the model. */
export interface FleetTopFacts {
  readonly fleet: string;
  /** Where the engine is. */
  readonly server: string;
  /** Why nothing more is known; `null` where the engine answers. */
  readonly trouble: string | null;
  /** The latest refusals as lines, the latest first; a word about it where they can't be read. */
  readonly denials: readonly string[];
}

/** A screen, and what keys need to know of it. */
export interface FleetTopScreen {
  readonly lines: readonly TopLine[];
  /** The state with the mark where it is shown. */
  readonly state: FleetTopState;
  readonly place: FleetTopPlace;
}

const line = (style: LineStyle, text: string): TopLine => ({ style, text });

/**
 * Draws a screen.
 *
 * @param model What is known.
 * @param state What is shown of it.
 * @param facts What is known beside it.
 * @param form How large the screen is.
 */
export function drawFleetTop(
  model: FleetTopModel,
  state: FleetTopState,
  facts: FleetTopFacts,
  form: TopForm,
): FleetTopScreen {
  const { columns, rows, glyphs } = form;
  const footRows = rows >= 2 || state.isTyping ? 1 : 0;
  const room = Math.max(0, rows - footRows);
  const body = state.screen === "guests"
    ? guestsBody(model, state, facts, form, room)
    : textBody(model, state, facts, form, room);
  const foot = footRows === 0 ? [] : [line("footer", footText(body.state, columns))];
  const lines = [...body.lines.slice(0, room), ...foot].slice(0, Math.max(0, rows));
  return {
    ...body,
    lines: lines.map(({ text, style }) => ({
      style,
      text: cutTo(text, Math.max(0, columns), glyphs.cut),
    })),
  };
}

function guestsBody(
  model: FleetTopModel,
  state: FleetTopState,
  facts: FleetTopFacts,
  form: TopForm,
  room: number,
): FleetTopScreen {
  const head = headLines(model, state, facts, form, Math.max(1, Math.floor(room / 2)));
  const pageRows = Math.max(0, room - head.length - 1);
  const all = model.guests;
  const rows = chosenGuests(all, state);
  const place: FleetTopPlace = { rows, pageRows, lastLine: 0 };
  const settled = settleFleet(state, place);
  const { row, firstRow } = settled;
  const shown = rows.slice(firstRow, firstRow + pageRows).map((each, at) => {
    const isMarked = firstRow + at === row;
    return line(isMarked ? "marked" : "text", guestLine(form, each, isMarked));
  });
  const none = rows.length > 0 ? [] : [line("text", `  ${noGuests(model, settled, all.length)}`)];
  return {
    lines: [
      ...head,
      line("heading", fleetHeading(form, settled)),
      ...shown,
      ...none,
      ...emptyLines(pageRows - shown.length - none.length),
    ],
    state: settled,
    place,
  };
}

function noGuests(model: FleetTopModel, { filter }: FleetTopState, count: number): string {
  if (count > 0) return `none of ${plural(count, "guest")} has "${plainText(filter)}"`;
  return model.gateways.length === 0 ? "no gateway has announced itself" : "no guests";
}

function emptyLines(count: number): TopLine[] {
  return Array<TopLine>(Math.max(0, count)).fill(line("text", ""));
}

/** What stands above the table, as much as there is room for. */
function headLines(
  model: FleetTopModel,
  state: FleetTopState,
  facts: FleetTopFacts,
  form: TopForm,
  room: number,
): TopLine[] {
  const title = titleLine(model, state, facts, form);
  if (room <= 1) return [title];
  const rates = [
    rateLine("up", model, form, ({ upBytes }) => upBytes),
    rateLine("down", model, form, ({ downBytes }) => downBytes),
  ];
  const policy = policyLine(model);
  return [title, ...(room >= 3 ? rates : []), ...(room === 2 || room >= 4 ? [policy] : [])];
}

function titleLine(
  model: FleetTopModel,
  { isPaused }: FleetTopState,
  { fleet, server, trouble }: FleetTopFacts,
  { columns, glyphs }: TopForm,
): TopLine {
  if (trouble !== null) return line("warning", plainText(`trying again: ${trouble}`));
  const { gateways } = model;
  const guests = gateways.reduce((sum, { announcement }) => sum + announcement.guests.length, 0);
  const text = plainText(
    `fleet ${fleet} on ${server}: ${plural(gateways.length, "gateway")}, ${
      plural(guests, "guest")
    }`,
  );
  if (!isPaused) return line("title", text);
  const word = " paused";
  return line("title", fit(text, columns - word.length, glyphs) + word);
}

/** As the gateways say it: the engine's documents are not looked at here. */
function policyLine({ announcements }: FleetTopModel): TopLine {
  const conflicts = nameConflicts(announcements);
  const words = [
    `policy ${standingsText(standings(announcements, () => 0))}`,
    ...(conflicts.length === 0 ? [] : [plural(conflicts.length, "name conflict")]),
  ];
  return line("text", plainText(words.join("; ")));
}

/** Columns of the word and the figure in front of a sparkline. */
const RATE_COLUMNS = 16;

function rateLine(
  word: "up" | "down",
  { history, rates }: FleetTopModel,
  { columns, glyphs }: TopForm,
  read: (rates: FleetRates) => number,
): TopLine {
  const room = Math.max(0, columns - RATE_COLUMNS);
  const values = history.map((each) => each === null ? null : read(each)).slice(-room);
  const peak = Math.max(0, ...values.map((value) => value ?? 0));
  const rate = rates === null ? "-" : `${bytesText(read(rates))}/s`;
  return line(
    word,
    `${word.padEnd(5)}${rate.padStart(9)}  ${sparkline(values, room, peak, glyphs)}`,
  );
}

const INDENT = 4;

function textBody(
  model: FleetTopModel,
  state: FleetTopState,
  facts: FleetTopFacts,
  form: TopForm,
  room: number,
): FleetTopScreen {
  const title = room > 0 ? [titleLine(model, state, facts, form)] : [];
  const pageRows = Math.max(0, room - title.length);
  const all = textOf(model, state, facts)
    .flatMap((each) => wrap(plainText(each), form.columns, state.screen === "help" ? 0 : INDENT));
  const lastLine = Math.max(0, all.length - pageRows);
  const firstLine = Math.min(state.firstLine, lastLine);
  const shown = all.slice(firstLine, firstLine + pageRows).map((each) => line("text", each));
  return {
    lines: [...title, ...shown, ...emptyLines(pageRows - shown.length)],
    state: { ...state, firstLine },
    place: { rows: [], pageRows, lastLine },
  };
}

function textOf(
  model: FleetTopModel,
  { screen }: FleetTopState,
  { denials }: FleetTopFacts,
): readonly string[] {
  if (screen === "help") return HELP;
  if (screen === "gateways") return gatewayLines(model.gateways);
  return denials.length === 0 ? ["nothing was refused, as far as the stream has it"] : denials;
}

const HELP: readonly string[] = [
  "s          sort by rate, total, flows, refusals, name",
  "r          reverse the order",
  "/          show guests with some words: name, gateway, group, service",
  "up, down   mark a guest; PgUp, PgDn, Home, End too",
  "g          the gateways, and the policy that each has in force",
  "d          what was refused last, and the line that allows it",
  "p          pause: the screen stays as it is until p",
  "Esc        one step back, and then out",
  "q, Ctrl-C  quit",
  "",
  "Rates are octets a second, up from the guests, down to them, between two announcements of a " +
  "gateway, about two seconds. A gateway that says nothing for eight seconds is gone.",
];

function footText({ screen, isTyping, filter, sort }: FleetTopState, columns: number): string {
  if (isTyping) return `/${columns <= 2 ? "" : plainText(filter).slice(2 - columns)}_`;
  if (screen !== "guests") {
    const back = { gateways: "g", denials: "d", help: "?" }[screen];
    return `q quit  ${back} back  up, down scroll`;
  }
  const shown = filter === "" ? "/ filter" : `/ filter: ${plainText(filter)}`;
  return `q quit  ? help  s sort: ${sort}  r reverse  ${shown}  g gateways  d denials  p pause`;
}
