/**
 * `reload` and `stop`: a running gateway's file read again, and its end.
 *
 * @module
 */
import { formatEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { GatewayClient } from "../control/client.ts";
import { printable } from "../host/log.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit } from "./exit.ts";
import { requireGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";
import { plural } from "./status.ts";

/** So often it is looked whether a gateway has ended. */
const LOOK_MS = 100;

/**
 * Runs `reload`.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runReload(io: CliIo, args: ParsedArguments): Promise<number> {
  const client = await requireGateway(args);
  const report = await client.reload().catch((error) => {
    if (!(error instanceof GatewayError) || error.code !== "config") throw error;
    throw new GatewayError("config", `nothing has changed: ${error.message}`, {
      hint: error.hint,
      cause: error,
    });
  });
  if (args.json) {
    io.out(JSON.stringify(report, null, 2));
    return Exit.Done;
  }
  const { file, rules, needRestart, notice } = report;
  io.out(printable(`the policy of ${file} is in force, with ${plural(rules, "rule")}`));
  if (notice !== null) io.out(printable(notice));
  if (needRestart.length > 0) {
    io.out(`what else has changed needs a restart: ${needRestart.join(", ")}`);
  }
  return Exit.Done;
}

/**
 * Runs `stop`.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runStop(io: CliIo, args: ParsedArguments): Promise<number> {
  const client = await requireGateway(args);
  const place = formatEndpoint(client.endpoint);
  await client.stop();
  io.progress(`the gateway on ${place} lets its queued bytes drain`);
  while (await isEnding(client)) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  io.out(`the gateway on ${place} has ended`);
  return Exit.Done;
}

/** Whether it is there and stops; one that takes guests is another one. */
async function isEnding(client: GatewayClient): Promise<boolean> {
  try {
    return !await client.isReady();
  } catch (error) {
    if (error instanceof GatewayError && error.code === "no-gateway") return false;
    throw error;
  }
}
