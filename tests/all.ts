/**
 * All tests, as tasks of `deno.json` in two rows side by side: what waits for engines and browsers does
 * so while the rest works. The second row's output comes behind the first one's; the exit code is of
 * all of them.
 *
 *     deno task test
 *
 * @module
 */
const ROWS: readonly (readonly string[])[] = [
  ["test:main"],
  ["test:fleet", "test:dashboard", "test:docs"],
];

/** Runs a task; its output goes where this one's goes, or is kept. */
async function run(task: string, isShown: boolean): Promise<{ code: number; output: Uint8Array }> {
  const out = isShown ? "inherit" : "piped";
  // One stream for both, so that what belongs together stands together.
  const words = ["-c", 'exec "$0" task --quiet "$1" 2>&1', Deno.execPath(), task];
  // Deno's look for a newer one would add connections that tests count.
  const env = { DENO_NO_UPDATE_CHECK: "1" };
  const command = new Deno.Command("sh", { args: words, env, stdin: "null", stdout: out });
  const { code, stdout } = isShown
    ? { code: (await command.spawn().status).code, stdout: new Uint8Array() }
    : await command.output();
  return { code, output: stdout };
}

async function runRow(tasks: readonly string[], isShown: boolean) {
  const ends = [];
  for (const task of tasks) ends.push(await run(task, isShown));
  return ends;
}

if (import.meta.main) {
  const [first, second] = ROWS.map((tasks, row) => runRow(tasks, row === 0));
  const ends = [...await first!, ...await second!];
  for (const { output } of ends) await Deno.stdout.write(output);
  Deno.exit(ends.every(({ code }) => code === 0) ? 0 : 1);
}
