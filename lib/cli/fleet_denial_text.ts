/**
 * Refusals of a fleet's stream as lines, in the looks of `denials`.
 *
 * @module
 */
import type { DenialRecord } from "../fleet/audit_record.ts";
import { formatDenial } from "../policy/denial.ts";
import { timeText } from "./time_text.ts";

const COUNT_WIDTH = 6;

/** A record: when, how often, whose and what, and then the way out. */
export function denialRecordLines(record: DenialRecord): string[] {
  const { gateway, guest, lastMs, count, denial } = record;
  const whose = guest === gateway ? gateway : `${guest} at ${gateway}`;
  const start = `${timeText(lastMs)} ${`${count}x`.padStart(COUNT_WIDTH)}  ${whose}  `;
  if (denial === null) return [`${start}DENY  more than could be told apart`];
  const [line = "", ...more] = formatDenial(denial);
  return [start + line, ...more.map((each) => `      ${each}`)];
}
