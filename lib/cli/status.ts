/**
 * `status`: a running gateway at a glance; where it serves several guests and none is named, all of
 * them.
 *
 * @module
 */
import { formatPublished } from "../config/published.ts";
import type {
  GatewayStatus,
  GuestListing,
  GuestsReport,
  GuestStatus,
  PolicySummary,
} from "../control/api.ts";
import type { FleetReport } from "../host/fleet_report.ts";
import { printable } from "../host/log.ts";
import type { GuestWorker } from "../host/served_guests.ts";
import type { ParsedArguments } from "./arguments.ts";
import { columns } from "./columns.ts";
import { Exit } from "./exit.ts";
import { fleetTexts } from "./fleet_lines.ts";
import { requireGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";
import { octetsText } from "./octets_text.ts";
import { spanText, timeText } from "./time_text.ts";

/** Width of the words at the start of a line. */
const COLUMN = 11;

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runStatus(io: CliIo, args: ParsedArguments): Promise<number> {
  const client = await requireGateway(args);
  const report = args.guest === undefined ? await client.guestsReport() : null;
  if (report !== null && report.guests.length > 1) {
    print(io, args, report, guestsLines(report, Date.now()));
  } else {
    const status = await client.status();
    print(io, args, status, statusLines(status, Date.now()));
  }
  return Exit.Done;
}

function print(
  io: CliIo,
  { json }: ParsedArguments,
  value: unknown,
  lines: readonly string[],
): void {
  if (json) io.out(JSON.stringify(value, null, 2));
  else for (const line of lines) io.out(printable(line));
}

/** Several guests for a terminal. */
export function guestsLines(report: GuestsReport, nowMs: number): string[] {
  const { version, startedMs, guests, workers } = report;
  const faults = guests.filter(({ fault }) => fault !== null);
  return [
    row("gateway", `virtio-gateway ${version} with ${plural(guests.length, "guest")}`),
    row("since", `${timeText(startedMs)}, ${spanText(nowMs - startedMs)} ago`),
    ...(workers.length === 0 ? [] : [row("workers", workersText(workers))]),
    ...columns([GUEST_COLUMNS, ...guests.map(guestCells)], FIGURE_COLUMNS),
    ...faults.map(({ name, fault }) => `${name}: ${fault}`),
    ...fleetLines(report.fleet),
  ];
}

const GUEST_COLUMNS = "NAME GUEST FLOWS PORTS REFUSED UP DOWN NETWORK ENDPOINT".split(" ");
const FIGURE_COLUMNS: readonly number[] = [2, 3, 4, 5, 6];

function guestCells(listing: GuestListing): string[] {
  const { name, endpoint, link, network, fault } = listing;
  const { flows, published, refused, upBytes, downBytes } = listing;
  const figures = [flows, published, refused].map(String);
  const octets = [upBytes, downBytes].map(octetsText);
  return [
    name,
    fault !== null ? "no answer" : link ?? "-",
    ...(fault === null ? [...figures, ...octets] : ["-", "-", "-", "-", "-"]),
    network ?? "-",
    endpoint ?? "-",
  ];
}

function workersText(workers: readonly GuestWorker[]): string {
  const restarts = workers.reduce((sum, worker) => sum + worker.restarts, 0);
  const dead = workers.filter(({ alive }) => !alive).length;
  return [
    String(workers.length),
    ...(restarts === 0 ? [] : [plural(restarts, "restart")]),
    ...(dead === 0 ? [] : [`${dead} being started again`]),
  ].join(", ");
}

/** The status for a terminal. */
export function statusLines(status: GatewayStatus, nowMs: number): string[] {
  const { version, startedMs, endpoint, published, policy, guest } = status;
  return [
    row("gateway", `virtio-gateway ${version} on ${endpoint}`),
    row("since", `${timeText(startedMs)}, ${spanText(nowMs - startedMs)} ago`),
    row("policy", policyText(policy)),
    ...published.map((port) => {
      return row("published", `${formatPublished(port)} as the guest's port ${port.guestPort}`);
    }),
    ...guest === null ? [row("guest", "none is attached")] : guestLines(guest),
    ...fleetLines(status.fleet),
  ];
}

/** How the gateway stands in its fleet; nothing where it is in none. */
function fleetLines(fleet: FleetReport | undefined): string[] {
  return fleet === undefined ? [] : fleetTexts(fleet).map((text) => row("fleet", text));
}

/** A policy in one line. */
export function policyText({ protect, allowRules, denyRules, ...policy }: PolicySummary): string {
  const rules = `${plural(allowRules, "allow rule")}, ${plural(denyRules, "deny rule")}`;
  const rest = policy.default === "deny" ? "denied" : "allowed";
  return `${rules}, all else ${rest}; protect ${protect}`;
}

function guestLines({ link, figures, counters, dns }: GuestStatus): string[] {
  return [
    row("guest", link === "attached" ? link : `${link}: its VMM is away, all is kept for it`),
    row("uses", countsText({ ...figures })),
    row("resolver", countsText({ ...dns })),
    ...Object.entries(counters).toSorted(([a], [b]) => a < b ? -1 : 1)
      .map(([name, count]) => `  ${name.padEnd(COLUMN + 16)}${count}`),
  ];
}

/** Those that are not zero. */
export function countsText(counts: Readonly<Record<string, number>>): string {
  const some = Object.entries(counts).filter(([, count]) => count !== 0);
  return some.map(([name, count]) => `${name} ${count}`).join(", ") || "nothing";
}

/** A line that begins with a word of a known width. */
export function row(word: string, text: string): string {
  return word.padEnd(COLUMN) + text;
}

/** A count of things. */
export function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
