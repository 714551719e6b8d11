/**
 * A gateway's place in a fleet, and that of each of its guests, from the values of the settings.
 *
 * With one guest the gateway's name is the guest's too. Of several each has its own, and a group and
 * services of its own; `fleet.group` is then the default of all.
 *
 * @module
 */
import {
  FLEET_ZONE,
  type FleetAccess,
  type FleetGuestSettings,
  type FleetMembership,
  type FleetSettings,
} from "./fleet.ts";
import { MEMBER_SETTINGS } from "./guests_settings.ts";
import { type SettingValues, Source } from "./setting_values.ts";
import { type Setting, SETTINGS } from "./settings.ts";

/** The settings that say where the engine is and who one is to it. */
export const FLEET_ACCESS_SETTINGS: readonly Setting<unknown>[] = [
  SETTINGS.fleetServers,
  SETTINGS.fleetName,
  SETTINGS.fleetCredentials,
];

/** All others of a fleet; they say nothing without an engine. */
const MEMBER_OF_FLEET: readonly Setting<unknown>[] = [
  SETTINGS.fleetGateway,
  SETTINGS.fleetGroup,
  SETTINGS.fleetDir,
  SETTINGS.fleetAdvertise,
  SETTINGS.fleetServices,
  SETTINGS.fleetAuditBytes,
];

const USELESS = `is of no use without ${SETTINGS.fleetServers.key}: name the engine's servers ` +
  `there, or with --${SETTINGS.fleetServers.flag}`;

/** Where the engine is, for whoever only asks it; `null` where nothing names a server. */
export function fleetAccess(values: SettingValues): FleetAccess | null {
  const servers = values.of(SETTINGS.fleetServers);
  const credentials = values.of(SETTINGS.fleetCredentials);
  if (!namesServers(values)) {
    for (const setting of [SETTINGS.fleetName, SETTINGS.fleetCredentials]) {
      refuseUseless(values, setting);
    }
    return null;
  }
  return {
    servers,
    fleet: values.of(SETTINGS.fleetName),
    credentials: credentials === "" ? null : credentials,
  };
}

/** What one guest and its gateway are in a fleet. */
export function fleetOfOne(values: SettingValues): FleetMembership | null {
  const settings = gatewayOf(values);
  if (settings === null) return null;
  refuseZone(values);
  const guest: FleetGuestSettings = {
    name: settings.gateway,
    group: values.of(SETTINGS.fleetGroup) || null,
    services: values.of(SETTINGS.fleetServices),
  };
  return { settings, guests: [guest] };
}

/** What several guests and their gateway are in a fleet. */
export function fleetOfSeveral(
  process: SettingValues,
  guests: readonly SettingValues[],
): FleetMembership | null {
  const settings = gatewayOf(process);
  if (settings === null) {
    for (const values of guests) {
      refuseUseless(values, MEMBER_SETTINGS.group);
      refuseUseless(values, MEMBER_SETTINGS.services);
    }
    return null;
  }
  for (const values of guests) refuseZone(values);
  if (process.source(SETTINGS.fleetServices) !== Source.Default) {
    process.report(
      SETTINGS.fleetServices,
      `each guest has its own; write ${MEMBER_SETTINGS.services.key} under the guest`,
    );
  }
  const group = process.of(SETTINGS.fleetGroup) || null;
  return {
    settings,
    guests: guests.map((values) => ({
      name: values.of(MEMBER_SETTINGS.name) ?? "",
      group: values.of(MEMBER_SETTINGS.group) ?? group,
      services: values.of(MEMBER_SETTINGS.services),
    })),
  };
}

/** Whether something does, be it right or wrong. */
function namesServers(values: SettingValues): boolean {
  return values.source(SETTINGS.fleetServers) !== Source.Default;
}

function gatewayOf(values: SettingValues): FleetSettings | null {
  const access = fleetAccess(values);
  if (access === null) {
    for (const setting of MEMBER_OF_FLEET) refuseUseless(values, setting);
    return null;
  }
  const gateway = values.of(SETTINGS.fleetGateway);
  const dir = values.of(SETTINGS.fleetDir);
  const needs = (setting: Setting<string>, what: string): void => {
    if (values.source(setting) !== Source.Default && values.of(setting) !== "") return;
    const text = `needs ${what}: ${setting.key}, or --${setting.flag} ${setting.argument}`;
    values.report(SETTINGS.fleetServers, text);
  };
  needs(SETTINGS.fleetGateway, "a name that no other gateway of the fleet has");
  needs(SETTINGS.fleetDir, "a folder that outlives a restart, for the last good policy");
  return {
    ...access,
    gateway,
    dir,
    advertise: values.of(SETTINGS.fleetAdvertise),
    auditBytes: values.of(SETTINGS.fleetAuditBytes),
  };
}

/** Services of the fleet are answered here alone, so no part of their zone can be asked of others. */
function refuseZone(values: SettingValues): void {
  for (const [zone, upstreams] of Object.entries(values.of(SETTINGS.zones))) {
    if (upstreams === "local" || !`.${zone}`.endsWith(`.${FLEET_ZONE}`)) continue;
    const text = `${zone} has upstreams, and in a fleet ${FLEET_ZONE} is answered by the gateway ` +
      "alone; name the zone otherwise";
    values.report(SETTINGS.zones, text);
  }
}

function refuseUseless(values: SettingValues, setting: Setting<unknown>): void {
  if (values.source(setting) !== Source.Default) values.report(setting, USELESS);
}
