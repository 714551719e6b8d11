/**
 * What a program says of its gateway's place in a fleet, checked: its names are parts of names in the
 * engine, where anything else could mean more than it says.
 *
 * @module
 */
import { ConfigError, type ConfigProblem } from "../config/errors.ts";
import type { FleetGuestSettings, FleetSettings } from "../config/fleet.ts";
import { isLabel, LABEL_RULE } from "../config/label.ts";
import type { Limits } from "../config/limits.ts";
import type { GatewayLogger } from "../config/logger.ts";

/** A guest's place in a fleet, and the limits that it is served with. For {@linkcode prepareFleet}. */
export interface FleetGuest extends Pick<FleetGuestSettings, "name"> {
  /** The group whose document it has beside the fleet's; none when absent. */
  readonly group?: FleetGuestSettings["group"];
  /** Its services; none when absent. */
  readonly services?: FleetGuestSettings["services"];
  /** Limits that differ from the defaults, as it is served with. */
  readonly limits?: Partial<Limits>;
}

/** What a gateway is in a fleet. For {@linkcode prepareFleet}. */
export interface FleetOptions {
  /** The gateway's place. */
  readonly settings: FleetSettings;
  /** The guests' places. */
  readonly guests: readonly FleetGuest[];
  /** Where log lines go; nowhere when absent. */
  readonly logger?: GatewayLogger;
}

/**
 * Checks it.
 *
 * @throws {ConfigError} With all that is wrong.
 */
export function checkOptions({ settings, guests }: FleetOptions): void {
  const problems: ConfigProblem[] = [];
  const check = (key: string, label: unknown): void => {
    if (typeof label === "string" && isLabel(label)) return;
    problems.push({ key, text: `${JSON.stringify(label)} is no name; a name has ${LABEL_RULE}` });
  };
  check("settings.fleet", settings.fleet);
  check("settings.gateway", settings.gateway);
  guests.forEach(({ name, group = null, services = [] }, i) => {
    check(`guests[${i}].name`, name);
    if (group !== null) check(`guests[${i}].group`, group);
    services.forEach((each, k) => check(`guests[${i}].services[${k}].name`, each.name));
  });
  if (settings.servers.length === 0) {
    problems.push({ key: "settings.servers", text: "names no server; write nats://HOST:4222" });
  }
  if (guests.length === 0) problems.push({ key: "guests", text: "names no guest" });
  const names = guests.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) problems.push({ key: "guests", text: `"${twice}" is there twice` });
  if (problems.length > 0) throw new ConfigError(problems);
}
