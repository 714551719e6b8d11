/**
 * What a guest gets over a bad link.
 *
 *     deno task link [--rounds N] [--seconds N] [--megabytes N] [--seed N] [--json]
 *
 * Bulk over a link that loses a tenth of all frames each way has to arrive whole (hashes compared).
 * A download over one with 1 % loss and 20 ms each way has to reach 60 % of what the guest's kernel
 * reaches with a TCP like its own: there two namespaces are joined by the same fault code with the
 * same seed, at the receiver's end as at the gateway's guest, and both downloads take turns. The
 * kernel's congestion control is the one that a new namespace has; the first rows say which, and
 * what the kernel carries over the same delay without loss, which shows that the fault code is not
 * what limits. Needs root, /dev/net/tun, a C compiler and iperf3; all traffic stays on loopback
 * and in the namespaces that are made here.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { expected, type Received } from "../tests/guest/bulk.ts";
import { GatewayProcess } from "../tests/guest/gateway_process.ts";
import { freePort } from "../tests/support/free_port.ts";
import { NETWORK } from "../tests/guest/harness.ts";
import { bulkServer } from "../tests/guest/host_servers.ts";
import { BackgroundProgram, mustRun } from "../tests/guest/program.ts";
import {
  type BridgeReport,
  compileBridge,
  type Direction,
  End,
  type EndSpec,
  type Faults,
  Interrupted,
  Owner,
} from "./link_wire.ts";

const GUEST_PROGRAM = new URL("../tests/guest/guest_program.ts", import.meta.url).pathname;
const SHARE_GOAL = 0.6;
const LOSS_PERCENT = 1;
const DELAY_MS = 20;
const BULK_LIMIT_MS = 300_000;

/** The links that bulk has to get through whole. */
const BULK_LINKS: readonly { what: string; faults: Omit<Faults, "seed"> }[] = [
  { what: "10 % loss", faults: { loss: 10 } },
  {
    what: "10 % loss, 2 % twice, 5 % displaced, 0.1 % damaged",
    faults: { loss: 10, dup: 2, reorder: 5, flip: 0.1 },
  },
];

const GUEST_END: EndSpec = {
  address: `${NETWORK.guestIp}/30`,
  mac: NETWORK.guestMac,
  peer: NETWORK.gatewayIp,
  peerMac: NETWORK.gatewayMac,
};

/** The two kernels have the same addresses and numbers of hops as guest and gateway. */
const FAR_END: EndSpec = {
  address: `${NETWORK.gatewayIp}/30`,
  mac: NETWORK.gatewayMac,
  peer: NETWORK.guestIp,
  peerMac: NETWORK.guestMac,
};

/** One transfer of bulk. */
interface Bulk {
  what: string;
  verb: "upload" | "download";
  whole: boolean;
  seconds: number;
}

/** What downloads over one link came to. */
interface Downloads {
  /** Mean round trip of an idle link, in ms. */
  roundTripMs: number;
  /** Mbit/s of each round. */
  mbits: number[];
  medianMbits: number;
  link: BridgeReport;
}

/** All that the bench has found. */
interface Results {
  megabytes: number;
  bulk: Bulk[];
  bulkLinks: { what: string; link: BridgeReport }[];
  congestionControl: string;
  /** The kernel over the same delay without loss. */
  lossless: Downloads;
  kernel: Downloads;
  gateway: Downloads;
  share: number;
  met: boolean;
}

/** A link with something at its far end that an `iperf3 -s` answers behind. */
interface Line {
  near: End;
  port: number;
  mbits: number[];
  roundTripMs: number;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The parts that the measurements are made of. */
class LinkBench {
  readonly #owner: Owner;
  readonly #bridge: string;

  constructor(owner: Owner, bridge: string) {
    this.#owner = owner;
    this.#bridge = bridge;
  }

  /** A kernel guest on a bad link to the shipped command line. */
  async #joinGateway(faults: Faults): Promise<{ gateway: GatewayProcess; near: End }> {
    const gateway = await this.#owner.own(
      GatewayProcess.start({
        // No question leaves the machine: nobody answers at this upstream.
        gatewayArgs: ["--host-loopback", "--dns", "127.0.0.1:1"],
        denoFlags: ["--unstable-net"],
      }),
    );
    const near = await this.#owner.own(End.make(GUEST_END));
    await near.bridge(this.#bridge, "connect", gateway.endpoint.slice("unix:".length), faults);
    return { gateway, near };
  }

  async #serveIperf(prefix: readonly string[]): Promise<number> {
    const port = freePort();
    const words = [...prefix, "iperf3", "-s", "-p", String(port), "--forceflush"];
    const server = await this.#owner.own(new BackgroundProgram(words));
    await server.line(/Server listening/);
    return port;
  }

  /** A kernel guest whose downloads come from the host by way of the gateway. */
  async gatewayLine(faults: Faults): Promise<Line> {
    const { near } = await this.#joinGateway(faults);
    const port = await this.#serveIperf([]);
    return { near, port, mbits: [], roundTripMs: await this.#roundTripMs(near) };
  }

  /** A kernel whose downloads come from another one; the faults are at the receiver's end. */
  async kernelLine(faults: Faults): Promise<Line> {
    const path = `${this.#owner.directory}/${crypto.randomUUID().slice(0, 8)}.sock`;
    const far = await this.#owner.own(End.make(FAR_END));
    const near = await this.#owner.own(End.make(GUEST_END));
    await far.bridge(this.#bridge, "listen", path);
    await near.bridge(this.#bridge, "connect", path, faults);
    const port = await this.#serveIperf(far.inside());
    return { near, port, mbits: [], roundTripMs: await this.#roundTripMs(near) };
  }

  async #roundTripMs(near: End): Promise<number> {
    // deno-fmt-ignore
    const words = near.inside("busybox", "ping", "-A", "-c", "20", "-W", "1", "-q",
      NETWORK.gatewayIp);
    const said = await this.#owner.answer(words, /^round-trip/, 30_000);
    return Number(/= [\d.]+\/([\d.]+)\//.exec(said)![1]);
  }

  /** The congestion control of a namespace that nobody has told one. */
  async congestionControl({ near }: Line): Promise<string> {
    return await mustRun(near.inside("cat", "/proc/sys/net/ipv4/tcp_congestion_control"));
  }

  /** One download; the line keeps its rate. */
  async download(line: Line, seconds: number): Promise<void> {
    // deno-fmt-ignore
    const words = line.near.inside("iperf3", "-c", NETWORK.gatewayIp, "-p", String(line.port), "-R",
      "-t", String(seconds), "-J", "--connect-timeout", "10000");
    const { end, error } = JSON.parse(
      await this.#owner.answer(words, /^}$/, (seconds + 30) * 1000),
    );
    const bits = end?.sum_received?.bits_per_second;
    if (bits === undefined) throw new Error(`iperf3: ${error}`);
    line.mbits.push(bits / 1e6);
  }

  /** Ends a line's bridge and sums up. */
  async close({ near, mbits, roundTripMs }: Line): Promise<Downloads> {
    return { roundTripMs, mbits, medianMbits: median(mbits), link: await near.report() };
  }

  /** Bulk in both directions over one bad link, one after the other; returns what it suffered. */
  async bulk(
    what: string,
    faults: Faults,
    bytes: number,
    onEach: (one: Bulk) => void,
  ): Promise<BridgeReport> {
    const { gateway, near } = await this.#joinGateway(faults);
    const server = await this.#owner.own(bulkServer("127.0.0.1"));
    const { sha256 } = expected(bytes);
    for (const verb of ["upload", "download"] as const) {
      // deno-fmt-ignore
      const words = near.inside(Deno.execPath(), "run", "--no-prompt", "--no-config", "--allow-net",
        GUEST_PROGRAM, verb, NETWORK.gatewayIp, String(server.port), String(bytes));
      const startMs = performance.now();
      const said = await this.#owner.answer(words, /^\{.*\}$/, BULK_LIMIT_MS);
      const got: Received = JSON.parse(said);
      const whole = got.bytes === bytes && got.sha256 === sha256;
      onEach({ what, verb, whole, seconds: (performance.now() - startMs) / 1000 });
    }
    const report = await near.report();
    for (const thing of [server, near, gateway]) await this.#owner.end(thing);
    return report;
  }
}

interface Options {
  rounds: number;
  seconds: number;
  megabytes: number;
  seed: number;
  json: boolean;
}

/** One row of the table. */
function row(what: string, figure: string, goal = "", met?: boolean): string {
  const verdict = met === undefined ? "" : met ? "met" : "missed";
  return `${what.padEnd(68)} ${figure.padStart(18)}  ${goal.padEnd(8)} ${verdict}`.trimEnd();
}

function bulkRow({ what, verb, whole, seconds }: Bulk, megabytes: number): string {
  const figure = `${whole ? "whole" : "not whole"}, ${seconds.toFixed(1)} s`;
  return row(`${megabytes} MB ${verb}, ${what}`, figure, "whole", whole);
}

function downloadsRow(what: string, { medianMbits, mbits }: Downloads): string {
  const rounds = mbits.length === 1 ? "" : ` (${mbits.map((m) => m.toFixed(0)).join(", ")})`;
  return row(what + rounds, `${medianMbits.toFixed(0)} Mbit/s`);
}

/** What the bridge did to one direction's frames, so that the faults can be checked. */
function directionText(d: Direction): string {
  const share = (count: number) => (100 * count / d.frames).toFixed(2);
  const others = [[d.duplicated, "twice"], [d.reordered, "displaced"], [d.flipped, "damaged"]]
    .filter(([count]) => count !== 0)
    .map(([count, how]) => `, ${share(Number(count))} % ${how}`);
  return `${d.frames} frames, ${share(d.lost)} % lost${others.join("")}, ` +
    `${d.lateUs.toFixed(0)} µs late, full ${d.stalls} times`;
}

function linkText(what: string, { toTap, toStream }: BridgeReport, roundTripMs?: number): string {
  const idle = roundTripMs === undefined ? "" : `: idle round trip ${roundTripMs.toFixed(1)} ms`;
  return `  ${what}${idle}\n    down ${directionText(toTap)}\n    up   ${directionText(toStream)}`;
}

/** The links as they were; lateness is the mean that a frame stayed beyond its release. */
function linksText({ bulkLinks, lossless, kernel, gateway }: Results): string {
  return [
    "\nwhat the links did",
    ...bulkLinks.map(({ what, link }) => linkText(what, link)),
    linkText("two kernels, no loss", lossless.link, lossless.roundTripMs),
    linkText("two kernels", kernel.link, kernel.roundTripMs),
    linkText("gateway", gateway.link, gateway.roundTripMs),
  ].join("\n");
}

/** Makes all measurements, with a row for each as it is done. */
async function measure(bench: LinkBench, options: Options): Promise<Results> {
  const { rounds, seconds, megabytes, seed } = options;
  const say = (text: string) => options.json || console.log(text);
  say(row("", "figure", "goal"));
  const bulk: Bulk[] = [];
  const bulkLinks: Results["bulkLinks"] = [];
  for (const { what, faults } of BULK_LINKS) {
    const link = await bench.bulk(what, { ...faults, seed }, megabytes * 1_000_000, (one) => {
      bulk.push(one);
      say(bulkRow(one, megabytes));
    });
    bulkLinks.push({ what, link });
  }

  const open = await bench.kernelLine({ delay: DELAY_MS, seed });
  const congestionControl = await bench.congestionControl(open);
  await bench.download(open, seconds);
  const lossless = await bench.close(open);
  const twoKernels = `two kernels (${congestionControl})`;
  say(downloadsRow(`${twoKernels}, ${DELAY_MS} ms each way, no loss`, lossless));

  const faults = { loss: LOSS_PERCENT, delay: DELAY_MS, seed };
  const kernelLine = await bench.kernelLine(faults);
  const gatewayLine = await bench.gatewayLine(faults);
  for (let round = 0; round < rounds; round++) {
    await bench.download(kernelLine, seconds);
    await bench.download(gatewayLine, seconds);
  }
  const kernel = await bench.close(kernelLine);
  const gateway = await bench.close(gatewayLine);
  const bad = `${DELAY_MS} ms and ${LOSS_PERCENT} % loss each way`;
  say(downloadsRow(`${twoKernels}, ${bad}`, kernel));
  say(downloadsRow(`gateway, ${bad}`, gateway));
  const share = gateway.medianMbits / kernel.medianMbits;
  const met = share >= SHARE_GOAL && bulk.every(({ whole }) => whole);
  // deno-fmt-ignore
  say(row("the gateway's part of the two kernels'", share.toFixed(2), `≥ ${SHARE_GOAL.toFixed(2)}`,
    share >= SHARE_GOAL));
  // deno-fmt-ignore
  const results = { megabytes, bulk, bulkLinks, congestionControl, lossless, kernel, gateway, share,
    met };
  say(linksText(results));
  return results;
}

function readOptions(): Options {
  const flags = parseArgs(Deno.args, {
    string: ["rounds", "seconds", "megabytes", "seed"],
    boolean: ["json"],
    default: { rounds: "3", seconds: "8", megabytes: "20", seed: "1" },
  });
  const number = (name: "rounds" | "seconds" | "megabytes" | "seed") => {
    const value = Number(flags[name]);
    if (Number.isInteger(value) && value > 0) return value;
    console.error(`--${name} has to be a whole number above 0, not ${flags[name]}`);
    Deno.exit(2);
  };
  return {
    rounds: number("rounds"),
    seconds: number("seconds"),
    megabytes: number("megabytes"),
    seed: number("seed"),
    json: flags.json === true,
  };
}

/** Runs the bench; whatever it has started is gone when it returns the exit code. */
async function main(options: Options): Promise<number> {
  await using owner = new Owner();
  // What it waits for ends with what it owns, so the bench comes to its end by itself.
  const stop = () => void owner[Symbol.asyncDispose]();
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  try {
    const results = await measure(new LinkBench(owner, await compileBridge(owner)), options);
    if (options.json) console.log(JSON.stringify(results));
    return results.met ? 0 : 1;
  } catch (error) {
    if (!(owner.closing || error instanceof Interrupted)) throw error;
    return 130;
  }
}

if (import.meta.main) Deno.exit(await main(readOptions()));
