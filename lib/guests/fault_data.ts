/**
 * Errors on their way between isolates, which carry plain data only.
 *
 * @module
 */
import { ConfigError, type ConfigProblem, GatewayError } from "../config/errors.ts";
import type { GatewayErrorCode } from "../config/errors.ts";

/** An error as plain data. */
export type FaultData =
  | { readonly kind: "config"; readonly problems: readonly ConfigProblem[] }
  | {
    readonly kind: "gateway";
    readonly code: GatewayErrorCode;
    readonly message: string;
    readonly hint: string;
    /** What is underneath, by the name of its class. */
    readonly cause: { readonly name: string; readonly message: string } | null;
  }
  | { readonly kind: "bug"; readonly message: string; readonly stack: string };

/** Makes data of whatever was thrown. */
export function faultData(error: unknown): FaultData {
  if (error instanceof ConfigError) return { kind: "config", problems: error.problems };
  if (error instanceof GatewayError) {
    const { code, message, hint, cause } = error;
    const underneath = cause instanceof Error ? { name: cause.name, message: cause.message } : null;
    return { kind: "gateway", code, message, hint, cause: underneath };
  }
  const { message = String(error), stack = "" } = error instanceof Error ? error : {};
  return { kind: "bug", message, stack };
}

/** Makes an error of data, to be thrown where it is waited for. */
export function faultError(fault: FaultData): Error {
  switch (fault.kind) {
    case "config":
      return new ConfigError(fault.problems);
    case "gateway":
      return new GatewayError(fault.code, fault.message, {
        hint: fault.hint,
        ...(fault.cause === null ? {} : { cause: causeOf(fault.cause) }),
      });
    case "bug":
      return Object.assign(new Error(fault.message), { stack: fault.stack });
  }
}

function causeOf({ name, message }: { readonly name: string; readonly message: string }): Error {
  return Object.assign(new Error(message), { name });
}
