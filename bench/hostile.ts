/**
 * What an honest flow keeps while its own guest floods the gateway.
 *
 *     deno task hostile [--rate N] [--seconds N] [--only KIND,…] [--json]
 *
 * A real kernel guest behind the shipped command line. For each kind of flood an honest upload and
 * an honest download of the same guest run beside it, and one octet that goes to and fro. Flood and
 * flow share one wire, so the same rate of frames that the gateway drops at their first octets
 * (`inert`) is measured as well: what a flood costs beyond it is what the gateway spends on it. With
 * `--rate 0` the flood is what the guest's device takes: its queue is full all the time then, and
 * drops the honest flow's frames before the gateway has seen them. Needs root, /dev/net/tun, a C
 * compiler and iperf3. Traffic stays on loopback and in the namespace that is made here.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { GatewayProcess } from "../tests/guest/gateway_process.ts";
import { Guest, NETWORK } from "../tests/guest/harness.ts";
import { BackgroundProgram, memoryKib, mustRun, type Outcome } from "../tests/guest/program.ts";

const SOURCES = { flood: "./flood.c", load_client: "./support/load_client.c" };
const SHARE_GOAL = 0.5;
const RSS_GOAL_MIB = 384;
const RECOVERY_GOAL_MS = 1000;
const IPERF_PORT = 5201;
/** Where the floods' connections and datagrams go, but for those to a server. */
const CLOSED_PORT = 9;
const TURNS_SECONDS = 1;
const ROUNDS = 3;
const SIGNALS = ["SIGINT", "SIGTERM"] as const;
const DEFAULT_RATE = 50_000;
/** A flood lasts longer than two transfers, and no program in the guest over a minute. */
const SECONDS_MAX = 25;

/** Servers that take what comes: for connections of floods, and for SYNs that come to nothing. */
const SINKS = { flow: "127.0.0.1", open: "127.0.0.1", open6: "::1" } as const;

/** The floods; some go to a sink, some over IPv6. */
const FLOODS: readonly { kind: string; what: string; to?: keyof typeof SINKS; ipv6?: true }[] = [
  { kind: "syn", what: "SYNs to a closed port" },
  { kind: "syn-open", what: "SYNs to an open port, no ACK", to: "open" },
  { kind: "syn-open6", what: "IPv6 SYNs to an open port, no ACK", to: "open6", ipv6: true },
  { kind: "synrst", what: "a SYN, then its RST" },
  { kind: "fragments", what: "first fragments, never the rest" },
  { kind: "crumbs", what: "one octet a segment, in order", to: "flow" },
  { kind: "early", what: "one octet a segment, out of order", to: "flow" },
  { kind: "pings", what: "echo requests" },
  { kind: "datagrams", what: "UDP from all ports" },
  { kind: "questions", what: "DNS questions for random names" },
  { kind: "arp", what: "ARP requests" },
  { kind: "nd", what: "neighbor discovery", ipv6: true },
];

type Flood = typeof FLOODS[number];

/** One flood's figures. */
interface Row {
  kind: string;
  what: string;
  framesPerSecond: number;
  /** Median Mbit/s of the honest flow: alone, beside inert frames, beside the flood. */
  up: Honest;
  down: Honest;
  /** Median octets a second that went there and back, one at a time. */
  turns: Honest;
  rssPeakMib: number;
  recoveryMs: number;
}

/** How long each transfer is, and how many frames a second the flood has. */
interface Load {
  seconds: number;
  rate: number;
}

interface Honest {
  alone: number;
  inert: number;
  flooded: number;
}

/** A server on the host's loopback that sends back what it gets. */
function serveEcho(): Deno.TcpListener {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  (async () => {
    for await (const conn of listener) {
      conn.readable.pipeTo(conn.writable).catch(() => {});
    }
  })();
  return listener;
}

/** A server on the host's loopback that takes what comes, and is no bottleneck. */
function serveSink(hostname: string): Deno.TcpListener {
  const listener = Deno.listen({ hostname, port: 0 });
  (async () => {
    for await (const conn of listener) take(conn);
  })();
  return listener;
}

async function take(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    while (await conn.read(buffer) !== null);
  } catch {
    // The flood's end resets its connection, and a SYN without an ACK its own.
  }
  conn.close();
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** The bench's parts while it runs. */
class HostileBench implements AsyncDisposable {
  readonly #gateway: GatewayProcess;
  readonly #guest: Guest;
  readonly #iperf: BackgroundProgram;
  readonly #echo = serveEcho();
  readonly #sinks: Readonly<Record<keyof typeof SINKS, Deno.TcpListener>>;
  readonly #seconds: number;
  readonly #rate: number;
  /** Programs in the guest that have not ended. */
  readonly #running = new Set<Promise<Outcome>>();
  #ending = false;
  #over: Promise<void> | null = null;

  private constructor(
    gateway: GatewayProcess,
    guest: Guest,
    sinks: Record<keyof typeof SINKS, Deno.TcpListener>,
    { seconds, rate }: Load,
  ) {
    this.#gateway = gateway;
    this.#guest = guest;
    this.#sinks = sinks;
    this.#seconds = seconds;
    this.#rate = rate;
    this.#iperf = new BackgroundProgram(["iperf3", "-s", "-B", "127.0.0.1"]);
  }

  static async start(load: Load): Promise<HostileBench> {
    // No question leaves the machine: nobody answers at this upstream.
    const gatewayArgs = ["--host-loopback", "--dns", "127.0.0.1:1"];
    const gateway = await GatewayProcess.start({ gatewayArgs, denoFlags: ["--unstable-net"] });
    try {
      for (const [name, source] of Object.entries(SOURCES)) {
        const { pathname } = new URL(source, import.meta.url);
        await mustRun(["cc", "-O2", "-o", `${gateway.directory}/${name}`, pathname]);
      }
      const guest = await Guest.join(gateway);
      const { flow, open, open6 } = SINKS;
      const sinks = { flow: serveSink(flow), open: serveSink(open), open6: serveSink(open6) };
      const bench = new HostileBench(gateway, guest, sinks, load);
      await bench.#silenceResets();
      return bench;
    } catch (error) {
      await gateway[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The guest's kernel knows nothing of the flood's SYNs: their SYN-ACKs stay unanswered. */
  async #silenceResets(): Promise<void> {
    const { port } = this.#sinks.open.addr;
    // deno-fmt-ignore
    await mustRun(["ip", "-n", this.#guest.namespace, "rule", "add",
      "ipproto", "tcp", "dport", String(port), "blackhole"]);
  }

  /** What was the gateway's highest memory counts from here on. */
  async #forgetPeak(): Promise<void> {
    await mustRun(["sh", "-c", `echo 5 >/proc/${this.#gateway.log.pid}/clear_refs`]);
  }

  /** An upload or a download of the guest, in Mbit/s; 0 where it did not even begin. */
  async #transfer(down: boolean): Promise<number> {
    // deno-fmt-ignore
    const outcome = await this.#inGuest("iperf3", "-c", NETWORK.gatewayIp, "-p",
      String(IPERF_PORT), "-t", String(this.#seconds), "-J", "--connect-timeout", "5000",
      ...(down ? ["-R"] : []));
    const end = JSON.parse(outcome.stdout || "{}").end ?? {};
    return (end.sum_received?.bits_per_second ?? 0) / 1e6;
  }

  /** How often a second an octet goes to a server and back; 0 where the connection broke. */
  async #turns(): Promise<number> {
    const startMs = performance.now();
    const client = `${this.#gateway.directory}/load_client`;
    // deno-fmt-ignore
    const outcome = await this.#inGuest(client, "rr", String(TURNS_SECONDS),
      String(this.#echo.addr.port), NETWORK.gatewayIp);
    const { turns = 0 } = JSON.parse(outcome.stdout || "{}");
    // A connect that was late counts too.
    return turns / (performance.now() - startMs) * 1000;
  }

  /** What the honest flow gets: up, down, octets in turns. */
  async #honest(): Promise<number[]> {
    return [await this.#transfer(false), await this.#transfer(true), await this.#turns()];
  }

  /** Runs a program in the guest to its end; none begins once the bench is ending. */
  async #inGuest(...words: string[]): Promise<Outcome> {
    if (this.#ending) throw new Error("interrupted");
    const outcome = this.#guest.run(...words);
    this.#running.add(outcome);
    try {
      return await outcome;
    } finally {
      this.#running.delete(outcome);
    }
  }

  async #mustInGuest(...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#inGuest(...words);
    if (code !== 0) throw new Error(`${words[0]} ended with ${code}: ${stderr.trim()}`);
    return stdout.trim();
  }

  #launch({ kind, ipv6 }: Pick<Flood, "kind" | "ipv6">, port: number, seconds: number) {
    const { guestMac, gatewayMac, guestIp, gatewayIp, guestIp6, gatewayIp6 } = NETWORK;
    const addresses = ipv6 === true ? [guestIp6, gatewayIp6] : [guestIp, gatewayIp];
    // deno-fmt-ignore
    return this.#mustInGuest(`${this.#gateway.directory}/flood`, kind, "tap0", guestMac, gatewayMac,
      ...addresses, String(port), String(seconds), String(this.#rate));
  }

  /** What the honest flow gets beside a flood, and the frames a second that this brought out. */
  async #beside(flood: Pick<Flood, "kind" | "ipv6">, port: number): Promise<number[]> {
    const seconds = 2 * this.#seconds + TURNS_SECONDS + 1;
    const frames = this.#launch(flood, port, seconds);
    frames.catch(() => {}); // looked at below, unless a transfer fails first
    await new Promise((resolve) => setTimeout(resolve, 300));
    const honest = await this.#honest();
    return [...honest, Number(await frames) / seconds];
  }

  /** How long a connection with one echoed octet takes in the guest, a process's start included. */
  async #echoMs(): Promise<number> {
    const { port } = this.#echo.addr;
    const ask = `exec 3<>/dev/tcp/${NETWORK.gatewayIp}/${port} && echo >&3 && head -c1 <&3`;
    const startMs = performance.now();
    await this.#mustInGuest("bash", "-c", ask);
    return performance.now() - startMs;
  }

  async measure(flood: Flood): Promise<Row> {
    const port = flood.to === undefined ? CLOSED_PORT : this.#sinks[flood.to].addr.port;
    const rows: { alone: number[]; inert: number[]; flooded: number[] }[] = [];
    await this.#forgetPeak();
    let recoveryMs = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const alone = await this.#honest();
      const inert = await this.#beside({ kind: "inert" }, port);
      const flooded = await this.#beside(flood, port);
      recoveryMs = Math.max(recoveryMs, await this.#echoMs());
      rows.push({ alone, inert, flooded });
    }
    const honest = (i: number): Honest => ({
      alone: median(rows.map(({ alone }) => alone[i]!)),
      inert: median(rows.map(({ inert }) => inert[i]!)),
      flooded: median(rows.map(({ flooded }) => flooded[i]!)),
    });
    return {
      kind: flood.kind,
      what: flood.what,
      framesPerSecond: Math.round(median(rows.map(({ flooded }) => flooded[3]!))),
      up: honest(0),
      down: honest(1),
      turns: honest(2),
      rssPeakMib: Math.round(await memoryKib(this.#gateway.log.pid, "VmHWM") / 1024),
      recoveryMs: Math.round(recoveryMs),
    };
  }

  /** Ends and removes everything, once: whoever interrupts it and whoever leaves may both ask. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#over ??= this.#end();
    return this.#over;
  }

  /** A transfer whose network goes away under it would wait for long: nobody else is in there. */
  async #endGuestPrograms(): Promise<void> {
    while (this.#running.size > 0) {
      const pids = await mustRun(["ip", "netns", "pids", this.#guest.namespace]);
      for (const pid of pids.split(/\s+/).filter((word) => word !== "")) terminate(Number(pid));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async #end(): Promise<void> {
    this.#ending = true;
    this.#echo.close();
    for (const sink of Object.values(this.#sinks)) sink.close();
    await this.#iperf.end("SIGTERM");
    await this.#endGuestPrograms();
    await this.#guest[Symbol.asyncDispose]();
    await this.#gateway[Symbol.asyncDispose]();
  }
}

function terminate(pid: number): void {
  try {
    Deno.kill(pid, "SIGTERM");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error; // it has just ended by itself
  }
}

function show(row: Row): string {
  const share = ({ alone, flooded }: Honest) => flooded / alone;
  const honest = (h: Honest) =>
    `${h.alone.toFixed(0).padStart(6)}${h.inert.toFixed(0).padStart(7)}` +
    `${h.flooded.toFixed(0).padStart(7)}${share(h).toFixed(2).padStart(6)}`;
  const met = share(row.up) >= SHARE_GOAL && share(row.down) >= SHARE_GOAL &&
    row.rssPeakMib <= RSS_GOAL_MIB && row.recoveryMs < RECOVERY_GOAL_MS;
  return [
    row.what.padEnd(34),
    (row.framesPerSecond / 1000).toFixed(0).padStart(6),
    honest(row.up),
    honest(row.down),
    honest(row.turns),
    String(row.rssPeakMib).padStart(6),
    String(row.recoveryMs).padStart(6),
    met ? "  met" : "  missed",
  ].join(" ");
}

function usage(problem: string): never {
  console.error(`hostile: ${problem}`);
  console.error(`deno task hostile [--rate N] [--seconds N] [--only KIND,…] [--json]`);
  console.error(`kinds: ${FLOODS.map(({ kind }) => kind).join(", ")}`);
  Deno.exit(2);
}

function amount(name: string, value: unknown, least: number, most: number): number {
  const number = value === "" ? NaN : Number(value);
  if (!Number.isInteger(number) || number < least || number > most) {
    usage(`--${name} is a whole number from ${least} to ${most}`);
  }
  return number;
}

function chosen(only: unknown): readonly Flood[] {
  if (typeof only !== "string") return FLOODS;
  const wanted = only.split(",");
  const unknown = wanted.find((name) => !FLOODS.some(({ kind }) => kind === name));
  if (unknown !== undefined) usage(`no flood ${unknown}`);
  return FLOODS.filter(({ kind }) => wanted.includes(kind));
}

if (import.meta.main) {
  const options = parseArgs(Deno.args, {
    string: ["seconds", "only", "rate"],
    boolean: ["json"],
  });
  const floods = chosen(options.only);
  const starting = HostileBench.start({
    seconds: amount("seconds", options.seconds ?? 3, 1, SECONDS_MAX),
    rate: amount("rate", options.rate ?? DEFAULT_RATE, 0, 10_000_000),
  });
  let stopping = false;
  const stop = (): void => {
    stopping = true;
    void starting.then((started) => started[Symbol.asyncDispose]())
      .catch(() => {}).then(() => Deno.exit(130));
  };
  for (const signal of SIGNALS) Deno.addSignalListener(signal, stop);
  await using bench = await starting;
  if (!options.json) {
    console.log("honest flow in Mbit/s: alone, beside frames that are dropped at once, beside the");
    console.log(
      `flood, and what it keeps of its speed alone (goal ${SHARE_GOAL}); the same of one`,
    );
    console.log("octet that goes there and back, turns a second (no goal); peak memory in MiB");
    console.log(
      `(goal ${RSS_GOAL_MIB}); ms until a new connection is served (goal ${RECOVERY_GOAL_MS})\n`,
    );
    console.log(
      "flood                               kfr/s |  up: alone inert flood ratio |" +
        " down                 | turns                | RSS | ms",
    );
  }
  for (const flood of floods) {
    const row = await bench.measure(flood).catch((error) => {
      // What was interrupted fails; the one who interrupted it knows why.
      if (stopping) return new Promise<never>(() => {});
      throw error;
    });
    if (stopping) await new Promise<never>(() => {});
    console.log(options.json ? JSON.stringify(row) : show(row));
  }
  for (const signal of SIGNALS) Deno.removeSignalListener(signal, stop);
}
