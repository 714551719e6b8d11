/**
 * The commands: their names, which of them stand below another one, and the words that each takes
 * beside its flags.
 *
 * A group such as `fleet` does nothing by itself: its commands have names of several words.
 *
 * @module
 */

/** The commands and the groups of commands, each group in front of what is below it. */
export const COMMANDS = [
  "run",
  "check",
  "explain",
  "status",
  "top",
  "denials",
  "flows",
  "dns",
  "capture",
  "publish",
  "unpublish",
  "reload",
  "stop",
  "fleet",
  "fleet init",
  "fleet status",
  "fleet top",
  "fleet denials",
  "fleet policy",
  "fleet policy get",
  "fleet policy put",
  "fleet policy delete",
  "fleet policy history",
  "fleet policy explain",
  "demo",
  "schema",
  "completions",
] as const;

/** Name of a command, or of a group of them. */
export type CommandName = typeof COMMANDS[number];

/** The groups. */
export const GROUPS = ["fleet", "fleet policy"] as const;

/** Name of a group. */
export type GroupName = typeof GROUPS[number];

/** The commands of a fleet, as all of them take what says which fleet. */
export const FLEET_COMMANDS: readonly CommandName[] = COMMANDS.filter((name) => {
  return name.startsWith("fleet ") && !isGroup(name);
});

/** Whether it is a group of commands. */
export function isGroup(name: CommandName): name is GroupName {
  return GROUPS.some((group) => group === name);
}

/** What stands right below a group, or at the top. */
export function membersOf(group: GroupName | null): CommandName[] {
  const start = group === null ? "" : `${group} `;
  return COMMANDS.filter((name) => {
    return name.startsWith(start) && !name.slice(start.length).includes(" ");
  });
}

/** The last word of a name, by which it is called in its group. */
export function lastWord(name: CommandName): string {
  return name.slice(name.lastIndexOf(" ") + 1);
}

/** What a command takes beside its flags; in brackets where it may be absent. */
export const OPERANDS: Readonly<Partial<Record<CommandName, string>>> = {
  "explain": "TARGET",
  "flows": "[FILTER]",
  "dns": "[flush|add NAME=VALUE...|remove NAME]",
  "publish": "SPEC",
  "unpublish": "PLACE",
  "fleet": membersOf("fleet").map(lastWord).join("|"),
  "fleet policy": membersOf("fleet policy").map(lastWord).join("|"),
  "fleet policy get": "[KEY]",
  "fleet policy put": "KEY FILE|-",
  "fleet policy delete": "KEY",
  "fleet policy history": "[KEY]",
  "fleet policy explain": "TARGET",
  "completions": "bash|zsh|fish",
};

/** How many words a command takes beside its flags, at least and at most. */
export function operandCounts(command: CommandName): { least: number; most: number } {
  const wanted = OPERANDS[command];
  if (wanted === undefined) return { least: 0, most: 0 };
  const isOptional = /^\[[^\]]*\]$/.test(wanted);
  const count = isOptional ? 1 : wanted.split(" ").length;
  return { least: isOptional ? 0 : count, most: wanted.includes("...") ? Infinity : count };
}
