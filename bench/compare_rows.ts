/**
 * What is compared, row by row: which traffic runs, who counts it, and what the count means.
 *
 * The end that receives counts, over a window that begins when the traffic has run for a while; the
 * gateway's CPU time is taken over the same window.
 *
 * @module
 */
import type { BackgroundProgram } from "../tests/guest/program.ts";
import type { Attached } from "./compare_contenders.ts";
import { begin, type Counts, counts, type Place, PORTS, PUBLISHED } from "./compare_place.ts";
import { role, UDP_PUSH } from "./compare_place.ts";
import { cpuSeconds, threadTimes, usedSeconds } from "./compare_process.ts";

const WARM_MS = 500;
const SETTLE_STEP_MS = 250;
const SETTLE_LEAST_SECONDS = 0.03;
const SETTLE_STEPS = 20;
const IDLE_SETTLE_MS = 2_000;
const IDLE_MS = 5_000;
const STALLED_GBITS = 0.01;
const QUESTIONS_IN_FLIGHT = 64;
const CPU_LEAST_SECONDS = 0.05; // of what is counted in steps of 10 ms, less says nothing

/** What a row's figure is, and by what its CPU time is told. */
export type Unit = "Gbit/s" | "1/s" | "ms" | "MiB" | "%";

/** What was measured once. */
export interface Figure {
  /** In the row's unit. */
  value: number;
  /** Of the gateway: seconds for each GiB of bulk, microseconds for each unit of all else. */
  cpu?: number;
  p50Us?: number;
  p99Us?: number;
}

/** A row of the comparison. */
export interface Row {
  id: string;
  title: string;
  unit: Unit;
  /** MTU of the gateway that it is measured with. */
  mtu: number;
  /** Whether it comes before all others, at a gateway that has not done anything. */
  isFirst?: boolean;
  measure(bench: Bench): Promise<Figure>;
}

/** Where a row is measured. */
export interface Bench {
  place: Place;
  attached: Attached;
  seconds: number;
  /** How long a row may go on that has counted too little, for the machine may stall; not at all when absent. */
  patienceMs?: number;
}

/** Waits. */
function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Counts for the length of a window, with the gateway's CPU time beside it. */
async function watch(
  { attached, seconds, patienceMs = 0 }: Bench,
  counter: BackgroundProgram,
  isStalled: (counted: Counts) => boolean,
): Promise<Counts & { cpuSeconds: number }> {
  const { pid } = attached.gateway;
  await sleep(WARM_MS);
  const from = await cpuSeconds(pid);
  await begin(counter);
  await sleep(seconds * 1000);
  let counted = await counts(counter);
  const endMs = performance.now() + patienceMs;
  while (isStalled(counted) && performance.now() < endMs) {
    await sleep(SETTLE_STEP_MS);
    counted = await counts(counter);
  }
  return { ...counted, cpuSeconds: await cpuSeconds(pid) - from };
}

/** Waits until the gateway has done with what was left of its traffic, for five seconds at most. */
async function settle({ attached: { gateway } }: Bench): Promise<void> {
  let used = await cpuSeconds(gateway.pid);
  for (let step = 0; step < SETTLE_STEPS && !gateway.ended; step++) {
    await sleep(SETTLE_STEP_MS);
    const before = used;
    used = await cpuSeconds(gateway.pid);
    if (used - before < SETTLE_LEAST_SECONDS) return;
  }
}

/** Runs traffic for as long as it is watched, whatever happens. */
async function during<T>(
  bench: Bench,
  starting: Promise<BackgroundProgram>,
  watching: (traffic: BackgroundProgram) => Promise<T>,
): Promise<T> {
  const traffic = await starting;
  try {
    return await watching(traffic);
  } finally {
    await bench.place.owner.end(traffic);
    await settle(bench);
  }
}

/** CPU time for each of so many units, where enough was used to tell. */
function cpuEach(usedSeconds: number, units: number, scale = 1): { cpu?: number } {
  return usedSeconds < CPU_LEAST_SECONDS ? {} : { cpu: usedSeconds * scale / units };
}

function gigabitsOf({ bytes, seconds }: Counts): number {
  return bytes * 8 / seconds / 1e9;
}

function isNone({ count }: Counts): boolean {
  return count === 0;
}

async function bulkFigure(bench: Bench, counter: BackgroundProgram): Promise<Figure> {
  const isStalled = (counted: Counts) => gigabitsOf(counted) < STALLED_GBITS;
  const counted = await watch(bench, counter, isStalled);
  const { bytes, cpuSeconds } = counted;
  const gigabits = gigabitsOf(counted);
  if (isStalled(counted)) throw new Error(`stalled: less than ${STALLED_GBITS} Gbit/s`);
  return { value: gigabits, ...cpuEach(cpuSeconds, bytes / 2 ** 30) };
}

async function turnsFigure(bench: Bench, counter: BackgroundProgram): Promise<Figure> {
  const counted = await watch(bench, counter, isNone);
  const { count, failed, seconds, cpuSeconds, p50Us, p99Us } = counted;
  if (isNone(counted)) throw new Error(`none of ${failed} was answered`);
  return { value: count / seconds, ...cpuEach(cpuSeconds, count, 1e6), p50Us, p99Us };
}

async function datagramsFigure(bench: Bench, counter: BackgroundProgram): Promise<Figure> {
  const counted = await watch(bench, counter, isNone);
  const { count, seconds, cpuSeconds } = counted;
  if (isNone(counted)) throw new Error("stalled: no datagram arrived");
  return { value: count / seconds, ...cpuEach(cpuSeconds, count, 1e6) };
}

/** Bulk from the guest: the sink on the host's side counts. */
function upload(bench: Bench, streams: number): Promise<Figure> {
  const { place, attached } = bench;
  const traffic = attached.streams("push", streams, PORTS.sink);
  return during(bench, traffic, () => bulkFigure(bench, place.servers.get("sink")!));
}

/** Bulk to the guest, which counts. */
function download(bench: Bench, streams: number): Promise<Figure> {
  const traffic = bench.attached.streams("pull", streams, PORTS.source);
  return during(bench, traffic, (traffic) => bulkFigure(bench, traffic));
}

/** Turns of one kind from the guest to a server on the host's side. */
function turns(bench: Bench, kind: "rr" | "crr"): Promise<Figure> {
  const traffic = bench.attached.streams(kind, PORTS.echo);
  return during(bench, traffic, (traffic) => turnsFigure(bench, traffic));
}

/** Turns while the guest downloads on another stream, whose CPU time can't be told from theirs. */
function turnsBesideBulk(bench: Bench): Promise<Figure> {
  const bulk = bench.attached.streams("pull", 1, PORTS.source);
  return during(bench, bulk, async () => {
    const { cpu: _, ...figure } = await turns(bench, "rr");
    return figure;
  });
}

function questions(bench: Bench): Promise<Figure> {
  const { place, attached: { guest, network } } = bench;
  const traffic = place.inGuest(guest, ["ask", QUESTIONS_IN_FLIGHT, network.dns, 53]);
  return during(bench, traffic, (traffic) => turnsFigure(bench, traffic));
}

function datagramsUp(bench: Bench): Promise<Figure> {
  const { place, attached: { guest, network } } = bench;
  const traffic = place.inGuest(guest, [...UDP_PUSH, network.host, PORTS.udpSink]);
  return during(bench, traffic, () => datagramsFigure(bench, place.servers.get("udpSink")!));
}

function datagramsDown(bench: Bench): Promise<Figure> {
  const { place, attached: { guest, network } } = bench;
  const traffic = place.inGuest(guest, ["udp-pull", network.host, PORTS.udpSource]);
  return during(bench, traffic, (traffic) => datagramsFigure(bench, traffic));
}

/** A server in the guest behind a published port, and a client on the host's side. */
function published(
  bench: Bench,
  port: keyof typeof PUBLISHED,
  client: (string | number)[],
  watching: (server: BackgroundProgram, client: BackgroundProgram) => Promise<Figure>,
): Promise<Figure> {
  const { place, attached: { guest } } = bench;
  return during(bench, place.inGuest(guest, [role(port), PORTS[port]]), (server) => {
    const traffic = place.onHost(...client, "127.0.0.1", PUBLISHED[port]);
    return during(bench, traffic, (traffic) => watching(server, traffic));
  });
}

/** A guest that is attached and silent. */
async function idle({ attached: { gateway: { pid } } }: Bench): Promise<Figure> {
  await sleep(IDLE_SETTLE_MS);
  const before = await threadTimes(pid), fromMs = performance.now();
  await sleep(IDLE_MS);
  const seconds = (performance.now() - fromMs) / 1000;
  return { value: 100 * usedSeconds(before, await threadTimes(pid)) / seconds };
}

function bulkRows(mtu: number, streams: number): Row[] {
  const many = streams === 1 ? "1 stream" : `${streams.toLocaleString("en")} streams`;
  const suffix = `${streams === 1 ? "" : streams}@${mtu}`;
  const common = { unit: "Gbit/s", mtu } as const;
  return [
    {
      id: `up${suffix}`,
      title: `guest → host, MTU ${mtu}, ${many}`,
      ...common,
      measure: (bench) => upload(bench, streams),
    },
    {
      id: `down${suffix}`,
      title: `host → guest, MTU ${mtu}, ${many}`,
      ...common,
      measure: (bench) => download(bench, streams),
    },
  ];
}

const SMALL = { unit: "1/s", mtu: 1_500 } as const;
const LARGE = { unit: "Gbit/s", mtu: 65_520 } as const;

/** All rows that need a guest, in the order of the table. */
export const ROWS: readonly Row[] = [
  ...[1_500, 9_000, 65_520].flatMap((mtu) => [...bulkRows(mtu, 1), ...bulkRows(mtu, 8)]),
  ...bulkRows(65_520, 1_000),
  {
    id: "rr",
    title: "request/response, 1 octet",
    ...SMALL,
    measure: (bench) => turns(bench, "rr"),
  },
  {
    id: "crr",
    title: "connect, request/response, close",
    ...SMALL,
    measure: (bench) => turns(bench, "crr"),
  },
  {
    id: "rrbulk",
    title: "request/response beside a download",
    ...SMALL,
    measure: turnsBesideBulk,
  },
  { id: "dns", title: "DNS questions, 64 in flight", ...SMALL, measure: questions },
  { id: "udpup", title: "UDP guest → host, 1,200 octets", ...SMALL, measure: datagramsUp },
  { id: "udpdown", title: "UDP host → guest, 1,200 octets", ...SMALL, measure: datagramsDown },
  {
    id: "pubin",
    title: "published port, host → guest, MTU 65520",
    ...LARGE,
    measure: (bench) =>
      published(bench, "sink", ["push", 1], (server) => bulkFigure(bench, server)),
  },
  {
    id: "pubout",
    title: "published port, guest → host, MTU 65520",
    ...LARGE,
    measure: (bench) =>
      published(bench, "source", ["pull", 1], (_, client) => bulkFigure(bench, client)),
  },
  {
    id: "pubcrr",
    title: "published port, connect to close",
    ...SMALL,
    measure: (bench) =>
      published(bench, "echo", ["crr"], (_, client) => turnsFigure(bench, client)),
  },
  {
    id: "idle",
    title: "CPU, idle with a guest",
    unit: "%",
    mtu: 1_500,
    isFirst: true,
    measure: idle,
  },
];

/** Rows of the process itself, which no traffic is made for. */
export const PROCESS_ROWS: readonly Omit<Row, "measure" | "mtu">[] = [
  { id: "startup", title: "start until ready", unit: "ms" },
  { id: "memory", title: "peak memory over all rows", unit: "MiB" },
];

/** Whether less is better. */
export function isLessBetter(unit: Unit): boolean {
  return unit === "ms" || unit === "MiB" || unit === "%";
}
