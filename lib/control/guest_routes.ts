/**
 * The guests at a glance, and the paths of each: `/v1/flows` is `/v1/guests/{guest}/flows` too.
 *
 * A guest whose gateway has no answer stands in the list all the same, with what is wrong.
 *
 * @module
 */
import { formatEndpoint } from "../config/endpoint.ts";
import type { GuestWorker } from "../host/served_guests.ts";
import type { GuestListing, GuestsReport } from "./api.ts";
import { glanceAtAll } from "./guest_glance.ts";
import type { ControlContext, Route, RouteParameter } from "./route.ts";

/** What the paths of one guest begin with. */
const GUEST_PATH = "/v1/guests/{guest}";

/** The guest in a path. */
export const GUEST_PARAMETER: RouteParameter = {
  name: "guest",
  description: "The guest's name.",
  schema: { type: "string", pattern: "^[a-z0-9-]{1,63}$" },
};

/** The routes. */
export const GUEST_ROUTES: readonly Route[] = [{
  method: "GET",
  path: "/v1/guests",
  id: "getGuests",
  summary: "The guests at a glance, and the workers that serve them",
  says: "Guests",
  run: guests,
}];

/**
 * A route below the guest's own path; `null` where it has no such form.
 *
 * @param route A route of the table.
 */
export function guestForm(route: Route): Route | null {
  const { path, isOfGuest, isGvproxy, params = [] } = route;
  if (isOfGuest !== true || isGvproxy === true || path.startsWith(GUEST_PATH)) return null;
  return {
    ...route,
    path: GUEST_PATH + path.slice("/v1".length),
    params: [GUEST_PARAMETER, ...params],
  };
}

async function guests(
  { guests, answerMs, version, startedMs, fleet }: ControlContext,
): Promise<GuestsReport> {
  const workers = await guests.workers();
  const glances = await glanceAtAll(guests, answerMs);
  return {
    version,
    startedMs,
    guests: glances.map(({ name, snapshot, fault }): GuestListing => {
      const totals = snapshot?.totals.counters;
      const figures = snapshot?.guest?.figures;
      return {
        name,
        endpoint: snapshot === null ? null : formatEndpoint(snapshot.endpoint),
        link: snapshot?.guest?.link ?? null,
        network: guests.network(name),
        worker: placeOf(name, workers),
        flows: (figures?.tcpFlows ?? 0) + (figures?.udpFlows ?? 0),
        published: snapshot?.published.length ?? 0,
        refused: totals?.["policy.refused"] ?? 0,
        upBytes: totals?.["rx.bytes"] ?? 0,
        downBytes: totals?.["tx.bytes"] ?? 0,
        fault: fault?.message ?? null,
      };
    }),
    workers,
    ...(fleet === null ? {} : { fleet: fleet() }),
  };
}

/** Which worker serves a guest; `null` for none. */
function placeOf(name: string, workers: readonly GuestWorker[]): number | null {
  const place = workers.findIndex(({ guests }) => guests.includes(name));
  return place < 0 ? null : place;
}
