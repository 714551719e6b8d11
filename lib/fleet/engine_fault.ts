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

/** A server speaks no TLS, where TLS is wanted. */
export class NoTlsError extends Error {}

/** A server has closed a connection before it let the client in, without a word. */
export class ClosedEarlyError extends Error {
  /**
   * Makes an error.
   *
   * @param isEncrypted Whether there was TLS by then.
   */
  constructor(readonly isEncrypted: boolean) {
    super("the server has closed the connection");
  }
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
  const fault = tlsFault(error, auth);
  if (fault !== null) return { ...fault, isRefusal: true };
  const { code } = error as { readonly code?: unknown };
  const reason = text === "timeout"
    ? "no answer in time"
    : code === "ECONNREFUSED"
    ? "connection refused"
    : text;
  return { text: reason, hint: "", isRefusal: false };
}

const UNKNOWN_AUTHORITY = /^(UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_)/;
const NOT_VALID = /^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/;

/** What is wrong where TLS does not begin, or ends at once; `null` for any other error. */
function tlsFault(
  error: Error,
  auth: Credentials | null,
): { readonly text: string; readonly hint: string } | null {
  const { code = "" } = error as { readonly code?: string };
  const tls = auth?.tls ?? null;
  const file = auth === null ? "a file of --fleet-credentials" : auth.path;
  if (error instanceof NoTlsError) {
    return {
      text: "it speaks no TLS",
      hint: `Write nats:// for tls:// and nothing of tls in the credentials, or have it speak TLS`,
    };
  }
  if (error instanceof ClosedEarlyError) {
    if (!error.isEncrypted || tls?.cert !== undefined) return null;
    return {
      text: "it ends TLS without a word, so it may ask for a certificate",
      hint: `Name cert and key under tls in ${file}`,
    };
  }
  if (UNKNOWN_AUTHORITY.test(code)) {
    return {
      text: "its certificate is of no authority that is trusted here",
      hint: `Name that authority's certificate as ca under tls in ${file}`,
    };
  }
  if (NOT_VALID.test(code)) {
    return {
      text: "its certificate is not valid at this time",
      hint: "Renew it, or set the clock",
    };
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return {
      text: "its certificate is for another name",
      hint: "Name the server as its certificate does",
    };
  }
  if (/^ERR_(SSL|TLS|OSSL)_/.test(code)) {
    const hint = tls?.cert === undefined
      ? "Look at what TLS it speaks"
      : `Look whether cert and key of ${file} belong together`;
    return { text: `TLS does not begin (${plain(error.message)})`, hint };
  }
  return null;
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
