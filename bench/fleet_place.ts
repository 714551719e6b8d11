/**
 * What the fleet's figures are taken of: an engine, processes with gateways, and the operator.
 *
 * @module
 */
import { Kvm } from "@nats-io/kv";
import type { NatsConnection } from "@nats-io/nats-core";
import { connectEngine } from "../lib/fleet/engine_transport.ts";
import { FLEET_KEY, policyBucket } from "../lib/fleet/names.ts";
import { provision } from "../lib/fleet/provision.ts";
import { BackgroundProgram } from "../tests/guest/program.ts";
import { NatsCluster, NatsServer } from "../tests/support/nats_server.ts";
import type { Wires } from "../tests/support/nats_wires.ts";
import type {
  FleetProgramOptions,
  GatewayFigures,
  InForce,
  ProcessFigures,
} from "./support/fleet_program.ts";

const PROGRAM = new URL("./support/fleet_program.ts", import.meta.url).pathname;
const START_MS = 120_000;
const ANSWER_MS = 60_000;
const TRIES = 100;
const AGAIN_MS = 200;

/** The engine tells of itself at a port of its own. */
const MONITOR = `http: "127.0.0.1:-1"\n`;

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A process with gateways. */
export class Gateways implements AsyncDisposable {
  readonly #program: BackgroundProgram;
  readonly names: readonly string[];
  #asking: Promise<unknown> = Promise.resolve();

  private constructor(program: BackgroundProgram, names: readonly string[]) {
    this.#program = program;
    this.names = names;
  }

  /** Starts one; it is ready when its guests' flows go. */
  static async start(options: FleetProgramOptions): Promise<Gateways> {
    const words = [Deno.execPath(), "run", "--no-prompt", "--unstable-net", "--allow-net"];
    words.push("--allow-read", "--allow-write", "--v8-flags=--expose-gc");
    words.push(PROGRAM, JSON.stringify(options));
    const program = new BackgroundProgram(words);
    try {
      await program.line(/^ready$/, 0, START_MS);
    } catch (error) {
      await program.end("SIGKILL");
      throw error;
    }
    return new Gateways(program, options.names);
  }

  get pid(): number {
    return this.#program.pid;
  }

  /** Asks it something; one question at a time. */
  ask<T>(command: string): Promise<T> {
    const answer = this.#asking.then(async () => {
      const from = this.#program.lines.length;
      await this.#program.send(`${command}\n`);
      const line = await this.#program.line(/^\{"answer":/, from, ANSWER_MS);
      return JSON.parse(line).answer as T;
    });
    this.#asking = answer.catch(() => {});
    return answer;
  }

  figures(): Promise<ProcessFigures> {
    return this.ask("figures");
  }

  /** When each of its gateways had a revision in force; `null` where one has not. */
  inForce(revision: number): number[] | null {
    const lines = this.#program.lines.filter((line) => line.startsWith('{"name":'));
    const all = lines.map((line) => JSON.parse(line) as InForce);
    const times = this.names.map((name) => {
      return all.find((each) => each.name === name && each.revision >= revision)?.atMs;
    });
    return times.includes(undefined) ? null : times as number[];
  }

  async kill(): Promise<void> {
    await this.#program.end("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** What the engine has counted. */
export interface EngineCounts {
  readonly inMessages: number;
  readonly outMessages: number;
  readonly inBytes: number;
  readonly outBytes: number;
}

/** An engine of one server or three. */
export class BenchEngine implements AsyncDisposable {
  readonly nodes: readonly NatsServer[];
  readonly #whole: AsyncDisposable;
  readonly wires: Wires | null;

  private constructor(whole: NatsServer | NatsCluster) {
    this.#whole = whole;
    this.nodes = whole instanceof NatsCluster ? whole.nodes : [whole];
    this.wires = whole instanceof NatsCluster ? whole.wires : null;
  }

  static async start(nodes: number): Promise<BenchEngine> {
    const options = { config: MONITOR };
    return new BenchEngine(
      nodes === 1
        ? await NatsServer.start(options)
        : await NatsCluster.start(nodes, { ...options, wires: true }),
    );
  }

  get urls(): string[] {
    return this.nodes.map(({ url }) => url);
  }

  /** Of all its servers, what passes between them too. */
  async counts(): Promise<EngineCounts> {
    const sum = { inMessages: 0, outMessages: 0, inBytes: 0, outBytes: 0 };
    for (const node of this.nodes) {
      const [, place] = /http monitor on (\S+)/.exec(await node.line(/http monitor on/))!;
      const counts = await (await fetch(`http://${place}/varz`)).json();
      sum.inMessages += counts.in_msgs;
      sum.outMessages += counts.out_msgs;
      sum.inBytes += counts.in_bytes;
      sum.outBytes += counts.out_bytes;
    }
    return sum;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#whole[Symbol.asyncDispose]();
  }
}

/** The engine with what `fleet init` makes, and who writes documents there. */
export class Operator implements AsyncDisposable {
  #connection: NatsConnection;

  private constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  static async start(engine: BenchEngine): Promise<Operator> {
    const connection = await reach(engine.urls);
    const operator = new Operator(connection);
    const replicas = engine.nodes.length === 1 ? 1 : 3;
    await persist(() => provision(connection, "default", { replicas }));
    return operator;
  }

  /** The connection to the engine. */
  get connection(): NatsConnection {
    return this.#connection;
  }

  /** Goes on with one server of the engine. */
  async moveTo(server: NatsServer): Promise<void> {
    await this.#connection.close();
    this.#connection = await reach([server.url]);
  }

  /** Puts the fleet's document. */
  put(text: string): Promise<number> {
    return persist(async () => {
      const bucket = await new Kvm(this.#connection).open(policyBucket("default"));
      return await bucket.put(FLEET_KEY, text);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection.close();
  }
}

function reach(servers: string[]): Promise<NatsConnection> {
  return connectEngine({ servers, maxReconnectAttempts: -1, reconnectTimeWait: 100 });
}

/** Does something until the engine, which may be choosing a leader, has it done. */
export async function persist<T>(task: () => Promise<T>): Promise<T> {
  for (let tries = 1;; tries++) {
    try {
      return await task();
    } catch (error) {
      if (tries === TRIES) throw error;
      await sleep(AGAIN_MS);
    }
  }
}

/** All gateways of the fleet, in several processes. */
export class BenchFleet implements AsyncDisposable {
  readonly processes: Gateways[] = [];

  /** The gateways of all processes. */
  async gateways(): Promise<GatewayFigures[]> {
    const all = await Promise.all(this.processes.map((each) => each.figures()));
    return all.flatMap(({ gateways }) => gateways);
  }

  /** Memory of all processes. */
  async memory(): Promise<{ rssBytes: number; heapBytes: number }> {
    const sum = { rssBytes: 0, heapBytes: 0 };
    for (const { rssBytes, heapBytes } of await this.all((each) => each.figures())) {
      sum.rssBytes += rssBytes;
      sum.heapBytes += heapBytes;
    }
    return sum;
  }

  /** Asks each process at once. */
  all<T>(task: (each: Gateways) => Promise<T>): Promise<T[]> {
    return Promise.all(this.processes.map(task));
  }

  /** When each gateway had a revision in force. */
  async inForce(revision: number, withinMs = ANSWER_MS): Promise<number[]> {
    const endMs = performance.now() + withinMs;
    for (;;) {
      const times = this.processes.map((each) => each.inForce(revision));
      if (!times.includes(null)) return times.flatMap((each) => each!);
      if (performance.now() > endMs) throw new Error(`revision ${revision} is not everywhere`);
      await sleep(10);
    }
  }

  /** Waits until all gateways are so; how long that took, in milliseconds. */
  async until(holds: (each: GatewayFigures) => boolean, withinMs = ANSWER_MS): Promise<number> {
    const startMs = performance.now();
    while (!(await this.gateways()).every(holds)) {
      if (performance.now() - startMs > withinMs) throw new Error("not all gateways came so far");
      await sleep(AGAIN_MS);
    }
    return performance.now() - startMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.all((each) => each.kill());
  }
}
