/** A gateway's report of its fleet, for tests of what shows it: each figure another one. */
import type { FleetReport } from "../../lib/host/fleet_report.ts";

export const FLEET: FleetReport = {
  fleet: "prod",
  gateway: "host-1",
  engine: { state: "connected", server: "10.0.0.9:4222", error: null },
  policy: {
    source: "engine",
    revision: 8_000,
    documents: [{ key: "fleet", revision: 8_001 }, { key: "guest.vm1", revision: 8_002 }],
    rejected: { revision: 8_003, why: 'fleet:1:1 unknown key "alow"; did you mean "allow"?' },
    atMs: 1_700_000_000_250,
  },
  registry: { gateways: 8_004, services: 8_005, conflicts: 8_006, refused: 8_012 },
  audit: {
    waiting: 8_007,
    waitingBytes: 8_008,
    oldestMs: 1_700_000_000_125,
    sent: 8_009,
    shed: 8_010,
    lost: 8_011,
    problem: "the disk is full",
  },
};
