/**
 * What a fleet costs where nothing happens in it, and how long a change of its policy takes: so many
 * gateways of one process with a guest's place each, on one real server of the engine.
 *
 *     deno task fleet [--gateways N] [--seconds S] [--changes N]
 *
 * The server counts the messages; CPU time is that of its process and of this one, which has all the
 * gateways. Needs nats-server; all traffic stays on the loopback.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { provision } from "../lib/fleet/provision.ts";
import { Engine, type Fleet, prepareFleet } from "../lib/fleet/mod.ts";
import { PolicyStore } from "../lib/fleet/policy_store.ts";
import { serveVirtioNetwork, type VirtioNetworkConfig, type VirtioNetworkServer } from "../mod.ts";
import { freeServerPort, NatsServer } from "../tests/support/nats_server.ts";
import { cpuSeconds } from "./compare_process.ts";

const SETTLE_MS = 10_000;
const LOOK_MS = 2;
const MIB = 1_024 * 1_024;
const ANY_PORT = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
const COUNTS = ["in_msgs", "out_msgs", "in_bytes", "out_bytes"] as const;

interface Member {
  readonly dir: string;
  readonly server: VirtioNetworkServer;
  readonly fleet: Fleet<VirtioNetworkServer>;
}

async function join(url: string, gateway: string): Promise<Member> {
  const dir = await Deno.makeTempDir({ prefix: "vgw-fleet-" });
  const place = { servers: [url], fleet: "default", gateway, credentials: null, dir };
  const services = [
    { name: "web", guestPort: 80, protocol: "tcp" },
    { name: "ssh", guestPort: 22, protocol: "tcp" },
  ] as const;
  using prepared = await prepareFleet({
    settings: { ...place, advertise: ["10.0.0.10"], auditBytes: 16 * MIB },
    guests: [{ name: gateway, group: "ci", services }],
  });
  const publishedPorts = services.map(({ guestPort }) => {
    return { hostPort: 0, guestPort, bind: ["0.0.0.0"] };
  });
  const network: VirtioNetworkConfig = { publishedPorts };
  const server = await serveVirtioNetwork(ANY_PORT, prepared.configured(gateway, network));
  return { dir, server, fleet: await prepared.join(server) };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function inForce(members: readonly Member[], revision: number): Promise<void> {
  while (!members.every(({ fleet }) => fleet.report().policy.revision === revision)) {
    await pause(LOOK_MS);
  }
}

async function main(): Promise<void> {
  const flags = parseArgs(Deno.args, { string: ["gateways", "seconds", "changes"] });
  const [gateways, seconds, changes] = [
    Number(flags.gateways ?? 100),
    Number(flags.seconds ?? 30),
    Number(flags.changes ?? 5),
  ];
  const monitor = freeServerPort();
  await using server = await NatsServer.start({ config: `http: "127.0.0.1:${monitor}"` });
  await using operator = Engine.open({ servers: [server.url], name: "bench" });
  await provision(await operator.whenConnected(), "default");
  const store = await PolicyStore.open(operator, "default");
  const first = await store.put("fleet", "deny: [metadata]\n");
  const members: Member[] = [];
  for (let i = 0; i < gateways; i++) members.push(await join(server.url, `host-${i + 1}`));
  await inForce(members, first);
  await pause(SETTLE_MS);

  const look = async () => {
    const response = await fetch(`http://127.0.0.1:${monitor}/varz`);
    const counts = await response.json() as Record<typeof COUNTS[number] | "mem", number>;
    // The engine is a child of this process.
    const engine = await cpuSeconds(server.pid);
    const cpu = [engine, await cpuSeconds(Deno.pid) - engine] as const;
    return { counts, cpu, atMs: performance.now() };
  };
  const before = await look();
  await pause(seconds * 1_000);
  const after = await look();
  const spanS = (after.atMs - before.atMs) / 1_000;
  console.log(`${gateways} gateways, over ${Math.round(spanS)} s, each second`);
  for (const name of COUNTS) {
    const rate = (after.counts[name] - before.counts[name]) / spanS;
    console.log(`  ${name.padEnd(10)} ${Math.round(rate).toLocaleString("en-US")}`);
  }
  const cores = after.cpu.map((cpu, i) => ((cpu - before.cpu[i]!) / spanS).toFixed(3));
  console.log(`  CPU        ${cores[0]} s of the engine, ${cores[1]} s of all gateways`);
  console.log(`the engine has ${Math.round(after.counts.mem / MIB)} MiB`);

  const tookMs: number[] = [];
  for (let i = 0; i < changes; i++) {
    const startMs = performance.now();
    await inForce(members, await store.put("fleet", `deny: [metadata, "10.9.${i}.0/24"]\n`));
    tookMs.push(Math.round(performance.now() - startMs));
  }
  console.log(`a change is in force everywhere after ${tookMs.join(", ")} ms`);

  await Promise.all(members.map(async ({ dir, server, fleet }) => {
    await fleet.close();
    await server.abort();
    await Deno.remove(dir, { recursive: true });
  }));
}

if (import.meta.main) await main();
