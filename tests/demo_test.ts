/** The demo as a process under its task's own flags, and its steps when they fail. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import deno from "../deno.json" with { type: "json" };
import { type DemoResult, runSteps } from "../lib/cli/demo.ts";
import { DEMO_STEPS, type DemoStep, type DemoWorld, StepFailure } from "../lib/cli/demo_steps.ts";
import type { CliIo } from "../lib/cli/io.ts";
import { runProgram } from "./guest/program.ts";

const ROOT = new URL("../", import.meta.url).pathname;
/** The task's words, with this very Deno and without a way to ask. */
const [, , ...TASK_WORDS] = deno.tasks.demo.command.replace("cli.ts", `${ROOT}cli.ts`).split(" ");
const COMMAND = [Deno.execPath(), "run", "--no-prompt", ...TASK_WORDS];

Deno.test("the demo is right in every step under its task's flags", async () => {
  const { code, stdout, stderr } = await runProgram(COMMAND);
  assertEquals(stderr, "");
  assertEquals(code, 0, stdout);
  const lines = stdout.trimEnd().split("\n");
  assertMatch(lines[0]!, /^gateway on tcp:127\.0\.0\.1:\d+, an embedded guest attached to it$/);
  assertEquals(
    lines.slice(1, -1).map((line) => line.split(/ +/).slice(0, 2).join(" ")),
    DEMO_STEPS.map(({ name }) => `ok ${name}`),
  );
  assertMatch(lines.at(-1)!, /^all 11 steps right in [\d.]+ s$/);
  const escape = String.fromCharCode(0x1b);
  assert(!stdout.includes(escape), "no colours in a pipe");
});

Deno.test("--json gives one document", async () => {
  const { code, stdout, stderr } = await runProgram([...COMMAND, "--json"]);
  assertEquals([code, stderr], [0, ""]);
  const { ok, elapsedMs, steps } = JSON.parse(stdout);
  assertEquals(ok, true);
  assert(elapsedMs > 0);
  assertEquals(
    steps.map(({ name, ok }: DemoResult) => [name, ok]),
    DEMO_STEPS.map(({ name }) => [name, true]),
  );
  const download = steps.find(({ name }: DemoResult) => name === "download");
  assertEquals(download.figures.bytes, 100_000_000);
  assert(download.figures.bitsPerSecond > 0);
});

Deno.test("without its permission the demo names the flag", async () => {
  const words = COMMAND.filter((word) => !word.startsWith("--allow-net"));
  const { code, stdout, stderr } = await runProgram(words);
  assertEquals([code, stdout], [3, ""]);
  assertStringIncludes(stderr, "Add --allow-net=127.0.0.1,[::1]");
});

/** Keeps what a command prints. */
class Recorder implements CliIo {
  readonly hasReader = true;
  readonly isTerminal = false;
  readonly color: boolean;
  readonly lines: string[] = [];

  constructor(color: boolean) {
    this.color = color;
  }

  out(line: string): void {
    this.lines.push(line);
  }

  err(line: string): void {
    this.lines.push(`stderr: ${line}`);
  }

  progress(line: string): void {
    if (line !== "") this.lines.push(`progress: ${line}`);
  }
}

/** Steps that need nothing of the world. */
const NOTHING = {} as Omit<DemoWorld, "progress">;
const right: DemoStep = {
  name: "right",
  expected: "this",
  run: () => Promise.resolve({ text: "this", figures: { bytes: 3 } }),
};
const wrong: DemoStep = {
  name: "wrong",
  expected: "this",
  run: () => Promise.reject(new StepFailure("that")),
};

Deno.test("a step that fails names what was expected and seen, and the others go on", async () => {
  const io = new Recorder(false);
  const results = await runSteps(io, { json: false }, [wrong, right], NOTHING);
  assertEquals(results.map(({ ok }) => ok), [false, true]);
  assertEquals(results.map(({ seen }) => seen), ["that", "this"]);
  assertEquals(results[1]!.figures, { bytes: 3 });
  assertEquals(io.lines, [
    "progress: [1/2] wrong …",
    "FAIL wrong     expected: this; seen: that",
    "progress: [2/2] right …",
    "ok   right     this",
  ]);
});

Deno.test("nothing is tried after an essential step that failed", async () => {
  const io = new Recorder(true);
  const steps = [{ ...wrong, essential: true }, right];
  assertEquals((await runSteps(io, { json: true }, steps, NOTHING)).length, 1);
  assertEquals(io.lines, ["progress: [1/2] wrong …"]);
});

Deno.test("colours mark the word alone", async () => {
  const io = new Recorder(true);
  await runSteps(io, { json: false }, [right], NOTHING);
  assertEquals(io.lines.at(-1), "\x1b[32mok  \x1b[0m right     this");
});
