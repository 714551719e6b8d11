/**
 * A gateway's configuration read again, and its end.
 *
 * @module
 */
import type { ReloadReport } from "./api.ts";
import { ControlFault } from "./control_fault.ts";
import type { ControlContext, Route } from "./route.ts";

/** The routes. */
export const LIFE_ROUTES: readonly Route[] = [
  {
    method: "POST",
    path: "/v1/reload",
    id: "reload",
    summary:
      "As SIGHUP does: reads the configuration's file again and puts its policy into force, " +
      "or says what is wrong with it and changes nothing",
    says: "Reload",
    faults: [409, 422],
    run: reload,
  },
  {
    method: "POST",
    path: "/v1/stop",
    id: "stop",
    summary: "As SIGTERM does: lets queued bytes drain, and ends; the answer comes before that",
    says: "Stop",
    run: (context) => {
      context.stop();
      return { status: "stopping" };
    },
  },
];

function reload({ reload }: ControlContext): Promise<ReloadReport> {
  if (reload !== null) return reload();
  throw new ControlFault("conflict", "the gateway was started without a file to read again", {
    hint: "PUT /v1/policy changes its policy; --config FILE at its start names a file",
  });
}
