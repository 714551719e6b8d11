/**
 * The typed errors of the public edge: what went wrong as a code, and the way out as a hint.
 *
 * @module
 */

/** What kind of wrong a {@linkcode GatewayError} is. */
export type GatewayErrorCode =
  | "config"
  | "permission"
  | "address-in-use"
  | "socket-in-use"
  | "unreachable"
  | "no-gateway"
  | "control"
  | "link"
  | "busy"
  | "closed";

/** An error of the gateway towards the program that embeds it. */
export class GatewayError extends Error {
  /** What kind of wrong this is. */
  readonly code: GatewayErrorCode;
  /** The way out, as a sentence; empty where there is none to offer. */
  readonly hint: string;

  /**
   * Makes an error.
   *
   * @param code What kind of wrong this is.
   * @param message Where and what.
   * @param options The way out, and the error underneath.
   */
  constructor(
    code: GatewayErrorCode,
    message: string,
    options: { hint?: string; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = "GatewayError";
    this.code = code;
    this.hint = options.hint ?? "";
  }
}

/** One thing that is wrong with a configuration. */
export interface ConfigProblem {
  /** Path of the key, such as `guestNetwork.mtu` or `publish[0].host`. */
  readonly key: string;
  /** What is wrong with its value, without the key. */
  readonly text: string;
}

/** A configuration that can't be used; its message has one line for each problem. */
export class ConfigError extends GatewayError {
  /** Everything that was found wrong, in the order of the keys. */
  readonly problems: readonly ConfigProblem[];

  /**
   * Makes an error of all problems.
   *
   * @param problems Everything that was found wrong; at least one.
   * @param describe Makes a problem's line; the key and the text when absent.
   */
  constructor(
    problems: readonly ConfigProblem[],
    describe: (problem: ConfigProblem) => string = ({ key, text }) =>
      key ? `${key}: ${text}` : text,
  ) {
    super("config", problems.map(describe).join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
  }
}
