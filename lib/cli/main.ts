/**
 * The command line: understands the words, runs the command, turns errors into messages.
 *
 * @module
 */
import { parseArguments, type ParsedArguments } from "./arguments.ts";
import { Exit, explainError } from "./exit.ts";
import { commandHelp, overview, VERSION } from "./help.ts";
import { type CliIo, processIo } from "./io.ts";

/**
 * Runs a command line to its end.
 *
 * @param words The words after the program.
 * @returns The exit code.
 */
export async function main(words: readonly string[]): Promise<number> {
  const io = processIo(!words.includes("--no-color"));
  try {
    return await dispatch(io, words);
  } catch (error) {
    io.progress("");
    const explained = explainError(error);
    if (explained === null) {
      const stack = error instanceof Error ? error.stack ?? error.message : String(error);
      io.err(`bug: ${stack}`);
      return Exit.Failed;
    }
    io.err(explained.message);
    return explained.code;
  }
}

/** The commands of a fleet bring the engine's client, which nobody else is to pay for. */
async function runApart(io: CliIo, args: ParsedArguments): Promise<number> {
  const { importApart } = await import("./apart.ts");
  const url = new URL("./fleet.ts", import.meta.url);
  const { runFleet } = await importApart<typeof import("./fleet.ts")>(url);
  return await runFleet(io, args);
}

async function dispatch(io: CliIo, words: readonly string[]): Promise<number> {
  const args = parseArguments(words);
  const rest = words.slice(args.isNamed ? 1 : 0);
  if (args.help) {
    io.out(args.isNamed ? commandHelp(args.command) : overview());
    return Exit.Done;
  }
  if (args.version) {
    io.out(VERSION);
    return Exit.Done;
  }
  // Each command brings its own modules: help and check need none of the runtime.
  switch (args.command) {
    case "run":
      return await (await import("./run.ts")).runServe(io, args);
    case "check":
      return await (await import("./check.ts")).runCheck(io, args, rest);
    case "explain":
      return await (await import("./explain.ts")).runExplain(io, args);
    case "denials":
      return await (await import("./denials.ts")).runDenials(io, args);
    case "status":
      return await (await import("./status.ts")).runStatus(io, args);
    case "top":
      return await (await import("./top.ts")).runTop(io, args);
    case "flows":
      return await (await import("./flows.ts")).runFlows(io, args);
    case "dns":
      return await (await import("./dns.ts")).runDns(io, args);
    case "capture":
      return await (await import("./capture.ts")).runCapture(io, args);
    case "publish":
      return await (await import("./publish.ts")).runPublish(io, args);
    case "unpublish":
      return await (await import("./publish.ts")).runUnpublish(io, args);
    case "reload":
      return await (await import("./life.ts")).runReload(io, args);
    case "stop":
      return await (await import("./life.ts")).runStop(io, args);
    case "fleet":
    case "fleet policy":
      throw new Error(`${args.command} is a group: the parser wants one of its commands`);
    case "fleet init":
    case "fleet status":
    case "fleet top":
    case "fleet denials":
    case "fleet policy get":
    case "fleet policy put":
    case "fleet policy delete":
    case "fleet policy history":
    case "fleet policy explain":
      return await runApart(io, args);
    case "demo":
      return await (await import("./demo.ts")).runDemo(io, { json: args.json });
    case "schema":
      return (await import("./schema.ts")).runSchema(io);
    case "completions":
      return (await import("./completions.ts")).runCompletions(io, args);
    default:
      return args.command satisfies never;
  }
}
