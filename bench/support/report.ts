/**
 * Figures with their goals, in one table for a tired reader, or as JSON.
 *
 * @module
 */

/** A bound that a figure has to keep. */
export type Goal = { readonly atMost: number } | { readonly atLeast: number } | {
  readonly exactly: number;
};

/** One figure. */
export interface Row {
  /** What was measured. */
  what: string;
  figure: number;
  unit: string;
  /** Absent where the figure is only shown. */
  goal?: Goal;
}

/** Whether the figure keeps its goal; a figure without a goal does. */
export function isMet({ figure, goal }: Row): boolean {
  if (goal === undefined) return true;
  if ("atMost" in goal) return figure <= goal.atMost;
  if ("atLeast" in goal) return figure >= goal.atLeast;
  return figure === goal.exactly;
}

function spell(value: number): string {
  const digits = Number.isInteger(value) ? 0 : Math.abs(value) < 10 ? 2 : 1;
  return value.toFixed(digits).replace(/\B(?=(\d{3})+(?!\d)(?<!\.\d*))/g, ",");
}

function spellGoal(goal: Goal | undefined): string {
  if (goal === undefined) return "";
  if ("atMost" in goal) return `≤ ${spell(goal.atMost)}`;
  if ("atLeast" in goal) return `≥ ${spell(goal.atLeast)}`;
  return `= ${spell(goal.exactly)}`;
}

/** A line of the table. */
export function formatRow(row: Row): string {
  const verdict = row.goal === undefined ? "" : isMet(row) ? "met" : "MISSED";
  const line = `  ${row.what.padEnd(52)}${spell(row.figure).padStart(10)} ${row.unit.padEnd(6)}` +
    `${spellGoal(row.goal).padStart(10)}  ${verdict}`;
  return line.trimEnd();
}

/** Collects rows, and prints them as they come unless JSON is wanted at the end. */
export class Report {
  /** Parts in the order in which they ran. */
  readonly parts: { title: string; rows: Row[] }[] = [];
  readonly #json: boolean;

  /** @param json Whether one JSON document is printed at the end instead of a table. */
  constructor(json: boolean) {
    this.#json = json;
  }

  /** Whether all goals were met. */
  get allMet(): boolean {
    return this.parts.every((part) => part.rows.every(isMet));
  }

  /** Something the reader should know. */
  say(text: string): void {
    if (!this.#json) console.log(text);
  }

  /** Begins a part. */
  part(title: string): void {
    this.parts.push({ title, rows: [] });
    this.say(`\n${title}`);
  }

  /** Adds a figure to the part. */
  add(what: string, figure: number, unit: string, goal?: Goal): void {
    const row: Row = { what, figure, unit, ...(goal === undefined ? {} : { goal }) };
    this.parts.at(-1)!.rows.push(row);
    this.say(formatRow(row));
  }

  /** The last line, or the document. */
  finish(): void {
    const rows = this.parts.flatMap((part) => part.rows).filter((row) => row.goal !== undefined);
    const met = rows.filter(isMet).length;
    if (this.#json) {
      const parts = this.parts.map(({ title, rows }) => ({
        title,
        rows: rows.map((row) => ({ ...row, met: isMet(row) })),
      }));
      console.log(JSON.stringify({ parts, met, missed: rows.length - met }));
    } else {
      console.log(`\n${met} goals met, ${rows.length - met} missed`);
    }
  }
}
