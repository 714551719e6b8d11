/**
 * `fleet top` where there is no screen: one table, or one document.
 *
 * @module
 */
import { columns } from "./columns.ts";
import {
  chosenGuests,
  type FleetGuestRow,
  type FleetTopModel,
  guestRate,
  guestTotal,
} from "./fleet_top_model.ts";
import { octetsText } from "./octets_text.ts";
import { plainText } from "./top_text.ts";

const HEADING = "GUEST GATEWAY GROUP FLOWS REFUSED UP/S DOWN/S RATE TOTAL".split(" ");
const FIGURES: readonly number[] = [3, 4, 5, 6, 7, 8];

function rows(model: FleetTopModel): FleetGuestRow[] {
  return chosenGuests(model.guests, { sort: "rate", isReversed: false, filter: "" });
}

/** The guests, those that carry most first. */
export function fleetTopLines(model: FleetTopModel): string[] {
  const all = rows(model);
  if (all.length === 0) {
    return [model.gateways.length === 0 ? "no gateway has announced itself" : "no guests"];
  }
  const rate = (value: number | null) => value === null ? "-" : octetsText(Math.round(value));
  const cells = all.map((row) => [
    plainText(row.guest.name),
    plainText(row.gateway),
    plainText(row.guest.group ?? "-"),
    String(row.guest.flows),
    String(row.guest.denials),
    rate(row.upPerSecond),
    rate(row.downPerSecond),
    rate(guestRate(row)),
    octetsText(guestTotal(row)),
  ]);
  return columns([HEADING, ...cells], FIGURES);
}

/** The same as data. */
export function fleetTopDocument(fleet: string, model: FleetTopModel): unknown {
  return {
    fleet,
    guests: rows(model).map(({ gateway, guest, upPerSecond, downPerSecond, refusedPerSecond }) => ({
      gateway,
      ...guest,
      upBytesPerSecond: upPerSecond,
      downBytesPerSecond: downPerSecond,
      denialsPerSecond: refusedPerSecond,
    })),
  };
}
