/**
 * What a configuration says of a fleet: where its engine is, what this gateway and its guests are
 * called there, and which of their published ports are services.
 *
 * @module
 */

/** The zone of the services of a fleet, which is answered by the gateway alone. */
export const FLEET_ZONE = "fleet.internal";

/** A published port that has a name in the fleet. For {@linkcode prepareFleet}. */
export interface FleetService {
  /** Its name, a DNS label. */
  readonly name: string;
  /** The guest's port, which has to be published. */
  readonly guestPort: number;
  /** Which protocol's port it is. */
  readonly protocol: "tcp" | "udp";
}

/** Where a fleet's engine is, and who one is to it. For {@linkcode prepareFleet}. */
export interface FleetAccess {
  /** Servers of the engine, `nats://HOST:PORT` or `tls://HOST:PORT`; at least one. */
  readonly servers: readonly string[];
  /** The fleet's name. */
  readonly fleet: string;
  /** The file of the credentials; `null` where the engine asks for none. */
  readonly credentials: string | null;
}

/** A gateway's place in a fleet. For {@linkcode prepareFleet}. */
export interface FleetSettings extends FleetAccess {
  /** This gateway's name in it. */
  readonly gateway: string;
  /** Where the last good policy is kept, and what the audit has not delivered. */
  readonly dir: string;
  /** Addresses at which other hosts reach the ports that this host publishes on all of its own. */
  readonly advertise: readonly string[];
  /** How much of the audit may wait on disk. */
  readonly auditBytes: number;
}

/** A guest's place in a fleet. For {@linkcode prepareFleet}. */
export interface FleetGuestSettings {
  /** Its name, one of its own in the whole fleet. */
  readonly name: string;
  /** The group whose policy it has beside the fleet's; `null` for none. */
  readonly group: string | null;
  /** Its services. */
  readonly services: readonly FleetService[];
}

/** A gateway and its guests as members of a fleet. */
export interface FleetMembership {
  /** The gateway. */
  readonly settings: FleetSettings;
  /** Its guests, in their order. */
  readonly guests: readonly FleetGuestSettings[];
}
