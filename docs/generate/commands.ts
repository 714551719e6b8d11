/**
 * The page of commands: what `--help` says, with its links.
 *
 * @module
 */
import { flagsOf, type FlagSpec } from "../../lib/cli/arguments.ts";
import { type CommandName, COMMANDS, OPERANDS } from "../../lib/cli/commands.ts";
import { Exit, EXIT_HELP } from "../../lib/cli/exit.ts";
import { detailsOf, summaryOf } from "../../lib/cli/help.ts";
import { ALL_SETTINGS, environmentName } from "../../lib/config/settings.ts";
import { code, page, plain, sentence, table } from "./markdown.ts";

const EVERYWHERE = new Set(["no-color", "help", "version"]);

/** The page. */
export function commandsPage(): string {
  return page(
    "Commands",
    "`virtio-gateway` stands for how the program is started: `deno run … cli.ts` in a clone. " +
      "`check` prints the whole line with the permissions that a configuration needs. Results go " +
      "to stdout, the log and what is wrong to stderr.",
    table(
      ["command", "what it does"],
      COMMANDS.map((
        name,
      ) => [`[${code(name)}](#${name.replaceAll(" ", "-")})`, plain(summaryOf(name))]),
    ),
    "Every command takes `--help` (`-h`), `--version` (`-V`) and `--no-color`; `NO_COLOR` in the " +
      "environment does the same. A switch is `--once`, a value is `--mtu 9000` or " +
      "`--mtu=9000`.",
    ...COMMANDS.map(section),
    "## Exit codes",
    table(
      ["code", "meaning"],
      (Object.keys(Exit) as (keyof typeof Exit)[]).map((name) => {
        return [String(Exit[name]), EXIT_HELP[name]];
      }),
    ),
    "With code 3 the message names the one flag of `deno run` to add.",
    "## Environment",
    `A flag that sets something of the [configuration](configuration.md) has a variable: ` +
      `${code(environmentName("listen"))} for \`--listen\`, and so on; ` +
      `${
        code(environmentName("config"))
      } names the file. A flag wins over its variable, this over ` +
      "the file. Variables that Deno may not read (`--allow-env`) are as if they were not set.",
  );
}

function section(command: CommandName): string {
  const flags = flagsOf(command).filter((flag) => !EVERYWHERE.has(written(flag)));
  const usage = ["virtio-gateway", command, OPERANDS[command], flags.length > 0 ? "[OPTIONS]" : ""];
  return [
    `## ${command}`,
    "```\n" + usage.filter(Boolean).join(" ") + "\n```",
    ...paragraphs(detailsOf(command)),
    ...(flags.length === 0 ? [] : [flagTable(command, flags)]),
  ].join("\n\n");
}

/** Paragraphs as prose; lines that are set in stay as they are. */
function paragraphs(text: string): string[] {
  const parts: { isSetIn: boolean; lines: string[] }[] = [];
  for (const paragraph of text.split("\n\n")) {
    let last: typeof parts[number] | undefined;
    for (const line of paragraph.split("\n")) {
      const isSetIn = line.startsWith("  ");
      if (last?.isSetIn === isSetIn) last.lines.push(line);
      else parts.push(last = { isSetIn, lines: [line] });
    }
  }
  return parts.map(({ isSetIn, lines }) => {
    if (!isSetIn) return marked(lines.join("\n"));
    return ["```", ...lines.map((line) => line.slice(2)), "```"].join("\n");
  });
}

/** Flags and file names in prose as code. */
function marked(text: string): string {
  return plain(text)
    .replace(/(?<![\w-])--[a-z][a-z0-9-]*/g, (flag) => code(flag))
    .replace(/\*\\?\.NAME/g, "*.NAME");
}

function flagTable(command: CommandName, flags: readonly FlagSpec[]): string {
  const isSetting = (flag: FlagSpec) => keyOf(flag) !== null;
  // What run says of a setting need not be said again.
  const isLikeRun = command === "check";
  const rows = [
    ...isLikeRun ? [] : flags.filter(isSetting),
    ...flags.filter((flag) => !isSetting(flag)),
  ]
    .map((flag) => {
      const { short, argument, repeats, help } = flag;
      const name = `--${written(flag)}${argument === undefined ? "" : ` ${argument}`}`;
      const left = short === undefined ? code(name) : `${code(`-${short}`)}, ${code(name)}`;
      const text = plain(sentence(help)) + (repeats === true ? " Repeatable." : "");
      return command === "run" ? [left, text, keyLink(keyOf(flag))] : [left, text];
    });
  const head = ["flag", "what it does", ...command === "run" ? ["in the file"] : []];
  return [
    ...isLikeRun ? ["It takes the flags of [`run`](#run) that set something, and:"] : [],
    table(head, rows),
  ].join("\n\n");
}

function keyLink(key: string | null): string {
  if (key === null) return "";
  return `[${code(key)}](configuration.md#${key.toLowerCase().replaceAll(".", "")})`;
}

function written({ flag, negated }: FlagSpec): string {
  return negated === true ? `no-${flag}` : flag;
}

/** The key of the file that a flag sets, or `null`. */
function keyOf({ flag }: FlagSpec): string | null {
  const found = ALL_SETTINGS.find((setting) => {
    return setting.flag === flag || setting.narrow?.some((narrow) => narrow.flag === flag);
  });
  return found?.key ?? null;
}
