/**
 * Why the engine is not reached, or does not let the gateway in, in words that lead on.
 *
 * @module
 */
import { AuthorizationError, UserAuthenticationExpiredError } from "@nats-io/nats-core";
import type { Credentials } from "./credentials.ts";

/** What became of an attempt. */
export interface EngineFault {
  /** What happened. */
  readonly text: string;
  /** The way out, as a sentence; empty where there is only to wait. */
  readonly hint: string;
  /** Whether the engine answers, and it is up to its operator or to this gateway's. */
  readonly isRefusal: boolean;
}

/** Longest text of others that goes into a message. */
const TEXT_MAX = 200;

/** Tells what an error of the client means. */
export function refusalOf(error: Error, auth: Credentials | null): EngineFault {
  const text = plain(error.message);
  if (error instanceof AuthorizationError || error instanceof UserAuthenticationExpiredError) {
    const shown = auth?.secret
      ? `${describeSecret(auth)} is not accepted (${text})`
      : `it asks for credentials (${text})`;
    const hint = auth === null
      ? "Name a file of credentials with --fleet-credentials"
      : `Put right what ${auth.path} says, or ask the engine's operator`;
    return { text: shown, hint, isRefusal: true };
  }
  const reason = text === "timeout" ? "no answer in time" : text;
  return { text: reason, hint: "", isRefusal: false };
}

/** What was shown, without the secret. */
function describeSecret({ secret, path }: Credentials): string {
  switch (secret?.kind) {
    case "token":
      return `the token of ${path}`;
    case "user":
      return `user "${secret.user}" with the password of ${path}`;
    case "nkey":
      return `the nkey of ${path}`;
    default:
      return `the user of ${path}`;
  }
}

/** Text of others in one line of a bounded length. */
function plain(text: string): string {
  const line = text.replace(/[\p{C}\s]+/gu, " ").trim();
  return line.length > TEXT_MAX ? `${line.slice(0, TEXT_MAX)}…` : line;
}
