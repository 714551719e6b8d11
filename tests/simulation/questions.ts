/**
 * Programs of the guest that ask: a resolver for an address, and the gateway for an echo.
 *
 * @module
 */
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { GATEWAY4, type PingPlan, type QuestionPlan } from "./plan.ts";
import { addressOf } from "./resolvers.ts";

/** What such a program works with. */
export interface AskingContext {
  /** Nothing is lost on the link. */
  readonly isCalm: boolean;
  /** All resolvers answer, and have room for all questions. */
  readonly mustResolve: boolean;
  readonly wasCut: () => boolean;
  readonly fault: (text: string) => void;
  readonly say: (text: string) => void;
}

/** Runs on a guest that has its addresses. */
export type AskingProgram = (guest: EmbeddedGuest, context: AskingContext) => Promise<void>;

const PATIENCE_MS = 10_000;

/** Asks for the address of a name: no other one is right. */
export async function runQuestion(
  guest: EmbeddedGuest,
  { name, transport }: QuestionPlan,
  { isCalm, mustResolve, wasCut, fault, say }: AskingContext,
): Promise<void> {
  try {
    const reply = await guest.resolve(name, "A", { transport, timeoutMs: PATIENCE_MS });
    const found = reply.answers.map(({ data }) => String(data)).join();
    const right = name === "gateway.internal" ? GATEWAY4 : addressOf(name);
    say(`${reply.code} ${found}`);
    if (reply.code === "NOERROR" && !reply.isTruncated) {
      if (found !== right) fault(`${name} is ${right}, the guest was told "${found}"`);
    } else if (mustResolve && !reply.isTruncated) {
      fault(`no answer where all resolvers give one: ${reply.code}`);
    }
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
    say(error.code);
    if (isCalm && !wasCut()) fault(`the gateway's resolver said nothing: ${error.code}`);
  }
}

/** Asks the gateway for an echo. */
export async function runPing(
  guest: EmbeddedGuest,
  { address, dataBytes }: PingPlan,
  { isCalm, fault, say }: AskingContext,
): Promise<void> {
  try {
    await guest.ping(address, dataBytes);
    say(`${address} answers`);
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
    say(`${address}: ${error.code}`);
    if (isCalm) fault(`${address} does not answer: ${error.code}`);
  }
}
