/**
 * `deno task simulate`: many seeds on all cores, or one of them with its log.
 *
 *     --seeds N     how many, default 10,000
 *     --from N      the first one, default 1
 *     --seed N      this one only, twice: the traces must be the same
 *     --verbose     with --seed: prints what happens, frame by frame
 *     --workers N   default: one for each core
 *
 * Needs to read its own files, for the workers, and nothing else. A seed that fails is printed with its faults, the mix that it stands for, and
 * the command that shows it again. Exits with 1 where one failed.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { addTally, emptyTally, type Outcome, simulate, type Tally } from "./simulation.ts";
import type { Batch } from "./worker.ts";

const BATCH = 10;
const PROGRESS_MS = 5_000;
const SHOWN_MAX = 20;

const args = parseArgs(Deno.args, {
  string: ["seeds", "from", "seed", "workers"],
  boolean: ["verbose"],
});

/** A whole number of the command line. */
function numberOf(name: "seeds" | "from" | "workers", fallback: number): number {
  const value = Number(args[name] ?? fallback);
  if (Number.isSafeInteger(value) && value > 0) return value;
  console.error(`--${name} is a whole number from 1`);
  Deno.exit(2);
}

/** What was tried, in one line. */
function summary({ streams, whole, cut, returns, bytes, events, lateReturns }: Tally): string {
  return `${streams} streams (${whole} whole, ${cut} cut), ${returns} links lost and back, ${
    (bytes / 1e6).toFixed(1)
  } MB compared, ` +
    `${events} events, ${lateReturns} buffers given up while lent`;
}

/** The command that runs one seed again. */
function replay(seed: number): string {
  return `deno task simulate --seed ${seed} --verbose`;
}

function show({ seed, faults, description }: Outcome): void {
  console.log(`\nseed ${seed} fails:`);
  for (const fault of faults) console.log(`  ✗ ${fault}`);
  for (const line of description.split("\n")) console.log(`  ${line}`);
  console.log(`  ${replay(seed)}`);
}

async function runOne(seed: number): Promise<boolean> {
  const outcome = await simulate(seed, args.verbose ? { sink: (line) => console.log(line) } : {});
  const again = await simulate(seed);
  const { description, digest, steps, virtualMs } = outcome;
  console.log(description);
  console.log(
    `trace ${digest}, ${steps} steps, ${(virtualMs / 1_000).toFixed(1)} s of virtual time`,
  );
  if (again.digest !== digest) console.log(`✗ the second run differs: trace ${again.digest}`);
  console.log(summary(outcome.tally));
  for (const fault of outcome.faults) console.log(`✗ ${fault}`);
  return outcome.faults.length === 0 && again.digest === digest;
}

async function runMany(): Promise<boolean> {
  const from = numberOf("from", 1);
  const count = numberOf("seeds", 10_000);
  const workers = numberOf("workers", navigator.hardwareConcurrency);
  const startMs = performance.now();
  const failed: Outcome[] = [];
  const tally = emptyTally();
  let done = 0;
  let next = from;
  let shownMs = startMs;
  const take = (): Batch | null => {
    const seeds = Array.from({ length: Math.min(BATCH, from + count - next) }, (_, i) => next + i);
    next += seeds.length;
    return seeds.length === 0 ? null : { seeds };
  };
  const note = (outcomes: readonly Outcome[]) => {
    done += outcomes.length;
    for (const outcome of outcomes) {
      addTally(tally, outcome.tally);
      if (outcome.faults.length === 0) continue;
      failed.push(outcome);
      if (failed.length <= SHOWN_MAX) show(outcome);
    }
    if (performance.now() - shownMs < PROGRESS_MS && done < count) return;
    shownMs = performance.now();
    const rate = done / (shownMs - startMs) * 1_000;
    console.log(`${done} of ${count} seeds, ${rate.toFixed(1)} a second, ${failed.length} failed`);
  };
  await Promise.all(Array.from({ length: workers }, () => runWorker(take, note)));
  console.log(summary(tally));
  if (failed.length > 0) {
    console.log(`\nfailed: ${failed.map(({ seed }) => seed).sort((a, b) => a - b).join(", ")}`);
  }
  return failed.length === 0;
}

function runWorker(
  take: () => Batch | null,
  note: (outcomes: readonly Outcome[]) => void,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const send = () => {
    const batch = take();
    if (batch !== null) return worker.postMessage(batch);
    worker.terminate();
    resolve();
  };
  worker.onmessage = ({ data }: MessageEvent<readonly Outcome[]>) => {
    note(data);
    send();
  };
  worker.onerror = (event) => {
    worker.terminate();
    reject(new Error(`a worker broke: ${event.message}`));
  };
  send();
  return promise;
}

const isGood = args.seed === undefined ? await runMany() : await runOne(Number(args.seed));
if (!isGood) Deno.exit(1);
