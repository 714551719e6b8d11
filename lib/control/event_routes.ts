/**
 * What happens, as server-sent events: at all guests, or at one.
 *
 * @module
 */
import { ControlFault } from "./control_fault.ts";
import { type EventReader, READERS_MAX } from "./event_feed.ts";
import { GUEST_PARAMETER } from "./guest_routes.ts";
import type { ReplyStream } from "./http_connection.ts";
import type { Route } from "./route.ts";

/** The routes. */
export const EVENT_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/events",
    id: "getEvents",
    summary: "What happens, as server-sent events; Last-Event-ID goes on behind an event " +
      "that was seen, where it is among the last 1,024",
    says: "events",
    faults: [503],
    run: ({ feed }, { lastEventId }) => written(feed.open(lastEventId)),
  },
  {
    method: "GET",
    path: "/v1/guests/{guest}/events",
    id: "getGuestEvents",
    isOfGuest: true,
    summary: "The same, of what happens at one guest",
    params: [GUEST_PARAMETER],
    says: "events",
    faults: [404, 503],
    run: ({ feed, guest }, { lastEventId }) => written(feed.open(lastEventId, guest)),
  },
];

function written(reader: EventReader | null): (out: ReplyStream) => Promise<void> {
  if (reader === null) {
    throw new ControlFault("busy", `${READERS_MAX} readers have the events already, the most`, {
      hint: "End one of them (denials --follow is one, an open dashboard too), or ask again later",
      headers: { "Retry-After": "5" },
    });
  }
  return async ({ write, close, signal }) => {
    reader.onShed = close;
    signal.addEventListener("abort", reader.close);
    try {
      for (let bytes = await reader.next(); bytes !== null; bytes = await reader.next()) {
        await write(bytes);
      }
    } finally {
      reader.close();
    }
  };
}
