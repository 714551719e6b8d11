/**
 * Figures, spans, cuts and sparklines in a known number of columns.
 *
 * Text of a guest or a host is written in printable ASCII only, all else escaped, so that a line
 * has as many columns as it has characters; the characters that are added here have one each.
 *
 * @module
 */

/** The characters beyond ASCII that are drawn with, or what stands for them. */
export interface Glyphs {
  /** From nothing to the most. */
  readonly bars: string;
  /** Something was cut off here. */
  readonly cut: string;
  readonly up: string;
  readonly down: string;
  /** The guest has opened the flow. */
  readonly fromGuest: string;
  /** A client of the host has opened it. */
  readonly fromHost: string;
}

/** For terminals with Unicode. */
export const UNICODE_GLYPHS: Glyphs = {
  bars: "▁▂▃▄▅▆▇█",
  cut: "…",
  up: "↑",
  down: "↓",
  fromGuest: "→",
  fromHost: "←",
};

/** For all others. */
export const ASCII_GLYPHS: Glyphs = {
  bars: "_.:-=+*#",
  cut: "~",
  up: "^",
  down: "v",
  fromGuest: ">",
  fromHost: "<",
};

const TEXT_MAX = 1_024;

/** Text of others, as nothing but printable ASCII. */
export function plainText(text: string): string {
  return text.slice(0, TEXT_MAX).replace(/[^\x20-\x7e]/g, (char) => {
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** Text in exactly so many columns. */
export function fit(text: string, columns: number, { cut }: Glyphs): string {
  return cutTo(text, columns, cut).padEnd(Math.max(0, columns));
}

/** Text in at most so many columns. */
export function cutTo(text: string, columns: number, mark: string): string {
  if (text.length <= columns) return text;
  return columns <= 0 ? "" : text.slice(0, columns - 1) + mark;
}

/** Text in lines of at most so many columns, those behind the first one indented where there is room. */
export function wrap(text: string, columns: number, indent: number): string[] {
  if (columns <= 0) return [];
  const start = " ".repeat(indent < columns / 2 ? indent : 0);
  const lines: string[] = [];
  let rest = text;
  while (rest.length > columns) {
    const space = rest.lastIndexOf(" ", columns);
    const hasWord = rest.slice(0, space + 1).trim() !== "";
    const end = space > start.length && hasWord ? space : columns;
    lines.push(rest.slice(0, end).trimEnd());
    rest = start + rest.slice(end).trimStart();
  }
  return [...lines, rest];
}

const SCALES = ["k", "M", "G", "T", "P"];

/** A figure in at most five columns, such as `999`, `1.23k`, `45.6M`. */
export function figureText(value: number): string {
  let unit = "";
  let left = value;
  for (const scale of SCALES) {
    if (left < 999.5) break;
    left /= 1000;
    unit = scale;
  }
  return unit === "" ? String(Math.round(left)) : left.toPrecision(3) + unit;
}

/** Columns of the longest `bytesText`. */
export const BYTES_COLUMNS = 6;

/** Octets, such as `1.23MB`. */
export function bytesText(bytes: number): string {
  return `${figureText(bytes)}B`;
}

/** Columns of the longest `ageText` of less than ten thousand days. */
export const AGE_COLUMNS = 6;

/** A span in at most six columns: `0:05`, `59:59`, `3h05m`, `12d03h`, `4321d`. */
export function ageText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (count: number) => String(count).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${two(seconds % 60)}`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours}h${two(minutes % 60)}m`;
  const days = Math.floor(hours / 24);
  return days < 100 ? `${days}d${two(hours % 24)}h` : `${days}d`;
}

/**
 * Rates as bars, the latest at the right.
 *
 * @param values Those of each sample; `null` leaves a gap.
 * @param columns How many are shown.
 * @param most What the highest bar stands for.
 */
export function sparkline(
  values: readonly (number | null)[],
  columns: number,
  most: number,
  { bars }: Glyphs,
): string {
  if (columns <= 0) return "";
  const shown = values.slice(-columns);
  const top = bars.length - 1;
  const text = shown.map((value) => {
    if (value === null) return " ";
    // What is more than nothing shows as more than nothing.
    return most <= 0 ? bars[0]! : bars[Math.min(top, Math.ceil((value / most) * top))]!;
  });
  return text.join("").padStart(columns);
}
