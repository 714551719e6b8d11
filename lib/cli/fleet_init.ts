/**
 * `fleet init`: makes the bucket and the stream of a fleet on its engine, where they are not there.
 *
 * @module
 */
import { type Provided, provision, REPLICAS } from "../fleet/provision.ts";
import { printable } from "../host/log.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit, UsageError } from "./exit.ts";
import { openFleet } from "./fleet_engine.ts";
import type { CliIo } from "./io.ts";
import { jsonText } from "./json_text.ts";
import { plural } from "./status.ts";

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runFleetInit(io: CliIo, args: ParsedArguments): Promise<number> {
  const replicas = readReplicas(args.fleet.replicas);
  await using access = await openFleet(args);
  const { connection, fleet } = access;
  const made = await provision(connection, fleet, replicas === undefined ? {} : { replicas });
  if (args.json) {
    io.out(jsonText({ fleet, ...made }, 2));
    return Exit.Done;
  }
  io.out(printable(providedText("bucket", made.policy)));
  io.out(printable(providedText("stream", made.audit)));
  if (made.policy.outcome === "made") {
    io.out(
      "gateways are closed until there is a policy; write it with: fleet policy put fleet FILE",
    );
  }
  return Exit.Done;
}

function readReplicas(text: string | undefined): typeof REPLICAS[number] | undefined {
  const found = REPLICAS.find((count) => String(count) === text);
  if (found !== undefined || text === undefined) return found;
  throw new UsageError(`--replicas: "${text}" is none of ${REPLICAS.join(", ")}`);
}

function providedText(kind: "bucket" | "stream", { name, outcome, replicas }: Provided): string {
  const kept = `kept on ${plural(replicas, "server")}`;
  switch (outcome) {
    case "made":
      return `made the ${kind} ${name}, ${kept}`;
    case "there":
      return `the ${kind} ${name} is there already, ${kept}`;
    case "changed":
      return `the ${kind} ${name} is ${kept} from here on`;
  }
}
