/**
 * From the words of the command line to a command and its flags, every unknown word refused with
 * the nearest known one.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { didYouMean } from "../config/nearest.ts";
import { type Setting, SETTINGS } from "../config/settings.ts";
import {
  type CommandName,
  COMMANDS,
  FLEET_COMMANDS,
  type GroupName,
  isGroup,
  lastWord,
  membersOf,
  operandCounts,
  OPERANDS,
} from "./commands.ts";
import { UsageError } from "./exit.ts";
import { OWN_FLAGS } from "./own_flags.ts";

/** A flag of a setting, and the setting's key. */
interface KeyedFlag {
  readonly key: string;
  readonly spec: FlagSpec;
}

/** The flags of settings, those that only add to another one's list right behind it. */
const KEYED_FLAGS: readonly KeyedFlag[] = Object.values(SETTINGS)
  .flatMap((setting: Setting<unknown>) => {
    const all = [setting, ...setting.narrow ?? []];
    return all.map((spec) => ({ key: setting.key, spec }));
  })
  .filter(({ spec }) => spec.flag !== undefined) as readonly KeyedFlag[];

/** The flags of settings. */
export const FLAG_SETTINGS: readonly FlagSpec[] = KEYED_FLAGS.map(({ spec }) => spec);

const CONTROL_SETTINGS = [SETTINGS.control.key, SETTINGS.controlToken.key];

/** Which fleet it is, where its engine is, and who asks. */
export const FLEET_SETTINGS = ["fleet.servers", "fleet.name", "fleet.credentials"] as const;

/** The settings that a command takes, by their keys; all where it is not here. */
const COMMAND_SETTINGS: Readonly<Partial<Record<CommandName, readonly string[]>>> = {
  explain: [
    SETTINGS.protect.key,
    SETTINGS.allow.key,
    SETTINGS.deny.key,
    ...CONTROL_SETTINGS,
  ],
  status: CONTROL_SETTINGS,
  top: CONTROL_SETTINGS,
  denials: CONTROL_SETTINGS,
  flows: CONTROL_SETTINGS,
  dns: CONTROL_SETTINGS,
  capture: CONTROL_SETTINGS,
  publish: CONTROL_SETTINGS,
  unpublish: CONTROL_SETTINGS,
  reload: CONTROL_SETTINGS,
  stop: CONTROL_SETTINGS,
  fleet: [],
  "fleet policy": [],
  ...Object.fromEntries(FLEET_COMMANDS.map((name) => [name, FLEET_SETTINGS])),
  demo: [],
  schema: [],
  completions: [],
};

/** The values of flags that commands of a fleet alone take, as they were typed. */
export interface FleetWords {
  readonly gateway?: string;
  readonly group?: string;
  readonly revision?: string;
  readonly ifRevision?: string;
  readonly replicas?: string;
  readonly last?: string;
}

/** A command line that was understood. */
export interface ParsedArguments {
  /** The command; `run` where none is named. */
  readonly command: CommandName;
  /** Whether the command was named. */
  readonly isNamed: boolean;
  /** Settings' flags that were given. */
  readonly flags: Readonly<Record<string, string | boolean | readonly string[]>>;
  /** Where the YAML file is; absent where none was named. */
  readonly config?: string;
  /** The guest that is meant; absent where it was not said. */
  readonly guest?: string;
  /** What stands beside the flags; absent where the command wants nothing. */
  readonly operand?: string;
  /** What stands behind that, where it takes words of its own; absent where nothing does. */
  readonly more?: readonly string[];
  /** Where `capture` writes; absent where it was not said. */
  readonly write?: string;
  /** What `capture` has; absent for all. */
  readonly filter?: string;
  /** How much `capture` keeps of a frame; absent for all. */
  readonly snap?: string;
  /** How often `top` asks; absent where it was not said. */
  readonly interval?: string;
  /** The flow of `--end`; absent where it was not given. */
  readonly end?: string;
  /** What `fleet` and no other command takes; absent is what was not given. */
  readonly fleet: FleetWords;
  /** Whether `--json` was given. */
  readonly json: boolean;
  /** Whether `--ascii` was given. */
  readonly ascii: boolean;
  /** Whether `--follow` was given. */
  readonly follow: boolean;
  /** Whether colours are welcome. */
  readonly color: boolean;
  /** Whether to print the help. */
  readonly help: boolean;
  /** Whether to print the version. */
  readonly version: boolean;
}

/**
 * Reads the command line.
 *
 * @param args The words after the program.
 * @returns The command and its flags.
 * @throws {UsageError} Where a word has no meaning.
 */
export function parseArguments(args: readonly string[]): ParsedArguments {
  const isNamed = args.length > 0 && !args[0]!.startsWith("-");
  const command = isNamed ? commandNamed(args) : "run";
  const specs = flagsOf(command);
  const behind = isNamed ? args.slice(command.split(" ").length) : [...args];
  const { parsed, words } = parseFlags(behind, command, specs);
  const flags: Record<string, string | boolean | readonly string[]> = {};
  for (const { flag } of specs) {
    const value = parsed[flag];
    const isGiven = value !== null && value !== undefined &&
      !(Array.isArray(value) && value.length === 0);
    if (isGiven) flags[flag] = value as string | boolean | readonly string[];
  }
  const {
    config,
    guest,
    end,
    write,
    filter,
    snap,
    interval,
    ascii,
    json,
    follow,
    quiet,
    gateway,
    group,
    revision,
    "if-revision": ifRevision,
    replicas,
    last,
    color,
    help,
    version,
    ...settings
  } = flags;
  if (quiet === true) {
    if (settings["log-level"] !== undefined) {
      throw new UsageError("--quiet contradicts --log-level");
    }
    settings["log-level"] = "warn";
  }
  const isRun = help !== true && version !== true;
  if (words.length < operandCounts(command).least && isRun) {
    throw new UsageError(
      `${command} needs ${operandText(OPERANDS[command]!)}; see ${command} --help`,
    );
  }
  const [operand, ...more] = words;
  const fleet = { gateway, group, revision, ifRevision, replicas, last };
  return {
    command,
    isNamed,
    flags: settings,
    ...(typeof config === "string" ? { config } : {}),
    ...(typeof guest === "string" ? { guest } : {}),
    ...(operand === undefined ? {} : { operand }),
    ...(more.length === 0 ? {} : { more }),
    ...(typeof end === "string" ? { end } : {}),
    ...(typeof write === "string" ? { write } : {}),
    ...(typeof filter === "string" ? { filter } : {}),
    ...(typeof snap === "string" ? { snap } : {}),
    ...(typeof interval === "string" ? { interval } : {}),
    fleet: Object.fromEntries(Object.entries(fleet).filter(([, value]) => value !== undefined)),
    json: json === true,
    ascii: ascii === true,
    follow: follow === true,
    color: color !== false,
    help: help === true,
    version: version === true,
  };
}

/** The command of the words at the start, the longest one that they name. */
function commandNamed(words: readonly string[]): CommandName {
  const [first = "", ...rest] = words;
  let command = memberNamed(null, first);
  for (const word of rest) {
    if (!isGroup(command) || word.startsWith("-")) break;
    command = memberNamed(command, word);
  }
  return command;
}

function memberNamed(group: GroupName | null, word: string): CommandName {
  const members = membersOf(group);
  const found = members.find((name) => lastWord(name) === word);
  if (found !== undefined) return found;
  const start = group === null ? "" : `${group} `;
  const near = didYouMean(word, members.map(lastWord));
  throw new UsageError(
    `unknown command "${start}${word}"${near === "" ? `; see ${start}--help` : near}`,
  );
}

/** The flags that a command takes. */
export function flagsOf(command: CommandName): readonly FlagSpec[] {
  const own = OWN_FLAGS.filter(({ commands }) => commands.includes(command));
  const keys = COMMAND_SETTINGS[command];
  const settings = KEYED_FLAGS.filter(({ key }) => keys?.includes(key) ?? true)
    .map(({ spec }) => keys === FLEET_SETTINGS ? asked(spec) : spec);
  return [...settings, ...own];
}

/** To who asks an engine its servers are another thing than to who joins a fleet. */
function asked(spec: FlagSpec): FlagSpec {
  if (spec.flag !== SETTINGS.fleetServers.flag) return spec;
  return { ...spec, help: "servers of the fleet's engine, NATS; tls:// too" };
}

/** What the parser and the help need of a flag. */
export interface FlagSpec {
  readonly flag: string;
  readonly short?: string;
  readonly argument?: string;
  readonly repeats?: boolean;
  readonly negated?: boolean;
  readonly help: string;
}

function parseFlags(
  args: string[],
  command: CommandName,
  specs: readonly FlagSpec[],
): { parsed: Record<string, unknown>; words: string[] } {
  const { most } = operandCounts(command);
  const words: string[] = [];
  const names = (which: (spec: FlagSpec) => boolean) => specs.filter(which).map(({ flag }) => flag);
  const booleans = names(({ argument }) => argument === undefined);
  const strings = names(({ argument }) => argument !== undefined);
  const alias: Record<string, string> = {};
  for (const { flag, short } of specs) if (short !== undefined) alias[flag] = short;
  const unknown: string[] = [];
  const parsed = parseArgs(joinDash(args), {
    alias,
    boolean: booleans,
    collect: names(({ repeats }) => repeats === true),
    // Tells a switch that was not given from one that was given as false.
    default: Object.fromEntries(booleans.map((name) => [name, null])),
    negatable: names(({ negated }) => negated === true),
    string: strings,
    unknown: (arg: string) => {
      const isWord = !arg.startsWith("-") || (arg === "-" && takesDash(command));
      if (isWord && words.length < most) words.push(arg);
      else unknown.push(arg);
      return false;
    },
  }) as Record<string, unknown>;
  const [first = (parsed._ as unknown[])[0]] = unknown;
  if (first !== undefined) throw new UsageError(unknownWord(String(first), command, specs));
  for (const name of strings) {
    const value = parsed[name];
    const isEmpty = value === "" || (Array.isArray(value) && value.includes(""));
    if (isEmpty) {
      throw new UsageError(`--${name} needs a value: --${name} ${argumentOf(name, specs)}`);
    }
  }
  return { parsed, words };
}

/** Whether a lone `-` stands for standard input among the words of a command. */
function takesDash(command: CommandName): boolean {
  return OPERANDS[command]?.includes("|-") ?? false;
}

/** The flags that take a lone `-`, for stdin or stdout, by each of their spellings. */
const DASH_FLAGS: Readonly<Record<string, string>> = {
  "--config": "--config",
  "--write": "--write",
  "-w": "--write",
};

/** A lone `-` is no value to the parser unless it is joined to its flag. */
function joinDash(args: readonly string[]): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const flag = DASH_FLAGS[joined.at(-1) ?? ""];
    if (arg === "-" && flag !== undefined) joined[joined.length - 1] = `${flag}=-`;
    else joined.push(arg);
  }
  return joined;
}

function unknownWord(word: string, command: CommandName, specs: readonly FlagSpec[]): string {
  if (isGroup(command)) {
    return `unexpected ${word}: flags stand behind the command; see ${command} --help`;
  }
  if (COMMANDS.some((each) => each === word)) {
    return `unexpected argument "${word}"; as a command it stands in the place of ${command}`;
  }
  if (!word.startsWith("-")) return `unexpected argument "${word}"; see ${command} --help`;
  const [name = ""] = word.split("=", 1);
  const flag = /^-+$/.test(name) ? word : name;
  const known = specs.flatMap(({ flag, negated }) => negated ? [flag, `no-${flag}`] : [flag]);
  if (word === `${flag}=` && known.includes(flag.slice(2))) {
    return `${flag} needs a value: ${flag} ${argumentOf(flag.slice(2), specs)}`;
  }
  const near = didYouMean(flag.replace(/^--?/, ""), known, (name) => `--${name}`);
  return `unknown flag ${flag}${near === "" ? `; see ${command} --help` : near}`;
}

/** `a SPEC`, `bash, zsh or fish`, and what is its own description as it is. */
function operandText(wanted: string): string {
  if (wanted.startsWith("[") || wanted.includes(" ")) return wanted;
  const words = wanted.split("|");
  return words.length === 1 ? `a ${wanted}` : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

function argumentOf(name: string, specs: readonly FlagSpec[]): string {
  return specs.find(({ flag }) => flag === name)?.argument ?? "";
}
