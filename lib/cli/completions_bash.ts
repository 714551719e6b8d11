/**
 * The completion script of bash: one function, without the bash-completion package, for bash 3.2 too.
 *
 * bash parts words at `=` and `:`, so the script parts the line by itself, and gives back what stands
 * behind the last of those.
 *
 * @module
 */
import type { CompletedCommand, CompletedFlag } from "./completions.ts";

/** Writes the script. */
export function bashScript(commands: readonly CompletedCommand[]): string {
  const all = new Map(commands.flatMap(({ flags }) => flags.map((flag) => [flag.name, flag])));
  const flags = [...all.values()];
  const names = (kind: string) => flags.filter(({ value }) => value.kind === kind).flatMap(spelled);
  const operands = commands.filter((command) => command.operands.length > 0);
  const files = commands.filter(({ takesFile }) => takesFile);
  const parts = commands.filter(({ path }) => path.includes("/"));
  return `# Completions of virtio-gateway for bash. In ~/.bashrc:
#   source <(virtio-gateway completions bash)
_virtio_gateway() {
  local line=\${COMP_LINE:0:COMP_POINT} words cur prev prefix= strip= kind=words values= command=run i
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  local last=$((\${#words[@]} - 1))
  [[ $last -lt 1 ]] && return
  cur=\${words[last]} prev=\${words[last - 1]}
  [[ $last -gt 1 && \${words[1]} != -* ]] && command=\${words[1]}
  for ((i = 2; i < last; i++)); do
    case $command/\${words[i]} in
      ${pattern(parts.map(({ path }) => path))}) command=$command/\${words[i]} ;;
      *) break ;;
    esac
  done
  if [[ $cur == --*=* ]]; then
    prev=\${cur%%=*} prefix=\${cur%%=*}= cur=\${cur#*=}
    [[ $COMP_WORDBREAKS == *=* ]] && prefix=
  fi
  case $prev in
${flags.filter(hasWords).map((flag) => wordsCase(flag)).join("\n")}
    ${pattern(names("file"))}) kind=file ;;
    ${pattern(names("endpoint"))}) kind=endpoint ;;
    ${pattern(names("text"))}) return ;;
    *)
      if [[ $cur == -* ]]; then
        case $command in
${commands.map(flagsCase).join("\n")}
        esac
      elif [[ $last -eq 1 ]]; then
        values=${quote(commands.filter(isFirst).map(({ name }) => name).join(" "))}
      else
        case $command in
${[...operands.map(operandsCase), ...files.map(fileCase)].join("\n")}
        esac
      fi
      ;;
  esac
  COMPREPLY=()
  [[ $COMP_WORDBREAKS == *:* ]] && strip=\${cur%"\${cur##*:}"}
  case $kind in
    words) while read -r i; do COMPREPLY+=("$i"); done < <(compgen -W "$values" -- "$cur") ;;
    file)
      compopt -o filenames 2>/dev/null
      while IFS= read -r i; do COMPREPLY+=("$i"); done < <(compgen -f -- "$cur")
      ;;
    endpoint)
      compopt -o nospace 2>/dev/null
      if [[ $cur == unix:* ]]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r i; do COMPREPLY+=("unix:$i"); done < <(compgen -f -- "\${cur#unix:}")
      else
        while read -r i; do COMPREPLY+=("$i"); done < <(compgen -W "unix: tcp:" -- "$cur")
      fi
      ;;
  esac
  for i in "\${!COMPREPLY[@]}"; do COMPREPLY[i]=$prefix\${COMPREPLY[i]#"$strip"}; done
}
complete -F _virtio_gateway virtio-gateway
`;
}

function hasWords({ value }: CompletedFlag): boolean {
  return value.kind === "words";
}

function spelled({ name, short }: CompletedFlag): string[] {
  return short === undefined ? [name] : [short, name];
}

/** No flag at all is a word that nobody types. */
function pattern(names: readonly string[]): string {
  return names.length === 0 ? "''" : names.join(" | ");
}

function wordsCase(flag: CompletedFlag): string {
  const words = flag.value.kind === "words" ? flag.value.words : [];
  return `    ${pattern(spelled(flag))}) values=${quote(words.join(" "))} ;;`;
}

/** Whether it stands right behind the program. */
function isFirst({ path }: CompletedCommand): boolean {
  return !path.includes("/");
}

function flagsCase({ path, flags }: CompletedCommand): string {
  return `          ${path}) values=${quote(flags.flatMap(spelled).join(" "))} ;;`;
}

function operandsCase({ path, operands }: CompletedCommand): string {
  return `          ${path}) values=${quote(operands.join(" "))} ;;`;
}

function fileCase({ path }: CompletedCommand): string {
  return `          ${path}) kind=file ;;`;
}

function quote(text: string): string {
  return `"${text}"`;
}
