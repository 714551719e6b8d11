/**
 * `fleet denials`: what the gateways of a fleet have refused, from its stream; with `--follow` also
 * what comes into it from then on.
 *
 * @module
 */
import type { AuditRecord, DenialRecord } from "../fleet/audit_record.ts";
import { AuditReader, LAST_MAX } from "../fleet/audit_reader.ts";
import { requestError } from "../fleet/engine_request.ts";
import { printable } from "../host/log.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit } from "./exit.ts";
import { denialRecordLines } from "./fleet_denial_text.ts";
import { type OpenFleet, openFleet } from "./fleet_engine.ts";
import { readName, readNumber } from "./fleet_words.ts";
import type { CliIo } from "./io.ts";
import { jsonText } from "./json_text.ts";
import { plural } from "./status.ts";

/** How many are shown where nobody says. */
const LAST = 50;

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runFleetDenials(io: CliIo, args: ParsedArguments): Promise<number> {
  const guest = readName("guest", args.guest);
  const gateway = readName("gateway", args.fleet.gateway);
  const last = readNumber("last", args.fleet.last, { least: 0, most: LAST_MAX }) ?? LAST;
  await using access = await openFleet(args);
  const { connection, fleet } = access;
  const reader = new AuditReader(connection, fleet, {
    kind: "denial",
    ...(guest === undefined ? {} : { guest }),
    ...(gateway === undefined ? {} : { gateway }),
  });
  try {
    const records = (await reader.last(last)).filter(isDenial);
    if (args.follow) {
      for (const record of records) print(io, args, record);
      return await follow(io, args, access, reader);
    }
    if (args.json) {
      io.out(jsonText({ fleet, records, unreadable: reader.unreadable }, 2));
    } else {
      for (const record of records) print(io, args, record);
      if (records.length === 0) io.out("nothing was refused, as far as the stream has it");
    }
  } catch (error) {
    throw requestError("read what the fleet has refused", error);
  }
  sayUnreadable(io, reader);
  return Exit.Done;
}

/** Until somebody ends it, or nobody reads it any more; what was missed without the engine comes later. */
async function follow(
  io: CliIo,
  args: ParsedArguments,
  { engine, servers }: OpenFleet,
  reader: AuditReader,
): Promise<number> {
  let isLost = false;
  const end = engine.onState((state) => {
    if (isLost === (state !== "connected")) return;
    isLost = !isLost;
    io.err(isLost ? `the engine on ${servers.join(", ")} is lost; waiting` : "the engine is back");
  });
  try {
    for await (const record of reader.follow(new AbortController().signal)) {
      if (isDenial(record)) print(io, args, record);
      if (!io.hasReader) break;
    }
  } finally {
    end();
  }
  return Exit.Done;
}

function print(io: CliIo, { json }: ParsedArguments, record: DenialRecord): void {
  // With --follow one document a line.
  if (json) io.out(jsonText(record));
  else for (const line of denialRecordLines(record)) io.out(printable(line));
}

function isDenial(record: AuditRecord): record is DenialRecord {
  return record.kind === "denial";
}

function sayUnreadable(io: CliIo, { unreadable }: AuditReader): void {
  if (unreadable > 0) io.err(`${plural(unreadable, "message")} of the stream could not be read`);
}
