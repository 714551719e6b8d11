/**
 * How flows share one gateway: eight downloads among each other, and single octets with a download.
 *
 * Jain's index is (Σx)² / (n·Σx²): 1 where all get the same, 1/n where one gets all.
 *
 * @module
 */
import { NETWORK } from "../tests/guest/harness.ts";
import { answer, type Lab, PORTS, sleep } from "./support/lab.ts";
import type { Report } from "./support/report.ts";

const STREAMS = 8;
const SECONDS = 10;
const JAIN = 0.9;
const TURN_P99_MS = 5;

/** What `load_client bulk` prints. */
export interface Bulk {
  seconds: number;
  bytes: number[];
}

/** What `load_client rr` prints. */
export interface Turns {
  turns: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

/** Jain's fairness index. */
export function jain(values: readonly number[]): number {
  const sum = values.reduce((total, value) => total + value, 0);
  const squares = values.reduce((total, value) => total + value * value, 0);
  return squares === 0 ? 0 : sum * sum / (values.length * squares);
}

/** Bytes of all streams as Mbit/s. */
export function mbits({ bytes, seconds }: Bulk): number {
  return bytes.reduce((total, count) => total + count, 0) * 8 / 1e6 / seconds;
}

/** Both measurements. */
export async function measureSharing(lab: Lab, report: Report): Promise<void> {
  report.part(`${STREAMS} downloads for ${SECONDS} s`);
  await using load = await lab.begin({ cli: ["--host-loopback"] });
  const { gatewayIp } = NETWORK;
  const bulk = await load.measure<Bulk>("bulk", STREAMS, SECONDS, PORTS.source, gatewayIp);
  report.add("together", mbits(bulk), "Mbit/s");
  report.add("Jain's index", jain(bulk.bytes), "", { atLeast: JAIN });
  report.add("slowest stream's part of an equal share", share(bulk.bytes), "");

  report.part(`one octet there and back beside a download, ${SECONDS} s`);
  const alone = await load.measure<Turns>("rr", 3, PORTS.echo, gatewayIp);
  report.add("alone, p50", alone.p50Ms, "ms");
  report.add("alone, p99", alone.p99Ms, "ms");
  const download = load.client("bulk", 1, SECONDS + 2, PORTS.source, gatewayIp);
  await sleep(1_000);
  const beside = await load.measure<Turns>("rr", SECONDS, PORTS.echo, gatewayIp);
  report.add("beside it, p50", beside.p50Ms, "ms");
  report.add("beside it, p99", beside.p99Ms, "ms", { atMost: TURN_P99_MS });
  report.add("beside it, slowest", beside.maxMs, "ms");
  report.add("the download meanwhile", mbits(await answer<Bulk>(download)), "Mbit/s");
  await load.end();
}

function share(bytes: readonly number[]): number {
  const mean = bytes.reduce((total, count) => total + count, 0) / bytes.length;
  return Math.min(...bytes) / mean;
}
