/**
 * How much is heard: what a gateway of the fleet that has gone mad can cost the others. Each second a
 * gateway is listened to so often, and all of them together for so many octets; what is beyond is
 * passed over unread, before anything of it is parsed. Pure.
 *
 * @module
 */

/** Messages of one gateway in a second: it announces itself every 2 s, and each change. */
export const PER_GATEWAY_MAX = 8;
/** Octets of all messages in a second. */
export const OCTETS_MAX = 8 * 1024 * 1024;
/** Gateways that are listened to in a second. */
export const SPEAKERS_MAX = 2_048;

const SECOND_MS = 1_000;

/** Counts what is heard. */
export class HearingBudget {
  #untilMs = -Infinity;
  #octets = 0;
  readonly #messages = new Map<string, number>();
  /** How many messages were passed over. */
  passedOver = 0;

  /** Whether a message of so many octets is read. */
  admits(nowMs: number, gateway: string, octets: number): boolean {
    if (nowMs >= this.#untilMs) {
      this.#untilMs = nowMs + SECOND_MS;
      this.#octets = 0;
      this.#messages.clear();
    }
    const messages = this.#messages.get(gateway) ?? 0;
    const isNew = messages === 0 && this.#messages.size >= SPEAKERS_MAX;
    if (isNew || messages >= PER_GATEWAY_MAX || this.#octets + octets > OCTETS_MAX) {
      this.passedOver++;
      return false;
    }
    this.#octets += octets;
    this.#messages.set(gateway, messages + 1);
    return true;
  }
}
