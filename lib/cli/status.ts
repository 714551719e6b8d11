/**
 * `status`: a running gateway at a glance.
 *
 * @module
 */
import { formatHostPort } from "../config/endpoint.ts";
import type { GatewayStatus, GuestStatus, PolicySummary } from "../control/api.ts";
import { printable } from "../host/log.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit } from "./exit.ts";
import { requireGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";
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
  const status = await (await requireGateway(args)).status();
  if (args.json) io.out(JSON.stringify(status, null, 2));
  else for (const line of statusLines(status, Date.now())) io.out(printable(line));
  return Exit.Done;
}

/** The status for a terminal. */
export function statusLines(status: GatewayStatus, nowMs: number): string[] {
  const { version, startedMs, endpoint, published, policy, guest } = status;
  return [
    row("gateway", `virtio-gateway ${version} on ${endpoint}`),
    row("since", `${timeText(startedMs)}, ${spanText(nowMs - startedMs)} ago`),
    row("policy", policyText(policy)),
    ...published.map(({ bind, hostPort, guestPort }) => {
      return row("published", `${formatHostPort(bind, hostPort)} as the guest's port ${guestPort}`);
    }),
    ...guest === null ? [row("guest", "none is attached")] : guestLines(guest),
  ];
}

/** A policy in one line. */
export function policyText({ protect, allowRules, denyRules, ...policy }: PolicySummary): string {
  const rules = `${plural(allowRules, "allow rule")}, ${plural(denyRules, "deny rule")}`;
  const rest = policy.default === "deny" ? "denied" : "allowed";
  return `${rules}, all else ${rest}; protect ${protect}`;
}

function guestLines({ figures, counters, dns }: GuestStatus): string[] {
  return [
    row("guest", "attached"),
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
