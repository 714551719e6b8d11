/**
 * How the gateway stands in its fleet.
 *
 * @module
 */
import type { FleetReport } from "../host/fleet_report.ts";
import { ControlFault } from "./control_fault.ts";
import type { ControlContext, Route } from "./route.ts";

/** The route. */
export const FLEET_ROUTE: Route = {
  method: "GET",
  path: "/v1/fleet",
  id: "getFleet",
  summary:
    "How the gateway stands in its fleet: the engine, the policy in force and what of it is " +
    "refused, the registry, the audit",
  says: "Fleet",
  faults: [409],
  run: report,
};

function report({ fleet }: ControlContext): FleetReport {
  if (fleet !== null) return fleet();
  throw new ControlFault("conflict", "the gateway is in no fleet", {
    hint: "--fleet nats://HOST:PORT and --fleet-gateway NAME at its start have it join one",
  });
}
