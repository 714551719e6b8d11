/**
 * `run` as a member of a fleet: what is only there where a fleet was asked for.
 *
 * @module
 */
import type { FleetMembership } from "../config/fleet.ts";
import type { Limits } from "../config/limits.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { PreparedFleet } from "../fleet/fleet.ts";
import { importApart } from "./apart.ts";

/**
 * Prepares a gateway's place in its fleet.
 *
 * @param log Where it says what.
 * @param membership The place; `null` for none.
 * @param limits What each guest runs with.
 * @returns What the guests are to be served with, and what joins then; `null` for none.
 * @throws {GatewayError} Where its credentials or its folder can't be used.
 */
export async function prepareMember(
  log: GatewayLogger,
  membership: FleetMembership | null,
  limits: (guest: string) => Partial<Limits>,
): Promise<PreparedFleet | null> {
  if (membership === null) return null;
  const { prepareFleet } = await importApart<typeof import("../fleet/fleet.ts")>(
    new URL("../fleet/fleet.ts", import.meta.url),
  );
  const guests = membership.guests.map((guest) => ({ ...guest, limits: limits(guest.name) }));
  return await prepareFleet({ settings: membership.settings, guests, logger: log });
}
