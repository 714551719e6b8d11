/**
 * How much is heard: what a gateway of the fleet that has gone mad can cost the others. Each second a
 * gateway is listened to so often and for so many octets, and all of them together for so many; what
 * is beyond, or longer than an announcement can be, is passed over unread, before anything of it is
 * parsed, and takes nothing from the others. Pure.
 *
 * @module
 */
import { ANNOUNCEMENT_MAX_BYTES } from "./announcement.ts";

/** Messages of one gateway in a second: it announces itself every 2 s, and each change. */
export const PER_GATEWAY_MAX = 8;
/** Octets of one gateway in a second: several announcements of the largest size. */
export const GATEWAY_OCTETS_MAX = 4 * ANNOUNCEMENT_MAX_BYTES;
/** Octets of all messages in a second. */
export const OCTETS_MAX = 8 * 1024 * 1024;
/** Gateways that are listened to in a second. */
export const SPEAKERS_MAX = 2_048;

const SECOND_MS = 1_000;

/** What was heard of one gateway in this second. */
interface Heard {
  messages: number;
  octets: number;
}

/** Counts what is heard. */
export class HearingBudget {
  #untilMs = -Infinity;
  #octets = 0;
  readonly #heard = new Map<string, Heard>();
  /** How many messages were passed over. */
  passedOver = 0;

  /** Whether a message of so many octets is read. */
  admits(nowMs: number, gateway: string, octets: number): boolean {
    if (nowMs >= this.#untilMs) {
      this.#untilMs = nowMs + SECOND_MS;
      this.#octets = 0;
      this.#heard.clear();
    }
    const known = this.#heard.get(gateway);
    const { messages, octets: before } = known ?? { messages: 0, octets: 0 };
    const isTooMuch = messages >= PER_GATEWAY_MAX || before + octets > GATEWAY_OCTETS_MAX ||
      octets > ANNOUNCEMENT_MAX_BYTES;
    const isNew = known === undefined && this.#heard.size >= SPEAKERS_MAX;
    if (isTooMuch || isNew || this.#octets + octets > OCTETS_MAX) {
      this.passedOver++;
      return false;
    }
    this.#octets += octets;
    this.#heard.set(gateway, { messages: messages + 1, octets: before + octets });
    return true;
  }
}
