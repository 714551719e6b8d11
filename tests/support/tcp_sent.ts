/**
 * A segment that the gateway has sent, and whether it is what a line says.
 *
 * @module
 */
import { formatSegment, type Option, type SegmentText } from "./tcp_segments.ts";

/** A segment of the gateway. */
export interface Sent extends SegmentText {
  ack: number | undefined;
  win: number;
  options: Option[];
  /** Milliseconds since the script's start. */
  atMs: number;
  guestPort: number;
}

/** The segment as a line, with its time. */
export function show(sent: Sent): string {
  return `@${Number(sent.atMs.toFixed(3))} ${formatSegment(sent)}`;
}

/** Whether a segment is what a line says; PSH, window and timestamps only where it says so. */
export function matches(got: Sent, line: SegmentText): boolean {
  const withPush = line.flags.includes("P");
  const flags = withPush ? got.flags : got.flags.replace("P", "");
  if (flags !== line.flags || got.seq !== line.seq || got.dataBytes !== line.dataBytes) {
    return false;
  }
  if (got.ack !== line.ack || (line.win !== undefined && got.win !== line.win)) return false;
  if (line.options === undefined && line.flags.includes("S")) return true;
  const expected = line.options ?? [];
  const withTime = expected.some((option) => option.kind === "TS");
  const options = got.options.filter((option) => withTime || option.kind !== "TS");
  return sorted(options) === sorted(expected);
}

function sorted(options: readonly Option[]): string {
  return options.map((option) => JSON.stringify(option)).sort().join();
}

/** The window scale among options; -1 where there is none. */
export function shiftOf(options: readonly Option[]): number {
  return options.find((option) => option.kind === "wscale")?.value ?? -1;
}
