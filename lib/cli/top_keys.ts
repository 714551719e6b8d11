/**
 * What keys do to `top`: from the bytes of a terminal to keys, and from a key to the next state of
 * the screen, pure.
 *
 * A lone escape and the start of a longer sequence are the same byte: `KeyReader` holds it back
 * until more has come, or its owner says that nothing more will.
 *
 * @module
 */
import { pressGuestKey } from "./top_guests.ts";
import {
  type ListRows,
  type ListState,
  moveMark,
  scrollText,
  settleList,
  typeFilter,
} from "./top_list.ts";
import { type FlowChoice, flowKey, flowTarget, SORT_KEYS, type TopFlow } from "./top_model.ts";

/** Keys that are no character; a character is a key by itself. */
export type NamedKey =
  | "up"
  | "down"
  | "page-up"
  | "page-down"
  | "home"
  | "end"
  | "enter"
  | "escape"
  | "backspace"
  | "clear"
  | "interrupt";

/** The keys of escape sequences, by what follows the escape. */
const SEQUENCES: Readonly<Record<string, NamedKey>> = {
  "[A": "up",
  "OA": "up",
  "[B": "down",
  "OB": "down",
  "[5~": "page-up",
  "[6~": "page-down",
  "[H": "home",
  "OH": "home",
  "[1~": "home",
  "[7~": "home",
  "[F": "end",
  "OF": "end",
  "[4~": "end",
  "[8~": "end",
};

const CONTROLS: Readonly<Record<number, NamedKey>> = {
  0x03: "interrupt",
  0x08: "backspace",
  0x0a: "enter",
  0x0d: "enter",
  0x15: "clear",
  0x7f: "backspace",
};

/** A whole sequence that a key or the terminal sends; those that mean nothing here are dropped. */
// deno-lint-ignore no-control-regex
const SEQUENCE = /^\x1b(?:\[[\x20-\x3f]*[\x40-\x7e]|O[\x40-\x7e])/;
/** What may become one. */
// deno-lint-ignore no-control-regex
const SEQUENCE_START = /^\x1b(?:\[[\x20-\x3f]{0,30}|O)?$/;

/** Bytes of a terminal as keys. */
export class KeyReader {
  #text = "";

  /** Whether an escape waits for what follows it. */
  get isWaiting(): boolean {
    return this.#text !== "";
  }

  /** The keys that are whole with these bytes. */
  feed(bytes: Uint8Array): string[] {
    // Beyond ASCII there is nothing that a key could mean here.
    for (const byte of bytes) if (byte < 0x80) this.#text += String.fromCharCode(byte);
    return this.#take(false);
  }

  /** The keys that there are when nothing follows. */
  flush(): string[] {
    return this.#take(true);
  }

  #take(isLast: boolean): string[] {
    const keys: string[] = [];
    while (this.#text !== "") {
      const code = this.#text.charCodeAt(0);
      const [sequence] = SEQUENCE.exec(this.#text) ?? [];
      if (sequence !== undefined) {
        const key = SEQUENCES[sequence.slice(1)];
        if (key !== undefined) keys.push(key);
        this.#text = this.#text.slice(sequence.length);
        continue;
      }
      if (SEQUENCE_START.test(this.#text) && !isLast) break;
      const key = code === 0x1b ? "escape" : CONTROLS[code] ?? String.fromCharCode(code);
      if (key.length > 1 || code >= 0x20) keys.push(key);
      this.#text = this.#text.slice(1);
    }
    return keys;
  }
}

/** What the screen shows beside the model. */
export interface TopState extends FlowChoice, ListState {
  readonly screen: "flows" | "denials" | "guests" | "help";
  /** What is being asked in the last line. */
  readonly prompt: "filter" | "end" | null;
  readonly isPaused: boolean;
  /** The flow that is to end if the answer is yes. */
  readonly doomed: TopFlow | null;
  /** What has just been done, in the last line until the next key. */
  readonly note: string;
  /** The row of the mark among the guests. */
  readonly guestRow: number;
}

/** How it begins. */
export const FIRST_STATE: TopState = {
  screen: "flows",
  prompt: null,
  sort: "rate",
  isReversed: false,
  filter: "",
  filterBefore: "",
  isPaused: false,
  selected: null,
  row: 0,
  firstRow: 0,
  firstLine: 0,
  doomed: null,
  note: "",
  guestRow: 0,
};

/** What is on the screen when a key comes. */
export interface TopPlace {
  /** The flows of the table in their order, also those that there is no room for. */
  readonly rows: readonly TopFlow[];
  /** How many of them there is room for. */
  readonly pageRows: number;
  /** Lines of text that there is room for. */
  readonly pageLines: number;
  /** The last line of text that can be the first one. */
  readonly lastLine: number;
  /** The guests that one can choose among; absent where there is one alone. */
  readonly guests?: readonly string[];
}

/** What a key asks for beside another state. */
export type TopAction =
  | { readonly kind: "quit" }
  | { readonly kind: "end"; readonly flow: TopFlow }
  | { readonly kind: "guest"; readonly name: string };

/** What comes of a key. */
export interface KeyOutcome {
  readonly state: TopState;
  readonly action?: TopAction;
}

/** Puts the mark and the first row to where the rows are. */
export function settle(state: TopState, place: Omit<TopPlace, "pageLines">): TopState {
  return settleList(state, flowRows(place), place.lastLine);
}

function flowRows({ rows, pageRows }: Pick<TopPlace, "rows" | "pageRows">): ListRows<TopFlow> {
  return { rows, pageRows, keyOf: ({ info }) => flowKey(info) };
}

/** What a key does. */
export function pressKey(state: TopState, key: string, place: TopPlace): KeyOutcome {
  if (key === "interrupt") return { state, action: { kind: "quit" } };
  const quiet = { ...state, note: "" };
  if (state.prompt === "filter") return { state: typeFilter(quiet, key, { prompt: null }) };
  if (state.prompt === "end") return answerEnd(quiet, key);
  if (key === "q") return { state, action: { kind: "quit" } };
  if (key === "escape") return stepBack(quiet);
  switch (key) {
    case "p":
      return { state: { ...quiet, isPaused: !state.isPaused } };
    case "d":
      return { state: toScreen(quiet, "denials") };
    case "g":
      return place.guests === undefined
        ? { state: { ...quiet, note: "one guest alone is served" } }
        : { state: toScreen(quiet, "guests") };
    case "?":
    case "h":
      return { state: toScreen(quiet, "help") };
  }
  if (state.screen === "guests") return onGuests(quiet, key, place);
  if (state.screen === "flows") return { state: onTable(quiet, key, place) };
  return { state: scrollText(quiet, key, place.pageLines, place.lastLine) };
}

/** Escape closes what is open, the latest first, and at last the program. */
function stepBack(state: TopState): KeyOutcome {
  if (state.screen !== "flows") return { state: toScreen(state, "flows") };
  if (state.filter !== "") return { state: { ...state, filter: "" } };
  return { state, action: { kind: "quit" } };
}

/** A screen's key shows it, and takes it away again. */
function toScreen(state: TopState, screen: TopState["screen"]): TopState {
  return { ...state, screen: state.screen === screen ? "flows" : screen, firstLine: 0 };
}

function onGuests(state: TopState, key: string, place: TopPlace): KeyOutcome {
  const { row, chosen } = pressGuestKey(state.guestRow, key, place.guests ?? [], place.pageLines);
  if (chosen === null) return { state: { ...state, guestRow: row } };
  // A flow's number and mark are its guest's own.
  const shown: TopState = {
    ...toScreen(state, "flows"),
    selected: null,
    row: 0,
    guestRow: row,
    isPaused: false,
  };
  return { state: shown, action: { kind: "guest", name: chosen } };
}

function onTable(state: TopState, key: string, place: TopPlace): TopState {
  switch (key) {
    case "s":
      return { ...state, sort: SORT_KEYS[(SORT_KEYS.indexOf(state.sort) + 1) % SORT_KEYS.length]! };
    case "r":
      return { ...state, isReversed: !state.isReversed };
    case "/":
      return { ...state, prompt: "filter", filterBefore: state.filter };
    case "k": {
      const doomed = place.rows[state.row];
      if (doomed === undefined) return { ...state, note: "no flow is marked" };
      return { ...state, prompt: "end", doomed };
    }
    default:
      return moveMark(state, key, flowRows(place));
  }
}

function answerEnd(state: TopState, key: string): KeyOutcome {
  const flow = state.doomed!;
  const after: TopState = { ...state, prompt: null, doomed: null };
  if (key === "y" || key === "Y") return { state: after, action: { kind: "end", flow } };
  return { state: { ...after, note: `${flowTarget(flow.info)} goes on` } };
}
