/**
 * Where a load runs: two namespaces of the bench's own. One holds the gateway and the servers (the
 * host), the other is the kernel guest. The machine's own network and settings stay as they are.
 *
 * Both sides have ports enough for storms, and every process gets as many descriptors as the hard
 * limit allows; root raises that where the load needs more. Whatever was started ends with the lab,
 * also at Ctrl-C; each process by its own handle, each namespace by the name that was given here.
 *
 * @module
 */
import { GatewayProcess } from "../../tests/guest/gateway_process.ts";
import { Guest } from "../../tests/guest/harness.ts";
import { BackgroundProgram, memoryKib, mustRun, runProgram } from "../../tests/guest/program.ts";
import type { Figures } from "./gateway_program.ts";

const GATEWAY_PROGRAM = new URL("./gateway_program.ts", import.meta.url).pathname;
const SPARE_DESCRIPTORS = 1_000;

/** Where the servers of the host listen; `load_server.c` says what follows the echo ports. */
export const PORTS = Object.freeze({
  echo: 9_000,
  echoCount: 16,
  source: 9_016,
  sink: 9_017,
});

/** The first address of a range where SYNs vanish. */
export const HOLE_ADDRESS = "10.77.1.1";

/** What a load's gateway is. */
export interface LoadSpec {
  /** Arguments of the shipped command line; without them `gateway_program.ts` runs. */
  cli?: string[];
  /** Options of `gateway_program.ts`, as `ServeOptions`. */
  options?: Record<string, unknown>;
}

/** How many descriptors a process gets, from what the load needs and the machine's hard limit. */
async function descriptorLimit(flows: number): Promise<number> {
  const hard = Number(await mustRun(["sh", "-c", "ulimit -Hn"])) || 1_048_576;
  return Math.max(hard, flows + SPARE_DESCRIPTORS);
}

function hostScript(name: string): string {
  return [
    "set -e",
    `ip netns add ${name}`,
    `ip -n ${name} link set lo up`,
    // A tap that nobody reads: what is sent there is lost, and no neighbour is asked for.
    `ip -n ${name} tuntap add hole0 mode tap`,
    `ip -n ${name} link set hole0 arp off up`,
    `ip -n ${name} addr add 10.77.0.1/16 dev hole0`,
  ].join("\n");
}

const PORTS_SCRIPT = `echo 16384 65000 >/proc/sys/net/ipv4/ip_local_port_range
echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse`;

/** A load's place. */
export class Lab implements AsyncDisposable {
  /** Descriptors that each process may have. */
  readonly descriptors: number;
  readonly #directory: string;
  readonly #host: string;
  readonly #stack = new AsyncDisposableStack();
  /** What is being started; it is ended once it can be. */
  #beginning: Promise<void> = Promise.resolve();
  #over: Promise<void> | null = null;

  private constructor(descriptors: number, directory: string, host: string) {
    this.descriptors = descriptors;
    this.#directory = directory;
    this.#host = host;
    this.#stack.defer(() => Deno.remove(directory, { recursive: true }));
    this.#stack.defer(() => removeNamespaces([host]));
  }

  /**
   * Makes the host's namespace and its servers.
   *
   * @param flows The most flows that a load will have at once.
   * @returns The lab; a guest and its gateway come with `begin`.
   */
  static async open(flows: number): Promise<Lab> {
    const directory = await Deno.makeTempDir({ prefix: "vgbench-" });
    const host = `vgbench-${Deno.pid}-host`;
    const lab = new Lab(await descriptorLimit(flows), directory, host);
    try {
      for (const name of ["load_server", "load_client"]) {
        const source = new URL(`./${name}.c`, import.meta.url).pathname;
        // deno-fmt-ignore
        await mustRun(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", `${directory}/${name}`,
          source]);
      }
      await mustRun(["sh", "-c", hostScript(host)]);
      await mustRun(["ip", "netns", "exec", host, "sh", "-c", PORTS_SCRIPT]);
      const servers = lab.#start(host, "load_server", [PORTS.echo, PORTS.echoCount]);
      await servers.line(/^listening$/);
      return lab;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Words that make a process start in a namespace with descriptors enough. */
  #prefix(namespace: string): string[] {
    const raise = `ulimit -n ${this.descriptors}; exec "$@"`;
    return ["ip", "netns", "exec", namespace, "sh", "-c", raise, "sh"];
  }

  #start(namespace: string, program: string, words: (string | number)[]): BackgroundProgram {
    const started = new BackgroundProgram([
      ...this.#prefix(namespace),
      `${this.#directory}/${program}`,
      ...words.map(String),
    ]);
    this.#stack.use(started);
    return started;
  }

  /** Starts a gateway and joins a guest to it. */
  begin(spec: LoadSpec = {}): Promise<Load> {
    const beginning = this.#begin(spec);
    this.#beginning = beginning.then(() => {}, () => {});
    return beginning;
  }

  async #begin(spec: LoadSpec): Promise<Load> {
    const gateway = await GatewayProcess.start({
      prefix: this.#prefix(this.#host),
      denoFlags: ["--unstable-net", "--allow-env"],
      ...(spec.cli === undefined
        ? {
          program: GATEWAY_PROGRAM,
          gatewayArgs: ["--options", JSON.stringify(spec.options ?? {})],
        }
        : { gatewayArgs: spec.cli }),
    });
    if (this.#over !== null) {
      await gateway[Symbol.asyncDispose]();
      throw new Error("interrupted");
    }
    this.#stack.use(gateway);
    const load = new Load(gateway, this.#startIn.bind(this));
    this.#stack.use(load);
    await load.join();
    return load;
  }

  #startIn(where: string | null, program: string, words: (string | number)[]): BackgroundProgram {
    return this.#start(where ?? this.#host, program, words);
  }

  /** Ends and removes everything, once. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#over ??= this.#end();
    return this.#over;
  }

  async #end(): Promise<void> {
    try {
      await this.#stack.disposeAsync();
    } finally {
      await this.#beginning;
      await removeOwnNamespaces();
    }
  }
}

async function removeNamespaces(names: readonly string[]): Promise<void> {
  for (const name of names) await runProgram(["ip", "netns", "del", name]);
}

/** A guest that was just being made when the bench was interrupted has a namespace, but no owner. */
async function removeOwnNamespaces(): Promise<void> {
  const { stdout } = await runProgram(["ip", "netns", "list"]);
  const names = stdout.split("\n").map((line) => line.split(" ")[0]!);
  const ours = [`vgtest-${Deno.pid}-`, `vgbench-${Deno.pid}-`];
  await removeNamespaces(names.filter((name) => ours.some((prefix) => name.startsWith(prefix))));
}

type Start = (
  where: string | null,
  program: string,
  words: (string | number)[],
) => BackgroundProgram;

/** Open descriptors of a process, and its resident memory. */
export interface Resources {
  descriptors: number;
  rssKib: number;
}

/** A gateway and its guest under load. */
export class Load implements AsyncDisposable {
  /** The gateway's process. */
  readonly gateway: GatewayProcess;
  readonly #start: Start;
  #guest: Guest | null = null;

  /** For `Lab.begin`. */
  constructor(gateway: GatewayProcess, start: Start) {
    this.gateway = gateway;
    this.#start = start;
  }

  /** A guest comes. */
  async join(): Promise<void> {
    this.#guest = await Guest.join(this.gateway);
    await this.#guest.must("sh", "-c", PORTS_SCRIPT);
  }

  /** The guest goes, and the gateway has to keep nothing of it. */
  async leave(): Promise<void> {
    const from = this.gateway.log.lines.length;
    await this.#guest?.[Symbol.asyncDispose]();
    this.#guest = null;
    await this.gateway.guestLeft(from);
  }

  /** Starts a command of `load_client.c` in the guest. */
  client(...words: (string | number)[]): BackgroundProgram {
    return this.#start(this.#guest!.namespace, "load_client", words);
  }

  /** Starts a command of `load_client.c` beside the gateway. */
  hostClient(...words: (string | number)[]): BackgroundProgram {
    return this.#start(null, "load_client", words);
  }

  /** Starts `load_server.c` in the guest. */
  async guestServer(port: number): Promise<BackgroundProgram> {
    const program = this.#start(this.#guest!.namespace, "load_server", [port, 1]);
    await program.line(/^listening$/);
    return program;
  }

  /** Runs a command in the guest to its end and returns what it printed. */
  async measure<T>(...words: (string | number)[]): Promise<T> {
    await using client = this.client(...words);
    return await answer<T>(client);
  }

  /** The process as the kernel sees it. */
  async resources(): Promise<Resources> {
    const { pid } = this.gateway.log;
    const rssKib = await memoryKib(pid, "VmRSS");
    // Names only: under load some are closed before they could be looked at.
    const names = await mustRun(["ls", "-U", `/proc/${pid}/fd`]);
    return { rssKib, descriptors: names.split("\n").length };
  }

  /** What `gateway_program.ts` says of itself. */
  async figures(): Promise<Figures> {
    const { log } = this.gateway;
    const from = log.lines.length;
    await log.send("\n");
    return JSON.parse((await log.line(/^figures /, from, 30_000)).slice("figures ".length));
  }

  /** The guest leaves and the gateway stops; both have to be clean. */
  async end(): Promise<void> {
    await this.leave();
    await this.gateway.stop();
  }

  /** Removes the guest; the lab removes the gateway. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#guest?.[Symbol.asyncDispose]();
  }
}

/** The JSON on a command's next line; `from` counts the lines that were read already. */
export async function answer<T>(program: BackgroundProgram, from = 0): Promise<T> {
  const line = await program.line(/^[{]|load_client:/, from, 3_600_000);
  if (!line.startsWith("{")) throw new Error(program.tail());
  return JSON.parse(line) as T;
}

/**
 * Runs a bench in a lab that is removed whatever happens, Ctrl-C included.
 *
 * @param flows The most flows that a load will have at once.
 * @param bench What is done in it.
 */
export async function inLab(flows: number, bench: (lab: Lab) => Promise<void>): Promise<void> {
  const opening = Lab.open(flows);
  let stopping = false;
  const stop = () => {
    stopping = true;
    console.error("interrupted: cleaning up");
    void opening.then((lab) => lab[Symbol.asyncDispose]()).catch(() => {})
      .then(() => Deno.exit(130));
  };
  Deno.addSignalListener("SIGINT", stop);
  Deno.addSignalListener("SIGTERM", stop);
  try {
    await using lab = await opening;
    await bench(lab);
  } catch (error) {
    // What was interrupted fails; the one who interrupted it knows why.
    if (stopping) return await new Promise(() => {});
    throw error;
  } finally {
    Deno.removeSignalListener("SIGINT", stop);
    Deno.removeSignalListener("SIGTERM", stop);
  }
}

/** Waits. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
