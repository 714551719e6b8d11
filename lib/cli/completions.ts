/**
 * `completions`: what bash, zsh or fish need to complete a command line, made from the same tables
 * as the parser and the help. It knows commands, flags, the words that a flag takes, files and
 * sockets; it runs nothing and asks no gateway.
 *
 * @module
 */
import { flagsOf, type FlagSpec, type ParsedArguments } from "./arguments.ts";
import { type CommandName, COMMANDS, OPERANDS } from "./commands.ts";
import { bashScript } from "./completions_bash.ts";
import { fishScript } from "./completions_fish.ts";
import { zshScript } from "./completions_zsh.ts";
import { Exit, UsageError } from "./exit.ts";
import { summaryOf } from "./help.ts";
import type { CliIo } from "./io.ts";

/** What stands behind a flag: nothing, one of some words, a file, a socket, or any text. */
export type FlagValue =
  | { readonly kind: "none" | "file" | "endpoint" | "text" }
  | { readonly kind: "words"; readonly words: readonly string[] };

/** A flag as it is typed. */
export interface CompletedFlag {
  /** With its dashes, such as `--no-ipv6`. */
  readonly name: string;
  /** With its dash, such as `-p`. */
  readonly short?: string;
  /** What its value is called; empty for a switch. */
  readonly argument: string;
  readonly value: FlagValue;
  readonly repeats: boolean;
  readonly help: string;
}

/** A command and what it takes. */
export interface CompletedCommand {
  readonly name: CommandName;
  /** The name as one word of a script: `fleet/policy/put`. */
  readonly path: string;
  readonly summary: string;
  /** The words that may stand beside its flags. */
  readonly operands: readonly string[];
  /** Whether a file may stand there instead. */
  readonly takesFile: boolean;
  readonly flags: readonly CompletedFlag[];
}

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript };

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export function runCompletions(io: CliIo, args: ParsedArguments): number {
  const shell = args.operand ?? "";
  if (!Object.hasOwn(SCRIPTS, shell)) {
    throw new UsageError(`completions are for bash, zsh and fish, not for "${shell}"`);
  }
  io.out(SCRIPTS[shell as keyof typeof SCRIPTS](completedCommands()).trimEnd());
  return Exit.Done;
}

/** All commands with what they take. */
export function completedCommands(): CompletedCommand[] {
  return COMMANDS.map((name) => ({
    name,
    path: name.replaceAll(" ", "/"),
    summary: summaryOf(name),
    operands: wordsOf((OPERANDS[name] ?? "").replace(/^\[(.*)\]$/, "$1").replace(/ [^|]*/g, "")),
    takesFile: /\bFILE\b/.test(OPERANDS[name] ?? ""),
    flags: flagsOf(name).map(completedFlag),
  }));
}

function completedFlag(
  { flag, short, argument = "", repeats = false, negated, help }: FlagSpec,
): CompletedFlag {
  return {
    name: `--${negated === true ? "no-" : ""}${flag}`,
    ...(short === undefined ? {} : { short: `-${short}` }),
    argument,
    value: valueOf(argument),
    repeats,
    help,
  };
}

/** By what the help calls a value. */
function valueOf(argument: string): FlagValue {
  if (argument === "") return { kind: "none" };
  if (argument === "ENDPOINT") return { kind: "endpoint" };
  if (/\bFILE\b/.test(argument)) return { kind: "file" };
  const words = wordsOf(argument);
  return words.length === 0 ? { kind: "text" } : { kind: "words", words };
}

/** `auto|verify` as its words; none where it is the name of a value. */
function wordsOf(text: string): string[] {
  return /^[a-z0-9-]+(?:\|[a-z0-9-]+)*$/.test(text) ? text.split("|") : [];
}
