/**
 * A fleet of gateways on one engine: how fast a policy is in force at all of them, what a gateway that
 * is killed leaves behind, what being in a fleet costs, and what guests, audit and memory notice of an
 * engine that fails.
 *
 *     deno task fleet [--gateways 50] [--nodes 1|3] [--changes N] [--seconds N] [--outage N]
 *                     [--still] [--json FILE]
 *
 * Each gateway has a server, a link and a connection to the engine of its own, and a guest with a live
 * flow through a real socket. A dozen share a process, as a machine could not hold one process for
 * each; one has a process alone, and beside it runs the same outside of any fleet, which shows what
 * the fleet's part costs. With one server that is killed for `--outage` seconds (0 leaves it out), or
 * held still with `--still` as well; with three the one that leads the audit is killed, and the one
 * that leads the policy is parted from the others. All traffic stays on the loopback. The exit code is
 * 1 where a goal is missed.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { threadTimes, usedSeconds } from "./compare_process.ts";
import { auditPart, Faults } from "./fleet_faults.ts";
import { hasProgram } from "../tests/support/programs.ts";
import { BenchEngine, BenchFleet, Gateways, Operator, sleep } from "./fleet_place.ts";
import { epochMs } from "./support/fleet_program.ts";
import { Report } from "./support/report.ts";

const PER_PROCESS = 12;
const PAUSE_MS = 50;
/** After so long what the start took is given back. */
const SETTLE_MS = 8_000;
const SOLO = "solo";
const MIB = 1024 * 1024;

/** What all gateways refuse: nobody is there. */
const DOCUMENT = "deny:\n  - 10.203.0.0/16\n";

interface Options {
  gateways: number;
  nodes: number;
  changes: number;
  seconds: number;
  outage: number;
  still: boolean;
}

/** The document with a rule that another one has not. */
function documentOf(number: number): string {
  return `${DOCUMENT}  - 10.99.${number >> 8}.${number & 0xff}\n`;
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]!;
}

/** What a run works with. */
interface Run {
  readonly options: Options;
  readonly report: Report;
  readonly engine: BenchEngine;
  readonly operator: Operator;
  readonly fleet: BenchFleet;
  /** The gateway with a process of its own, and the one outside of the fleet. */
  readonly solo: Gateways;
  readonly outside: Gateways;
}

async function startAll(
  { gateways }: Options,
  engine: BenchEngine,
  fleet: BenchFleet,
  dir: string,
): Promise<{ solo: Gateways; outside: Gateways }> {
  const place = { servers: engine.urls, dir, pauseMs: PAUSE_MS };
  const outside = await Gateways.start({ ...place, names: ["outside"], isMember: false });
  const solo = await Gateways.start({ ...place, names: [SOLO], isMember: true });
  fleet.processes.push(solo);
  const names = Array.from({ length: gateways - 1 }, (_, i) => `g${i}`);
  for (let at = 0; at < names.length; at += PER_PROCESS) {
    const some = names.slice(at, at + PER_PROCESS);
    fleet.processes.push(await Gateways.start({ ...place, names: some, isMember: true }));
  }
  return { solo, outside };
}

async function policyPart({ options, report, operator, fleet }: Run): Promise<void> {
  const all: number[] = [];
  const last: number[] = [];
  const puts: number[] = [];
  for (let number = 1; number <= options.changes; number++) {
    const startMs = epochMs();
    const revision = await operator.put(documentOf(number));
    puts.push(epochMs() - startMs);
    const times = (await fleet.inForce(revision)).map((atMs) => atMs - startMs);
    all.push(...times);
    last.push(Math.max(...times));
    await sleep(500 + 500 * Math.random());
  }
  all.sort((a, b) => a - b);
  last.sort((a, b) => a - b);
  report.part(
    `a policy, from put until in force: ${options.changes} changes, each at all gateways`,
  );
  report.add("a gateway, median", quantile(all, 0.5), "ms");
  report.add("a gateway, p99", quantile(all, 0.99), "ms");
  report.add("all gateways, median", quantile(last, 0.5), "ms");
  report.add("all gateways, most", last.at(-1)!, "ms", { atMost: 1_000 });
  report.add("until the engine has stored it, most", Math.max(...puts), "ms");
}

async function costPart({ options, report, engine, fleet, solo, outside }: Run): Promise<void> {
  const { seconds } = options;
  const pids = [solo.pid, outside.pid, ...engine.nodes.map(({ pid }) => pid)];
  const timesOfAll = () => Promise.all(pids.map((pid) => threadTimes(pid)));
  const before = await engine.counts();
  const timesBefore = await timesOfAll();
  const startMs = performance.now();
  await sleep(seconds * 1_000);
  const after = await engine.counts();
  const timesAfter = await timesOfAll();
  const passed = (performance.now() - startMs) / 1_000;
  const [soloCpu = 0, outsideCpu = 0, ...engineCpu] = timesAfter.map((times, i) =>
    1_000 * usedSeconds(timesBefore[i]!, times) / passed
  );
  const [inside, without] = await Promise.all([solo, outside].map(async (each) => {
    await each.ask("collect");
    return await each.figures();
  }));
  const more = (name: "rssBytes" | "heapBytes") => (inside![name] - without![name]) / MIB;
  const perSecond = (name: keyof typeof after) => (after[name] - before[name]) / passed;
  report.part(`at rest, ${fleet.processes.flatMap(({ names }) => names).length} gateways`);
  report.add("messages to the engine", perSecond("inMessages"), "/s");
  report.add("messages from the engine", perSecond("outMessages"), "/s");
  report.add("octets to the engine", perSecond("inBytes") / 1_000, "kB/s");
  report.add("octets from the engine", perSecond("outBytes") / 1_000, "kB/s");
  report.add("the engine's CPU", engineCpu.reduce((a, b) => a + b, 0), "ms/s");
  report.add("a gateway's CPU for the fleet", soloCpu - outsideCpu, "ms/s");
  report.add("a gateway's memory for the fleet", more("rssBytes"), "MiB");
  report.add("of that, heap", more("heapBytes"), "MiB");
}

async function namePart({ report, fleet, solo }: Run): Promise<void> {
  await fleet.all((each) => each.ask(`known ${SOLO}`));
  fleet.processes.splice(fleet.processes.indexOf(solo), 1);
  const killedMs = epochMs();
  await solo.kill();
  const answers = await fleet.all((each) => each.ask<number[]>(`gone ${SOLO}`));
  const times = answers.flat().map((atMs) => atMs - killedMs).sort((a, b) => a - b);
  report.part("a gateway is killed");
  report.add("until a guest of others no longer gets its name, median", quantile(times, 0.5), "ms");
  report.add("the same, most", times.at(-1)!, "ms", { atMost: 10_000 });
}

async function measure(run: Run): Promise<void> {
  const { options, report, operator, fleet } = run;
  const revision = await operator.put(documentOf(0));
  await fleet.inForce(revision);
  await fleet.until((each) => each.server !== null && each.known === options.gateways);
  await sleep(SETTLE_MS);
  await costPart(run);
  await policyPart(run);
  await namePart(run);
  if (options.outage > 0) await new Faults(run).run();
  await auditPart(run);
  report.say("");
}

async function main(options: Options): Promise<Report> {
  const report = new Report(false);
  const dir = await Deno.makeTempDir({ prefix: "vgw-fleet-bench-" });
  try {
    await using engine = await BenchEngine.start(options.nodes);
    await using operator = await Operator.start(engine);
    // Nothing is reached before there is one.
    await operator.put(DOCUMENT);
    await using fleet = new BenchFleet();
    const startMs = performance.now();
    const { solo, outside } = await startAll(options, engine, fleet, dir);
    await using _ = outside;
    const seconds = (performance.now() - startMs) / 1_000;
    report.say(`${options.gateways} gateways in ${seconds.toFixed(0)} s`);
    await measure({ options, report, engine, operator, fleet, solo, outside });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
  report.finish();
  return report;
}

function whole(name: string, text: unknown, least: number): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= least) return number;
  console.error(`fleet: --${name} is a whole number from ${least} on`);
  Deno.exit(2);
}

if (import.meta.main) {
  const args = parseArgs(Deno.args, {
    string: ["gateways", "nodes", "changes", "seconds", "outage", "json"],
    boolean: ["still"],
    default: { gateways: "50", nodes: "1", changes: "20", seconds: "20", outage: "30" },
  });
  const nodes = whole("nodes", args.nodes, 1);
  if (nodes !== 1 && nodes !== 3) {
    console.error("fleet: --nodes is 1 or 3");
    Deno.exit(2);
  }
  if (!await hasProgram("nats-server")) {
    console.error("fleet: there is no nats-server on the PATH; Debian has it as nats-server");
    Deno.exit(2);
  }
  const report = await main({
    gateways: whole("gateways", args.gateways, 2),
    nodes,
    changes: whole("changes", args.changes, 1),
    seconds: whole("seconds", args.seconds, 1),
    outage: whole("outage", args.outage, 0),
    still: args.still === true,
  });
  if (typeof args.json === "string") {
    await Deno.writeTextFile(args.json, JSON.stringify({ parts: report.parts }, null, 2) + "\n");
  }
  Deno.exit(report.allMet ? 0 : 1);
}
