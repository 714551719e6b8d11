/**
 * `deno task reference`: writes docs/reference/ from the tables that the program itself works with,
 * so that no page says what is not so.
 *
 * @module
 */
import { commandsPage } from "./commands.ts";
import { configurationPage } from "./configuration.ts";
import { controlPage } from "./control.ts";
import { countsPage } from "./counts.ts";

/** Where the pages are. */
export const FOLDER = new URL("../reference/", import.meta.url);

/** Makes the pages, in the form that `deno fmt` gives them: their texts by their names. */
export async function referencePages(): Promise<Map<string, string>> {
  const made: readonly [string, string][] = [
    ["commands.md", commandsPage()],
    ["configuration.md", configurationPage()],
    ["control.md", controlPage()],
    ["counts.md", countsPage()],
  ];
  const formatted = made.map(async ([name, text]) => [name, await format(text)] as const);
  return new Map(await Promise.all(formatted));
}

async function format(text: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", "--ext", "md", "-"],
    cwd: new URL("../../", import.meta.url),
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { success, stdout } = await child.output();
  if (!success) throw new Error("Cannot format a page: deno fmt failed");
  return new TextDecoder().decode(stdout);
}

if (import.meta.main) {
  await Deno.mkdir(FOLDER, { recursive: true });
  for (const [name, text] of await referencePages()) {
    await Deno.writeTextFile(new URL(name, FOLDER), text);
  }
}
