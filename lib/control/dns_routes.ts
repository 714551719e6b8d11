/**
 * How names are answered: what became of the guest's questions, the gateway's own names and their
 * changes, and the end of all answers that are kept.
 *
 * @module
 */
import { normalizeOwner } from "../dns/name.ts";
import type { RecordSpec } from "../dns/record_spec.ts";
import type { OwnName } from "../host/guest_names.ts";
import type { DnsReport, FlushReport } from "./api.ts";
import { ControlFault } from "./control_fault.ts";
import type { GuestContext, Route, RouteRequest } from "./route.ts";

/** The routes. */
export const DNS_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/dns",
    id: "getDns",
    isOfGuest: true,
    summary: "What became of the attached guest's questions, those answered from kept answers " +
      "among them, and the names that the gateway answers itself",
    says: "Dns",
    run: async ({ gateway }): Promise<DnsReport> => {
      const { guest } = await gateway.snapshot();
      return {
        counts: guest?.dns ?? null,
        inFlight: guest?.figures.dnsInFlight ?? 0,
        kept: guest?.keptAnswers ?? 0,
        names: await gateway.ownNames(),
      };
    },
  },
  {
    method: "POST",
    path: "/v1/dns/records",
    id: "setRecords",
    isOfGuest: true,
    summary:
      "Gives a name records of its own, in place of those that it had, until the gateway ends",
    takes: "Records",
    says: "OwnName",
    faults: [422],
    run: async ({ gateway }, { body }): Promise<OwnName> => {
      const { name, records } = readRecords(body);
      return await gateway.setRecords(name, records);
    },
  },
  {
    method: "DELETE",
    path: "/v1/dns/records/{name}",
    id: "removeRecords",
    isOfGuest: true,
    summary: "Takes the records of a name away, and says what it had",
    params: [{
      name: "name",
      description: "The name, or *. and a name.",
      schema: { type: "string" },
    }],
    says: "OwnName",
    faults: [404],
    run: removeRecords,
  },
  {
    method: "POST",
    path: "/v1/dns/flush",
    id: "flushDns",
    isOfGuest: true,
    summary: "Forgets the answers that are kept for the attached guest",
    says: "Flush",
    run: async ({ gateway }): Promise<FlushReport> => ({ hasGuest: await gateway.flushDns() }),
  },
];

function readRecords(body: unknown): { name: string; records: RecordSpec } {
  const isObject = typeof body === "object" && body !== null && !Array.isArray(body);
  const { name, records, ...others } = (isObject ? body : {}) as Record<string, unknown>;
  const isRight = typeof name === "string" && records !== undefined;
  // What the records are is judged with those of a configuration.
  if (isRight && Object.keys(others).length === 0) return { name, records: records as RecordSpec };
  throw new ControlFault("invalid", "the body is no name with its records", {
    hint: `Send {"name": "db.internal", "records": ["10.0.0.5"]}`,
  });
}

async function removeRecords(
  { gateway }: GuestContext,
  { params }: RouteRequest,
): Promise<OwnName> {
  const name = params.name!;
  const removed = await gateway.removeRecords(name);
  if (removed !== null) return removed;
  const owner = normalizeOwner(name);
  const isBuiltIn = (await gateway.ownNames()).some((own) => own.name === owner);
  throw new ControlFault("absent", `"${name}" has no records that could be taken away`, {
    hint: isBuiltIn ? "The gateway has it by itself" : "GET /v1/dns lists the names that have some",
  });
}
