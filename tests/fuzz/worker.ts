/**
 * Runs one target in a thread of its own, so that whoever started it can end it when an input never
 * comes to its end: every input is written into shared memory before it is run.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { type Finding, Fuzzer } from "./fuzzer.ts";
import type { Input } from "./input.ts";
import { inputInto } from "./shared_input.ts";
import { targetNamed } from "./targets.ts";

/** What a worker is told to do. */
export interface Job {
  readonly target: string;
  readonly corpus: readonly Input[];
  readonly seed: number;
  /** How long; the corpus is always run whole. */
  readonly seconds: number;
  /** Where the input at hand is written. */
  readonly shared: SharedArrayBuffer;
}

/** What came of it. */
export interface Outcome {
  readonly runs: number;
  readonly kept: number;
  readonly signals: number;
  readonly seconds: number;
  readonly finding:
    | { readonly input: Input; readonly error: string; readonly after: number }
    | null;
}

self.onmessage = async ({ data }: MessageEvent<Job>): Promise<void> => {
  self.postMessage(await work(data));
  self.close();
};

async function work(job: Job): Promise<Outcome> {
  const target = targetNamed(job.target)!;
  const startMs = performance.now();
  const fuzzer = new Fuzzer(target, job.corpus, job.seed, {
    before: (input) => inputInto(job.shared, input),
  });
  let finding: Finding | null = null;
  const endMs = startMs + job.seconds * 1000;
  while (
    finding === null &&
    (fuzzer.runs < job.corpus.length || performance.now() < endMs)
  ) {
    finding = await fuzzer.step();
  }
  const { runs, kept, signal } = fuzzer;
  const seconds = (performance.now() - startMs) / 1000;
  if (finding !== null) finding = await fuzzer.smaller(finding);
  return {
    runs,
    kept,
    signals: signal.total,
    seconds,
    finding: finding && { ...finding, error: textOf(finding.error) },
  };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.stack ?? `${error.name}: ${error.message}` : String(error);
}
