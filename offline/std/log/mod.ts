/** Logger and handler with the signatures of `@std/log` 0.224. See `../../README.md`. */

/** Numbers of the log levels. */
export const LogLevels = {
  NOTSET: 0,
  DEBUG: 10,
  INFO: 20,
  WARN: 30,
  ERROR: 40,
  CRITICAL: 50,
} as const;

/** Name of a log level. */
export type LevelName = keyof typeof LogLevels;

/** Number of a log level. */
export type LogLevel = typeof LogLevels[LevelName];

/** One message on its way to the handlers. */
export class LogRecord {
  readonly msg: string;
  readonly level: number;
  readonly levelName: string;
  readonly loggerName: string;
  readonly #args: unknown[];
  readonly #timeMs = Date.now();

  constructor(options: { msg: string; args: unknown[]; level: LogLevel; loggerName: string }) {
    this.msg = options.msg;
    this.#args = [...options.args];
    this.level = options.level;
    this.levelName = nameOf(options.level);
    this.loggerName = options.loggerName;
  }

  get args(): unknown[] {
    return [...this.#args];
  }

  get datetime(): Date {
    return new Date(this.#timeMs);
  }
}

function nameOf(level: LogLevel): LevelName {
  const found = Object.entries(LogLevels).find(([, number]) => number === level);
  return (found?.[0] ?? "NOTSET") as LevelName;
}

/** Makes the line of a record. */
export type FormatterFunction = (logRecord: LogRecord) => string;

/** The options of a {@linkcode BaseHandler}. */
export interface BaseHandlerOptions {
  formatter?: FormatterFunction;
}

/** Formats records from its level up and hands the lines to `log`. */
export abstract class BaseHandler {
  formatter: FormatterFunction;
  readonly #level: LogLevel;

  constructor(levelName: LevelName, options: BaseHandlerOptions = {}) {
    this.#level = LogLevels[levelName];
    this.formatter = options.formatter ?? ((record) => `${record.levelName} ${record.msg}`);
  }

  get level(): LogLevel {
    return this.#level;
  }

  handle(logRecord: LogRecord): void {
    if (this.level <= logRecord.level) this.log(this.format(logRecord));
  }

  format(logRecord: LogRecord): string {
    return this.formatter(logRecord);
  }

  abstract log(msg: string): void;
}

/** Hands the messages from its level up to its handlers. */
export class Logger {
  handlers: BaseHandler[];
  readonly #name: string;
  readonly #level: LogLevel;

  constructor(
    loggerName: string,
    levelName: LevelName,
    options: { handlers?: BaseHandler[] } = {},
  ) {
    this.#name = loggerName;
    this.#level = LogLevels[levelName];
    this.handlers = options.handlers ?? [];
  }

  get level(): LogLevel {
    return this.#level;
  }

  get loggerName(): string {
    return this.#name;
  }

  debug(msg: string, ...args: unknown[]): string {
    return this.#log(LogLevels.DEBUG, msg, args);
  }

  info(msg: string, ...args: unknown[]): string {
    return this.#log(LogLevels.INFO, msg, args);
  }

  warn(msg: string, ...args: unknown[]): string {
    return this.#log(LogLevels.WARN, msg, args);
  }

  error(msg: string, ...args: unknown[]): string {
    return this.#log(LogLevels.ERROR, msg, args);
  }

  #log(level: LogLevel, msg: string, args: unknown[]): string {
    if (this.#level > level) return msg;
    const record = new LogRecord({ msg, args, level, loggerName: this.#name });
    for (const handler of this.handlers) handler.handle(record);
    return msg;
  }
}
