/**
 * What a gateway does in its fleet beside having its policy: each such thing is a part, started when
 * the guests are served, and ended before the connection to the engine is.
 *
 * @module
 */
import type { FleetGuestSettings, FleetSettings } from "../config/fleet.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { FleetReport } from "../host/fleet_report.ts";
import type { ServedGateway } from "../host/served_gateway.ts";
import type { Engine } from "./engine.ts";
import type { FleetPolicy } from "./fleet_policy.ts";

/** What a part works with. */
export interface FleetContext {
  /** The gateway's place in the fleet. */
  readonly settings: FleetSettings;
  /** The guests' places. */
  readonly guests: readonly FleetGuestSettings[];
  /** The connection to the engine. */
  readonly engine: Engine;
  /** The gateways of the guests by their names, below what the fleet's policy makes of them. */
  readonly served: ReadonlyMap<string, ServedGateway>;
  /** The fleet's policy: what is in force, and changes of that. */
  readonly policy: FleetPolicy;
  /** What all parts say of how the gateway stands. */
  report(): FleetReport;
  /** Where to say what. */
  readonly logger: GatewayLogger;
}

/** A part that runs. */
export interface FleetPart {
  /** Its words of the report. */
  report(): Partial<Pick<FleetReport, "registry" | "audit">>;
  /** A guest's published ports have changed. */
  portsChanged?(): void;
  /** Ends it; the engine's connection is still there, if it was. */
  close(): Promise<void>;
}

/** Starts a part; the ones before it in the list run by then. */
export type StartPart = (context: FleetContext) => FleetPart | Promise<FleetPart>;
