/**
 * The control interface of `run`: opened beside what is served, and said where it is.
 *
 * @module
 */
import type { ControlPlace } from "../config/control_endpoint.ts";
import { formatEndpoint, formatHostPort } from "../config/endpoint.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { type ControlServer, serveControl } from "../control/control_server.ts";
import { readToken } from "../control/token_file.ts";
import type { FleetReport } from "../host/fleet_report.ts";
import { openTelemetry } from "../host/open_telemetry.ts";
import { requireEndpoint } from "../host/permissions.ts";
import { VERSION } from "./help.ts";
import type { Reloader } from "./reload.ts";
import type { StopSignals } from "./stop_signals.ts";

/** Where the control interface will be, and the token that it asks for. */
export interface CheckedControl {
  readonly place: ControlPlace;
  readonly token: string | undefined;
}

/** What a control interface has to do with beside the gateways. */
export interface ControlledLife {
  readonly signals: StopSignals;
  readonly reloader: Reloader;
  /** The fleet that was joined; `null` for none. */
  readonly fleet: { report(): FleetReport } | null;
}

/**
 * Sees to it that a control interface can be opened, before anything is served.
 *
 * @param control Where it is to be; `null` for none.
 * @throws {GatewayError} Where a permission or its token is missing.
 */
export async function checkControl(control: ControlPlace | null): Promise<CheckedControl | null> {
  if (control === null) return null;
  requireEndpoint(control.endpoint, "listen on");
  const { tokenFile } = control;
  return {
    place: control,
    token: tokenFile === undefined ? undefined : await readToken(tokenFile),
  };
}

/**
 * Opens a control interface.
 *
 * @param logger Where it says where it is.
 * @param gateways What it works on; it ends with that.
 * @param control Where it is, and its token.
 * @param life What stops the program, what reads its file again, and its fleet.
 */
export async function openControl(
  logger: GatewayLogger,
  gateways: Parameters<typeof serveControl>[0],
  { place, token }: CheckedControl,
  { signals, reloader, fleet }: ControlledLife,
): Promise<ControlServer> {
  const control = await serveControl(gateways, place.endpoint, {
    version: VERSION,
    logger,
    tracer: openTelemetry({ logger }),
    isReady: () => !signals.isStopping,
    stop: () => signals.stop("stop"),
    ...(reloader.hasFile ? { reload: () => reloader.reload("reload") } : {}),
    ...(token === undefined ? {} : { token }),
    ...(fleet === null ? {} : { fleet: () => fleet.report() }),
  });
  const asks = token === undefined ? "" : ", for who has the token";
  logger.info(`the control interface is on ${formatEndpoint(control.endpoint)}${asks}`);
  if (control.endpoint.transport === "tcp") {
    const { hostname, port } = control.endpoint;
    logger.info(`the dashboard is at http://${formatHostPort(hostname, port)}/`);
  }
  return control;
}
