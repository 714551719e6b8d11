/**
 * A fleet whose engine is three servers: one parted from the others, and the one that leads killed.
 * Guests' flows move on, no record of the audit is lost or there twice, and the policy comes to what
 * was put last.
 */
import { assert, assertEquals } from "@std/assert";
import { NatsCluster } from "../support/nats_server.ts";
import { hasProgram } from "../support/programs.ts";
import { busy, FaultFleet, refusing, together } from "./faults_rig.ts";
import { until } from "./policy_rig.ts";

const ignore = !await hasProgram("nats-server");
if (ignore) console.log("tests skipped: nats-server is not here");

/** Two gateways at each of the servers. */
function start(cluster: NatsCluster): Promise<FaultFleet> {
  const { urls } = cluster;
  return FaultFleet.start([...urls, ...urls].map((url) => [url]), { replicas: 3 });
}

async function partsLeader(): Promise<void> {
  await using cluster = await NatsCluster.start(3, { wires: true });
  await using fleet = await start(cluster);
  const before = await fleet.put(refusing("10.99.0.1"));
  await fleet.converge(before, "10.99.0.1");
  const alone = await fleet.leaderOf("audit");
  await fleet.moveTo(cluster.urls[(alone + 1) % 3]!);
  const isParted = ({ fleet }: FaultFleet["members"][number]): boolean => {
    return fleet!.report().engine.server === `127.0.0.1:${cluster.nodes[alone]!.port}`;
  };
  const parted = fleet.members.filter(isParted);
  assertEquals(parted.length, 2);
  cluster.wires!.cut(alone);
  await fleet.refuse(3);
  // Where most of the servers are, all goes on; on the other side what was good last stays.
  const meanwhile = await fleet.put(refusing("10.99.0.2"));
  await fleet.converge(meanwhile, "10.99.0.2", fleet.members.filter((each) => !isParted(each)));
  assertEquals(fleet.members.filter(isParted), parted);
  for (const { name, fleet: place, server } of parted) {
    const { policy } = place!.report();
    assertEquals([policy.source, policy.revision], ["engine", before], name);
    assertEquals((await server.explain("10.99.0.1:443")).allowed, false);
    assert((await server.explain("10.99.0.2:443")).allowed);
  }
  await fleet.refuse(3);
  await fleet.flowing();
  cluster.wires!.heal(alone);
  await fleet.converge(meanwhile, "10.99.0.2");
  const after = await fleet.put(refusing("10.99.0.3"));
  await fleet.converge(after, "10.99.0.3");
  await fleet.flowing();
  await fleet.auditWhole(cluster.urls);
}

async function losesLeaders(): Promise<void> {
  await using cluster = await NatsCluster.start(3);
  await using fleet = await start(cluster);
  for (const what of ["audit", "policy"] as const) {
    const work = busy(fleet);
    await fleet.flowing();
    const leader = cluster.nodes[await fleet.leaderOf(what)]!;
    await leader.kill();
    await fleet.refuse(3);
    await fleet.flowing();
    const address = what === "audit" ? "10.99.0.1" : "10.99.0.2";
    await work.end();
    await fleet.converge(await fleet.put(refusing(address)), address);
    await leader.start();
    await until("the server that is back to lead or follow", async () => {
      return await fleet.leaderOf(what) >= 0;
    });
  }
  await fleet.flowing();
  await fleet.auditWhole(cluster.urls);
}

Deno.test({
  name: "faults of an engine of three servers",
  ignore,
  fn: (t) =>
    together(t, {
      "one that leads is parted from the others, and joined again": partsLeader,
      "those that lead are killed in the middle of everything": losesLeaders,
    }),
});
