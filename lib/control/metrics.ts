/**
 * `/metrics`: the gateway's counts and figures for Prometheus and what reads its formats. They are
 * read when somebody asks, and cost nothing otherwise.
 *
 * @module
 */
import { metricFamilies } from "./metrics_families.ts";
import { metricsSnapshot } from "./metrics_snapshot.ts";
import { metricFormat, PROMETHEUS_TEXT } from "./metrics_text.ts";
import type { ControlContext, MediaAnswer, Route, RouteRequest } from "./route.ts";

/** Where Prometheus looks unless it is told. */
export const METRICS_ROUTE: Route = {
  method: "GET",
  path: "/metrics",
  id: "getMetrics",
  summary:
    "Counts and figures in the Prometheus text format, or as OpenMetrics where Accept has it",
  says: {
    media: PROMETHEUS_TEXT.contentType,
    description: "Families of samples, each with HELP and TYPE.",
  },
  run: metrics,
};

async function metrics(
  context: ControlContext,
  { headers }: RouteRequest,
): Promise<MediaAnswer> {
  const { contentType, write } = metricFormat(headers.get("accept"));
  return {
    body: write(metricFamilies(await metricsSnapshot(context))),
    headers: { "Content-Type": contentType, "Vary": "Accept" },
  };
}
