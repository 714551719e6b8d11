/**
 * The command line's log, as text or as JSON lines, on `@std/log`.
 *
 * Log lines carry what guests and hosts said (names, addresses), so control characters never reach
 * the terminal and a value's length is bounded. Text has no time of its own: a service manager adds
 * one, and the `ready` line begins with that word.
 *
 * @module
 */
import { BaseHandler, type LevelName, Logger, type LogRecord } from "@std/log";
import type { GatewayLogger, LogFields } from "../config/logger.ts";
import type { LogFormat, LogLevel } from "../config/settings.ts";

/** Longest text of one message or value, in UTF-16 units. */
const VALUE_MAX = 1_024;

/** How a log is written. */
export interface LogOptions {
  /** The lowest level that is written. */
  readonly level: LogLevel;
  /** How a line is written. */
  readonly format: LogFormat;
  /** Whether the level's word is coloured. */
  readonly color: boolean;
  /** Takes a line without its end. */
  readonly write: (line: string) => void;
}

/**
 * Makes a log.
 *
 * @param options Level, format and where the lines go.
 * @returns The logger to hand to the gateway.
 */
export function createLogger(options: LogOptions): GatewayLogger {
  const level = options.level.toUpperCase() as LevelName;
  const handler = new LineHandler(level, {
    formatter: options.format === "json"
      ? formatJson
      : (record) => formatText(record, options.color),
  }, options.write);
  const logger = new Logger("virtio-gateway", level, { handlers: [handler] });
  return {
    debug: (message, fields) => void logger.debug(message, fields),
    info: (message, fields) => void logger.info(message, fields),
    warn: (message, fields) => void logger.warn(message, fields),
    error: (message, fields) => void logger.error(message, fields),
  };
}

class LineHandler extends BaseHandler {
  readonly #write: (line: string) => void;

  constructor(
    level: LevelName,
    options: { formatter: (record: LogRecord) => string },
    write: (line: string) => void,
  ) {
    super(level, options);
    this.#write = write;
  }

  override log(line: string): void {
    this.#write(line);
  }
}

/** The word before a line of a level; what is normal has none. */
const WORDS: Readonly<Record<string, { word: string; color: string }>> = {
  DEBUG: { word: "debug: ", color: "\x1b[2m" },
  WARN: { word: "warning: ", color: "\x1b[33m" },
  ERROR: { word: "error: ", color: "\x1b[31m" },
};

function formatText(record: LogRecord, color: boolean): string {
  const prefix = WORDS[record.levelName];
  let line = prefix === undefined
    ? ""
    : color
    ? `${prefix.color}${prefix.word}\x1b[0m`
    : prefix.word;
  line += printable(record.msg);
  for (const [name, value] of Object.entries(fieldsOf(record))) {
    if (value !== undefined) line += ` ${name}=${textOf(value)}`;
  }
  return line;
}

function formatJson(record: LogRecord): string {
  const fields: LogFields = {};
  for (const [name, value] of Object.entries(fieldsOf(record))) fields[name] = plain(value);
  const own = {
    time: record.datetime.toISOString(),
    level: record.levelName.toLowerCase(),
    message: cut(record.msg),
  };
  return toJson({ ...own, ...fields, ...own }); // first in the line, and not to be replaced
}

function fieldsOf(record: LogRecord): LogFields {
  return (record.args[0] ?? {}) as LogFields;
}

function textOf(value: unknown): string {
  const data = plain(value);
  const isPlainWord = typeof data === "string" && /^[\x21\x23-\x3c\x3e-\x7e]+$/.test(data);
  return isPlainWord ? data : printable(toJson(data));
}

/** A value as JSON can carry it, bounded. */
function plain(value: unknown): unknown {
  if (typeof value === "string") return cut(value);
  if (value instanceof Error) return cut(value.message);
  return typeof value === "bigint" ? String(value) : value;
}

function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner) => plain(inner)) ?? String(value);
}

function cut(text: string): string {
  return text.length > VALUE_MAX ? `${text.slice(0, VALUE_MAX)}…` : text;
}

/** Text without control characters, also those of the C1 set and of bidirectional overrides. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return cut(text).replace(/[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g, (char) => {
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
