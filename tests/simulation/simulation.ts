/**
 * A whole world from one seed: up to three guests with their gateways, which share one pool of
 * buffers and one clock, bad links, programs in the guests, and hosts of every kind.
 *
 * It runs until every program has ended, then until every table of every gateway is empty by
 * itself, then ends the guests; what is wrong at any time is a fault. Steps and virtual time are
 * bounded, so what never comes to rest is a fault too. Nothing of the process is asked, neither
 * time nor dice, so the same seed gives the same trace.
 *
 * @module
 */
import { MAX_BLOCK_BYTES } from "../../lib/stack/buffer_pool.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { Dice } from "../support/dice.ts";
import { poisonedPool } from "../support/poisoned_pool.ts";
import { VirtualHost } from "../support/virtual_host.ts";
import { NetworkRun, type StreamTally } from "./network_run.ts";
import { describe, makePlan, type Plan } from "./plan.ts";
import { type LineSink, Trace } from "./trace.ts";

/** What a run may differ in. */
export interface SimulateOptions {
  /** Takes the log. */
  readonly sink?: LineSink;
  /** Changes the machine before it is used: for tests of the simulation itself. */
  readonly tamper?: (host: VirtualHost) => void;
  /** Another plan than the seed's. */
  readonly plan?: Plan;
}

/** What became of a seed. */
export interface Outcome {
  readonly seed: number;
  /** What is wrong; empty where nothing is. */
  readonly faults: readonly string[];
  /** The trace as one number. */
  readonly digest: string;
  readonly steps: number;
  readonly virtualMs: number;
  /** The plan in a few words. */
  readonly description: string;
  readonly tally: Tally;
}

/** What a run came to: says whether it tried anything. */
export interface Tally extends StreamTally {
  /** Frames that arrived, and what programs said. */
  events: number;
  /** Buffers that a flow gave up while the host still worked on them. */
  lateReturns: number;
}

/** Adds up what runs came to. */
export function addTally(sum: Tally, tally: Tally): void {
  for (const key of Object.keys(tally) as (keyof Tally)[]) sum[key] += tally[key];
}

/** A sum to begin with. */
export function emptyTally(): Tally {
  return { streams: 0, whole: 0, cut: 0, returns: 0, bytes: 0, events: 0, lateReturns: 0 };
}

/** Longest virtual time for the programs, and for what they leave to end by itself. */
const PROGRAMS_MS = 5_000_000;
const EMPTY_MS = 1_500_000;
const FAULTS_MAX = 20;
const GUEST_MEMORY_BYTES = 64 * 1024 * 1024;

/** Guests' memories: made once, since memory that was touched never goes back. */
const guestMemories: FrameMemory[] = [];

/** Runs a seed. */
export async function simulate(seed: number, options: SimulateOptions = {}): Promise<Outcome> {
  const plan = options.plan ?? makePlan(seed);
  const dice = new Dice(~seed);
  const host = new VirtualHost({ seed: dice.word() });
  options.tamper?.(host);
  const trace = new Trace(host.now, options.sink ?? null);
  const faults: string[] = [];
  const startMs = host.now();
  const pool = poisonedPool();
  const { usedBytes, lentBlocks, lateReturns } = pool;
  const fault = (who: string, text: string) => {
    if (faults.length < FAULTS_MAX) faults.push(`${who}: ${text}`);
    trace.event(who, `✗ ${text}`);
  };
  const networks = plan.networks.map((network, i) => {
    const memory = guestMemories[i] ??= new FrameMemory(GUEST_MEMORY_BYTES);
    return new NetworkRun(network, { host, pool, trace, fault }, dice.fork(), memory);
  });
  try {
    await run(host, networks, fault);
    if (pool.usedBytes !== usedBytes) fault("pool", `${pool.usedBytes - usedBytes} bytes are lost`);
    if (pool.lentBlocks !== lentBlocks) fault("pool", "blocks are still lent");
    if (host.openSockets !== 0) fault("host", `${host.openSockets} sockets are open`);
    if (host.timers !== 0) fault("host", `${host.timers} timers run`);
    if (host.dialing !== 0) fault("host", `${host.dialing} connects are under way`);
  } catch (error) {
    const under = networks.map((network) => `${network.plan.name} ${network.underWay}`);
    fault("simulation", `${(error as Error).stack ?? error}; under way: ${under.join("; ")}`);
  }
  const tally = emptyTally();
  for (const network of networks) addTally(tally, { ...emptyTally(), ...network.tally });
  tally.events = trace.events;
  tally.lateReturns = pool.lateReturns - lateReturns;
  return {
    seed,
    faults,
    digest: trace.digest,
    steps: host.clock.steps,
    virtualMs: host.now() - startMs,
    description: describe(plan),
    tally,
  };
}

async function run(
  host: VirtualHost,
  networks: readonly NetworkRun[],
  fault: (who: string, text: string) => void,
): Promise<void> {
  const { clock } = host;
  const pool = poisonedPool();
  const { usedBytes } = pool;
  for (const network of networks) network.start();
  await clock.until(
    "all programs end",
    () => networks.every((network) => network.isDone),
    PROGRAMS_MS,
  );
  await clock.until(
    "all tables are empty",
    () => networks.every((network) => network.leftovers === null),
    EMPTY_MS,
  );
  // An arena is made of the largest blocks; anything smaller belongs to a flow.
  if ((pool.usedBytes - usedBytes) % MAX_BLOCK_BYTES !== 0) {
    fault("pool", "networks without a flow hold buffers");
  }
  for (const network of networks) network.judge();
  const ends = Promise.all(networks.map((network) => network.end()));
  let isEnded = false;
  ends.then(() => isEnded = true);
  await clock.until("all networks end", () => isEnded, EMPTY_MS);
  await clock.run(0);
}
