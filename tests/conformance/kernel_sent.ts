/**
 * Whether a kernel's segment is what a script's line says.
 *
 * @module
 */
import type { Sent } from "../support/tcp_sent.ts";
import type { Option, SegmentText } from "../support/tcp_segments.ts";

/**
 * PSH is left to the sender, and so are a window's size (but whether it is closed), the scale that
 * a SYN offers and the clock of its timestamps.
 */
export function matchesKernel(got: Sent, line: SegmentText): boolean {
  if (got.flags.replace("P", "") !== line.flags.replace("P", "")) return false;
  if (got.seq !== line.seq || got.dataBytes !== line.dataBytes || got.ack !== line.ack) {
    return false;
  }
  const reset = line.flags.includes("R");
  if (!reset && line.win !== undefined && (got.win === 0) !== (line.win === 0)) return false;
  if (line.options === undefined && line.flags.includes("S")) return true;
  const expected = line.options ?? [];
  const withTime = expected.some((option) => option.kind === "TS");
  const options = got.options.filter((option) => withTime || option.kind !== "TS");
  return comparable(options) === comparable(expected);
}

function comparable(options: readonly Option[]): string {
  return options.map(withoutOwnChoices).map((option) => JSON.stringify(option)).sort().join();
}

function withoutOwnChoices(option: Option): Option {
  if (option.kind === "wscale") return { ...option, value: 0 };
  if (option.kind === "TS") return { ...option, value: 0 };
  return option;
}
