/**
 * The settings of a capture to a file: their bounds and how they are read.
 *
 * @module
 */
import { parseCaptureFilter } from "../capture/capture_filter.ts";
import { SNAP_MAX_BYTES, SNAP_MIN_BYTES } from "../capture/pcapng.ts";
import { parseByteSize } from "./byte_size.ts";
import type { ConfigProblem } from "./errors.ts";
import type { CaptureConfig } from "./options.ts";
import { type Reader, readInteger, scalar } from "./readers.ts";

/** All keys of a capture. */
export const CAPTURE_KEYS: readonly (keyof CaptureConfig)[] = [
  "file",
  "limit",
  "snapLength",
  "filter",
];

/** How much a capture's files take where nothing is said. */
export const DEFAULT_CAPTURE_LIMIT_BYTES = 100_000_000;

/** Bounds of that: below it there is nothing to look at, above it a position is not exact. */
const LIMIT_MIN_BYTES = 1_000_000;
const LIMIT_MAX_BYTES = 2 ** 50;

/** Where the file goes that was a capture's before. */
export function earlierCapture(file: string): string {
  return `${file}.1`;
}

/** A reader of a number of bytes such as `100MB`. */
export const readCaptureLimit: Reader<number | null> = (raw, fail) => {
  const text = scalar(raw, fail);
  if (text === null) return null;
  const bytes = parseByteSize(text);
  if (bytes === null) fail(`"${text}" is not a number of bytes, such as 100MB or 64MiB`);
  return bytes;
};

/** A reader of a number of octets. */
export const readSnapLength: Reader<number | null> = readInteger;

/**
 * What is wrong with a capture's settings.
 *
 * @param capture Those that are set.
 * @param section What stands in front of their keys in messages.
 * @returns The problems; none where they can be used.
 */
export function checkCapture(
  capture: { readonly [key in keyof CaptureConfig]?: CaptureConfig[key] | undefined },
  section: string,
): ConfigProblem[] {
  const { file, limit, snapLength, filter } = capture;
  const problems: ConfigProblem[] = [];
  const report = (key: keyof CaptureConfig, text: string | null): void => {
    if (text !== null) problems.push({ key: `${section}${key}`, text });
  };
  if (file !== undefined) report("file", typeof file === "string" ? fileFault(file) : NO_TEXT);
  if (limit !== undefined) report("limit", outOf(limit, LIMIT_MIN_BYTES, LIMIT_MAX_BYTES, "bytes"));
  if (snapLength !== undefined) {
    report("snapLength", outOf(snapLength, SNAP_MIN_BYTES, SNAP_MAX_BYTES, "octets"));
  }
  if (filter !== undefined) report("filter", filterFault(filter));
  return problems;
}

/** What is wrong with settings without a file beside them; none where there is nothing to say. */
export function checkCaptureFile(capture: CaptureConfig, section: string): ConfigProblem[] {
  if (capture.file !== undefined) return [];
  const [key] = CAPTURE_KEYS.filter((each) => capture[each] !== undefined);
  if (key === undefined) return [];
  return [{ key: `${section}${key}`, text: `is of no use without ${section}file` }];
}

const NO_TEXT = "is not a text";

function fileFault(file: string): string | null {
  if (file.includes("\0")) return "is not a path";
  return file === "" ? "is empty; name a file, such as vm1.pcapng" : null;
}

function filterFault(filter: unknown): string | null {
  if (typeof filter !== "string") return NO_TEXT;
  if (filter === "") return null;
  const parsed = parseCaptureFilter(filter);
  return typeof parsed === "string" ? parsed : null;
}

function outOf(value: unknown, min: number, max: number, what: string): string | null {
  const isInside = Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
  return isInside ? null : `${value} is not a whole number of ${what} from ${min} to ${max}`;
}
