/**
 * What an engine that does not do what it is asked means for a person: one clear error, with the way
 * out.
 *
 * @module
 */
import { JetStreamApiCodes, JetStreamApiError } from "@nats-io/jetstream";
import {
  ClosedConnectionError,
  ConnectionError,
  DrainingConnectionError,
  NoRespondersError,
  PermissionViolationError,
  RequestError,
  TimeoutError,
} from "@nats-io/nats-core";
import type { NatsConnection } from "@nats-io/nats-core";
import { GatewayError } from "../config/errors.ts";
import type { Engine } from "./engine.ts";

/** Longest text of the engine's own that goes into a message. */
const TEXT_MAX = 200;

/** What the engine answers where its servers have not agreed on who leads. */
const UNAVAILABLE = 503;

/** A cluster that has just lost a server looks for another leader for some seconds. */
const AGAIN = "Look whether it runs, of a cluster most servers, and try again in some seconds";

/** How long an engine is waited for. */
const REACHED_MS = 5_000;

/**
 * Makes an error of what the engine's client has thrown.
 *
 * @param doing What was asked for, as in "read the fleet's policy".
 * @param error What came of it; one that is clear already stays as it is.
 */
export function requestError(doing: string, error: unknown): GatewayError {
  if (error instanceof GatewayError) return error;
  const [code, why, hint] = meaningOf(error);
  return new GatewayError(code, `cannot ${doing}: ${why}`, { hint, cause: error });
}

/**
 * The connection of an engine, waited for.
 *
 * @param engine The engine.
 * @param doing What it is for, as in "read the fleet's policy".
 * @param signal Ends the wait; after 5 s when absent.
 * @throws {GatewayError} With code `no-engine` where it is not reached.
 */
export async function reached(
  engine: Engine,
  doing: string,
  signal: AbortSignal = AbortSignal.timeout(REACHED_MS),
): Promise<NatsConnection> {
  try {
    return await engine.whenConnected(signal);
  } catch (error) {
    const why = engine.lastError ?? "it has not answered yet";
    throw new GatewayError("no-engine", `cannot ${doing}: the engine is not reached: ${why}`, {
      hint: "Look whether it runs, and try again",
      cause: error,
    });
  }
}

type Meaning = readonly [code: "no-engine" | "fleet", why: string, hint: string];

function meaningOf(error: unknown): Meaning {
  const violation = underlying(error, PermissionViolationError);
  if (violation !== null) {
    const { operation, subject } = violation;
    const what = operation === "publish" ? "publish" : "subscribe to";
    const why = `the engine does not permit to ${what} ${subject}`;
    return ["fleet", why, "Use credentials that have this right, or ask the engine's operator"];
  }
  if (
    underlying(error, JetStreamApiError)?.code === JetStreamApiCodes.JetStreamNotEnabledForAccount
  ) {
    const hint = "Use credentials of an account that has it, or ask the engine's operator";
    return ["fleet", "the engine has no JetStream for this account", hint];
  }
  if (isUnavailable(error)) {
    const hint =
      "Start it with: nats-server -js, or with jetstream {} in its configuration; of a " +
      "cluster most servers have to run, and agree within some seconds";
    return ["no-engine", "nobody answers for JetStream on the engine", hint];
  }
  const lost = [ClosedConnectionError, ConnectionError, DrainingConnectionError, TimeoutError];
  if (lost.some((type) => underlying(error, type) !== null)) {
    const why = "the engine does not answer any more";
    return ["no-engine", why, AGAIN];
  }
  const text = error instanceof Error ? error.message : String(error);
  return ["fleet", `the engine says: ${text.replace(/[\p{C}\s]+/gu, " ").slice(0, TEXT_MAX)}`, ""];
}

/** Whether there is no JetStream, or no leader; the client has a class for it that it keeps to itself. */
function isUnavailable(error: unknown): boolean {
  return error instanceof Error && error.name === "JetStreamNotEnabled" ||
    underlying(error, NoRespondersError) !== null ||
    error instanceof JetStreamApiError && error.status === UNAVAILABLE;
}

function hasCode(error: unknown, ...codes: readonly number[]): boolean {
  return error instanceof JetStreamApiError && codes.includes(error.code);
}

/** The error itself or the one that it was made of, where that is of a kind. */
function underlying<T extends Error>(
  error: unknown,
  // deno-lint-ignore no-explicit-any
  type: abstract new (...args: any[]) => T,
): T | null {
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) {
    if (at instanceof type) return at;
  }
  return null;
}

/** Whether the engine has no such stream or bucket. */
export function isMissing(error: unknown): boolean {
  return hasCode(error, JetStreamApiCodes.StreamNotFound);
}

/** Whether somebody else was first: what was to be changed is not as it was expected. */
export function isOvertaken(error: unknown): boolean {
  if (error instanceof RequestError) return isOvertaken(error.cause);
  const { StreamWrongLastSequence, StreamWrongLastSequenceUnknown } = JetStreamApiCodes;
  return hasCode(error, StreamWrongLastSequence, StreamWrongLastSequenceUnknown);
}
