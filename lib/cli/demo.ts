/**
 * `demo`: the shipped runtime and a guest in one process, joined by a real socket and the real
 * framing; each step says what was seen. Needs neither root nor the internet, and opens nothing but
 * loopback sockets.
 *
 * Exits 0 only where every step was right. A step that was not names what was expected and what
 * was seen, and the others go on; none takes longer than `STEP_MS`.
 *
 * @module
 */
import { formatEndpoint } from "../config/endpoint.ts";
import { EmbeddedGuest } from "../guest/embedded_guest.ts";
import { createLogger } from "../host/log.ts";
import { isGranted, permissionError } from "../host/permissions.ts";
import { serveVirtioNetwork, type VirtioNetworkServer } from "../server.ts";
import { DemoHost } from "./demo_host.ts";
import { DEMO_STEPS, type DemoSeen, type DemoStep, type DemoWorld } from "./demo_steps.ts";
import { Exit } from "./exit.ts";
import type { CliIo } from "./io.ts";

/** What came of a step, as the JSON document has it. */
export interface DemoResult {
  readonly name: string;
  readonly ok: boolean;
  readonly elapsedMs: number;
  readonly expected: string;
  readonly seen: string;
  readonly figures?: Readonly<Record<string, number>>;
}

/** As the permission has them. */
const LOOPBACKS = ["127.0.0.1", "[::1]"] as const;
const GUEST_PORT = 80;
/** Longer than the guest takes to give up, which says more. */
const STEP_MS = 35_000;
const PROGRESS_MS = 100;
const NAME_WIDTH = Math.max(...DEMO_STEPS.map(({ name }) => name.length)) + 2;

/**
 * Runs the demo.
 *
 * @param io Where to print.
 * @param options Whether to print one JSON document instead of lines.
 * @returns The exit code.
 */
export async function runDemo(io: CliIo, options: { readonly json: boolean }): Promise<number> {
  if (!LOOPBACKS.every((host) => isGranted({ name: "net", host }))) {
    throw permissionError("use loopback sockets", `--allow-net=${LOOPBACKS.join(",")}`);
  }
  const startMs = performance.now();
  await using host = await DemoHost.start();
  await using server = await startServer(io, host);
  const guest = await attachGuest(server);
  const endpoint = formatEndpoint(server.endpoint);
  if (!options.json) io.out(`gateway on ${endpoint}, an embedded guest attached to it`);
  let results: DemoResult[];
  try {
    const runtime = server.guest;
    if (runtime === null) throw new Error("the gateway has no guest");
    const world = { host, server, runtime, guest, guestPort: GUEST_PORT };
    results = await runSteps(io, options, DEMO_STEPS, world);
  } finally {
    await guest.close();
  }
  const elapsedMs = Math.round(performance.now() - startMs);
  const right = results.filter(({ ok }) => ok).length;
  const ok = right === DEMO_STEPS.length;
  if (options.json) {
    io.out(JSON.stringify({ ok, elapsedMs, endpoint, steps: results }, null, 2));
  } else {
    const count = ok ? `all ${right}` : `${right} of ${DEMO_STEPS.length}`;
    io.out(`${count} steps right in ${(elapsedMs / 1000).toFixed(1)} s`);
  }
  return ok ? Exit.Done : Exit.Failed;
}

/**
 * Runs steps one after the other and prints each as it ends; one that fails stops only those that
 * can't work without it.
 *
 * @param io Where to print.
 * @param options Whether the results are printed later, as JSON.
 * @param steps The steps.
 * @param world What they work with.
 * @returns What came of those that were tried.
 */
export async function runSteps(
  io: CliIo,
  options: { readonly json: boolean },
  steps: readonly DemoStep[],
  world: Omit<DemoWorld, "progress">,
): Promise<DemoResult[]> {
  const results: DemoResult[] = [];
  for (const step of steps) {
    const result = await runStep(io, step, world, `[${results.length + 1}/${steps.length}]`);
    results.push(result);
    if (!options.json) sayResult(io, result);
    if (!result.ok && step.essential) break;
  }
  return results;
}

function startServer(io: CliIo, host: DemoHost): Promise<VirtioNetworkServer> {
  return serveVirtioNetwork({ transport: "tcp", hostname: LOOPBACKS[0], port: 0 }, {
    hostLoopback: true,
    dns: { upstreams: [`${LOOPBACKS[0]}:${host.resolverPort}`] },
    publishedPorts: [{ hostPort: 0, guestPort: GUEST_PORT, bind: [LOOPBACKS[0]] }],
    logger: createLogger({
      level: "error", // its refusals are a step of their own
      format: "text",
      color: io.color,
      write: (line) => io.err(line),
    }),
  });
}

/** Connects as a VMM would, and waits until the gateway has taken the connection. */
async function attachGuest(server: VirtioNetworkServer): Promise<EmbeddedGuest> {
  if (server.endpoint.transport !== "tcp") throw new Error("the demo's endpoint is TCP");
  const { hostname, port } = server.endpoint;
  const guest = EmbeddedGuest.attach(await Deno.connect({ hostname, port }));
  const endMs = performance.now() + STEP_MS;
  while (server.guest === null && performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return guest;
}

async function runStep(
  io: CliIo,
  step: DemoStep,
  world: Omit<DemoWorld, "progress">,
  place: string,
): Promise<DemoResult> {
  const { name, expected } = step;
  const show = (text: string): void => {
    io.progress(`${place} ${name} ${text}`);
  };
  show("…");
  const startMs = performance.now();
  let shownMs = startMs;
  const progress = (text: string): void => {
    const nowMs = performance.now();
    if (nowMs - shownMs < PROGRESS_MS) return;
    shownMs = nowMs;
    show(text);
  };
  const result = (ok: boolean, seen: DemoSeen): DemoResult => ({
    name,
    ok,
    elapsedMs: Math.round(performance.now() - startMs),
    expected,
    seen: seen.text,
    ...(seen.figures === undefined ? {} : { figures: seen.figures }),
  });
  try {
    return result(true, await within(step.run({ ...world, progress })));
  } catch (error) {
    return result(false, { text: error instanceof Error ? error.message : String(error) });
  } finally {
    io.progress("");
  }
}

async function within<T>(work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing in ${STEP_MS / 1000} s`)), STEP_MS);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

function sayResult(io: CliIo, { name, ok, seen, expected }: DemoResult): void {
  const word = ok ? "ok  " : "FAIL";
  const shown = io.color ? `\x1b[${ok ? 32 : 31}m${word}\x1b[0m` : word;
  const line = `${shown} ${name.padEnd(NAME_WIDTH)}`;
  io.out(ok ? `${line}${seen}` : `${line}expected: ${expected}; seen: ${seen}`);
}
