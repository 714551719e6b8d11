/**
 * Pieces of a page in Markdown; `deno fmt` brings them into their final form.
 *
 * @module
 */

/** Text as code, whatever stands in it. */
export function code(text: string): string {
  return text.includes("`") ? `\`\` ${text} \`\`` : `\`${text}\``;
}

/** Text as it is, also where Markdown has a meaning for some of it. */
export function plain(text: string): string {
  return text.replace(/[\\`*_{}[\]<>#|]/g, "\\$&");
}

/** A sentence: a capital at its begin, a full stop at its end. */
export function sentence(text: string): string {
  // A word that is a name of the program's keeps its spelling.
  const isName = /^\w+[A-Z.]/.test(text);
  const begun = isName ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.:!?]$/.test(begun) ? begun : `${begun}.`;
}

/** A table; cells are Markdown. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${
      cells.map((cell) => cell.replaceAll("\n", " ").replace(/(?<!\\)\|/g, "\\|")).join(" | ")
    } |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** A page: its title and its parts, with a blank line between them. */
export function page(title: string, ...parts: readonly string[]): string {
  return [`# ${title}`, MADE, ...parts].join("\n\n") + "\n";
}

const MADE = "<!-- Made by `deno task reference` from the code; edit it there. -->";
