/**
 * Two hosts of a fleet, each a network namespace, with a wire between them: nothing else leads from
 * one to the other. The engine is on the first.
 *
 *     guest ── gateway ── 10.88.0.1, engine ══ veth ══ 10.88.0.2 ── gateway ── guest
 *
 * @module
 */
import { cliWords } from "../cli/cli_process.ts";
import { GatewayProcess } from "./gateway_process.ts";
import { type Guest, NETWORK, SETUP_MS } from "./harness.ts";
import { BackgroundProgram, mustRun, type Outcome, runProgram } from "./program.ts";

/** Where each host is. */
export const FLEET_HOSTS = [
  { ip: "10.88.0.1", ip6: "fd88::1" },
  { ip: "10.88.0.2", ip6: "fd88::2" },
] as const;

const ENGINE_PORT = 4222;
const START_MS = 60_000;

function namespaces(first: string, second: string): string {
  const each = [first, second].flatMap((name, at) => {
    const { ip, ip6 } = FLEET_HOSTS[at]!;
    return [
      `ip -n ${name} link set lo up`,
      `ip -n ${name} link set wire0 up`,
      `ip -n ${name} addr add ${ip}/24 dev wire0`,
      `ip -n ${name} addr add ${ip6}/64 dev wire0 nodad`,
    ];
  });
  return [
    "set -e",
    `ip netns add ${first}`,
    `ip netns add ${second}`,
    `ip -n ${first} link add wire0 type veth peer name wire0 netns ${second}`,
    ...each,
  ].join("\n");
}

/** Both hosts. */
export class FleetHosts implements AsyncDisposable {
  readonly #names: readonly [string, string];
  readonly #directory: string;
  #engine: BackgroundProgram | null = null;

  private constructor(directory: string) {
    const unique = `${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;
    this.#names = [`vgfleet1-${unique}`, `vgfleet2-${unique}`];
    this.#directory = directory;
  }

  /** Makes them, starts the engine, and has it made ready for a fleet. */
  static async start(): Promise<FleetHosts> {
    const hosts = new FleetHosts(await Deno.makeTempDir({ prefix: "vgfleet-" }));
    try {
      await hosts.#start();
    } catch (error) {
      await hosts[Symbol.asyncDispose]();
      throw error;
    }
    return hosts;
  }

  async #start(): Promise<void> {
    await mustRun(["sh", "-c", namespaces(...this.#names)], SETUP_MS);
    // deno-fmt-ignore
    this.#engine = new BackgroundProgram([...this.prefix(0), "nats-server", "-a", FLEET_HOSTS[0].ip,
      "-p", `${ENGINE_PORT}`, "-js", "-sd", `${this.#directory}/engine`]);
    await this.#engine.line(/Server is ready/, 0, START_MS);
    await this.fleet("init");
  }

  /** Where the engine is. */
  get engine(): string {
    return `nats://${FLEET_HOSTS[0].ip}:${ENGINE_PORT}`;
  }

  /** What a program is started with to run on a host. */
  prefix(host: number): string[] {
    return ["ip", "netns", "exec", this.#names[host]!];
  }

  /** Runs a command of `fleet` on the first host, which has to succeed. */
  fleet(...words: string[]): Promise<string> {
    const permissions = ["--allow-net", "--allow-read"];
    const command = cliWords(permissions, ["fleet", ...words, "--fleet", this.engine]);
    return mustRun([...this.prefix(0), ...command], START_MS);
  }

  /** Puts a policy document, by the command line. */
  async put(key: string, text: string): Promise<string> {
    const file = `${this.#directory}/${key}.yaml`;
    await Deno.writeTextFile(file, text);
    return await this.fleet("policy", "put", key, file);
  }

  /** Path of a file of the test. */
  file(name: string): string {
    return `${this.#directory}/${name}`;
  }

  /** What has a gateway of a host join the fleet. */
  #joining(host: number, name: string): string[] {
    const { ip, ip6 } = FLEET_HOSTS[host]!;
    return [
      ...["--fleet", this.engine, "--fleet-gateway", name, "--fleet-dir", this.file(name)],
      ...["--fleet-advertise", ip, "--fleet-advertise", ip6],
    ];
  }

  /** Starts a gateway of one guest on a host; the guest is called as it is. */
  gateway(host: number, name: string, ...words: string[]): Promise<GatewayProcess> {
    return GatewayProcess.start({
      prefix: this.prefix(host),
      denoFlags: [`--allow-write=${this.#directory}`],
      gatewayArgs: [...this.#joining(host, name), ...words],
    });
  }

  /** Starts a gateway on a host as its file says. */
  run(host: number, name: string, ...words: string[]): BackgroundProgram {
    const permissions = ["--allow-net", "--allow-read", `--allow-write=${this.#directory}`];
    const command = cliWords(permissions, ["run", ...this.#joining(host, name), ...words]);
    return new BackgroundProgram([...this.prefix(host), ...command]);
  }

  /** Ends the engine and removes both. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine?.end("SIGKILL");
    for (const name of this.#names) await runProgram(["ip", "netns", "del", name]);
    await Deno.remove(this.#directory, { recursive: true });
  }
}

/** A guest whose programs ask the gateway for names. */
export class NamedGuest {
  constructor(readonly guest: Guest) {}

  /** The words that run a script of bash in it, with the gateway as its resolver. */
  async #words(script: string): Promise<string[]> {
    const file = `${this.guest.gateway.directory}/resolv.conf`;
    await Deno.writeTextFile(file, `nameserver ${NETWORK.gatewayIp}\n`);
    const whole = `mount --bind ${file} /etc/resolv.conf || exit\n${script}`;
    return ["ip", "netns", "exec", this.guest.namespace, "bash", "-c", whole];
  }

  /** Runs a script to its end. */
  async run(script: string): Promise<Outcome> {
    return await runProgram(await this.#words(script), 120_000);
  }

  /** Starts a script. */
  async start(script: string): Promise<BackgroundProgram> {
    return new BackgroundProgram(await this.#words(script));
  }

  /** The response code and the data of an answer. */
  async ask(name: string, type: string): Promise<string> {
    const dig = `dig +time=10 +tries=3 @${NETWORK.gatewayIp} ${name} ${type}`;
    const { stdout } = await this.run(dig);
    const code = /status: ([A-Z]+)/.exec(stdout)?.[1] ?? stdout;
    const data = stdout.split("\n").filter((line) => /^[^;\s]+\s+\d+\s+IN\s/.test(line))
      .filter((line) => !/\sSOA\s/.test(line)).map((line) => line.split(/\s+/).slice(4).join(" "));
    return [code, ...data].join(" ");
  }
}
