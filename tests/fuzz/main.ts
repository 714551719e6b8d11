/**
 * The fuzzer's command line.
 *
 *     deno task fuzz                              which targets there are
 *     deno task fuzz TARGET --seconds N [--seed S]
 *     deno task fuzz all --seconds N [--jobs J]
 *     deno task fuzz TARGET --replay FILE         one input again
 *     deno task fuzz TARGET --write-seeds         the inputs that the corpus is begun with
 *
 * An input that breaks its target is made small and kept in `fixtures/fuzz/TARGET/`, from where the
 * tests run it ever after. One that does not come to its end within {@linkcode HANG_MS} is kept as it
 * is.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { readCorpus, readInput, writeCrash, writeSeeds } from "./corpus.ts";
import type { Input } from "./input.ts";
import { inputFrom, inputsSoFar, SHARED_BYTES } from "./shared_input.ts";
import { Signal } from "./signal.ts";
import type { FuzzTarget } from "./target.ts";
import { targetNamed, TARGETS } from "./targets.ts";
import type { Job, Outcome } from "./worker.ts";

/**
 * An input that takes longer never ends: the slowest takes some hundred milliseconds, and a hundred
 * times as long beside tests that leave it hardly any of the processors.
 */
export const HANG_MS = 120_000;
const LOOK_MS = 1_000;
const DEFAULT_SECONDS = 60;

interface Options {
  readonly seconds: number;
  readonly seed: number;
  readonly jobs: number;
}

/** Runs the command line: the exit code. */
async function main(words: readonly string[]): Promise<number> {
  const args = parseArgs([...words], {
    string: ["seconds", "seed", "jobs", "replay"],
    boolean: ["write-seeds"],
  });
  const [name] = args._;
  if (name === undefined) return list();
  const targets = name === "all" ? TARGETS : [targetNamed(String(name))];
  if (targets.some((target) => target === null)) {
    console.error(`there is no target "${name}"`);
    return list() + 2;
  }
  const chosen = targets as readonly FuzzTarget[];
  if (args["write-seeds"]) {
    return chosen.reduce((code, target) => code + rewrite(target), 0);
  }
  if (args.replay !== undefined) {
    return await replay(chosen[0]!, String(args.replay));
  }
  const options = {
    seconds: Number(args.seconds ?? DEFAULT_SECONDS),
    seed: Number(args.seed ?? 1),
    jobs: Number(args.jobs ?? 1),
  };
  for (const [key, value] of Object.entries(options)) {
    if (Number.isFinite(value) && value >= 0) continue;
    console.error(`--${key} needs a number`);
    return 2;
  }
  return await runAll(chosen, options);
}

function list(): number {
  console.log("deno task fuzz TARGET|all [--seconds N] [--seed S] [--jobs J] [--replay FILE]\n");
  for (const { name, about } of TARGETS) {
    console.log(`  ${name.padEnd(12)}${about}`);
  }
  return 0;
}

function rewrite(target: FuzzTarget): number {
  console.log(`${target.name}: ${writeSeeds(target)} inputs`);
  return 0;
}

async function replay(target: FuzzTarget, path: string): Promise<number> {
  try {
    await target.run(readInput(target, path), new Signal());
  } catch (error) {
    console.error(error);
    return 1;
  }
  console.log(`${path}: nothing is wrong`);
  return 0;
}

/** Runs targets, so many at once. */
async function runAll(targets: readonly FuzzTarget[], options: Options): Promise<number> {
  const waiting = [...targets];
  let wrong = 0;
  const next = async (): Promise<void> => {
    for (
      let target = waiting.shift();
      target !== undefined;
      target = waiting.shift()
    ) {
      if (!await run(target, options)) wrong = 1;
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, options.jobs) }, next));
  return wrong;
}

/** Runs one target: whether nothing was found. */
async function run(target: FuzzTarget, { seconds, seed }: Options): Promise<boolean> {
  const shared = new SharedArrayBuffer(SHARED_BYTES);
  const corpus = readCorpus(target).map(({ input }) => input);
  const outcome = await inWorker({ target: target.name, corpus, seed, seconds, shared });
  if (outcome === "hang") {
    tell(target, inputFrom(shared), `no end after ${HANG_MS} ms`, seed);
    return false;
  }
  const { runs, kept, signals, finding } = outcome;
  const rate = Math.round(runs / outcome.seconds);
  console.log(
    `${target.name.padEnd(12)}${runs} inputs, ${rate}/s, seed ${seed}: ` +
      `${kept} kept of ${corpus.length} and those, ${signals} signals`,
  );
  if (finding !== null) {
    tell(target, finding.input, finding.error, seed, finding.after);
  }
  return finding === null;
}

function tell(target: FuzzTarget, input: Input, error: string, seed: number, after?: number): void {
  const [head = ""] = error.split("\n");
  const path = writeCrash(target, input, head);
  console.error(
    `\n${target.name} broke, seed ${seed}${after === undefined ? "" : `, input ${after}`}:`,
  );
  console.error(error);
  console.error(`again:  deno task fuzz ${target.name} --replay ${path}\n`);
}

function inWorker(job: Job): Promise<Outcome | "hang"> {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    let seen = -1;
    let sinceMs = performance.now();
    const look = setInterval(() => {
      const inputs = inputsSoFar(job.shared);
      const nowMs = performance.now();
      if (inputs !== seen) [seen, sinceMs] = [inputs, nowMs];
      else if (nowMs - sinceMs > HANG_MS) end(() => resolve("hang"));
    }, LOOK_MS);
    const end = (then: () => void) => {
      clearInterval(look);
      worker.terminate();
      then();
    };
    worker.onmessage = ({ data }: MessageEvent<Outcome>) => end(() => resolve(data));
    worker.onerror = (event) => {
      event.preventDefault();
      end(() => reject(new Error(`the worker of ${job.target} failed: ${event.message}`)));
    };
    worker.postMessage(job);
  });
}

if (import.meta.main) Deno.exit(await main(Deno.args));
