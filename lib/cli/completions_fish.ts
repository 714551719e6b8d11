/**
 * The completion script of fish.
 *
 * @module
 */
import type { CompletedCommand, CompletedFlag, FlagValue } from "./completions.ts";

const COMPLETE = "complete -c virtio-gateway";

/** Writes the script. */
export function fishScript(commands: readonly CompletedCommand[]): string {
  const parts = commands.map(({ path }) => path).filter((path) => path.includes("/")).join(" ");
  return `# Completions of virtio-gateway for fish:
#   virtio-gateway completions fish > ~/.config/fish/completions/virtio-gateway.fish

function __virtio_gateway_is --description 'whether the line has one of these commands'
    set -l words (commandline -opc)
    set -l command run
    if test (count $words) -gt 1; and not string match -q -- '-*' $words[2]
        set command $words[2]
        for word in $words[3..-1]
            contains -- $command/$word ${parts}; or break
            set command $command/$word
        end
    end
    contains -- $command $argv
end

function __virtio_gateway_is_first --description 'whether a command may stand here'
    test (count (commandline -opc)) -eq 1
end

function __virtio_gateway_endpoint
    set -l current (commandline -ct)
    if string match -q 'unix:*' -- $current
        for path in (__fish_complete_path (string replace unix: '' -- $current))
            echo unix:$path
        end
    else
        printf '%s\\n' unix: tcp:
    end
end

${COMPLETE} -f
${commands.map(commandLine).join("\n")}
${
    commands.filter(({ operands }) => operands.length > 0)
      // What stands below a group has a line of its own, with what it does.
      .filter(({ path }) => !commands.some((each) => each.path.startsWith(`${path}/`)))
      .map((command) => `${COMPLETE} -n ${here(command)} -a ${quote(command.operands.join(" "))}`)
      .join("\n")
  }
${
    commands.filter(({ takesFile }) => takesFile)
      .map((command) => `${COMPLETE} -n ${here(command)} -F`).join("\n")
  }
${flagLines(commands).join("\n")}
`;
}

/** A command, where one may stand: behind the program or its group. */
function commandLine({ path, summary }: CompletedCommand): string {
  const at = path.lastIndexOf("/");
  const where = at < 0
    ? "__virtio_gateway_is_first"
    : quote(`__virtio_gateway_is ${path.slice(0, at)}; and not __virtio_gateway_is_first`);
  return `${COMPLETE} -n ${where} -a ${path.slice(at + 1)} -d ${quote(summary)}`;
}

/** Where a command's own words stand. */
function here({ path }: CompletedCommand): string {
  return quote(`__virtio_gateway_is ${path}; and not __virtio_gateway_is_first`);
}

/** A line for each flag, with the commands that take it. */
function flagLines(commands: readonly CompletedCommand[]): string[] {
  const flags = new Map<string, { flag: CompletedFlag; takers: string[] }>();
  for (const { path, flags: own } of commands) {
    for (const flag of own) {
      const entry = flags.get(flag.name) ?? { flag, takers: [] };
      entry.takers.push(path);
      flags.set(flag.name, entry);
    }
  }
  return [...flags.values()].map(({ flag: { name, short, value, help }, takers }) => {
    const where = quote(`__virtio_gateway_is ${takers.join(" ")}`);
    const letter = short === undefined ? "" : ` -s ${short.slice(1)}`;
    return `${COMPLETE} -n ${where}${letter} -l ${name.slice(2)}${taken(value)} -d ${quote(help)}`;
  });
}

function taken(value: FlagValue): string {
  switch (value.kind) {
    case "none":
      return "";
    case "words":
      return ` -x -a ${quote(value.words.join(" "))}`;
    case "file":
      return " -r -F";
    case "endpoint":
      return " -x -a '(__virtio_gateway_endpoint)'";
    case "text":
      return " -x";
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
