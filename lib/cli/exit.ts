/**
 * The exit codes, and how errors become one clear message with one of them.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";

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
} as const;

/** The command line is wrong: what, and how to go on. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The message of an error that a person can act on, and its exit code; `null` for our own bug. */
export function explainError(error: unknown): { message: string; code: number } | null {
  if (error instanceof UsageError) return { message: error.message, code: Exit.Usage };
  if (!(error instanceof GatewayError)) return null;
  const message = error.hint === "" ? error.message : `${error.message}. ${error.hint}`;
  const code = error.code === "config"
    ? Exit.Usage
    : error.code === "permission"
    ? Exit.Permission
    : Exit.Failed;
  return { message, code };
}
