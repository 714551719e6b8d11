/**
 * A microbench that says what one of many costs: one iteration walks a whole buffer of frames, and
 * the figure is the nanoseconds of a frame and the bytes of a second.
 *
 * Only what stands between `start` and `stop` counts; a bench may stop and start again, to play the
 * guest in between. The figures are medians, and are printed when all benches of a file have run
 * (`deno bench` itself shows whole iterations, from the first `start` on).
 *
 * @module
 */

/** How much one iteration is. */
export interface Amount {
  /** How many `unit`s. */
  readonly count: number;
  /** What is counted: "frame", "connection". */
  readonly unit: string;
  /** Bytes of payload in all of them. */
  readonly bytes?: number;
}

/** Where a bench stands among the others. */
export interface FigureOptions {
  readonly group?: string;
  readonly baseline?: boolean;
}

/** The last so many iterations are kept. */
const SAMPLES = 4096;

/** Adds up the time of one iteration. */
export class Stopwatch {
  #context: Deno.BenchContext | null = null;
  #startedMs = 0;
  #elapsedMs = 0;
  readonly #samples = new Float64Array(SAMPLES);
  #iterations = 0;

  /** What counts begins here. */
  start(): void {
    this.#context?.start();
    this.#context = null;
    this.#startedMs = performance.now();
  }

  /** What counts ends here, at least until the next `start`. */
  stop(): void {
    this.#elapsedMs += performance.now() - this.#startedMs;
  }

  /** An iteration begins. */
  begin(context: Deno.BenchContext): void {
    this.#context = context;
    this.#elapsedMs = 0;
  }

  /** The iteration is over. */
  end(context: Deno.BenchContext): void {
    context.end();
    this.#samples[this.#iterations++ % SAMPLES] = this.#elapsedMs;
  }

  /** The median of the iterations, in nanoseconds; 0 where there was none. */
  get medianNs(): number {
    const count = Math.min(this.#iterations, SAMPLES);
    const sorted = this.#samples.slice(0, count).sort();
    return (sorted[count >> 1] ?? 0) * 1e6;
  }
}

const lines: (() => string | null)[] = [];

/** The line of a figure. */
export function formatFigure(name: string, amount: Amount, iterationNs: number): string {
  const ns = iterationNs / amount.count;
  const digits = ns < 100 ? 1 : 0;
  const each = `${ns.toFixed(digits).padStart(9)} ns/${amount.unit.padEnd(10)}`;
  const rate = amount.bytes === undefined
    ? `${(1e6 / ns).toFixed(0).padStart(7)} thousand/s`
    : `${(amount.bytes / iterationNs).toFixed(2).padStart(7)} GB/s`;
  return `${name.padEnd(58)}${each}${rate}`;
}

function watch(name: string, amount: Amount): Stopwatch {
  const stopwatch = new Stopwatch();
  lines.push(() => {
    const ns = stopwatch.medianNs;
    return ns === 0 ? null : formatFigure(name, amount, ns);
  });
  return stopwatch;
}

/** Registers a bench of `amount` an iteration. */
export function figure(
  name: string,
  amount: Amount,
  options: FigureOptions,
  run: (stopwatch: Stopwatch) => void,
): void {
  const stopwatch = watch(name, amount);
  Deno.bench(name, options, (context) => {
    stopwatch.begin(context);
    run(stopwatch);
    stopwatch.end(context);
  });
}

/** As `figure`, for what ends with a promise. */
export function asyncFigure(
  name: string,
  amount: Amount,
  options: FigureOptions,
  run: (stopwatch: Stopwatch) => Promise<void>,
): void {
  const stopwatch = watch(name, amount);
  Deno.bench(name, options, async (context) => {
    stopwatch.begin(context);
    await run(stopwatch);
    stopwatch.end(context);
  });
}

// To stderr: with --json the document is alone on stdout.
globalThis.addEventListener("unload", () => {
  const shown = lines.map((line) => line()).filter((line) => line !== null);
  if (shown.length > 0) console.error(`\n${shown.join("\n")}`);
});
