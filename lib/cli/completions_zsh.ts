/**
 * The completion script of zsh, for a folder of its `fpath` or to be sourced.
 *
 * @module
 */
import type { CompletedCommand, CompletedFlag, FlagValue } from "./completions.ts";

/** Writes the script. */
export function zshScript(commands: readonly CompletedCommand[]): string {
  return `#compdef virtio-gateway
# Completions of virtio-gateway for zsh. In a folder of fpath, before compinit runs:
#   virtio-gateway completions zsh > ~/.zfunc/_virtio-gateway

_virtio-gateway_endpoint() {
  if compset -P 'unix:'; then
    _files
  else
    compadd -S '' -- unix: tcp:
  fi
}

_virtio-gateway() {
  local command=run
  local -a commands
  commands=(
${commands.filter(({ path }) => !path.includes("/")).map(commandLine).join("\n")}
  )
  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    _describe -t commands command commands
    return
  fi
  if [[ $words[2] != -* ]]; then
    command=$words[2]
    shift words
    (( CURRENT-- ))
  fi
  while (( CURRENT > 2 )); do
    case $command/$words[2] in
      ${commands.map(({ path }) => path).filter((path) => path.includes("/")).join("|")}) ;;
      *) break ;;
    esac
    command=$command/$words[2]
    shift words
    (( CURRENT-- ))
  done
  case $command in
${commands.map(commandCase).join("\n")}
  esac
}

if [[ $funcstack[1] == _virtio-gateway ]]; then
  _virtio-gateway "$@"
else
  compdef _virtio-gateway virtio-gateway
fi
`;
}

function commandLine({ path, summary }: CompletedCommand): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return `    ${quote(`${name}:${summary.replaceAll(":", "\\:")}`)}`;
}

function commandCase({ path, flags, operands, takesFile }: CompletedCommand): string {
  const specs = flags.flatMap(flagSpecs);
  if (takesFile) specs.push(quote("*:file:_files"));
  else if (operands.length > 0) specs.push(quote(`1: :(${operands.join(" ")})`));
  const lines = ["_arguments -s", ...specs].map((spec, i) => `      ${i === 0 ? "" : "  "}${spec}`);
  return `    ${path})\n${lines.join(" \\\n")}\n      ;;`;
}

function flagSpecs({ name, short, argument, value, repeats, help }: CompletedFlag): string[] {
  const names = short === undefined ? [name] : [short, name];
  const behind = `[${bracketed(help)}]${action(argument, value)}`;
  const excludes = repeats ? "*" : names.length === 1 ? "" : `(${names.join(" ")})`;
  return names.map((each) => {
    const takes = value.kind === "none" ? "" : each.startsWith("--") ? "=" : "+";
    return quote(`${excludes}${each}${takes}${behind}`);
  });
}

function action(argument: string, value: FlagValue): string {
  const message = argument.replaceAll(":", "\\:");
  switch (value.kind) {
    case "none":
      return "";
    case "words":
      return `:${message}:(${value.words.join(" ")})`;
    case "file":
      return `:${message}:_files`;
    case "endpoint":
      return `:${message}:_virtio-gateway_endpoint`;
    case "text":
      return `:${message}: `;
  }
}

function bracketed(text: string): string {
  return text.replace(/[\\[\]:]/g, "\\$&");
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
