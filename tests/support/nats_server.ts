/**
 * Real servers of the engine for tests: one `nats-server`, or several as a cluster, each with its
 * store in a folder of its own, to be killed, started again and held still.
 *
 * @module
 */
import { BackgroundProgram, mustRun } from "../guest/program.ts";
import { Wires } from "./nats_wires.ts";
import { freePort } from "./free_port.ts";

/** What a server is started with. */
export interface NatsOptions {
  /** More of its configuration, as it stands in a file: `authorization { token: "…" }`. */
  readonly config?: string;
  /** Whether it has JetStream; it has by default. */
  readonly jetStream?: boolean;
}

/** What servers of a cluster are started with. */
export interface ClusterOptions extends NatsOptions {
  /** Whether the servers are joined by wires that can be cut. */
  readonly wires?: boolean;
}

interface Place {
  readonly name: string;
  readonly port: number;
  readonly clusterPort: number;
  readonly folder: string;
}

const START_MS = 60_000;
/** More with each try: on a slow machine the servers agree late, and not only where they never do. */
const LEADER_MS = 5_000;
const CLUSTER_TRIES = 6;

/** A server. */
export class NatsServer implements AsyncDisposable {
  readonly #place: Place;
  #config: string;
  #program: BackgroundProgram | null = null;

  private constructor(place: Place, config: string) {
    this.#place = place;
    this.#config = config;
  }

  /** Starts one alone. */
  static async start(options: NatsOptions = {}): Promise<NatsServer> {
    const server = await NatsServer.make(newPlace("n1"), options, "");
    await server.start();
    return server;
  }

  /** Makes one that is not started. */
  static async make(place: Place, options: NatsOptions, cluster: string): Promise<NatsServer> {
    await Deno.mkdir(place.folder, { recursive: true });
    const store = `jetstream { store_dir: "${place.folder}/store", max_file_store: 4GB }\n`;
    const config = `listen: "127.0.0.1:${place.port}"\nserver_name: ${place.name}\n` +
      `${options.jetStream === false ? "" : store}${cluster}${patient(options.config ?? "")}\n`;
    return new NatsServer(place, config);
  }

  /** Where clients reach it. */
  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  /** Its port. */
  get port(): number {
    return this.#place.port;
  }

  /** Its process; 0 while there is none. */
  get pid(): number {
    return this.#program?.pid ?? 0;
  }

  /** Its folder, which goes with it. */
  get folder(): string {
    return this.#place.folder;
  }

  /** What it has logged since it was started last. */
  get lines(): readonly string[] {
    return this.#program?.lines ?? [];
  }

  /** Starts it, at its port and with its store; with another part of configuration, if one is given. */
  async start(change: (config: string) => string = (config) => config): Promise<void> {
    this.#config = change(this.#config);
    const file = `${this.#place.folder}/server.conf`;
    await Deno.writeTextFile(file, this.#config);
    this.#program = new BackgroundProgram(["nats-server", "-c", file]);
    await this.#program.line(/Server is ready/, 0, START_MS);
  }

  /** Waits for a line of its log. */
  async line(pattern: RegExp, timeoutMs = START_MS): Promise<string> {
    return await this.#program!.line(pattern, 0, timeoutMs);
  }

  /** Kills it with nothing said. */
  async kill(): Promise<void> {
    await this.#program?.end("SIGKILL");
    this.#program = null;
  }

  /** Ends it in order. */
  async stop(): Promise<void> {
    await this.#program?.end("SIGTERM");
    this.#program = null;
  }

  /** Holds it still: its sockets stay, and nothing answers. */
  async pause(): Promise<void> {
    const { pid } = this.#program!;
    Deno.kill(pid, "SIGSTOP");
    // The signal takes hold in a while, thread by thread, and until then it answers.
    const states = () => mustRun(["ps", "-L", "-o", "stat=", "-p", `${pid}`]);
    while (!(await states()).split("\n").every((state) => state.startsWith("T")));
  }

  /** Lets it go on. */
  resume(): void {
    Deno.kill(this.#program!.pid, "SIGCONT");
  }

  /** Ends it and removes its store. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await Deno.remove(this.#place.folder, { recursive: true });
  }
}

/** Servers that are one engine. */
export class NatsCluster implements AsyncDisposable {
  private constructor(
    readonly nodes: readonly NatsServer[],
    /** The wires between them; `null` where they are joined by none that can be cut. */
    readonly wires: Wires | null,
  ) {}

  /**
   * Starts so many, and waits until they have a leader. Servers that dial each other at one moment may
   * take each other's connection for the second one and end both; such a start is tried again.
   */
  static async start(count = 3, options: ClusterOptions = {}): Promise<NatsCluster> {
    for (let tries = 1;; tries++) {
      const cluster = await NatsCluster.#make(count, options);
      try {
        for (const node of cluster.nodes) await node.start();
        const leaderMs = LEADER_MS * tries;
        await Promise.all(cluster.nodes.map((node) => node.line(/metadata leader/, leaderMs)));
        return cluster;
      } catch (error) {
        await cluster[Symbol.asyncDispose]();
        if (tries === CLUSTER_TRIES) throw error;
      }
    }
  }

  static async #make(count: number, options: ClusterOptions): Promise<NatsCluster> {
    const places = Array.from({ length: count }, (_, i) => newPlace(`n${i + 1}`));
    const wires = options.wires === true ? new Wires(places.map((each) => each.clusterPort)) : null;
    const nodes = await Promise.all(places.map((place, index) => {
      const ports = wires?.from(index) ??
        places.filter((other) => other !== place).map(({ clusterPort }) => clusterPort);
      const routes = ports.map((port) => `"nats://127.0.0.1:${port}"`);
      // Where a wire leads, the others are not to dial past it.
      const advertise = wires === null ? "" : 'advertise: "127.0.0.1:1", ';
      const cluster = `cluster { name: test, listen: "127.0.0.1:${place.clusterPort}", ` +
        `${advertise}routes: [${routes.join(", ")}] }\n`;
      return NatsServer.make(place, options, cluster);
    }));
    return new NatsCluster(nodes, wires);
  }

  /** Where clients reach it. */
  get urls(): string[] {
    return this.nodes.map(({ url }) => url);
  }

  /** Ends all of them and removes their stores. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.nodes.map((node) => node[Symbol.asyncDispose]()));
    await this.wires?.[Symbol.asyncDispose]();
  }
}

/**
 * Has clients who stand still for a while not be sent away before they have said who they are; by
 * itself a server waits for two seconds.
 */
function patient(config: string): string {
  const start = "authorization {";
  return config.includes(start)
    ? config.replace(start, `${start}\n  timeout: 60\n `)
    : `${config}\n${start} timeout: 60 }`;
}

function newPlace(name: string): Place {
  return {
    name,
    port: freePort(),
    clusterPort: freePort(),
    folder: Deno.makeTempDirSync({ prefix: "nats-" }),
  };
}
