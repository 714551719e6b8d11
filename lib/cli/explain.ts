/**
 * `explain`: would the guest reach a target, by which rule, and which line would change that. Asks
 * the running gateway, or judges by the configuration, and says which of the two.
 *
 * @module
 */
import { formatEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import { resolveLimits } from "../config/limits.ts";
import { SETTINGS } from "../config/settings.ts";
import { printable } from "../host/log.ts";
import { explainPolicy } from "../host/policy_view.ts";
import { type Explanation, formatFinding } from "../policy/explain.ts";
import { compilePolicy } from "../runtime.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit, UsageError } from "./exit.ts";
import { findGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";
import { loadConfig } from "./load.ts";

/** An answer, and who gave it. */
interface Answer {
  readonly explanation: Explanation;
  /** As the JSON document has it. */
  readonly source: Readonly<Record<string, unknown>>;
  /** The same in words. */
  readonly by: string;
}

const CONTROL_FLAGS: readonly string[] = [SETTINGS.control.flag!, SETTINGS.controlToken.flag!];

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runExplain(io: CliIo, args: ParsedArguments): Promise<number> {
  const target = args.operand!;
  const { explanation, source, by } = await answer(args, target);
  const { allowed, findings } = explanation;
  if (args.json) {
    io.out(JSON.stringify({ target, allowed, source, findings }, null, 2));
  } else {
    for (const line of findings.flatMap(formatFinding)) io.out(printable(line));
    io.out(printable(by));
  }
  return allowed ? Exit.Done : Exit.Denied;
}

async function answer(args: ParsedArguments, target: string): Promise<Answer> {
  const own = Object.keys(args.flags).find((flag) => !CONTROL_FLAGS.includes(flag)) ??
    (args.config === undefined ? undefined : "config");
  if (own === undefined) return await askGateway(args, target) ?? await judge(args, target);
  const control = Object.keys(args.flags).find((flag) => CONTROL_FLAGS.includes(flag));
  if (control === undefined) return await judge(args, target);
  throw new UsageError(
    `--${control} asks a running gateway, which goes by its own policy; drop it or --${own}`,
  );
}

/** What the gateway says; `null` where none was named and none answers. */
async function askGateway(args: ParsedArguments, target: string): Promise<Answer | null> {
  const found = await findGateway(args);
  if (found === null) return null;
  const { client, isNamed } = found;
  try {
    const { hasGuest, ...explanation } = await client.explain(target);
    const endpoint = formatEndpoint(client.endpoint);
    const { guest } = args;
    const knowing = hasGuest ? "with what its guest has looked up" : "while no guest is attached";
    const whose = guest === undefined ? "" : ` for guest ${guest}`;
    return {
      explanation,
      source: { kind: "gateway", endpoint, ...(guest === undefined ? {} : { guest }), hasGuest },
      by: `as the gateway on ${endpoint} says${whose}, ${knowing}`,
    };
  } catch (error) {
    const isNobody = error instanceof GatewayError && error.code === "no-gateway";
    if (isNobody && !isNamed) return null;
    throw error;
  }
}

async function judge(args: ParsedArguments, target: string): Promise<Answer> {
  if (args.guest !== undefined) {
    throw new UsageError("--guest: the configuration is of one guest, without a name; drop it");
  }
  const { config: { settings }, configFile } = await loadConfig(args);
  const { policy, limits } = settings.network;
  const file = configFile ?? (args.config === "-" ? "stdin" : null);
  return {
    explanation: explainPolicy(compilePolicy(policy, resolveLimits(limits)), target),
    source: { kind: "configuration", file },
    by: `as the configuration says${file === null ? "" : ` (${file})`}; no gateway was asked`,
  };
}
