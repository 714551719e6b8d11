/**
 * The packet scripts that Linux shares, against the kernel of this machine: our reading of the RFCs
 * held to another's. Where the two rightly differ the script says so, with what each does.
 *
 * Every script has a kernel's namespace to itself and is played in real time, several at once. A
 * machine that stalls lets the kernel's timers go off inside a script, some of them within
 * milliseconds: so what has differed is played again, by itself. A difference in what is done fails
 * all repeats.
 */
import { assert, assertEquals } from "@std/assert";
import { missing } from "../guest/prerequisites.ts";
import {
  type CollectedScript,
  collectScripts,
  record,
  type Step,
} from "../support/tcp_recording.ts";
import { KernelScript } from "./kernel_script.ts";

const SCRIPTS = new URL("../stack/tcp/", import.meta.url);
const SHARED_LEAST = 40;
/** Scripts that are played at once; they mostly wait. */
const PLAYERS = 6;
/** How often a script that has differed is played again before that counts. */
const REPEATS = 12;
/** A script that lets more time pass is for the virtual clock alone. */
const LONGEST_MS = 10_000;

/** All scripts of the tree, without running one. */
async function allScripts(): Promise<CollectedScript[]> {
  const scripts = collectScripts();
  for (const { name } of Deno.readDirSync(SCRIPTS)) {
    const file = new URL(name, SCRIPTS);
    const usesScripts = Deno.readTextFileSync(file).includes("import { scripted");
    if (name.endsWith("_test.ts") && usesScripts) await import(file.href);
  }
  return scripts;
}

/** How much time a script lets pass. */
function lastsMs(steps: readonly Step[]): number {
  let ms = 0;
  for (const step of steps) {
    if (step.verb === "at") ms = step.words[0];
    if (step.verb === "after" || step.verb === "quiet") ms += step.words[0];
  }
  return ms;
}

/** Plays a script: what it said where it differs. */
async function play({ script: { options }, steps }: Shared): Promise<string | null> {
  try {
    await KernelScript.play(options, steps);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

const scripts = await allScripts();
const shared = scripts.filter(({ options }) => options.linux)
  .map((script) => ({ script, ...record(script.body) }));
type Shared = (typeof shared)[number];

const differences = shared.reduce((count, { differences }) => count + differences.length, 0);

Deno.test("scripts that a kernel plays too are many, and short enough for a real clock", () => {
  assert(shared.length >= SHARED_LEAST, `${shared.length} scripts are shared`);
  const names = new Set(shared.map(({ script }) => script.name));
  assertEquals(names.size, shared.length, "each shared script has a name of its own");
  const long = shared.filter(({ steps }) => lastsMs(steps) > LONGEST_MS);
  assertEquals(long.map(({ script }) => script.name), []);
});

Deno.test({
  // A quiet run shows names only: here is where the suite says how many there are.
  name: `guest: ${shared.length} of ${scripts.length} packet scripts against this kernel, ` +
    `with ${differences} passages where both are right and differ`,
  ignore: missing !== null,
  fn: async () => {
    const waiting = [...shared];
    const differed: Shared[] = [];
    const wrong: string[] = [];
    const player = async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        if (await play(next) !== null) differed.push(next);
      }
    };
    await Promise.all(Array.from({ length: PLAYERS }, player));
    for (const one of differed) {
      let problem: string | null = "";
      for (let left = REPEATS; left > 0 && problem !== null; left--) problem = await play(one);
      if (problem !== null) wrong.push(`${one.script.name}\n  ${problem}`);
    }
    assertEquals(wrong, [], wrong.join("\n\n"));
  },
});
