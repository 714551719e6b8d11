/**
 * Many flows at once: whether all are served, what an idle one costs, and that it is given back.
 *
 * Memory is what the kernel counts as resident. The first flows also pay for what V8 grows once, so
 * a flow's own cost is shown beside the average: between the half and all of the flows.
 *
 * @module
 */
import { NETWORK } from "../tests/guest/harness.ts";
import { until } from "../tests/guest/program.ts";
import { answer, type Lab, type Load, PORTS, sleep } from "./support/lab.ts";
import type { Report } from "./support/report.ts";

const KIB_PER_FLOW = 16;
/** Buffers go back to the pool and garbage is collected a while after the last byte. */
const SETTLE_MS = 4_000;
/** In so long the runtime gives back the half of its heap that only short-lived objects use. */
const IDLE_MS = 30_000;
const UDP_FLOWS = 4_096;
const UDP_UNREPLIED_MS = 5_000;
const UDP_REPLIED_MS = 60_000;

async function settledKib(load: Load): Promise<number> {
  await sleep(SETTLE_MS);
  return (await load.resources()).rssKib;
}

/** Opens flows that stay open, and returns the client and how many of them are. */
async function hold(load: Load, flows: number) {
  const client = load.client("hold", flows, PORTS.echo, PORTS.echoCount, NETWORK.gatewayIp);
  const first = await answer<{ opened: number; seconds: number }>(client);
  let lines = 1;
  /** Tells the client something and returns what it answers. */
  const tell = async <T>(word: string): Promise<T> => {
    await client.send(`${word}\n`);
    return await answer<T>(client, lines++);
  };
  return { client, first, tell };
}

/** TCP flows, opened and served, and their memory. */
export async function measureFlows(lab: Lab, report: Report, flows: number): Promise<void> {
  report.part(`${flows} TCP flows at once`);
  await using load = await lab.begin({ cli: ["--host-loopback"] });
  const emptyKib = await settledKib(load);
  const { client, first, tell } = await hold(load, flows);
  report.add("opened", first.opened, "flows", { exactly: flows });
  report.add("opened in", first.seconds, "s");
  const openKib = await settledKib(load);
  const { echoed } = await tell<{ echoed: number }>("echo");
  report.add("served with one octet each while all are open", echoed, "flows", { exactly: flows });
  const usedKib = await settledKib(load);
  const goal = { atMost: KIB_PER_FLOW };
  report.add("resident per flow, before any data", (openKib - emptyKib) / flows, "KiB", goal);
  report.add("resident per flow, right after one octet each", (usedKib - emptyKib) / flows, "KiB");
  report.add("resident, all of the process", usedKib / 1024, "MiB");
  await sleep(IDLE_MS);
  const { rssKib: idleKib } = await load.resources();
  const idleFor = `once idle for ${IDLE_MS / 1000} s`;
  report.add(`resident per flow, ${idleFor}`, (idleKib - emptyKib) / flows, "KiB", goal);
  report.add(`resident, all of the process, ${idleFor}`, idleKib / 1024, "MiB");
  await client.send("close\n");
  await load.end();

  await using again = await lab.begin({ cli: ["--host-loopback"] });
  const half = Math.floor(flows / 2);
  const held = await hold(again, half);
  await held.tell("echo");
  const halfKib = await settledKib(again);
  await held.tell(`more ${flows - half}`);
  await held.tell("echo");
  const allKib = await settledKib(again);
  const kib = (allKib - halfKib) / (flows - half);
  report.add(`resident per flow, from the ${half}th on`, kib, "KiB", goal);
  await held.client.send("close\n");
  await again.end();
}

interface Datagrams {
  answered: number;
  again: number;
}

/** UDP flows, answered and held, and what is left when their time is over. */
export async function measureUdpFlows(lab: Lab, report: Report): Promise<void> {
  report.part(`${UDP_FLOWS} UDP flows at once`);
  const limits = { udpUnrepliedMs: UDP_UNREPLIED_MS, udpRepliedMs: UDP_REPLIED_MS };
  await using load = await lab.begin({ options: { hostLoopback: true, limits } });
  await sleep(1_000);
  const before = await load.resources();
  const half = UDP_FLOWS / 2;
  const client = load.client("hold-udp", half, PORTS.echo, NETWORK.gatewayIp);
  const first = await answer<Datagrams>(client);
  await sleep(2_000);
  const atHalf = await load.resources();
  await client.send(`more ${half}\n`);
  const second = await answer<Datagrams>(client, 1);
  report.add("answered", first.answered + second.answered, "flows", { exactly: UDP_FLOWS });
  report.add("datagrams that were sent again", first.again + second.again, "");
  const { udpFlows } = await load.figures();
  report.add("held by the gateway", udpFlows, "flows", { exactly: UDP_FLOWS });
  await sleep(2_000);
  const { rssKib } = await load.resources();
  const goal = { atMost: KIB_PER_FLOW };
  const usedKib = (rssKib - before.rssKib) / UDP_FLOWS;
  report.add("resident per flow, right after the answers", usedKib, "KiB");
  const moreKib = (rssKib - atHalf.rssKib) / half;
  report.add(`resident per flow, from the ${half}th on`, moreKib, "KiB", goal);
  await sleep(IDLE_MS);
  const { rssKib: idleKib } = await load.resources();
  const perFlowKib = (idleKib - before.rssKib) / UDP_FLOWS;
  report.add(`resident per flow, once idle for ${IDLE_MS / 1000} s`, perFlowKib, "KiB", goal);
  await client.send("close\n");
  const startMs = performance.now();
  const freed = async () => (await load.figures()).udpFlows === 0;
  await until("UDP flows end", freed, UDP_REPLIED_MS + 20_000).catch(() => {});
  report.add(`freed (their time is set to ${UDP_REPLIED_MS / 1000} s)`, await left(load), "left", {
    exactly: 0,
  });
  report.add("freed after", (performance.now() - startMs) / 1000, "s");
  const after = await load.resources();
  report.add("descriptors left", after.descriptors - before.descriptors, "", { atMost: 0 });
  await load.end();
}

async function left(load: Load): Promise<number> {
  const { udpFlows, timers, relays } = await load.figures();
  return udpFlows + timers + relays;
}
