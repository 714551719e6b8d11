/**
 * A gateway under mixed load for as long as one wants to watch: memory, descriptors, flows, timers.
 *
 *     deno task soak --minutes N [--json]
 *
 * Streams both ways, single octets there and back, connects, questions, datagrams and clients of a
 * published port, all at once; after each minute the guest leaves in the middle of it and comes
 * back. Every ten seconds a line; at the end the slope of memory after the warm-up, and whether
 * everything is back where it began. Needs root, /dev/net/tun and a C compiler.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { emptyTally, Mix, PUBLISHED_PORT, type Tally } from "./soak_mix.ts";
import { inLab, type Lab, type Load, sleep } from "./support/lab.ts";
import { Report } from "./support/report.ts";

const SAMPLE_MS = 10_000;
const ROUND_MS = 60_000;
/** From so many minutes on there are guests enough for a slope. */
const SHORT_MINUTES = 4;
const FLOWS = 4_000;
const SETTLE_MS = 3_000;
const MIB = 1024 * 1024;

/** One line. */
interface Sample {
  seconds: number;
  rssMib: number;
  heapMib: number;
  externalMib: number;
  bufferMib: number;
  descriptors: number;
  tcpFlows: number;
  udpFlows: number;
  timers: number;
  relays: number;
  dials: number;
}

const COLUMNS: readonly [keyof Sample, string][] = [
  ["seconds", "s"],
  ["rssMib", "RSS MiB"],
  ["heapMib", "heap"],
  ["externalMib", "external"],
  ["bufferMib", "buffers"],
  ["descriptors", "fds"],
  ["tcpFlows", "TCP"],
  ["udpFlows", "UDP"],
  ["timers", "timers"],
  ["relays", "relays"],
  ["dials", "dials"],
];

async function sample(load: Load, startMs: number): Promise<Sample> {
  const figures = await load.figures();
  const { rssKib, descriptors } = await load.resources();
  const { tcpFlows, udpFlows, timers, relays, dials } = figures;
  return {
    seconds: Math.round((performance.now() - startMs) / 1000),
    rssMib: rssKib / 1024,
    heapMib: figures.heapUsedBytes / MIB,
    externalMib: figures.externalBytes / MIB,
    bufferMib: figures.bufferBytes / MIB,
    descriptors,
    tcpFlows,
    udpFlows,
    timers,
    relays,
    dials,
  };
}

function formatSample(line: Sample): string {
  return COLUMNS.map(([name]) => {
    const value = line[name];
    return (name.endsWith("Mib") ? value.toFixed(1) : String(value)).padStart(9);
  }).join("");
}

/** The slope of the line that fits best by least squares, in units of y an hour. */
export function slopePerHour(points: readonly { seconds: number; y: number }[]): number {
  const count = points.length;
  const meanX = points.reduce((sum, point) => sum + point.seconds, 0) / count;
  const meanY = points.reduce((sum, point) => sum + point.y, 0) / count;
  let product = 0;
  let square = 0;
  for (const { seconds, y } of points) {
    product += (seconds - meanX) * (y - meanY);
    square += (seconds - meanX) ** 2;
  }
  return square === 0 ? 0 : product / square * 3_600;
}

/** Samples until it is stopped. */
class Watch {
  readonly samples: Sample[] = [];
  readonly #load: Load;
  readonly #report: Report;
  readonly #startMs = performance.now();
  readonly #stop = Promise.withResolvers<void>();
  readonly #ended: Promise<void>;

  constructor(load: Load, report: Report) {
    this.#load = load;
    this.#report = report;
    report.say(COLUMNS.map(([, title]) => title.padStart(9)).join(""));
    this.#ended = this.#run();
    // A failure is thrown by `stop`; until then it must not end the process.
    this.#ended.catch(() => {});
  }

  async #run(): Promise<void> {
    let isOver = false;
    const stopped = this.#stop.promise.then(() => void (isOver = true));
    for (let turn = 1; !isOver; turn++) {
      const line = await sample(this.#load, this.#startMs);
      this.samples.push(line);
      this.#report.say(formatSample(line));
      const waitMs = this.#startMs + turn * SAMPLE_MS - performance.now();
      let timer: ReturnType<typeof setTimeout> | undefined;
      const waited = new Promise<void>((resolve) => timer = setTimeout(resolve, waitMs));
      await Promise.race([waited, stopped]);
      clearTimeout(timer);
    }
  }

  async stop(): Promise<void> {
    this.#stop.resolve();
    await this.#ended;
  }
}

async function soak(lab: Lab, report: Report, minutes: number): Promise<void> {
  const publishedPorts = [{ hostPort: 0, guestPort: PUBLISHED_PORT }];
  await using load = await lab.begin({ options: { hostLoopback: true, publishedPorts } });
  await sleep(SETTLE_MS);
  const startMs = performance.now();
  const before = await sample(load, startMs);
  const [publishedPort = 0] = (await load.figures()).publishedPorts;
  const tally = emptyTally();
  const watch = new Watch(load, report);
  for (let minute = 0; minute < minutes; minute++) {
    if (minute > 0) await load.join();
    const leftMs = startMs + (minute + 1) * ROUND_MS - performance.now();
    await new Mix(load, tally).run(Math.max(leftMs, ROUND_MS / 2), publishedPort);
  }
  await watch.stop();
  await load.join();
  await sleep(SETTLE_MS);
  const after = await sample(load, startMs);
  addMemory(report, watch.samples, minutes, before, after);
  addRemains(report, before, after);
  addWork(report, tally);
  await load.end();
}

type MemoryName = "rssMib" | "heapMib" | "externalMib";
type Point = Pick<Sample, "seconds" | MemoryName>;

/**
 * What the slope is taken of: the mean of each guest's minute after the first. Within a minute
 * flows only add up, and a line through such teeth would rise by itself. A run too short for that
 * has its samples after a third of the time.
 */
function warmPoints(samples: readonly Sample[], minutes: number): Point[] {
  if (minutes < SHORT_MINUTES) {
    return samples.filter((line) => line.seconds * 1000 >= minutes * ROUND_MS / 3);
  }
  const points: Point[] = [];
  for (let minute = 1; minute < minutes; minute++) {
    const lines = samples.filter((line) => Math.floor(line.seconds * 1000 / ROUND_MS) === minute);
    const mean = (name: keyof Point) =>
      lines.reduce((sum, line) => sum + line[name], 0) / lines.length;
    points.push({
      seconds: mean("seconds"),
      rssMib: mean("rssMib"),
      heapMib: mean("heapMib"),
      externalMib: mean("externalMib"),
    });
  }
  return points;
}

function addMemory(
  report: Report,
  samples: readonly Sample[],
  minutes: number,
  before: Sample,
  after: Sample,
): void {
  const points = warmPoints(samples, minutes);
  report.part(`memory, ${minutes} min; slopes through ${points.length} points after the warm-up`);
  const slope = (name: MemoryName) =>
    slopePerHour(points.map((line) => ({ seconds: line.seconds, y: line[name] })));
  report.add("resident, slope", slope("rssMib"), "MiB/h");
  report.add("heap in use, slope", slope("heapMib"), "MiB/h");
  report.add("outside the heap, slope", slope("externalMib"), "MiB/h");
  report.add("resident, most", Math.max(...samples.map((line) => line.rssMib)), "MiB");
  report.add("resident before", before.rssMib, "MiB");
  report.add("resident after", after.rssMib, "MiB");
}

function addRemains(report: Report, before: Sample, after: Sample): void {
  report.part("left when a new guest has come and done nothing");
  report.add("descriptors, more than before", after.descriptors - before.descriptors, "", {
    atMost: 0,
  });
  for (const name of ["tcpFlows", "udpFlows", "timers", "relays", "dials", "bufferMib"] as const) {
    report.add(name, after[name], "", { atMost: before[name] });
  }
}

function addWork(report: Report, tally: Tally): void {
  report.part("what was done meanwhile");
  report.add("bulk bytes", tally.megabits / 8, "MB");
  report.add("octets there and back", tally.turns, "");
  report.add("their p99 in the worst few seconds", tally.turnsP99Ms, "ms");
  for (const name of ["connects", "clients", "questions", "datagrams"] as const) {
    report.add(name, tally[name], "");
    report.add(`${name} that failed`, tally[`${name}Failed`], "", { exactly: 0 });
  }
}

if (import.meta.main) {
  const args = parseArgs(Deno.args, {
    string: ["minutes"],
    boolean: ["json"],
    default: { minutes: "10" },
  });
  const minutes = Number(args.minutes);
  if (!Number.isInteger(minutes) || minutes < 1) {
    console.error("soak: --minutes is a whole number from 1 on");
    Deno.exit(2);
  }
  const report = new Report(Boolean(args.json));
  await inLab(FLOWS, (lab) => soak(lab, report, minutes));
  report.finish();
  Deno.exit(report.allMet ? 0 : 1);
}
