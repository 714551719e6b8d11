/**
 * Lists on a screen, as the programs of `top` have them: a marked row, the part that is shown, a filter
 * that is typed, and text that is scrolled. From a key to the next state, pure.
 *
 * @module
 */

/** A list's state. */
export interface ListState {
  readonly filter: string;
  /** The filter before it was typed anew. */
  readonly filterBefore: string;
  /** The row that is marked, by its key; `null` marks whichever stands first. */
  readonly selected: string | null;
  /** The row of the mark among all rows. */
  readonly row: number;
  /** The first row that is shown. */
  readonly firstRow: number;
  /** The first line that is shown where the screen is text. */
  readonly firstLine: number;
}

/** The rows of a list in their order, also those that there is no room for. */
export interface ListRows<T> {
  readonly rows: readonly T[];
  /** How many of them there is room for. */
  readonly pageRows: number;
  /** What a row is known by while others come and go. */
  readonly keyOf: (row: T) => string;
}

const FILTER_MAX = 64;

/** Where a key leads among so many rows; `null` for a key that leads nowhere. */
export function movedRow(key: string, row: number, count: number, pageRows: number): number | null {
  const page = Math.max(1, pageRows);
  const last = Math.max(0, count - 1);
  const wanted: Readonly<Record<string, number>> = {
    "up": row - 1,
    "down": row + 1,
    "page-up": row - page,
    "page-down": row + page,
    "home": 0,
    "end": last,
  };
  const next = wanted[key];
  return next === undefined ? null : clamp(next, 0, last);
}

/** Moves the mark; what stands first has it whatever that is. */
export function moveMark<S extends ListState, T>(state: S, key: string, list: ListRows<T>): S {
  const { rows, pageRows, keyOf } = list;
  const row = movedRow(key, state.row, rows.length, pageRows);
  if (row === null) return state;
  const marked = key === "home" ? undefined : rows[row];
  return { ...state, row, selected: marked === undefined ? null : keyOf(marked) };
}

/** Puts the mark, the first row and the first line, of which `lastLine` is the last, to where rows are. */
export function settleList<S extends ListState, T>(
  state: S,
  { rows, pageRows, keyOf }: ListRows<T>,
  lastLine: number,
): S {
  const { selected } = state;
  const found = selected === null ? 0 : rows.findIndex((row) => keyOf(row) === selected);
  // The mark of one that has gone stays at its row.
  const row = clamp(found < 0 ? state.row : found, 0, Math.max(0, rows.length - 1));
  const last = Math.max(0, rows.length - pageRows);
  const firstRow = clamp(state.firstRow, row - Math.max(1, pageRows) + 1, Math.min(row, last));
  const marked = rows[row];
  return {
    ...state,
    selected: selected === null || marked === undefined ? null : keyOf(marked),
    row,
    firstRow: Math.max(0, firstRow),
    firstLine: clamp(state.firstLine, 0, lastLine),
  };
}

/** Scrolls text of which `pageLines` are shown. */
export function scrollText<S extends ListState>(
  state: S,
  key: string,
  pageLines: number,
  lastLine: number,
): S {
  const page = Math.max(1, pageLines - 1);
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

/** The list follows the filter while it is typed; `typed` is what says that it is no more. */
export function typeFilter<S extends ListState>(state: S, key: string, typed: Partial<S>): S {
  const filtered = (filter: string): S => ({ ...state, filter, row: 0, selected: null });
  switch (key) {
    case "enter":
      return { ...state, ...typed, filterBefore: "" };
    case "escape":
      return { ...filtered(state.filterBefore), ...typed, filterBefore: "" };
    case "backspace":
      return filtered(state.filter.slice(0, -1));
    case "clear":
      return filtered("");
    default:
      return key.length === 1 && state.filter.length < FILTER_MAX
        ? filtered(state.filter + key)
        : state;
  }
}

function clamp(value: number, least: number, most: number): number {
  return Math.max(least, Math.min(most, value));
}
