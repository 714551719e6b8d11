/**
 * The one place where the log is kept from being filled: lines of a kind are let through as long as
 * there are few of them, and the others are counted and said as a number.
 *
 * A kind is a level and a line's first two words. Those are written in the code and come from nobody
 * outside, so what a guest, a VMM or a client of the control interface does adds lines to a kind, but
 * no kinds. Each has its own share, so a flood of one hides none of the others.
 *
 * The next line of the kind that is let through says how many came before it (`unsaid`); where none
 * comes for a minute, or the log ends, a line of its own says so.
 *
 * Limits: of each kind `BURST` lines at once and `LINES_PER_MINUTE` in the long run; `KINDS_MAX` kinds,
 * beyond which all others are one.
 *
 * @module
 */
import type { GatewayLogger, LogFields } from "../config/logger.ts";
import { TokenBucket } from "../stack/token_bucket.ts";
import { type HostClock, systemClock, type Timer } from "./host_clock.ts";

/** Lines of a kind that are let through at once. */
export const BURST = 30;

/** Lines of a kind that are let through in a minute, in the long run. */
export const LINES_PER_MINUTE = 10;

/** How long a number of left out lines may wait for a line to stand in. */
export const TELL_MS = 60_000;

/** Most kinds with a share of their own. */
const KINDS_MAX = 128;

/** Longest text of such words, in UTF-16 units. */
const WORDS_MAX = 64;

const OTHERS = "(others)";

type Level = keyof GatewayLogger;

/** Lines that begin alike. */
interface Kind {
  readonly level: Level;
  /** How they begin. */
  readonly words: string;
  readonly rate: TokenBucket;
  unsaid: number;
}

/** A logger that lets through so many lines of each kind. */
export class LimitedLog implements GatewayLogger {
  readonly #logger: GatewayLogger;
  readonly #clock: HostClock;
  readonly #kinds = new Map<string, Kind>();
  #timer: Timer | undefined;

  /** What is let through goes to `logger`. */
  constructor(logger: GatewayLogger, clock: HostClock = systemClock) {
    this.#logger = logger;
    this.#clock = clock;
  }

  /** A logger that lets through so many lines; the given one where it does. */
  static of(logger: GatewayLogger): LimitedLog {
    return logger instanceof LimitedLog ? logger : new LimitedLog(logger);
  }

  debug(message: string, fields?: LogFields): void {
    this.#say("debug", message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#say("info", message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#say("warn", message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#say("error", message, fields);
  }

  /** Says how many lines were left out and not said yet: for the end, but it can go on after it. */
  flush(): void {
    this.#clock.clearTimer(this.#timer);
    this.#timer = undefined;
    for (const kind of this.#kinds.values()) {
      if (kind.unsaid === 0) continue;
      const { level, words, unsaid } = kind;
      kind.unsaid = 0;
      this.#logger[level]("lines like others were left out of the log", { like: words, unsaid });
    }
  }

  #say(level: Level, message: string, fields: LogFields | undefined): void {
    const kind = this.#kindOf(level, message);
    if (!kind.rate.take(this.#clock.now())) {
      kind.unsaid++;
      this.#timer ??= this.#clock.setTimer(() => this.flush(), TELL_MS);
      return;
    }
    if (kind.unsaid === 0) return this.#logger[level](message, fields);
    const unsaid = kind.unsaid + (Number(fields?.unsaid) || 0);
    kind.unsaid = 0;
    this.#logger[level](message, { ...fields, unsaid });
  }

  #kindOf(level: Level, message: string): Kind {
    const words = kindOf(message);
    const key = `${level} ${words}`;
    const known = this.#kinds.get(key);
    if (known !== undefined) return known;
    if (this.#kinds.size >= KINDS_MAX && words !== OTHERS) return this.#kindOf(level, OTHERS);
    const rate = new TokenBucket(LINES_PER_MINUTE / 60, BURST);
    const kind: Kind = { level, words, rate, unsaid: 0 };
    this.#kinds.set(key, kind);
    return kind;
  }
}

/** The words that name the kind of a line, beside its level. */
export function kindOf(message: string): string {
  return message.split(" ", 2).join(" ").slice(0, WORDS_MAX);
}
