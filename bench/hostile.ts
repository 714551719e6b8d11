/**
 * What an honest flow keeps while its own guest floods the gateway.
 *
 *     deno task hostile [--rate N] [--seconds N] [--only KIND,…] [--json]
 *
 * A real kernel guest behind the shipped command line. For each kind of flood an honest upload and
 * an honest download of the same guest run beside it. Flood and flow share one wire, so the same
 * rate of frames that the gateway drops at their first octets (`inert`) is measured as well: what a
 * flood costs beyond it is what the gateway spends on it. With `--rate 0` the flood is what the
 * guest's device takes: its queue is full all the time then, and drops the honest flow's frames
 * before the gateway has seen them. Needs root, /dev/net/tun, a C compiler
 * and iperf3. Traffic stays on loopback and in the namespace that is made here.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { GatewayProcess } from "../tests/guest/gateway_process.ts";
import { Guest, NETWORK } from "../tests/guest/harness.ts";
import { BackgroundProgram, memoryKib, mustRun, type Outcome } from "../tests/guest/program.ts";

const SOURCE = new URL("./flood.c", import.meta.url).pathname;
const SHARE_GOAL = 0.5;
const RSS_GOAL_MIB = 384;
const RECOVERY_GOAL_MS = 1000;
const IPERF_PORT = 5201;
/** Where the floods' connections and datagrams go; the echo server's for those that need one. */
const CLOSED_PORT = 9;
const ROUNDS = 3;
const SIGNALS = ["SIGINT", "SIGTERM"] as const;
const DEFAULT_RATE = 50_000;
/** A flood lasts twice as long as a transfer, and no program in the guest over a minute. */
const SECONDS_MAX = 25;

/** The floods; those of `flow` work on a connection to a server that takes what comes. */
const FLOODS: readonly { kind: string; what: string; flow?: true }[] = [
  { kind: "syn", what: "SYNs to a closed port" },
  { kind: "synrst", what: "a SYN, then its RST" },
  { kind: "fragments", what: "first fragments, never the rest" },
  { kind: "crumbs", what: "one octet a segment, in order", flow: true },
  { kind: "early", what: "one octet a segment, out of order", flow: true },
  { kind: "pings", what: "echo requests" },
  { kind: "datagrams", what: "UDP from all ports" },
  { kind: "questions", what: "DNS questions for random names" },
  { kind: "arp", what: "ARP requests" },
];

/** One flood's figures. */
interface Row {
  kind: string;
  what: string;
  framesPerSecond: number;
  /** Median Mbit/s of the honest flow: alone, beside inert frames, beside the flood. */
  up: Honest;
  down: Honest;
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
function serveSink(): Deno.TcpListener {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
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
    // The flood's end resets its connection.
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
  readonly #flood: string;
  readonly #iperf: BackgroundProgram;
  readonly #echo = serveEcho();
  readonly #sink = serveSink();
  readonly #seconds: number;
  readonly #rate: number;
  /** Programs in the guest that have not ended. */
  readonly #running = new Set<Promise<Outcome>>();
  #ending = false;
  #over: Promise<void> | null = null;

  private constructor(
    gateway: GatewayProcess,
    guest: Guest,
    flood: string,
    { seconds, rate }: Load,
  ) {
    this.#gateway = gateway;
    this.#guest = guest;
    this.#flood = flood;
    this.#seconds = seconds;
    this.#rate = rate;
    this.#iperf = new BackgroundProgram(["iperf3", "-s", "-B", "127.0.0.1"]);
  }

  static async start(load: Load): Promise<HostileBench> {
    // No question leaves the machine: nobody answers at this upstream.
    const gatewayArgs = ["--host-loopback", "--dns", "127.0.0.1:1"];
    const gateway = await GatewayProcess.start({ gatewayArgs, denoFlags: ["--unstable-net"] });
    try {
      const flood = `${gateway.directory}/flood`;
      await mustRun(["cc", "-O2", "-o", flood, SOURCE]);
      return new HostileBench(gateway, await Guest.join(gateway), flood, load);
    } catch (error) {
      await gateway[Symbol.asyncDispose]();
      throw error;
    }
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

  #launch(kind: string, port: number, seconds: number): Promise<string> {
    // deno-fmt-ignore
    return this.#mustInGuest(this.#flood, kind, "tap0", NETWORK.guestMac, NETWORK.gatewayMac,
      NETWORK.guestIp, NETWORK.gatewayIp, String(port), String(seconds), String(this.#rate));
  }

  /** Both transfers beside a flood, and the frames a second that it brought out. */
  async #beside(kind: string, port: number): Promise<[up: number, down: number, rate: number]> {
    const seconds = 2 * this.#seconds + 1;
    const flood = this.#launch(kind, port, seconds);
    flood.catch(() => {}); // looked at below, unless a transfer fails first
    await new Promise((resolve) => setTimeout(resolve, 300));
    const up = await this.#transfer(false);
    const down = await this.#transfer(true);
    return [up, down, Number(await flood) / seconds];
  }

  /** How long a connection with one echoed octet takes in the guest, a process's start included. */
  async #echoMs(): Promise<number> {
    const { port } = this.#echo.addr;
    const ask = `exec 3<>/dev/tcp/${NETWORK.gatewayIp}/${port} && echo >&3 && head -c1 <&3`;
    const startMs = performance.now();
    await this.#mustInGuest("bash", "-c", ask);
    return performance.now() - startMs;
  }

  async measure(flood: typeof FLOODS[number]): Promise<Row> {
    const port = flood.flow ? this.#sink.addr.port : CLOSED_PORT;
    const rows: number[][] = [];
    await this.#forgetPeak();
    let recoveryMs = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const alone = [await this.#transfer(false), await this.#transfer(true)];
      const [inertUp, inertDown] = await this.#beside("inert", port);
      const [up, down, rate] = await this.#beside(flood.kind, port);
      recoveryMs = Math.max(recoveryMs, await this.#echoMs());
      rows.push([...alone, inertUp, inertDown, up, down, rate]);
    }
    const column = (i: number) => median(rows.map((row) => row[i]!));
    return {
      kind: flood.kind,
      what: flood.what,
      framesPerSecond: Math.round(column(6)),
      up: { alone: column(0), inert: column(2), flooded: column(4) },
      down: { alone: column(1), inert: column(3), flooded: column(5) },
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
    this.#sink.close();
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

function chosen(only: unknown): typeof FLOODS {
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
      `flood, and what it keeps of its speed alone (goal ${SHARE_GOAL}); peak memory in MiB (goal`,
    );
    console.log(
      `${RSS_GOAL_MIB}); ms until a new connection is served (goal ${RECOVERY_GOAL_MS})\n`,
    );
    console.log(
      "flood                               kfr/s |  up: alone inert flood ratio |" +
        " down                 | RSS | ms",
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
