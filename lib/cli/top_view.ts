/**
 * The screen of `top`: from the model, the state and a size to lines, pure.
 *
 *     what and how long, or what is wrong        always
 *     guest, policy                              where there is room
 *     up, down                                   in one line where there is little
 *     frames, drops, questions, refusals         where there is room
 *     the latest refusals                        where there is much
 *     flows                                      half of the screen at least
 *     keys, or a question                        from two rows on
 *
 * There are never more lines than rows, and no line is longer than the screen is wide.
 *
 * @module
 */
import type { GatewayStatus } from "../control/api.ts";
import { type Denial, formatDenial } from "../policy/denial.ts";
import { policyText } from "./status.ts";
import { spanText } from "./time_text.ts";
import { settle, type TopPlace, type TopState } from "./top_keys.ts";
import { firstGuestRow, guestLines } from "./top_guests.ts";
import {
  chosenFlows,
  flowTarget,
  type TopModel,
  type TopRates,
  type TopSample,
} from "./top_model.ts";
import { flowLine, headingLine, type TableForm } from "./top_table.ts";
import {
  ageText,
  bytesText,
  cutTo,
  figureText,
  fit,
  type Glyphs,
  plainText,
  sparkline,
  wrap,
} from "./top_text.ts";

/** What kind of line it is; a terminal with colours shows each in its own way. */
export type LineStyle =
  | "title"
  | "warning"
  | "text"
  | "up"
  | "down"
  | "heading"
  | "marked"
  | "footer";

/** A line of the screen. */
export interface TopLine {
  readonly text: string;
  readonly style: LineStyle;
}

/** How large the screen is, and what it can show. */
export interface TopForm {
  readonly columns: number;
  readonly rows: number;
  readonly glyphs: Glyphs;
}

/** A screen, and what keys need to know of it. */
export interface TopScreen {
  readonly lines: readonly TopLine[];
  /** The state with the mark where it is shown. */
  readonly state: TopState;
  readonly place: TopPlace;
}

const line = (style: LineStyle, text: string): TopLine => ({ style, text });

/**
 * Draws a screen.
 *
 * @param model What is known.
 * @param state What is shown of it.
 * @param trouble Why nothing more is known; `null` where the gateway answers.
 * @param form How large the screen is.
 */
export function drawTop(
  model: TopModel,
  state: TopState,
  trouble: string | null,
  form: TopForm,
): TopScreen {
  const { columns, rows } = form;
  const footRows = rows >= 2 || state.prompt !== null ? 1 : 0;
  const room = Math.max(0, rows - footRows);
  const body = BODIES[state.screen](model, state, trouble, form, room);
  const several = severalOf(model.sample);
  const foot = footRows === 0 ? [] : [line("footer", footText(body.state, form, several !== null))];
  const lines = [...body.lines.slice(0, room), ...foot].slice(0, Math.max(0, rows));
  return {
    ...body,
    place: { ...body.place, ...(several === null ? {} : { guests: several }) },
    lines: lines.map(({ text, style }) => ({
      style,
      text: cutTo(text, Math.max(0, columns), form.glyphs.cut),
    })),
  };
}

/** The names of the guests, where there are several. */
function severalOf({ guests = [] }: TopSample): string[] | null {
  return guests.length > 1 ? guests.map(({ name }) => name) : null;
}

function guestsBody(
  model: TopModel,
  state: TopState,
  trouble: string | null,
  form: TopForm,
  room: number,
): TopScreen {
  const { guests = [] } = model.sample;
  const guestRow = Math.max(0, Math.min(state.guestRow, guests.length - 1));
  const [heading = "", ...rows] = guestLines(guests, guestRow);
  const head = [titleLine(model, state, trouble, form), line("heading", heading)].slice(0, room);
  const pageLines = Math.max(0, room - head.length);
  const first = firstGuestRow(guestRow, pageLines);
  const shown = rows.slice(first, first + pageLines).map((text, at) => {
    return line(first + at === guestRow ? "marked" : "text", text);
  });
  return {
    lines: [
      ...head,
      ...shown,
      ...Array<TopLine>(Math.max(0, pageLines - shown.length)).fill(line("text", "")),
    ],
    state: { ...state, guestRow },
    place: { rows: [], pageRows: 0, pageLines, lastLine: 0 },
  };
}

function flowsBody(
  model: TopModel,
  state: TopState,
  trouble: string | null,
  form: TopForm,
  room: number,
): TopScreen {
  // The table has half of the room, and of much room all that the rest does not want.
  const most = Math.max(1, room - Math.min(6, Math.max(2, Math.floor(room / 2))));
  const head = headLines(model, state, trouble, form, Math.min(room, most));
  const pageRows = Math.max(0, room - head.length - 1);
  const rows = chosenFlows(model.flows, state);
  const place: TopPlace = { rows, pageRows, pageLines: 0, lastLine: 0 };
  const settled = settle(state, place);
  const table: TableForm = { ...form, timeMs: model.sample.timeMs };
  const { row, firstRow, sort, isReversed } = settled;
  const shown = rows.slice(firstRow, firstRow + pageRows).map((flow, at) => {
    const isMarked = firstRow + at === row;
    return line(isMarked ? "marked" : "text", flowLine(table, flow, isMarked));
  });
  const none = rows.length > 0 ? [] : [line("text", `   ${noFlows(model, settled)}`)];
  const lines = [
    ...head,
    line("heading", headingLine(table, sort, isReversed)),
    ...shown,
    ...none,
    ...Array<TopLine>(Math.max(0, pageRows - shown.length - none.length)).fill(line("text", "")),
  ];
  return { lines, state: settled, place };
}

function noFlows({ flows, sample }: TopModel, { filter }: TopState): string {
  if (flows.length > 0) return `none of ${flows.length} flows has "${plainText(filter)}"`;
  return sample.status.guest === null ? "no guest is attached" : "no flows";
}

/** What stands above the table, as much as there is room for. */
function headLines(
  model: TopModel,
  state: TopState,
  trouble: string | null,
  form: TopForm,
  room: number,
): TopLine[] {
  const { status, denials } = model.sample;
  const guest = line("text", guestText(status));
  const policy = line("text", `policy ${policyText(status.policy)}`);
  const refused = Object.values(denials.byRule).reduce((sum, count) => sum + count, 0);
  const counts = line("text", countsText(model.rates, refused));
  const title = titleLine(model, state, trouble, form);
  if (room <= 1) return [title];
  if (room === 2) return [title, line("text", bothText(model.rates, form))];
  const rates = [
    rateLine("up", model, form, ({ upBytes }) => upBytes),
    rateLine("down", model, form, ({ downBytes }) => downBytes),
  ];
  const latest = denials.groups.slice(0, Math.max(0, Math.min(LATEST_MAX, room - 6)))
    .map(({ denial, count, lastMs }) => {
      return line("text", denialText(denial, count, model.sample.timeMs - lastMs)[0]!);
    });
  return [
    title,
    ...(room >= 5 ? [guest] : []),
    ...(room >= 6 ? [policy] : []),
    ...rates,
    ...(room >= 4 ? [counts] : []),
    ...latest,
  ];
}

/** So many refusals are shown above the flows. */
const LATEST_MAX = 5;

function titleLine(
  { sample }: TopModel,
  { isPaused }: TopState,
  trouble: string | null,
  { columns, glyphs }: TopForm,
): TopLine {
  if (trouble !== null) return line("warning", plainText(`trying again: ${trouble}`));
  const { status: { version, endpoint, startedMs }, timeMs } = sample;
  const guest = severalOf(sample) === null ? "" : `${sample.guest}: `;
  const text = plainText(
    `${guest}virtio-gateway ${version} on ${endpoint}, up ${spanText(timeMs - startedMs)}`,
  );
  if (!isPaused) return line("title", text);
  const word = " paused";
  return line("title", fit(text, columns - word.length, glyphs) + word);
}

function guestText({ guest, published }: GatewayStatus): string {
  const ports = `ports ${published.length}`;
  if (guest === null) return `guest  none is attached; ${ports}`;
  const { tcpFlows, udpFlows, dials, dnsInFlight, pins, bufferBytes } = guest.figures;
  const words = [
    ...(guest.link === "attached" ? [] : [guest.link]),
    `tcp ${tcpFlows}`,
    `udp ${udpFlows}`,
    `dials ${dials}`,
    `dns waits ${dnsInFlight}`,
    `pins ${pins}`,
    `buffers ${bytesText(bufferBytes)}`,
  ];
  return `guest  ${words.join(", ")}; ${ports}`;
}

/** What was not measured is no figure. */
function rateText(rate: number | undefined, text: (rate: number) => string): string {
  return rate === undefined ? "-" : `${text(rate)}/s`;
}

function countsText(rates: TopRates | null, refused: number): string {
  const figure = (rate: number | undefined) => rateText(rate, figureText);
  return [
    `frames ${figure(rates?.frames)}`,
    `drops ${figure(rates?.drops)}`,
    `dns ${figure(rates?.questions)}`,
    `refused ${figureText(refused)}`,
  ].join("  ");
}

function bothText(rates: TopRates | null, { glyphs }: TopForm): string {
  const up = rateText(rates?.upBytes, bytesText);
  return `${glyphs.up}${up} ${glyphs.down}${rateText(rates?.downBytes, bytesText)}`;
}

/** Columns of the word and the figure in front of a sparkline, and of what stands behind it. */
const RATE_COLUMNS = 15;
const PEAK_COLUMNS = 15;
/** The narrowest screen that shows the peak. */
const PEAK_FROM = 60;

function rateLine(
  word: "up" | "down",
  { history, rates }: TopModel,
  { columns, glyphs }: TopForm,
  read: (rates: TopRates) => number,
): TopLine {
  const hasPeak = columns >= PEAK_FROM;
  const room = Math.max(0, columns - RATE_COLUMNS - (hasPeak ? PEAK_COLUMNS : 0));
  const values = history.map((each) => each === null ? null : read(each)).slice(-room);
  const peak = Math.max(0, ...values.map((value) => value ?? 0));
  const rate = rateText(rates === null ? undefined : read(rates), bytesText);
  const start = `${word.padEnd(5)}${rate.padStart(8)}  `;
  const end = hasPeak ? `  peak ${rateText(peak, bytesText)}` : "";
  return line(word, start + sparkline(values, room, peak, glyphs) + end);
}

/** A refusal: how long ago, how often and what, and then the way out. */
function denialText(denial: Denial, count: number, agoMs: number): string[] {
  const [first = "", ...more] = formatDenial(denial);
  const start = `${ageText(agoMs).padStart(6)} ago ${`${figureText(count)}x`.padStart(6)}  `;
  return [start + first, ...more.map((each) => " ".repeat(start.length) + each)].map(plainText);
}

function textBody(
  model: TopModel,
  state: TopState,
  trouble: string | null,
  form: TopForm,
  room: number,
): TopScreen {
  const title = room > 0 ? [titleLine(model, state, trouble, form)] : [];
  const pageLines = Math.max(0, room - title.length);
  const isHelp = state.screen === "help";
  const text = isHelp ? HELP : denialLines(model);
  const all = text.flatMap((each) => wrap(each, form.columns, isHelp ? 0 : INDENT));
  const lastLine = Math.max(0, all.length - pageLines);
  const place: TopPlace = { rows: [], pageRows: 0, pageLines, lastLine };
  const firstLine = Math.min(state.firstLine, lastLine);
  const shown = all.slice(firstLine, firstLine + pageLines);
  const empty = Array<string>(Math.max(0, pageLines - shown.length)).fill("");
  return {
    lines: [...title, ...[...shown, ...empty].map((each) => line("text", each))],
    state: { ...state, firstLine },
    place,
  };
}

/** What each screen has above its last line. */
const BODIES = {
  flows: flowsBody,
  guests: guestsBody,
  denials: textBody,
  help: textBody,
} as const;

const INDENT = 4;

function denialLines({ sample: { denials, timeMs } }: TopModel): string[] {
  if (denials.groups.length === 0) return ["nothing was refused"];
  return denials.groups.flatMap(({ denial, count, lastMs }) => {
    const [first = "", ...more] = denialText(denial, count, timeMs - lastMs);
    return [first, ...more.map((each) => " ".repeat(INDENT) + each.trimStart())];
  });
}

const HELP: readonly string[] = [
  "s          sort by rate, total, age, name",
  "r          reverse the order",
  "/          show flows with some words: name, address, rule, protocol, state",
  "up, down   mark a flow; PgUp, PgDn, Home, End too",
  "k          end the marked flow, after y",
  "d          what was refused, and the line that allows it",
  "p          pause: nothing is asked until p",
  "g          choose among several guests: up, down, Enter",
  "Esc        one step back, and then out",
  "q, Ctrl-C  quit",
  "",
  "Rates are octets a second, up from the guest, down to it; those above the table are whole " +
  "frames, those in it what the flows carry. A flow is opened by the guest (an arrow to the " +
  "right) or by a client of a published port (to the left). The mark stays with its flow; " +
  "Home gives it back to the first row.",
];

function footText(state: TopState, { columns, glyphs }: TopForm, areSeveral: boolean): string {
  const { screen, prompt, filter, doomed, note, sort } = state;
  if (prompt === "filter") return `/${endOf(plainText(filter), columns - 2)}_`;
  if (prompt === "end" && doomed !== null) {
    const question = " end? y/n";
    const { info } = doomed;
    const what = plainText(`${info.protocol} ${flowTarget(info)} (${info.id})`);
    return cutTo(what, columns - question.length, glyphs.cut) + question;
  }
  if (note !== "") return plainText(note);
  if (screen === "guests") return "q quit  g back  up, down mark  Enter shows the guest";
  if (screen !== "flows") return `q quit  ${screen === "help" ? "?" : "d"} back  up, down scroll`;
  const shown = filter === "" ? "/ filter" : `/ filter: ${plainText(filter)}`;
  const guests = areSeveral ? "g guests  " : "";
  return `q quit  ? help  ${guests}s sort: ${sort}  r reverse  ${shown}  d denials  k end  p pause`;
}

/** The end of a text, which is where one types. */
function endOf(text: string, columns: number): string {
  return columns <= 0 ? "" : text.slice(-columns);
}
