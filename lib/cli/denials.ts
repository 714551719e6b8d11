/**
 * `denials`: what a running gateway has refused to its guest, and the line that allows each; with
 * `--follow` also what it refuses from now on. Where several guests are served and none is named,
 * following shows what is refused to any of them.
 *
 * @module
 */
import { formatEndpoint } from "../config/endpoint.ts";
import type { GatewayClient } from "../control/client.ts";
import type { DenialReport } from "../control/api.ts";
import { printable } from "../host/log.ts";
import { type Denial, formatDenial } from "../policy/denial.ts";
import type { DenialGroup } from "../policy/denial_log.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit } from "./exit.ts";
import { requireGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";
import { timeText } from "./time_text.ts";

const COUNT_WIDTH = 6;

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runDenials(io: CliIo, args: ParsedArguments): Promise<number> {
  const client = await requireGateway(args);
  if (args.follow) return await follow(io, client, args);
  const report = await client.denialReport();
  if (args.json) io.out(JSON.stringify(report, null, 2));
  else for (const line of reportLines(report)) io.out(printable(line));
  return Exit.Done;
}

function reportLines({ groups, byRule }: DenialReport): string[] {
  if (groups.length === 0) return ["nothing was refused"];
  const counts = Object.entries(byRule).toSorted(([, a], [, b]) => b - a);
  const width = Math.max(...counts.map(([, count]) => String(count).length), 1);
  return [
    ...groups.flatMap(groupLines),
    ...(counts.length === 0 ? [] : ["by rule:"]),
    ...counts.map(([rule, count]) => `  ${String(count).padStart(width)}  ${rule}`),
  ];
}

function groupLines({ denial, count, lastMs }: DenialGroup): string[] {
  return denialLines(denial, `${timeText(lastMs)} ${`${count}x`.padStart(COUNT_WIDTH)}`);
}

function denialLines(denial: Denial, start: string): string[] {
  const [line = "", ...more] = formatDenial(denial);
  return [`${start}  ${line}`, ...more.map((each) => `      ${each}`)];
}

async function follow(
  io: CliIo,
  client: GatewayClient,
  { json, guest }: ParsedArguments,
): Promise<number> {
  const ofAll = guest === undefined && (await client.guests()).length > 1;
  const events = client.events();
  // The stream is open before the report is asked for, so that nothing falls between the two.
  const next = events.next();
  if (!json && !ofAll) {
    const { groups } = await client.denialReport();
    for (const line of groups.toReversed().flatMap(groupLines)) io.out(printable(line));
  }
  for (let { done, value } = await next; !done; { done, value } = await events.next()) {
    const whose = ofAll && value.guest !== undefined ? `${value.guest}: ` : "";
    if (value.type === "events-lost") io.err(`${whose}${value.count} events were missed`);
    if (value.type !== "denial") continue;
    const start = `${timeText(value.timeMs)}${ofAll ? `  ${value.guest ?? "-"}` : ""}`;
    if (json) io.out(JSON.stringify(value));
    else for (const line of denialLines(value, start)) io.out(printable(line));
    if (!io.hasReader) return Exit.Done;
  }
  io.err(`the gateway on ${formatEndpoint(client.endpoint)} has ended`);
  return Exit.Done;
}
