/**
 * `explain`: would the guest reach a target, by which rule, and which line would change that. Asks
 * the running gateway, or judges by the configuration, and says which of the two.
 *
 * @module
 */
import { formatEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import { resolveLimits } from "../config/limits.ts";
import { didYouMean } from "../config/nearest.ts";
import type { GuestSettings } from "../config/resolve.ts";
import type { ConfiguredGuest } from "../config/resolve_guests.ts";
import { SETTINGS } from "../config/settings.ts";
import { compilePolicy } from "../host/guest_policy.ts";
import { printable } from "../host/log.ts";
import { explainPolicy } from "../host/policy_view.ts";
import { type Explanation, formatFinding } from "../policy/explain.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit, UsageError } from "./exit.ts";
import { findGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";
import { loadConfig, type LoadedConfig } from "./load.ts";

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
  const loaded = await loadConfig(args);
  const { settings, neighbors } = guestOf(args, loaded);
  const { policy, limits } = settings.network;
  const file = loaded.configFile ?? (args.config === "-" ? "stdin" : null);
  const guest = args.guest === undefined ? [] : [`guest ${args.guest}`];
  const from = [...(file === null ? [] : [file]), ...guest].join(", ");
  return {
    explanation: explainPolicy(compilePolicy(policy, resolveLimits(limits)), target, neighbors),
    source: {
      kind: "configuration",
      file,
      ...(args.guest === undefined ? {} : { guest: args.guest }),
    },
    by: `as the configuration says${from === "" ? "" : ` (${from})`}; no gateway was asked`,
  };
}

/** A guest, and the others of its network. */
type MeantGuest = { readonly settings: GuestSettings } & Pick<ConfiguredGuest, "neighbors">;

/** The guest that is meant, which has to be said where there are several. */
function guestOf({ guest }: ParsedArguments, loaded: LoadedConfig): MeantGuest {
  if (loaded.kind === "guest") {
    if (guest === undefined) return { settings: loaded.config.settings, neighbors: [] };
    throw new UsageError("--guest: the configuration is of one guest, without a name; drop it");
  }
  const { guests } = loaded.config;
  const found = guests.find(({ name }) => name === guest);
  if (found !== undefined) return found;
  const names = guests.map(({ name }) => name);
  const list = `; name one with --guest: ${names.join(", ")}`;
  throw new UsageError(
    guest === undefined
      ? `the configuration is of several guests${list}`
      : `there is no guest "${guest}"${didYouMean(guest, names) || list}`,
  );
}
