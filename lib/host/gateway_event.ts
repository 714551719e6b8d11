/**
 * What a gateway tells whoever listens, as plain data with a type and the time of day.
 *
 * @module
 */
import type { Denial } from "../policy/denial.ts";
import type { EventHub } from "./event_hub.ts";

/** Something that the policy refused. */
export interface DenialEvent extends Denial {
  /** What it is. */
  readonly type: "denial";
  /** Milliseconds since 1970. */
  readonly timeMs: number;
}

/** A VMM has connected. */
export interface GuestAttachedEvent {
  /** What it is. */
  readonly type: "guest-attached";
  /** Milliseconds since 1970. */
  readonly timeMs: number;
}

/** A guest's link has ended, and everything of it is freed. */
export interface GuestLeftEvent {
  /** What it is. */
  readonly type: "guest-left";
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** Why. */
  readonly reason: string;
}

/** Another policy is in force. */
export interface PolicyChangedEvent {
  /** What it is. */
  readonly type: "policy-changed";
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** How many rules it has. */
  readonly rules: number;
}

/** A listener was too slow. */
export interface EventsLostEvent {
  /** What it is. */
  readonly type: "events-lost";
  /** How many events it missed in front of the next one. */
  readonly count: number;
}

/** What happens at a gateway. */
export type GatewayEvent =
  | DenialEvent
  | GuestAttachedEvent
  | GuestLeftEvent
  | PolicyChangedEvent
  | EventsLostEvent;

/** The events of a hub from this call on, with what was lost said in its place. */
export function gatewayEvents(
  hub: EventHub<GatewayEvent>,
  signal?: AbortSignal,
): AsyncIterableIterator<GatewayEvent> {
  const heard = hub.listen(signal);
  return {
    async next() {
      const { done, value } = await heard.next();
      if (done) return { done: true, value: undefined };
      return { done: false, value: value.event ?? { type: "events-lost", count: value.lost } };
    },
    async return() {
      await heard.return!();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
