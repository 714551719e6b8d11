/**
 * `fleet`: the commands that ask a fleet's engine, each with modules of its own.
 *
 * @module
 */
import type { ParsedArguments } from "./arguments.ts";
import { UsageError } from "./exit.ts";
import type { CliIo } from "./io.ts";

/**
 * Runs one of them.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runFleet(io: CliIo, args: ParsedArguments): Promise<number> {
  if (args.config === "-") {
    throw new UsageError("--config: a fleet's commands take no standard input; name a file");
  }
  switch (args.command) {
    case "fleet init":
      return await (await import("./fleet_init.ts")).runFleetInit(io, args);
    case "fleet status":
      return await (await import("./fleet_status.ts")).runFleetStatus(io, args);
    case "fleet top":
      return await (await import("./fleet_top.ts")).runFleetTop(io, args);
    case "fleet denials":
      return await (await import("./fleet_denials.ts")).runFleetDenials(io, args);
    case "fleet policy get":
      return await (await import("./fleet_policy_read.ts")).runPolicyGet(io, args);
    case "fleet policy history":
      return await (await import("./fleet_policy_read.ts")).runPolicyHistory(io, args);
    case "fleet policy put":
      return await (await import("./fleet_policy_change.ts")).runPolicyPut(io, args);
    case "fleet policy delete":
      return await (await import("./fleet_policy_change.ts")).runPolicyDelete(io, args);
    case "fleet policy explain":
      return await (await import("./fleet_policy_explain.ts")).runPolicyExplain(io, args);
    default:
      throw new Error(`${args.command} is no command of a fleet`);
  }
}
