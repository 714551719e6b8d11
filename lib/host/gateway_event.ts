/**
 * What a gateway tells whoever listens, as plain data with a type and the time of day.
 *
 * @module
 */
import type { Denial } from "../policy/denial.ts";
import type { EventHub } from "./event_hub.ts";

/**
 * Where something has happened. Part of each {@linkcode GatewayEvent}.
 */
export interface EventPlace {
  /** The guest's name; absent where the gateway serves one guest alone. */
  readonly guest?: string;
}

/**
 * Something that the policy refused. One of {@linkcode GatewayEvent}.
 */
export interface DenialEvent extends Denial, EventPlace {
  /** What it is. */
  readonly type: "denial";
  /** Milliseconds since 1970. */
  readonly timeMs: number;
}

/**
 * A VMM has connected. One of {@linkcode GatewayEvent}.
 */
export interface GuestAttachedEvent extends EventPlace {
  /** What it is. */
  readonly type: "guest-attached";
  /** Milliseconds since 1970. */
  readonly timeMs: number;
}

/**
 * A VMM has left, and everything of its guest stays for a while. One of {@linkcode GatewayEvent}.
 */
export interface GuestDetachedEvent extends EventPlace {
  /** What it is. */
  readonly type: "guest-detached";
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** Why the link ended. */
  readonly reason: string;
}

/**
 * A VMM has connected in the place of one that had left. One of {@linkcode GatewayEvent}.
 */
export interface GuestReturnedEvent extends EventPlace {
  /** What it is. */
  readonly type: "guest-returned";
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** How long there was no link, in milliseconds. */
  readonly awayMs: number;
}

/**
 * A guest's link has ended, and everything of it is freed. One of {@linkcode GatewayEvent}.
 */
export interface GuestLeftEvent extends EventPlace {
  /** What it is. */
  readonly type: "guest-left";
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** Why. */
  readonly reason: string;
}

/**
 * Another policy is in force. One of {@linkcode GatewayEvent}.
 */
export interface PolicyChangedEvent extends EventPlace {
  /** What it is. */
  readonly type: "policy-changed";
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** How many rules it has. */
  readonly rules: number;
}

/**
 * A listener was too slow. One of {@linkcode GatewayEvent}.
 */
export interface EventsLostEvent extends EventPlace {
  /** What it is. */
  readonly type: "events-lost";
  /** How many events it missed in front of the next one. */
  readonly count: number;
}

/**
 * What happens at a gateway.
 *
 * @example Watch guests come and policies change
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(endpoint);
 * const events = server.events(AbortSignal.timeout(60_000)); // or until it is left, as here
 * server.setPolicy({ deny: ["192.0.2.0/24"] });
 *
 * for await (const event of events) {
 *   assert(event.type === "policy-changed");
 *   assertEquals(event.rules, 1);
 *   break;
 * }
 * assertEquals(events.dropped, 0);
 * ```
 */
export type GatewayEvent =
  | DenialEvent
  | GuestAttachedEvent
  | GuestDetachedEvent
  | GuestReturnedEvent
  | GuestLeftEvent
  | PolicyChangedEvent
  | EventsLostEvent;

/**
 * Events as they come, for one reader. 256 wait for it; where it is slower, the oldest of them are
 * dropped, denials before all others, and an {@linkcode EventsLostEvent} comes next. As {@linkcode GatewayEvent}
 * shows.
 */
export interface EventStream extends AsyncIterableIterator<GatewayEvent> {
  /** How many events this reader has lost so far. */
  readonly dropped: number;
}

/** The events of a hub from this call on, with what was lost said in its place. */
export function gatewayEvents(
  hub: EventHub<GatewayEvent>,
  signal?: AbortSignal,
): EventStream {
  const heard = hub.listen(signal);
  return {
    get dropped() {
      return heard.dropped;
    },
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
