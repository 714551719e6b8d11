/**
 * The metrics of a gateway's place in its fleet. There are none where it is in none.
 *
 * Pure. No label has a word of a document or of another gateway.
 *
 * @module
 */
import type { FleetReport } from "../host/fleet_report.ts";
import type { MetricFamily, MetricSample } from "./metrics_text.ts";

const SOURCES: readonly FleetReport["policy"]["source"][] = ["engine", "copy", "closed"];

/** Makes the metrics. */
export function fleetFamilies({ engine, policy, registry, audit }: FleetReport): MetricFamily[] {
  return [
    gauge(
      "engine_connected",
      "Whether the gateway is connected to the fleet's engine: 1 or 0.",
      engine.state === "connected",
    ),
    {
      ...gauge("policy_source", "Where the fleet's policy in force comes from: 1 for that one.", 0),
      samples: SOURCES.map((source) => ({
        labels: { source },
        value: Number(policy.source === source),
      })),
    },
    gauge(
      "policy_revision",
      "The bucket's change up to which all of the fleet's policy is in force; 0 for none.",
      policy.revision ?? 0,
    ),
    gauge(
      "policy_rejected",
      "Whether the engine has a policy that is refused here: 1 or 0.",
      policy.rejected !== null,
    ),
    {
      ...gauge(
        "policy_in_force_time_seconds",
        "When the fleet's policy was put into force, in seconds since 1970.",
        policy.atMs / 1000,
      ),
      unit: "seconds",
    },
    gauge("gateways", "Gateways of the fleet that are there.", registry.gateways),
    gauge("services", "Services of the fleet that have a name.", registry.services),
    gauge(
      "name_conflicts",
      "Names of guests or gateways that two gateways of the fleet announce.",
      registry.conflicts,
    ),
    counter(
      "registry_refused",
      "Messages of gateways that were wrong or too many, and what had no place.",
      registry.refused,
    ),
    gauge(
      "audit_waiting_records",
      "Records of the audit that the engine has not acknowledged.",
      audit.waiting,
    ),
    {
      ...gauge("audit_waiting_bytes", "What those take on disk.", audit.waitingBytes),
      unit: "bytes",
    },
    {
      ...gauge(
        "audit_oldest_time_seconds",
        "When the oldest of those was, in seconds since 1970; none where none waits.",
        0,
      ),
      samples: audit.oldestMs === null ? [] : plain(audit.oldestMs / 1000),
      unit: "seconds",
    },
    counter("audit_sent", "Records of the audit that the engine has acknowledged.", audit.sent),
    counter(
      "audit_lost_events",
      "Events that came faster than the audit noted them.",
      audit.lost,
    ),
    counter("audit_shed", "Records of the audit that had to be dropped.", audit.shed),
  ];
}

const PREFIX = "virtio_gateway_fleet_";

function gauge(name: string, help: string, value: number | boolean): MetricFamily {
  return { name: PREFIX + name, type: "gauge", help, samples: plain(Number(value)) };
}

function counter(name: string, help: string, value: number): MetricFamily {
  return { name: PREFIX + name, type: "counter", help, samples: plain(value) };
}

function plain(value: number): MetricSample[] {
  return [{ value }];
}
