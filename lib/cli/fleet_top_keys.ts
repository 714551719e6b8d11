/**
 * What keys do to `fleet top`: from a key to the next state of the screen, pure. The keys are those
 * of `top`, as far as they have a meaning here.
 *
 * @module
 */
import {
  FLEET_SORT_KEYS,
  type FleetChoice,
  type FleetGuestRow,
  guestKey,
} from "./fleet_top_model.ts";

/** What the screen shows beside the model. */
export interface FleetTopState extends FleetChoice {
  readonly screen: "guests" | "gateways" | "denials" | "help";
  /** Whether a filter is being typed. */
  readonly isTyping: boolean;
  /** The filter before it was typed anew. */
  readonly filterBefore: string;
  readonly isPaused: boolean;
  /** The guest that is marked; `null` marks whichever stands first. */
  readonly selected: string | null;
  /** The row of the mark among all rows. */
  readonly row: number;
  /** The first row that is shown. */
  readonly firstRow: number;
  /** The first line that is shown where the screen is text. */
  readonly firstLine: number;
}

/** How it begins. */
export const FIRST_FLEET_STATE: FleetTopState = {
  screen: "guests",
  isTyping: false,
  sort: "rate",
  isReversed: false,
  filter: "",
  filterBefore: "",
  isPaused: false,
  selected: null,
  row: 0,
  firstRow: 0,
  firstLine: 0,
};

/** What is on the screen when a key comes. */
export interface FleetTopPlace {
  /** The guests of the table in their order, also those that there is no room for. */
  readonly rows: readonly FleetGuestRow[];
  /** How many of them, or how many lines of text, there is room for. */
  readonly pageRows: number;
  /** The last line of text that can be the first one. */
  readonly lastLine: number;
}

/** What comes of a key: the next state, `null` to quit. */
export type FleetKeyOutcome = FleetTopState | null;

const FILTER_MAX = 64;

/** Puts the mark and the first row to where the rows are. */
export function settleFleet(state: FleetTopState, place: FleetTopPlace): FleetTopState {
  const { rows, pageRows, lastLine } = place;
  const { selected } = state;
  const found = selected === null ? 0 : rows.findIndex((row) => guestKey(row) === selected);
  // The mark of a guest that has gone stays at its row.
  const row = clamp(found < 0 ? state.row : found, 0, Math.max(0, rows.length - 1));
  const last = Math.max(0, rows.length - pageRows);
  const firstRow = clamp(state.firstRow, row - Math.max(1, pageRows) + 1, Math.min(row, last));
  const marked = rows[row];
  return {
    ...state,
    selected: selected === null || marked === undefined ? null : guestKey(marked),
    row,
    firstRow: Math.max(0, firstRow),
    firstLine: clamp(state.firstLine, 0, lastLine),
  };
}

function clamp(value: number, least: number, most: number): number {
  return Math.max(least, Math.min(most, value));
}

/** What a key does. */
export function pressFleetKey(
  state: FleetTopState,
  key: string,
  place: FleetTopPlace,
): FleetKeyOutcome {
  if (key === "interrupt") return null;
  if (state.isTyping) return typeFilter(state, key);
  switch (key) {
    case "q":
      return null;
    case "escape":
      return stepBack(state);
    case "p":
      return { ...state, isPaused: !state.isPaused };
    case "g":
      return toScreen(state, "gateways");
    case "d":
      return toScreen(state, "denials");
    case "?":
    case "h":
      return toScreen(state, "help");
  }
  return state.screen === "guests" ? onTable(state, key, place) : onText(state, key, place);
}

/** Escape closes what is open, the latest first, and at last the program. */
function stepBack(state: FleetTopState): FleetKeyOutcome {
  if (state.screen !== "guests") return toScreen(state, "guests");
  return state.filter === "" ? null : { ...state, filter: "" };
}

/** A screen's key shows it, and takes it away again. */
function toScreen(state: FleetTopState, screen: FleetTopState["screen"]): FleetTopState {
  return { ...state, screen: state.screen === screen ? "guests" : screen, firstLine: 0 };
}

function onTable(state: FleetTopState, key: string, place: FleetTopPlace): FleetTopState {
  const { rows, pageRows } = place;
  const page = Math.max(1, pageRows);
  switch (key) {
    case "s": {
      const next = (FLEET_SORT_KEYS.indexOf(state.sort) + 1) % FLEET_SORT_KEYS.length;
      return { ...state, sort: FLEET_SORT_KEYS[next]! };
    }
    case "r":
      return { ...state, isReversed: !state.isReversed };
    case "/":
      return { ...state, isTyping: true, filterBefore: state.filter };
    case "up":
      return mark(state, rows, state.row - 1);
    case "down":
      return mark(state, rows, state.row + 1);
    case "page-up":
      return mark(state, rows, state.row - page);
    case "page-down":
      return mark(state, rows, state.row + page);
    case "home":
      return { ...state, selected: null, row: 0 };
    case "end":
      return mark(state, rows, rows.length - 1);
    default:
      return state;
  }
}

function mark(
  state: FleetTopState,
  rows: readonly FleetGuestRow[],
  wanted: number,
): FleetTopState {
  const row = clamp(wanted, 0, Math.max(0, rows.length - 1));
  const marked = rows[row];
  return { ...state, row, selected: marked === undefined ? null : guestKey(marked) };
}

function onText(state: FleetTopState, key: string, place: FleetTopPlace): FleetTopState {
  const { pageRows, lastLine } = place;
  const page = Math.max(1, pageRows - 1);
  const steps: Readonly<Record<string, number>> = {
    "up": -1,
    "down": 1,
    "page-up": -page,
    "page-down": page,
    "home": -lastLine,
    "end": lastLine,
  };
  return { ...state, firstLine: clamp(state.firstLine + (steps[key] ?? 0), 0, lastLine) };
}

/** The table follows the filter while it is typed. */
function typeFilter(state: FleetTopState, key: string): FleetTopState {
  const typed = (filter: string) => ({ ...state, filter, row: 0, selected: null });
  switch (key) {
    case "enter":
      return { ...state, isTyping: false, filterBefore: "" };
    case "escape":
      return { ...typed(state.filterBefore), isTyping: false, filterBefore: "" };
    case "backspace":
      return typed(state.filter.slice(0, -1));
    case "clear":
      return typed("");
    default:
      return key.length === 1 && state.filter.length < FILTER_MAX
        ? typed(state.filter + key)
        : state;
  }
}
