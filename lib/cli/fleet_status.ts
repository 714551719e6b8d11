/**
 * `fleet status`: who is there, which policy is in force where, which services there are, and what is
 * wrong: gateways that are behind, names that two of them claim, refusals that were lost.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import type { Announcement } from "../fleet/announcement.ts";
import { isPresent, PolicyStore } from "../fleet/policy_store.ts";
import { standingOf } from "../fleet/provision.ts";
import { callRoll } from "../fleet/roll_call.ts";
import {
  type GatewayStanding,
  type NameConflict,
  nameConflicts,
  standings,
  wantedRevision,
} from "../fleet/roll_findings.ts";
import { printable } from "../host/log.ts";
import type { ParsedArguments } from "./arguments.ts";
import { columns } from "./columns.ts";
import { Exit, explainError } from "./exit.ts";
import { type OpenFleet, openFleet } from "./fleet_engine.ts";
import { inForceText, lackingLines, namesText, standingWord } from "./fleet_standing.ts";
import type { CliIo } from "./io.ts";
import { jsonText } from "./json_text.ts";
import { octetsText } from "./octets_text.ts";
import { plural, row } from "./status.ts";
import { spanText } from "./time_text.ts";

/** All that is known of a fleet at one moment. */
export interface FleetStatus {
  readonly fleet: string;
  /** The server of the engine that has answered. */
  readonly server: string;
  /** The policy in the engine; `null` where it can't be read. */
  readonly policy: {
    readonly revision: number;
    readonly documents: readonly { readonly key: string; readonly revision: number }[];
  } | null;
  /** What is wrong with what the fleet has on the engine, a line each. */
  readonly faults: readonly string[];
  readonly gateways: readonly (Announcement & Pick<GatewayStanding, "standing" | "why">)[];
  readonly conflicts: readonly NameConflict[];
  /** Gateways whose announcements could not be read. */
  readonly unread: number;
}

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runFleetStatus(io: CliIo, args: ParsedArguments): Promise<number> {
  await using access = await openFleet(args);
  const status = await askStatus(access);
  if (args.json) io.out(jsonText(status, 2));
  else for (const line of fleetStatusLines(status, Date.now())) io.out(printable(line));
  for (const fault of status.faults) io.err(printable(fault));
  return status.faults.length === 0 ? Exit.Done : Exit.Failed;
}

async function askStatus(
  { connection, fleet, engine, servers }: OpenFleet,
): Promise<FleetStatus> {
  const [roll, policy, audit] = await Promise.all([
    callRoll(engine, fleet),
    askPolicy(engine, fleet),
    askAudit(connection, fleet),
  ]);
  const { announcements, unread } = roll;
  const isKnown = !(policy instanceof GatewayError);
  const revisions = isKnown ? policy.revisions : new Map<string, number>();
  const standing = new Map(
    standings(announcements, (each) => wantedRevision(each, revisions))
      .map((each) => [each.gateway, each]),
  );
  return {
    fleet,
    server: engine.server ?? servers.join(", "),
    policy: isKnown ? { revision: policy.revision, documents: policy.documents } : null,
    faults: [...isKnown ? [] : [explainError(policy)!.message], ...audit],
    gateways: announcements.map((each) => {
      const { standing: word, why } = standing.get(each.gateway)!;
      return { ...each, standing: word, why };
    }),
    conflicts: nameConflicts(announcements),
    unread,
  };
}

/** What is wrong with the stream; nothing where it is there. */
async function askAudit(connection: OpenFleet["connection"], fleet: string): Promise<string[]> {
  try {
    const { audit: { name, state } } = await standingOf(connection, fleet);
    if (state === "there") return [];
    return [
      state === "missing"
        ? `there is no stream ${name}, so gateways keep what they have refused. ` +
          "Make it with: fleet init"
        : `the stream ${name} is not one of virtio-gateway, so gateways keep what they have ` +
          "refused. Name another fleet with --fleet-name, or take that stream away",
    ];
  } catch (error) {
    if (error instanceof GatewayError) return [explainError(error)!.message];
    throw error;
  }
}

async function askPolicy(engine: OpenFleet["engine"], fleet: string) {
  try {
    const store = await PolicyStore.open(engine, fleet);
    const latest = await store.latest();
    return {
      revision: await store.revision(),
      revisions: new Map(latest.map(({ key, revision }) => [key, revision])),
      documents: latest.filter(isPresent).map(({ key, revision }) => ({ key, revision })),
    };
  } catch (error) {
    if (error instanceof GatewayError) return error;
    throw error;
  }
}

/** The status for a terminal. */
export function fleetStatusLines(status: FleetStatus, nowMs: number): string[] {
  const { fleet, server, gateways, conflicts, unread } = status;
  const guests = gateways.flatMap((gateway) => gateway.guests);
  const attached = guests.filter((guest) => guest.attached).length;
  const services = serviceRows(gateways);
  return [
    row("fleet", `${fleet} on ${server}`),
    ...policyLines(status),
    row(
      "gateways",
      gateways.length === 0
        ? "none has announced itself; start one with: run --fleet"
        : `${gateways.length}, with ${
          plural(guests.length, "guest")
        }, ${attached} of them attached`,
    ),
    ...(unread === 0 ? [] : [row("", `${plural(unread, "announcement")} could not be read`)]),
    ...conflicts.map(({ guest, gateways }) => {
      return row("conflict", `guest ${guest} is announced by ${namesText(gateways)}`);
    }),
    ...auditLines(gateways),
    ...(gateways.length === 0 ? [] : ["", ...gatewayTable(gateways, nowMs)]),
    ...(services.length === 0 ? [] : ["", ...columns([SERVICE_COLUMNS, ...services])]),
  ];
}

function policyLines({ policy, gateways }: FleetStatus): string[] {
  if (policy === null) return [row("policy", "is not known, see below")];
  const { revision, documents } = policy;
  const keys = documents.map(({ key }) => key);
  if (revision === 0) {
    return [row("policy", "none was ever written; write one with: fleet policy put fleet FILE")];
  }
  const what = keys.length === 0 ? "no documents" : namesText(keys);
  const all = gateways.map(({ gateway, standing, revision, why }) => {
    return { gateway, standing, revision, why };
  });
  return [
    row("policy", `revision ${revision}: ${what}`),
    ...(all.length === 0 ? [] : [row("", inForceText(all))]),
    ...lackingLines(all).map((line) => row("", line)),
  ];
}

/** What was not delivered to the stream, and what never will be. */
function auditLines(gateways: readonly Announcement[]): string[] {
  const counted = (which: "waiting" | "shed", word: string) => {
    const some = gateways.filter(({ audit }) => (audit?.[which] ?? 0) > 0);
    if (some.length === 0) return [];
    const sum = some.reduce((total, { audit }) => total + audit![which], 0);
    return [`${plural(sum, "record")} ${word} at ${namesText(some.map(({ gateway }) => gateway))}`];
  };
  return [...counted("waiting", "not delivered yet"), ...counted("shed", "lost for want of room")]
    .map((line, i) => row(i === 0 ? "audit" : "", line));
}

const GATEWAY_COLUMNS = "GATEWAY UP-FOR POLICY GUESTS FLOWS REFUSED UP DOWN".split(" ");
const GATEWAY_FIGURES: readonly number[] = [3, 4, 5, 6, 7];

function gatewayTable(gateways: FleetStatus["gateways"], nowMs: number): string[] {
  const cells = gateways.map(({ gateway, startedMs, guests, standing, revision, why }) => {
    const sum = (read: (guest: typeof guests[number]) => number) =>
      guests.reduce((total, guest) => total + read(guest), 0);
    return [
      gateway,
      spanText(nowMs - startedMs),
      standingWord({ gateway, standing, revision, why }),
      String(guests.length),
      String(sum(({ flows }) => flows)),
      String(sum(({ denials }) => denials)),
      octetsText(sum(({ upBytes }) => upBytes)),
      octetsText(sum(({ downBytes }) => downBytes)),
    ];
  });
  return columns([GATEWAY_COLUMNS, ...cells], GATEWAY_FIGURES);
}

const SERVICE_COLUMNS = "SERVICE AT GATEWAY".split(" ");

function serviceRows(gateways: readonly Announcement[]): string[][] {
  return gateways.flatMap(({ gateway, guests }) => {
    return guests.flatMap(({ name: guest, services }) => {
      return services.map(({ name, protocol, port, addresses }) => [
        `${name}.${guest}.fleet.internal`,
        addresses.length === 0
          ? "no address of this host is known to others"
          : addresses.map((address) => placeText(address, port, protocol)).join(", "),
        gateway,
      ]);
    });
  });
}

function placeText(address: string, port: number, protocol: "tcp" | "udp"): string {
  const host = address.includes(":") ? `[${address}]` : address;
  return `${host}:${port}/${protocol}`;
}
