/**
 * A fleet's policy with an engine of three nodes: its leader killed, the node that a gateway is
 * connected to killed, and one that stands still.
 */
import { assert, assertEquals } from "@std/assert";
import { jetstreamManager } from "@nats-io/jetstream";
import { connectEngine } from "../../lib/fleet/engine_transport.ts";
import { NatsCluster, type NatsServer } from "../support/nats_server.ts";
import { FleetFolder, Member, Operator, until } from "./policy_rig.ts";

/** The node that leads the bucket's stream, as another one says. */
async function leader(cluster: NatsCluster, asked: NatsServer): Promise<NatsServer> {
  const connection = await connectEngine({ servers: asked.url });
  try {
    // What the one that led all of them says by itself may have to wait for another one.
    const manager = await jetstreamManager(connection, { checkAPI: false });
    for (;;) {
      const info = await manager.streams.info("KV_virtio-gateway-default-policy").catch(() => null);
      const name = info?.cluster?.leader ?? "";
      if (name !== "") return cluster.nodes[Number(name.slice(1)) - 1]!;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } finally {
    await connection.close();
  }
}

/** A gateway that is connected to one node at first, and knows the others. */
function member(cluster: NatsCluster, at: number, folder: FleetFolder): Promise<Member> {
  const urls = [...cluster.urls.slice(at), ...cluster.urls.slice(0, at)];
  return Member.start({ dir: folder.path, servers: urls });
}

function deniedBy({ server }: Member): string {
  return server.policy.deny.filter((rule) => rule.startsWith("9.9.9.")).join();
}

Deno.test("fleet cluster: no change is missed over the ends of leaders and of nodes", async () => {
  await using cluster = await NatsCluster.start(3);
  await using operator = await Operator.start(cluster.urls, { replicas: 3 });
  using one = new FleetFolder();
  using two = new FleetFolder();
  using three = new FleetFolder();
  await using first = await member(cluster, 0, one);
  await using second = await member(cluster, 1, two);
  await using third = await member(cluster, 2, three);
  const members = [first, second, third];
  let number = 0;
  const change = async (): Promise<void> => {
    const address = `9.9.9.${++number}`;
    await operator.put("fleet", `deny: ["${address}"]`);
    for (const each of members) {
      await until(`${address}, not ${deniedBy(each)}`, () => deniedBy(each) === address);
    }
  };
  await change();
  for (let round = 0; round < 2; round++) {
    // The leader goes, and with it somebody's node; the change comes while another is chosen.
    const gone = await leader(cluster, cluster.nodes[round]!);
    await gone.kill();
    await change();
    await gone.start();
    await change();
  }
  // One node stands still: who is connected there is late, and misses nothing.
  const still = cluster.nodes[1]!;
  await still.pause();
  try {
    await operator.put("fleet", `deny: ["9.9.9.${++number}"]`);
  } finally {
    still.resume();
  }
  const last = `9.9.9.${number}`;
  for (const each of members) await until(`the last of all`, () => deniedBy(each) === last);
  for (const each of members) {
    assertEquals(each.policy.rejected, null);
    assert(each.said("the fleet's policy is refused; the last good").length === 0);
  }
});
