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
import {
  type ListRows,
  type ListState,
  moveMark,
  scrollText,
  settleList,
  typeFilter,
} from "./top_list.ts";

/** What the screen shows beside the model. */
export interface FleetTopState extends FleetChoice, ListState {
  readonly screen: "guests" | "gateways" | "denials" | "help";
  /** Whether a filter is being typed. */
  readonly isTyping: boolean;
  readonly isPaused: boolean;
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

/** Puts the mark and the first row to where the rows are. */
export function settleFleet(state: FleetTopState, place: FleetTopPlace): FleetTopState {
  return settleList(state, guestRows(place), place.lastLine);
}

function guestRows({ rows, pageRows }: FleetTopPlace): ListRows<FleetGuestRow> {
  return { rows, pageRows, keyOf: guestKey };
}

/** What a key does. */
export function pressFleetKey(
  state: FleetTopState,
  key: string,
  place: FleetTopPlace,
): FleetKeyOutcome {
  if (key === "interrupt") return null;
  if (state.isTyping) return typeFilter(state, key, { isTyping: false });
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
  if (state.screen === "guests") return onTable(state, key, place);
  return scrollText(state, key, place.pageRows, place.lastLine);
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
  switch (key) {
    case "s": {
      const next = (FLEET_SORT_KEYS.indexOf(state.sort) + 1) % FLEET_SORT_KEYS.length;
      return { ...state, sort: FLEET_SORT_KEYS[next]! };
    }
    case "r":
      return { ...state, isReversed: !state.isReversed };
    case "/":
      return { ...state, isTyping: true, filterBefore: state.filter };
    default:
      return moveMark(state, key, guestRows(place));
  }
}
