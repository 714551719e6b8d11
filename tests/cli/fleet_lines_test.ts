/** A gateway's place in its fleet as lines of the status. */
import { assertEquals } from "@std/assert";
import { fleetTexts } from "../../lib/cli/fleet_lines.ts";
import { FLEET } from "../support/fleet_report.ts";

Deno.test("fleet lines: the engine, the policy, what is refused, the registry, the audit", () => {
  assertEquals(fleetTexts(FLEET), [
    "prod, as host-1; connected to the engine at 10.0.0.9:4222",
    "policy: revision 8000 from the engine: fleet of 8001, guest.vm1 of 8002",
    'refused: revision 8003: fleet:1:1 unknown key "alow"; did you mean "allow"?',
    "8004 gateways, 8005 services, 8006 names announced twice",
    "audit: 8007 waiting, 8009 sent, 8010 dropped; the disk is full",
  ]);
});

Deno.test("fleet lines: a copy, nothing at all, and an engine that is not there", () => {
  const quiet = {
    ...FLEET,
    engine: { state: "connecting", server: null, error: "connection refused" },
    policy: { ...FLEET.policy, source: "copy", documents: [], rejected: null },
    registry: { gateways: 1, services: 1, conflicts: 0, refused: 0 },
    audit: { ...FLEET.audit, waiting: 0, sent: 1, shed: 0, problem: null },
  } as const;
  assertEquals(fleetTexts(quiet), [
    "prod, as host-1; no engine (connecting): connection refused",
    "policy: revision 8000 as it was kept here: no documents",
    "1 gateway, 1 service",
    "audit: 0 waiting, 1 sent",
  ]);
  const closed = {
    ...quiet,
    engine: { state: "refused", server: null, error: "the token is another one" },
    policy: {
      ...quiet.policy,
      source: "closed",
      revision: null,
      rejected: { revision: null, why: "there is no bucket" },
    },
  } as const;
  assertEquals(fleetTexts(closed).slice(0, 3), [
    "prod, as host-1; refused by the engine: the token is another one",
    "policy: none has come yet, and everything is closed",
    "refused: there is no bucket",
  ]);
});
