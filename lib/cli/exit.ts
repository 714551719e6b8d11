/**
 * The exit codes, and how errors become one clear message with one of them.
 *
 * @module
 */
import { GatewayError, type GatewayErrorCode } from "../config/errors.ts";

/** What the process says to its caller when it ends. */
export const Exit = {
  /** Done. */
  Done: 0,
  /** Failed while running. */
  Failed: 1,
  /** Wrong usage or configuration. */
  Usage: 2,
  /** A permission of Deno is missing; the message names the flag. */
  Permission: 3,
  /** No gateway answers on the control interface, or no engine of a fleet. */
  NoGateway: 4,
  /** The answer is no. */
  Denied: 5,
} as const;

/** What each code says, in one line. */
export const EXIT_HELP: Readonly<Record<keyof typeof Exit, string>> = {
  Done: "done",
  Failed: "failed while running",
  Usage: "wrong usage or configuration",
  Permission: "a Deno permission is missing",
  NoGateway: "no gateway or engine answers",
  Denied: "the answer is no",
};

/** The command line is wrong: what, and how to go on. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The message of an error that a person can act on, and its exit code; `null` for our own bug. */
export function explainError(error: unknown): { message: string; code: number } | null {
  if (error instanceof UsageError) return { message: error.message, code: Exit.Usage };
  if (!(error instanceof GatewayError)) return null;
  const message = error.hint === "" ? error.message : `${error.message}. ${error.hint}`;
  return { message, code: CODES[error.code] ?? Exit.Failed };
}

const CODES: Readonly<Partial<Record<GatewayErrorCode, number>>> = {
  "config": Exit.Usage,
  "permission": Exit.Permission,
  "no-gateway": Exit.NoGateway,
  "no-engine": Exit.NoGateway,
};
