/**
 * A glance at all guests at once: each gateway's snapshot, or why there is none.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import type { GatewaySnapshot } from "../host/served_gateway.ts";
import { ControlFault } from "./control_fault.ts";
import type { GuestChoice } from "./guest_choice.ts";
import { answerOf } from "./patience.ts";

/** What is seen of one guest. */
export interface GuestGlance {
  readonly name: string;
  /** `null` where its gateway has no answer. */
  readonly snapshot: GatewaySnapshot | null;
  /** Why. */
  readonly fault: GatewayError | ControlFault | null;
}

/**
 * Looks at all of them, each for some time at most.
 *
 * @param guests Which.
 * @param answerMs How long an answer is waited for.
 */
export function glanceAtAll(guests: GuestChoice, answerMs: number): Promise<GuestGlance[]> {
  return Promise.all(guests.names.map(async (name): Promise<GuestGlance> => {
    try {
      const { gateway } = guests.named(name);
      const asked = (async () => await gateway.snapshot())();
      return { name, snapshot: await answerOf(asked, name, answerMs), fault: null };
    } catch (error) {
      // A worker that is being started again costs its own guests only; what is a bug is said.
      const isNoAnswer = error instanceof GatewayError || error instanceof ControlFault;
      if (!isNoAnswer) throw error;
      return { name, snapshot: null, fault: error };
    }
  }));
}
