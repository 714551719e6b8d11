/**
 * `flows`: the flows of a running gateway's guest, with `--follow` also those that begin and end from
 * now on, and with `--end` the end of one.
 *
 * Following looks again and again; what lives between two looks is not seen. Flows are no events of
 * the feed: thousands may begin and end in a second, and would push refusals, which are rare and
 * looked for, out of the 1,024 that it keeps for a reader that comes back.
 *
 * @module
 */
import { formatEndpoint, parseHostPort } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { FlowFilter, FlowReport } from "../control/api.ts";
import type { GatewayClient } from "../control/client.ts";
import { normalizeName } from "../dns/name.ts";
import type { FlowInfo } from "../host/flow_info.ts";
import { printable } from "../host/log.ts";
import { parseIp } from "../wire/address.ts";
import type { ParsedArguments } from "./arguments.ts";
import { columns } from "./columns.ts";
import { Exit, UsageError } from "./exit.ts";
import { requireGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";
import { octetsText } from "./octets_text.ts";
import { plural } from "./status.ts";
import { spanText, timeText } from "./time_text.ts";

const LOOK_MS = 1_000;
const FLOWS_MAX = 65_536;

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runFlows(io: CliIo, args: ParsedArguments): Promise<number> {
  if (args.end !== undefined) return await endFlow(io, args, args.end);
  const filter = { ...readFilter(args.operand), limit: FLOWS_MAX };
  const client = await requireGateway(args);
  if (args.follow) return await follow(io, client, filter, args.json);
  const report = await client.flowReport(filter);
  if (args.json) io.out(JSON.stringify(report, null, 2));
  else for (const line of flowLines(report, Date.now())) io.out(printable(line));
  return Exit.Done;
}

async function endFlow(io: CliIo, args: ParsedArguments, text: string): Promise<number> {
  const other = args.follow ? "--follow" : args.json ? "--json" : args.operand;
  if (other !== undefined) throw new UsageError(`--end contradicts ${other}`);
  if (!/^[1-9][0-9]{0,14}$/.test(text)) {
    throw new UsageError(`--end: "${text}" is not the number of a flow; flows lists them`);
  }
  const client = await requireGateway(args);
  if (!await client.endFlow(Number(text))) {
    throw new GatewayError("control", `there is no flow ${text}; it may have ended by itself`);
  }
  io.out(`flow ${text} was ended`);
  return Exit.Done;
}

/** What a person types for a filter, as the gateway takes it. */
export function readFilter(text: string | undefined): FlowFilter {
  if (text === undefined) return {};
  if (text === "tcp" || text === "udp") return { protocol: text };
  const isPeer = parseHostPort(text) !== null ||
    parseIp(/^\[(.*)\]$/.exec(text)?.[1] ?? text) !== null;
  if (isPeer) return { peer: text };
  const name = normalizeName(text);
  // A name whose last label is a number is a mistyped address.
  const isName = name !== null && name !== "" && !/(?:^|\.)[0-9]+$/.test(name);
  if (isName) return { name };
  throw new UsageError(`"${text}" is none of tcp, udp, an address, ADDRESS:PORT and a name`);
}

/** The flows for a terminal, with a line above them. */
export function flowLines({ flows, total }: FlowReport, nowMs: number): string[] {
  if (total === 0) return ["no flows"];
  const rows = flows.map((flow) => [
    String(flow.id),
    flowText(flow),
    spanText(nowMs - flow.startedMs),
    octetsText(flow.upBytes),
    octetsText(flow.downBytes),
    flow.state,
    flow.rule ?? "-",
  ]);
  const more = total - flows.length;
  return [
    ...columns([["ID", "FLOW", "FOR", "UP", "DOWN", "STATE", "RULE"], ...rows], RIGHT),
    ...(more > 0 ? [`and ${more} more`] : []),
    plural(total, "flow"),
  ];
}

/** The columns of figures. */
const RIGHT: readonly number[] = [0, 2, 3, 4];

/** Whereto or wherefrom: `tcp to pypi.org:443 (192.0.2.7)`, `tcp from 127.0.0.1:5000 to port 80`. */
export function flowText({ protocol, opener, guest, peer, name }: FlowInfo): string {
  const [, address = "", port = ""] = /^(.*):([0-9]+)$/.exec(peer) ?? [];
  if (opener === "host") {
    return `${protocol} from ${peer} to port ${guest.slice(guest.lastIndexOf(":") + 1)}`;
  }
  return name === null
    ? `${protocol} to ${peer}`
    : `${protocol} to ${name}:${port} (${address.replace(/^\[(.*)\]$/, "$1")})`;
}

/** Which flow it is, also beyond the life of a guest: its number begins again with the next one. */
function keyOf({ id, protocol, guest, peer }: FlowInfo): string {
  return `${id} ${protocol} ${guest} ${peer}`;
}

async function follow(
  io: CliIo,
  client: GatewayClient,
  filter: FlowFilter,
  json: boolean,
): Promise<number> {
  const say = (type: "flow-began" | "flow-ended", timeMs: number, flow: FlowInfo): void => {
    if (json) io.out(JSON.stringify({ type, timeMs, ...flow }));
    else io.out(printable(changeText(type, timeMs, flow)));
  };
  let before = new Map<string, FlowInfo>();
  for (let isFirst = true; io.hasReader; isFirst = false) {
    const flows = await client.flows(filter).catch((error) => {
      const isGone = error instanceof GatewayError && error.code === "no-gateway";
      if (isFirst || !isGone) throw error;
      return null;
    });
    if (flows === null) {
      io.err(`the gateway on ${formatEndpoint(client.endpoint)} has ended`);
      return Exit.Done;
    }
    const present = new Map(flows.toReversed().map((flow) => [keyOf(flow), flow]));
    for (const [key, flow] of before) {
      if (!present.has(key)) say("flow-ended", Date.now(), flow);
    }
    for (const [key, flow] of present) {
      if (!before.has(key)) say("flow-began", flow.startedMs, flow);
    }
    before = present;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  return Exit.Done;
}

function changeText(type: "flow-began" | "flow-ended", timeMs: number, flow: FlowInfo): string {
  const start = `${timeText(timeMs)}  ${type === "flow-began" ? "began" : "ended"}  ${flow.id}  `;
  const octets = `up ${octetsText(flow.upBytes)}, down ${octetsText(flow.downBytes)}`;
  if (type === "flow-ended") {
    return `${start}${flowText(flow)} after ${spanText(timeMs - flow.startedMs)}, ${octets}`;
  }
  return `${start}${flowText(flow)}${flow.rule === null ? "" : ` by ${flow.rule}`}`;
}
