/**
 * Programs that a test runs: to the end with a time limit, or in the background until it is done
 * with them. Only processes started here are ever ended, each by its own handle.
 *
 * @module
 */

/** A loaded machine may take so long for anything: this only ends what would never end. */
const PATIENCE_MS = 60_000;
/** The same for a whole program; some tests run twenty at once. */
const RUN_MS = 120_000;

/** Deno's look for a newer one would add connections that tests count. */
const ENVIRONMENT = { DENO_NO_UPDATE_CHECK: "1" };

/** How a program ended and what it said. */
export interface Outcome {
  /** Exit code; above 128 after a signal. */
  code: number;
  /** Standard output. */
  stdout: string;
  /** Standard error. */
  stderr: string;
  /** How long it ran. */
  durationMs: number;
}

/**
 * Runs a program to its end.
 *
 * @param words The program and its arguments.
 * @param timeoutMs After this it is killed and the call throws.
 * @returns How it ended, whatever the exit code.
 */
export async function runProgram(words: string[], timeoutMs = RUN_MS): Promise<Outcome> {
  const startMs = performance.now();
  const child = new Deno.Command(words[0]!, {
    args: words.slice(1),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: ENVIRONMENT,
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, timeoutMs);
  const output = await child.output();
  clearTimeout(timer);
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const outcome = {
    code: output.code,
    stdout: decode(output.stdout),
    stderr: decode(output.stderr),
    durationMs: performance.now() - startMs,
  };
  if (late) throw new Error(`Not done after ${timeoutMs} ms: ${describe(words, outcome)}`);
  return outcome;
}

/**
 * Runs a program that has to succeed.
 *
 * @param words The program and its arguments.
 * @param timeoutMs After this it is killed and the call throws.
 * @returns Its standard output, without the space around it.
 */
export async function mustRun(words: string[], timeoutMs?: number): Promise<string> {
  const outcome = await runProgram(words, timeoutMs);
  if (outcome.code !== 0) throw new Error(describe(words, outcome));
  return outcome.stdout.trim();
}

/**
 * Reads how much memory a process has: resident at the moment, or at its highest.
 *
 * @param pid The process; Deno itself would want every permission to look into its `/proc`.
 * @param which The line of `/proc/PID/status`.
 * @returns KiB.
 */
export async function memoryKib(pid: number, which: "VmRSS" | "VmHWM"): Promise<number> {
  const line = await mustRun(["grep", `^${which}:`, `/proc/${pid}/status`]);
  return Number(/\d+/.exec(line)![0]);
}

function describe(words: string[], { code, stdout, stderr }: Outcome): string {
  const said = [stdout, stderr].map((text) => text.trim()).filter((text) => text !== "");
  return [`${words.join(" ")}: exit code ${code}`, ...said].join("\n");
}

/** A program in the background; its lines of both streams are kept as they come. */
export class BackgroundProgram implements AsyncDisposable {
  /** Lines of standard output and standard error so far. */
  readonly lines: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #name: string;
  readonly #reading: Promise<void>;
  readonly #waiting = new Set<() => void>();
  #ended = false;

  /**
   * Starts a program. Its standard input stays open until the program ends or `end` is called.
   *
   * @param words The program and its arguments.
   */
  constructor(words: string[]) {
    this.#name = words.join(" ");
    this.#child = new Deno.Command(words[0]!, {
      args: words.slice(1),
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      env: { ...ENVIRONMENT, NO_COLOR: "1" },
    }).spawn();
    this.#reading = this.#readBoth();
  }

  /** The process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Whether the program has ended. */
  get ended(): boolean {
    return this.#ended;
  }

  async #readBoth(): Promise<void> {
    await Promise.all([this.#read(this.#child.stdout), this.#read(this.#child.stderr)]);
    this.#ended = true;
    this.#wake();
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    let rest = "";
    // The browser's types, which the dashboard's sources bring along, say BufferSource instead.
    const decoder = new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>;
    for await (const text of stream.pipeThrough(decoder)) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      this.lines.push(...lines);
      this.#wake();
    }
    if (rest !== "") this.lines.push(rest);
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  /**
   * Waits for a line.
   *
   * @param pattern What the line has to match.
   * @param from Index into `lines` of the first line that counts.
   * @param timeoutMs After this the call throws.
   * @returns The first such line.
   */
  async line(pattern: RegExp, from = 0, timeoutMs = PATIENCE_MS): Promise<string> {
    const deadlineMs = performance.now() + timeoutMs;
    for (;;) {
      const found = this.lines.slice(from).find((line) => pattern.test(line));
      if (found !== undefined) return found;
      const leftMs = deadlineMs - performance.now();
      if (this.#ended || leftMs <= 0) {
        const why = this.#ended ? "it ended" : `${timeoutMs} ms passed`;
        throw new Error(`No line ${pattern} from ${this.#name}: ${why}\n${this.tail()}`);
      }
      let timer: ReturnType<typeof setTimeout> | undefined;
      let wake = () => {};
      await new Promise<void>((resolve) => {
        wake = resolve;
        this.#waiting.add(resolve);
        timer = setTimeout(resolve, leftMs);
      });
      clearTimeout(timer);
      this.#waiting.delete(wake);
    }
  }

  /** Writes to its standard input; nothing happens where it has ended. */
  async send(text: string): Promise<void> {
    const writer = this.#child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(text)).catch(() => {});
    writer.releaseLock();
  }

  /** The last lines, for a message. */
  tail(count = 40): string {
    return this.lines.slice(-count).join("\n");
  }

  /**
   * Sends a signal and waits for the end; SIGKILL follows where that takes too long.
   *
   * @param signal The signal.
   * @param graceMs How long it may take.
   * @returns The exit code, and whether SIGKILL was needed.
   */
  async end(
    signal: Deno.Signal,
    graceMs = PATIENCE_MS,
  ): Promise<{ code: number; forced: boolean }> {
    let forced = false;
    this.signal(signal);
    const timer = setTimeout(() => {
      forced = true;
      this.signal("SIGKILL");
    }, graceMs);
    const { code } = await this.#child.status;
    clearTimeout(timer);
    // What it has started itself may live on with its streams, until its input ends.
    await this.#child.stdin.close().catch(() => {});
    await this.#reading;
    return { code, forced };
  }

  /** Sends a signal; nothing happens where it has ended. */
  signal(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch (error) {
      // It has ended by itself.
      if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  /** Kills the program where it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGKILL");
  }
}

/**
 * Waits until something is so.
 *
 * @param what What is waited for, for the message.
 * @param holds Whether it is so.
 * @param timeoutMs After this the call throws.
 */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = PATIENCE_MS,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new Error(`Not so after ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
