/**
 * The completion script of fish.
 *
 * @module
 */
import type { CompletedCommand, CompletedFlag, FlagValue } from "./completions.ts";

const COMPLETE = "complete -c virtio-gateway";

/** Writes the script. */
export function fishScript(commands: readonly CompletedCommand[]): string {
  return `# Completions of virtio-gateway for fish:
#   virtio-gateway completions fish > ~/.config/fish/completions/virtio-gateway.fish

function __virtio_gateway_is --description 'whether the line has one of these commands'
    set -l words (commandline -opc)
    set -l command run
    if test (count $words) -gt 1; and not string match -q -- '-*' $words[2]
        set command $words[2]
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
${
    commands.map(({ name, summary }) => {
      return `${COMPLETE} -n __virtio_gateway_is_first -a ${name} -d ${quote(summary)}`;
    }).join("\n")
  }
${
    commands.filter(({ operands }) => operands.length > 0).map(({ name, operands }) => {
      const here = quote(`__virtio_gateway_is ${name}; and not __virtio_gateway_is_first`);
      return `${COMPLETE} -n ${here} -a ${quote(operands.join(" "))}`;
    }).join("\n")
  }
${flagLines(commands).join("\n")}
`;
}

/** A line for each flag, with the commands that take it. */
function flagLines(commands: readonly CompletedCommand[]): string[] {
  const flags = new Map<string, { flag: CompletedFlag; takers: string[] }>();
  for (const { name, flags: own } of commands) {
    for (const flag of own) {
      const entry = flags.get(flag.name) ?? { flag, takers: [] };
      entry.takers.push(name);
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
