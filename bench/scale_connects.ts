/**
 * Many connects: how long one takes at a steady rate, what a storm leaves behind, and whether
 * healthy ones wait for those that nobody answers.
 *
 * The guest offers connects at a rate, whether the earlier ones are done or not, and times each
 * from the moment it was due.
 *
 * @module
 */
import { NETWORK } from "../tests/guest/harness.ts";
import { until } from "../tests/guest/program.ts";
import { answer, HOLE_ADDRESS, type Lab, type Load, PORTS, sleep } from "./support/lab.ts";
import type { Report } from "./support/report.ts";

const CONNECT_P99_MS = 50;
const STEADY_PER_SECOND = 1_000;
const STORM_PER_SECOND = 5_000;
const STEADY_SECONDS = 10;
/** Connections of the storm at once; beyond it the rate is what the gateway can do. */
const STORM_WINDOW = 512;
const STEADY_WINDOW = 8_192;
const HEALTHY_PER_SECOND = 20;
const HEALTHY_SECONDS = 10;
const HOLES = 1_000;
const HOLE_PORT = 80;
const DIAL_TIMEOUT_MS = 30_000;
/** The timeout is looked for every quarter of a second, and the guest has to hear of it. */
const DIAL_SLACK_MS = 3_000;
/** TIME_WAIT lasts 10 s at the gateway; a storm's last flows need some seconds more. */
const DRAIN_MS = 40_000;

interface Storm {
  offered: number;
  started: number;
  served: number;
  late: number;
  seconds: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  errors: Record<string, number>;
}

/** Words of `load_client storm`. */
function storm(perSecond: number, seconds: number, window: number, hosts: string[]) {
  return ["storm", perSecond, seconds, window, 1, PORTS.echo, PORTS.echoCount, ...hosts];
}

function sayErrors(report: Report, errors: Record<string, number>): void {
  const words = Object.entries(errors).map(([name, count]) => `${name} ${count}`);
  if (words.length > 0) report.say(`    errors: ${words.join(", ")}`);
}

function addConnects(report: Report, what: string, result: Storm, goal: boolean): void {
  const atMost = goal ? { atMost: CONNECT_P99_MS } : undefined;
  report.add(`${what}, p50`, result.p50Ms, "ms");
  report.add(`${what}, p99`, result.p99Ms, "ms", atMost);
  sayErrors(report, result.errors);
}

/** Connect times at a thousand a second. */
export async function measureConnects(lab: Lab, report: Report): Promise<void> {
  report.part(`${STEADY_PER_SECOND} connects/s for ${STEADY_SECONDS} s, an octet each`);
  await using load = await lab.begin({ cli: ["--host-loopback"] });
  const words = storm(STEADY_PER_SECOND, STEADY_SECONDS, STEADY_WINDOW, [NETWORK.gatewayIp]);
  // The first connects wait for the compiler, not for the gateway's work.
  await load.measure<Storm>(...storm(200, 2, STEADY_WINDOW, [NETWORK.gatewayIp]));
  const result = await load.measure<Storm>(...words);
  report.add("served", result.served, "", { exactly: STEADY_PER_SECOND * STEADY_SECONDS });
  addConnects(report, "connect", result, true);
  report.add("connect, slowest", result.maxMs, "ms");
  await load.end();
}

/** What is left of the flows. */
async function remains(load: Load): Promise<number> {
  const { tcpFlows, timers, relays, dials } = await load.figures();
  return tcpFlows + timers + relays + dials;
}

/** A storm, and what it leaves behind. */
export async function measureStorm(lab: Lab, report: Report, seconds: number): Promise<void> {
  report.part(`${STORM_PER_SECOND} connects/s offered for ${seconds} s: connect, octet, close`);
  report.say(
    `    at most ${STORM_WINDOW} at once, over ${PORTS.echoCount} ports, IPv4 and IPv6 in turn`,
  );
  await using load = await lab.begin({ options: { hostLoopback: true } });
  const hosts = [NETWORK.gatewayIp, NETWORK.gatewayIp6];
  await load.measure<Storm>(...storm(200, 2, STORM_WINDOW, hosts));
  await until("the first flows are gone", async () => await remains(load) === 0, DRAIN_MS);
  const before = await load.resources();
  const result = await load.measure<Storm>(
    ...storm(STORM_PER_SECOND, seconds, STORM_WINDOW, hosts),
  );
  report.add("offered", result.offered, "");
  report.add("served a second", result.served / result.seconds, "/s");
  report.add("failed", result.started - result.served, "", { exactly: 0 });
  addConnects(report, "connect", result, false);
  const peak = await load.resources();
  report.add("resident at the end of the storm", peak.rssKib / 1024, "MiB");
  const startMs = performance.now();
  await until("nothing is left", async () => await remains(load) === 0, DRAIN_MS).catch(() => {});
  const { tcpFlows, timers, relays, dials } = await load.figures();
  report.add("all is given back after", (performance.now() - startMs) / 1000, "s");
  for (const [what, count] of Object.entries({ tcpFlows, timers, relays, dials })) {
    report.add(`${what} left`, count, "", { exactly: 0 });
  }
  const after = await load.resources();
  report.add("descriptors left", after.descriptors - before.descriptors, "", { atMost: 0 });
  report.add("resident, more than before", (after.rssKib - before.rssKib) / 1024, "MiB");
  await load.end();
}

interface Holes {
  opened: number;
  pending: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  errors: Record<string, number>;
}

/** Healthy connects beside dials that nobody answers. */
export async function measureHoles(lab: Lab, report: Report, spread: boolean): Promise<void> {
  const where = spread ? `${HOLES} addresses` : "one address";
  const healthy = HEALTHY_PER_SECOND * HEALTHY_SECONDS;
  report.part(
    `${HOLES} connects to ${where} where SYNs vanish, ${healthy} healthy ones beside them`,
  );
  await using load = await lab.begin({ cli: ["--host-loopback"] });
  const words = storm(HEALTHY_PER_SECOND, HEALTHY_SECONDS, STEADY_WINDOW, [NETWORK.gatewayIp]);
  await load.measure<Storm>(...storm(200, 1, STEADY_WINDOW, [NETWORK.gatewayIp]));
  const holes = load.client("holes", HOLES, spread ? 1 : 0, HOLE_PORT, HOLE_ADDRESS);
  await answer(holes);
  await sleep(200);
  const result = await load.measure<Storm>(...words);
  report.add("healthy ones served", result.served, "", { exactly: healthy });
  // Many holes look like many destinations: there the bound is the time after which a dial yields.
  addConnects(report, "healthy connect", result, !spread);
  report.add("healthy connect, slowest", result.maxMs, "ms");
  const ends = await answer<Holes>(holes, 1);
  report.add("vanished ones still pending", ends.pending, "", { exactly: 0 });
  report.add("vanished ones that opened", ends.opened, "", { exactly: 0 });
  const atMost = (DIAL_TIMEOUT_MS + DIAL_SLACK_MS) / 1000;
  report.add("vanished ones end after, p50", ends.p50Ms / 1000, "s", { atMost });
  // A destination has 512 half-open flows at most. The rest's SYNs are dropped, and the guest's
  // kernel tries again after 1, 3, 7, 15, 31 and 63 s: those then have 30 s of their own.
  const goal = spread ? { atMost } : undefined;
  report.add("vanished ones end after, slowest", ends.maxMs / 1000, "s", goal);
  sayErrors(report, ends.errors);
  await load.end();
}
